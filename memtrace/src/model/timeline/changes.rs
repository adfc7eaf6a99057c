//! Windows out of single changes: the same that the kernel side does where it keeps
//! windows itself (`memtrace-ebpf/src/envelope.rs`).

use std::collections::HashMap;

use memtrace_ebpf::{
    Change, ChangeKind, ImageWindow, MEMBERS, Pages, SizesChange, TreeWindow,
    event::{CHANGE, Header, IMAGE_WINDOW, TREE_WINDOW},
};

use super::{merge, spans::Spans};
use crate::{blank, model::measured::rss};

/// Everything that counts, and the windows that are open.
#[derive(Debug)]
pub(super) struct Changes {
    tree: TreeWindow,
    images: HashMap<u64, ImageWindow>,
    /// Images that changed in the open window.
    touched: Vec<u64>,
}

/// A window in which nothing has happened.
const TREE: TreeWindow = TreeWindow {
    header: Header {
        kind: TREE_WINDOW,
        ..blank::HEADER
    },
    ..blank::TREE_WINDOW
};

/// The same of an image.
const IMAGE: ImageWindow = ImageWindow {
    header: Header {
        kind: IMAGE_WINDOW,
        ..blank::HEADER
    },
    ..blank::IMAGE_WINDOW
};

impl Changes {
    pub(super) fn new() -> Self {
        Self {
            tree: TREE,
            images: HashMap::new(),
            touched: Vec::new(),
        }
    }

    /// Takes in a change; windows that are over go to `spans`.
    pub(super) fn apply(&mut self, change: &Change, spans: &mut Spans) {
        let at = change.header.at;
        self.turn(at, spans);
        let kind = change.kind;
        if kind == ChangeKind::Shared as u32 {
            self.tree.shared = change.value;
            self.widen_tree(at, spans.width);
            return;
        }
        let held = open(
            &mut self.images,
            &self.tree,
            &mut self.touched,
            change.image,
        );
        let before = counted(held);
        if kind == ChangeKind::Enters as u32 {
            held.counted = 1;
        } else {
            held.counted = u32::from(kind != ChangeKind::Uncounted as u32);
            if let Some(slot) = usize::try_from(change.member)
                .ok()
                .and_then(|member| held.last.get_mut(member))
            {
                *slot = change.value;
            }
        }
        widen_image(held, at.max(self.tree.start), spans.width);
        let after = counted(held);
        for (sum, (before, after)) in self.tree.last.iter_mut().zip(before.iter().zip(after)) {
            *sum = sum.saturating_add(after.saturating_sub(*before));
        }
        self.widen_tree(at, spans.width);
    }

    /// Takes in new sizes, which come right before the change that brought them to light.
    pub(super) fn resize(&mut self, change: &SizesChange, spans: &mut Spans) {
        self.turn(change.header.at, spans);
        let held = open(
            &mut self.images,
            &self.tree,
            &mut self.touched,
            change.image,
        );
        held.sizes = change.sizes;
    }

    /// An image has ended. That changes something only if changes of it were lost.
    pub(super) fn end(&mut self, image: u64, at: u64, spans: &mut Spans) {
        let Some(held) = self.images.get(&image) else {
            return;
        };
        let (last, kind) = (
            held.last,
            if held.counted == 0 {
                ChangeKind::Uncounted
            } else {
                ChangeKind::Counted
            },
        );
        for (member, _) in (0..).zip(last).filter(|(_, pages)| *pages != 0) {
            let change = Change {
                header: Header {
                    kind: CHANGE,
                    tree: 0,
                    at,
                },
                image,
                value: 0,
                member,
                kind: kind as u32,
            };
            self.apply(&change, spans);
        }
    }

    /// Closes the open windows.
    pub(super) fn close(&mut self, spans: &mut Spans) {
        if self.tree.updates > 0 {
            spans.tree(&self.tree);
        }
        self.tree.updates = 0;
        for id in self.touched.drain(..) {
            let Some(window) = self.images.get_mut(&id) else {
                continue;
            };
            let ended = window.updates > 0 && window.last == NOTHING;
            if window.updates > 0 {
                spans.image(window);
            }
            window.updates = 0;
            if ended {
                self.images.remove(&id);
            }
        }
    }

    /// Closes the windows that end before `at`. Clocks are read before the kernel side
    /// takes turns, so that `at` can also be a little too early.
    fn turn(&mut self, at: u64, spans: &mut Spans) {
        let start = merge::cell(at, spans.width);
        if self.tree.updates > 0 && start <= self.tree.start {
            return;
        }
        // Sizes may have come without a change so far.
        let first = self.tree.seq == 0;
        if !first && self.tree.updates == 0 && start <= self.tree.start {
            return;
        }
        self.close(spans);
        let held = self.tree.last;
        let opening = rss(&held);
        self.tree = TreeWindow {
            start,
            seq: self.tree.seq.saturating_add(1),
            min_rss: opening,
            max_rss: opening,
            max_rss_at: start,
            min: held,
            max: held,
            at_max: held,
            ..self.tree
        };
    }

    fn widen_tree(&mut self, at: u64, width: u64) {
        let tree = &mut self.tree;
        let now = rss(&tree.last);
        let only = width == 0 && tree.updates == 0;
        if only || now > tree.max_rss {
            tree.max_rss = now;
            tree.max_rss_at = at.max(tree.start);
            tree.at_max = tree.last;
            tree.seq = tree.seq.saturating_add(1);
        }
        if only || now < tree.min_rss {
            tree.min_rss = now;
        }
        tree.updates = tree.updates.saturating_add(1);
    }
}

const NOTHING: Pages = [0; MEMBERS];

/// What the image adds to the tree.
const fn counted(held: &ImageWindow) -> Pages {
    if held.counted == 0 {
        NOTHING
    } else {
        held.last
    }
}

/// The image with its window brought to the tree's.
fn open<'a>(
    images: &'a mut HashMap<u64, ImageWindow>,
    tree: &TreeWindow,
    touched: &mut Vec<u64>,
    image: u64,
) -> &'a mut ImageWindow {
    let held = images
        .entry(image)
        .or_insert(ImageWindow { image, ..IMAGE });
    if held.start != tree.start || held.seq == 0 {
        let opening = rss(&held.last);
        held.start = tree.start;
        held.min_rss = opening;
        held.max_rss = opening;
        held.max_rss_at = tree.start;
        held.min = held.last;
        held.max = held.last;
        held.updates = 0;
        touched.push(image);
    }
    if held.seq != tree.seq {
        held.at_tree_max = counted(held);
        held.seq = tree.seq;
    }
    held
}

fn widen_image(held: &mut ImageWindow, at: u64, width: u64) {
    let now = rss(&held.last);
    // Where each change is a span, what was before it belongs to the span before.
    let only = width == 0 && held.updates == 0;
    if only || now > held.max_rss {
        held.max_rss = now;
        held.max_rss_at = at;
    }
    if only || now < held.min_rss {
        held.min_rss = now;
    }
    for (largest, now) in held.max.iter_mut().zip(held.last) {
        *largest = if only { now } else { now.max(*largest) };
    }
    held.updates = held.updates.saturating_add(1);
}
