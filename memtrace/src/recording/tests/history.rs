//! Histories with a timeline, made up by a generator without chance.

use memtrace_ebpf::{
    Change, ChangeKind, Image, ImageWindow, MEMBERS, Pages, SIZES, SizesChange,
    event::{CHANGE, Exit, FORK, Fork, Header, IMAGE_END, IMAGE_WINDOW, SIZES_CHANGE, TREE_WINDOW},
};

use super::super::{Loss, State, Writer};
use crate::{
    blank,
    event::Event,
    model::{CrossChecks, Stats, testing},
};

/// Numbers that look like chance (a linear congruential generator).
#[derive(Clone, Debug)]
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// The tree's start in all of them.
pub(super) const ZERO: u64 = 2_000_000_000;

/// A history: records in order.
#[derive(Debug)]
pub(super) struct History {
    pub(super) events: Vec<Event>,
    /// How many records stand between two blocks.
    pub(super) stretch: usize,
    pub(super) until: u64,
}

fn header(kind: u32, at: u64) -> Header {
    Header { kind, tree: 0, at }
}

fn fork(id: u64, at: u64) -> Event {
    Event::Fork(Fork {
        header: header(FORK, at),
        process: 10 + id,
        tgid: 100 + id as u32,
        ns_tgid: 100 + id as u32,
        creator: 100,
        image: id,
        started_at: at,
        ..blank::FORK
    })
}

fn end(id: u64, at: u64, window: ImageWindow) -> [Event; 2] {
    let exit = Event::Exit(Exit {
        header: header(memtrace_ebpf::event::EXIT, at),
        process: 10 + id,
        tgid: 100 + id as u32,
        ..blank::EXIT
    });
    let image = Image {
        header: header(IMAGE_END, at),
        id,
        process: 10 + id,
        tgid: 100 + id as u32,
        state: 3,
        kind: 1,
        born_at: at - 1,
        window,
        ..blank::IMAGE
    };
    [exit, Event::ImageEnd(Box::new(image))]
}

/// Each change, over as many seconds as there are hundreds of changes.
pub(super) fn changes(count: u64, seed: u64) -> History {
    let mut numbers = Numbers(seed);
    let mut events = Vec::new();
    let mut at = ZERO;
    let mut alive: Vec<(u64, Pages)> = Vec::new();
    let mut born = 0;
    for i in 0..count {
        at += numbers.below(20_000_000);
        if alive.is_empty() || numbers.below(40) == 0 {
            born += 1;
            events.push(fork(born, at));
            events.push(Event::SizesChange(Box::new(SizesChange {
                header: header(SIZES_CHANGE, at),
                image: born,
                sizes: [i; SIZES],
            })));
            alive.push((born, [0; MEMBERS]));
        }
        let place = numbers.below(alive.len() as u64) as usize;
        let (id, pages) = &mut alive[place];
        let mut change = |member: usize, value: i64| {
            pages[member] = value;
            events.push(Event::Change(Change {
                header: header(CHANGE, at),
                image: *id,
                value,
                member: member as u32,
                kind: ChangeKind::Counted as u32,
            }));
        };
        if numbers.below(60) == 0 {
            for member in 0..MEMBERS {
                change(member, 0);
            }
            let (id, _) = alive.swap_remove(place);
            events.extend(end(id, at + 1, blank::IMAGE_WINDOW));
        } else {
            change(
                numbers.below(4) as usize,
                1 + numbers.below(1000).cast_signed(),
            );
        }
    }
    History {
        events,
        stretch: 50,
        until: at + 5_000_000,
    }
}

/// Windows of 10 ms.
pub(super) const WIDTH: u64 = 10_000_000;

