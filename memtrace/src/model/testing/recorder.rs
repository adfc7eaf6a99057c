//! The timeline as the kernel side records it, for the [`simulator`](super::simulator), and
//! beside it what really was after each change.

use memtrace_ebpf::{
    Change, ChangeKind, Image, ImageState, MEMBERS, Pages, Timeline, Tree,
    event::{CHANGE, Header, IMAGE_WINDOW, TREE_WINDOW},
    rss,
};

use crate::event::Event;

/// What one image was from a moment on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) at: u64,
    pub(super) image: u64,
    pub(super) pages: Pages,
    pub(super) counted: bool,
}

/// Records of the timeline so far, and the truth.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    mode: Timeline,
    width: u64,
    /// Clocks are read up to this long before the change is booked.
    early: u64,
    pub(super) records: Vec<Event>,
    pub(super) truth: Vec<Moment>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Recorder {
    /// Windows of this width; each change with 0.
    pub(super) const fn new(width: u64, early: u64) -> Self {
        Self {
            mode: if width == 0 {
                Timeline::EveryChange
            } else {
                Timeline::Windows
            },
            width,
            early,
            records: Vec::new(),
            truth: Vec::new(),
        }
    }

    /// After every change.
    pub(super) fn changed(&mut self, image: &mut Image, tree: &mut Tree, now: u64) {
        let counted = image.state != ImageState::Execing as u32;
        let at = now - (now / 10 * 7) % (self.early + 1);
        let enters = counted && image.window.counted == 0 && image.cur != [0; MEMBERS];
        if self.mode == Timeline::Windows || enters || image.cur != image.window.last {
            self.truth.push(Moment {
                at,
                image: image.id,
                pages: image.cur,
                counted,
            });
        }
        if self.mode == Timeline::EveryChange {
            self.send_changes(image, counted, at);
            return;
        }
        self.turn(image, tree, at);
        let resident = rss(&image.cur);
        let window = &mut image.window;
        if resident > window.max_rss {
            window.max_rss = resident;
            window.max_rss_at = at.max(window.start);
        }
        window.min_rss = window.min_rss.min(resident);
        for (m, now) in image.cur.iter().enumerate() {
            window.min[m] = window.min[m].min(*now);
            window.max[m] = window.max[m].max(*now);
        }
        window.last = image.cur;
        window.counted = counted.into();
        window.updates += 1;
        window.header.at = at;
        let window = &mut tree.window;
        if tree.rss > window.max_rss {
            window.max_rss = tree.rss;
            window.max_rss_at = at.max(window.start);
            window.at_max = tree.cur;
            window.seq += 1;
        }
        window.min_rss = window.min_rss.min(tree.rss);
        window.last = tree.cur;
        window.updates += 1;
        window.header.at = at;
    }

    fn turn(&mut self, image: &mut Image, tree: &mut Tree, at: u64) {
        let start = at - at % self.width;
        let window = &mut tree.window;
        if window.updates == 0 || start > window.start {
            if window.updates > 0 {
                self.records.push(Event::TreeWindow(Box::new(*window)));
            }
            window.header.kind = TREE_WINDOW;
            window.start = start;
            window.seq += 1;
            window.min_rss = rss(&window.last);
            window.max_rss = window.min_rss;
            window.max_rss_at = start;
            window.at_max = window.last;
            window.updates = 0;
        }
        let window = &mut image.window;
        if window.updates == 0 || window.start != tree.window.start {
            if window.updates > 0 {
                self.records.push(Event::ImageWindow(Box::new(*window)));
            }
            window.header.kind = IMAGE_WINDOW;
            window.image = image.id;
            window.start = tree.window.start;
            window.min_rss = rss(&window.last);
            window.max_rss = window.min_rss;
            window.max_rss_at = window.start;
            window.min = window.last;
            window.max = window.last;
            window.updates = 0;
        }
        if window.seq != tree.window.seq {
            window.at_tree_max = if window.counted == 0 {
                [0; MEMBERS]
            } else {
                window.last
            };
            window.seq = tree.window.seq;
        }
    }

    fn send_changes(&mut self, image: &mut Image, counted: bool, at: u64) {
        let mut change = |member: usize, value, kind: ChangeKind| {
            self.records.push(Event::Change(Change {
                header: Header {
                    kind: CHANGE,
                    tree: 0,
                    at,
                },
                image: image.id,
                value,
                member: u32::try_from(member).expect("one of four"),
                kind: kind as u32,
            }));
        };
        if counted && image.window.counted == 0 {
            image.window.counted = 1;
            if image.window.last != [0; MEMBERS] {
                change(0, 0, ChangeKind::Enters);
            }
        }
        for (member, value) in image.cur.into_iter().enumerate() {
            if image.window.last[member] != value {
                image.window.last[member] = value;
                let kind = if counted {
                    ChangeKind::Counted
                } else {
                    ChangeKind::Uncounted
                };
                change(member, value, kind);
            }
        }
    }
}
