//! The kernel side's rules for windows, followed by hand: histories as the records that it
//! would send.

use memtrace_ebpf::{
    Change, ChangeKind, ImageWindow, MEMBERS, Member, Pages, TreeWindow,
    event::{CHANGE, Header, IMAGE_WINDOW, TREE_WINDOW},
};

use super::{History, history::PAGE};
use crate::{event::Event, model::Amounts};

/// When the tree started on the clock of records; a multiple of every width used.
pub(super) const STARTED_AT: u64 = 70_000_000_000;

pub(super) fn pages(amounts: &Amounts) -> Pages {
    let mut pages = [0; MEMBERS];
    for (member, bytes) in [
        (Member::Anon, amounts.anon),
        (Member::File, amounts.file),
        (Member::Shmem, amounts.shmem),
        (Member::Swap, amounts.swap),
    ] {
        pages[member as usize] = i64::try_from(bytes / PAGE).expect("63 bits");
    }
    pages
}

/// A record for each counter that changed.
pub(super) fn changes(history: &History) -> Vec<Event> {
    let mut held = vec![[0; MEMBERS]; history.image_count()];
    let mut events = Vec::new();
    for change in &history.changes {
        let now = pages(&change.now);
        for member in 0..MEMBERS {
            if held[change.image][member] != now[member] {
                events.push(Event::Change(Change {
                    header: header(CHANGE, STARTED_AT + change.at),
                    image: change.image as u64 + 1,
                    value: now[member],
                    member: u32::try_from(member).expect("small"),
                    kind: ChangeKind::Counted as u32,
                }));
            }
        }
        held[change.image] = now;
    }
    events
}

fn header(kind: u32, at: u64) -> Header {
    Header { kind, tree: 0, at }
}

/// The windows that were sent, the tree's that was still open, and those of images.
pub(super) fn windows(history: &History, width: u64) -> (Vec<Event>, TreeWindow, Vec<ImageWindow>) {
    let mut events = Vec::new();
    let mut tree = empty_tree();
    let mut images: Vec<ImageWindow> = (0..history.image_count())
        .map(|index| empty_image(index as u64 + 1))
        .collect();
    for change in &history.changes {
        let at = STARTED_AT + change.at;
        let start = at - at % width;
        if tree.updates == 0 || start > tree.start {
            if tree.updates > 0 {
                events.push(Event::TreeWindow(Box::new(tree)));
            }
            tree = TreeWindow {
                start,
                seq: tree.seq + 1,
                min_rss: rss(&tree.last),
                max_rss: rss(&tree.last),
                max_rss_at: start,
                at_max: tree.last,
                updates: 0,
                ..tree
            };
        }
        let image = &mut images[change.image];
        let held = image.last;
        if image.updates == 0 || image.start != tree.start {
            if image.updates > 0 {
                events.push(Event::ImageWindow(Box::new(*image)));
            }
            *image = ImageWindow {
                start,
                min_rss: rss(&held),
                max_rss: rss(&held),
                max_rss_at: start,
                max: held,
                updates: 0,
                ..*image
            };
        }
        if image.seq != tree.seq {
            image.seq = tree.seq;
            image.at_tree_max = held;
        }
        let now = pages(&change.now);
        image.min_rss = image.min_rss.min(rss(&now));
        if rss(&now) > image.max_rss {
            image.max_rss = rss(&now);
            image.max_rss_at = at;
        }
        for member in 0..MEMBERS {
            image.max[member] = image.max[member].max(now[member]);
            tree.last[member] += now[member] - held[member];
        }
        image.last = now;
        image.sizes[0] = 100;
        image.updates += 1;
        tree.min_rss = tree.min_rss.min(rss(&tree.last));
        if rss(&tree.last) > tree.max_rss {
            tree.max_rss = rss(&tree.last);
            tree.max_rss_at = at;
            tree.at_max = tree.last;
            tree.seq += 1;
        }
        tree.updates += 1;
    }
    (events, tree, images)
}

fn rss(pages: &Pages) -> i64 {
    memtrace_ebpf::rss(pages)
}

fn empty_tree() -> TreeWindow {
    TreeWindow {
        header: header(TREE_WINDOW, 0),
        ..crate::blank::TREE_WINDOW
    }
}

pub(super) fn empty_image(image: u64) -> ImageWindow {
    ImageWindow {
        header: header(IMAGE_WINDOW, 0),
        image,
        counted: 1,
        ..crate::blank::IMAGE_WINDOW
    }
}