/// The kernel side's way of keeping windows, for images that change now and then: those of
/// idle images are sent long after.
pub(super) fn windows(count: u64, seed: u64) -> History {
    let mut numbers = Numbers(seed);
    let mut events = Vec::new();
    let mut at = ZERO;
    let mut images: Vec<ImageWindow> = Vec::new();
    let mut tree = blank::TREE_WINDOW;
    let mut born = 0;
    for i in 0..count {
        at += 1 + numbers.below(30_000_000);
        if images.is_empty() || numbers.below(30) == 0 {
            born += 1;
            events.push(fork(born, at));
            images.push(ImageWindow {
                header: header(IMAGE_WINDOW, at),
                image: born,
                counted: 1,
                ..blank::IMAGE_WINDOW
            });
        }
        // Mostly the newest ones: others idle.
        let newest = images.len() as u64;
        let place = (newest - 1 - numbers.below(newest.min(3))) as usize;
        let place = if numbers.below(50) == 0 { 0 } else { place };
        let window = &mut images[place];
        let ends = numbers.below(40) == 0;
        let start = at - at % WIDTH;
        if tree.updates > 0 && tree.start != start {
            events.push(Event::TreeWindow(Box::new(tree)));
            tree.updates = 0;
        }
        if window.updates > 0 && window.start != start {
            events.push(Event::ImageWindow(Box::new(*window)));
            window.updates = 0;
        }
        let pages: Pages = if ends {
            [0; MEMBERS]
        } else {
            std::array::from_fn(|_| numbers.below(1000).cast_signed())
        };
        let (old, new) = (rss(&window.last), rss(&pages));
        open(
            (&mut window.start, &mut window.min_rss, &mut window.max_rss),
            &mut window.max_rss_at,
            window.updates == 0,
            (start, old, new, at),
        );
        let before = rss(&tree.last);
        for (sum, (old, new)) in tree.last.iter_mut().zip(window.last.iter().zip(pages)) {
            *sum += new - old;
        }
        let after = rss(&tree.last);
        open(
            (&mut tree.start, &mut tree.min_rss, &mut tree.max_rss),
            &mut tree.max_rss_at,
            tree.updates == 0,
            (start, before, after, at),
        );
        window.last = pages;
        window.sizes = [i; SIZES];
        window.updates += 1;
        window.header = header(IMAGE_WINDOW, at);
        tree.updates += 1;
        tree.header = header(TREE_WINDOW, at);
        if ends {
            let window = images.remove(place);
            events.extend(end(window.image, at + 1, window));
        }
    }
    // What the tracer does when it stops.
    events.push(Event::TreeWindow(Box::new(tree)));
    for window in images.into_iter().filter(|window| window.updates > 0) {
        events.push(Event::ImageWindow(Box::new(window)));
    }
    History {
        events,
        stretch: 50,
        until: at + 5_000_000,
    }
}

fn open(
    (window_start, min, max): (&mut u64, &mut i64, &mut i64),
    max_at: &mut u64,
    opens: bool,
    (start, before, after, at): (u64, i64, i64, u64),
) {
    if opens {
        (*window_start, *min, *max, *max_at) = (start, before, before, start);
    }
    *min = (*min).min(after);
    if after > *max {
        (*max, *max_at) = (after, at);
    }
}

pub(super) fn rss(pages: &Pages) -> i64 {
    pages[0] + pages[1] + pages[3]
}

impl History {
    /// Writes it, in blocks, with checkpoints and losses between.
    pub(super) fn write(&self, writer: Writer) {
        let mut tree = blank::TREE;
        tree.started_at = ZERO;
        for (i, events) in self.events.chunks(self.stretch).enumerate() {
            for event in events {
                writer.event(event);
            }
            let at = events.last().map_or(0, Event::at);
            if i % 2 == 0 {
                writer.checkpoint(&State {
                    at,
                    tree,
                    images: Vec::new(),
                    processes: Vec::new(),
                    stats: Stats::default(),
                    undecodable: 0,
                    cross_checks: CrossChecks::default(),
                    snapshots: Vec::new(),
                    segments: Vec::new(),
                });
            } else {
                writer.loss(&Loss {
                    from: at,
                    until: at,
                    records: 1,
                    life: false,
                    reason: "a test".to_owned(),
                });
            }
        }
        let last = testing::last(tree, self.until);
        writer.finish(&last).expect("memory");
    }

    /// Images by id with what they held at a time: the last record that is not newer.
    pub(super) fn naive(&self, at: u64) -> std::collections::BTreeMap<u64, Pages> {
        let mut images = std::collections::BTreeMap::<u64, Pages>::new();
        for event in self.events.iter().filter(|event| event.at() <= at) {
            match event {
                Event::Change(change) => {
                    images.entry(change.image).or_default()[change.member as usize] = change.value;
                }
                Event::ImageWindow(window) => {
                    images.insert(window.image, window.last);
                }
                _ => {}
            }
        }
        // The last windows of images that ended come with their ends.
        for event in &self.events {
            if let Event::ImageEnd(image) = event {
                let window = &image.window;
                if image.header.at <= at {
                    images.remove(&image.id);
                } else if window.updates > 0 && window.header.at <= at {
                    images.insert(image.id, window.last);
                }
            }
        }
        images.retain(|_, pages| *pages != [0; MEMBERS]);
        images
    }
}
