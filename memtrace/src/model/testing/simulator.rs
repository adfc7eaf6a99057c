//! A process tree that lives through random operations.
//!
//! It keeps two books. One is what the kernel side keeps: absolute values, peaks
//! and the peak's sequence number, with O(1) work per change. The other is naive:
//! a full copy of everything after every change. The model is given the first and
//! compared with the second.

use std::collections::BTreeMap;

use memtrace_ebpf::{
    Image, ImageKind, ImageState, MEMBERS, Pages, Process, ProcessFlags, Tree, event, rss,
};
use proptest::prelude::*;

use super::{last, process, recorder::Recorder};
use crate::{
    event::Event,
    model::{Final, UseKind},
};

/// Something that happens to the `who`-th living process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Touch {
        who: usize,
        member: usize,
        pages: i64,
    },
    Fork {
        who: usize,
    },
    Vfork {
        who: usize,
    },
    Exec {
        who: usize,
    },
    FailedFork {
        who: usize,
    },
    FailedExec {
        who: usize,
    },
    Exit {
        who: usize,
        status: u32,
    },
}

pub(super) fn ops() -> impl Strategy<Value = Vec<(Op, u64)>> {
    let who = || 0_usize..8;
    let touch = (who(), 0..MEMBERS, -30_i64..60).prop_map(|(who, member, pages)| Op::Touch {
        who,
        member,
        pages,
    });
    let exit = (who(), 0_u32..4).prop_map(|(who, status)| Op::Exit { who, status });
    let op = prop_oneof![
        8 => touch,
        3 => who().prop_map(|who| Op::Fork { who }),
        2 => who().prop_map(|who| Op::Vfork { who }),
        3 => who().prop_map(|who| Op::Exec { who }),
        1 => who().prop_map(|who| Op::FailedFork { who }),
        1 => who().prop_map(|who| Op::FailedExec { who }),
        3 => exit,
    ];
    proptest::collection::vec((op, 1_u64..5_000_000), 0..60)
}

/// One process as it really was.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) tgid: u32,
    pub(super) started_at: u64,
    /// Index among the images.
    image: Option<usize>,
    /// The id that its last record names, 0 if none.
    known: u64,
    pub(super) status: Option<u32>,
    /// What it runs until it ends, nanoseconds.
    pub(super) runtime: u64,
    pub(super) uses: Vec<(u64, UseKind)>,
}

/// One row of the naive book: what every counted image held from a time on.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) at: u64,
    pub(super) held: BTreeMap<u64, Pages>,
}

impl Row {
    pub(super) fn sum(&self, member: usize) -> i64 {
        self.held.values().map(|pages| pages[member]).sum()
    }

    pub(super) fn rss(&self) -> i64 {
        self.held.values().map(rss).sum()
    }
}

pub(super) struct Simulator {
    now: u64,
    tree: Tree,
    images: Vec<Image>,
    users: Vec<u32>,
    pub(super) processes: Vec<Truth>,
    pub(super) events: Vec<Event>,
    pub(super) book: Vec<Row>,
    /// Every value that any image ever had: id, time, pages, counted or not.
    pub(super) values: Vec<(u64, u64, Pages)>,
    /// The timeline.
    pub(super) recorder: Recorder,
}

impl Simulator {
    /// Runs a history from the registration of the root to the end of tracing.
    pub(super) fn run(ops: &[(Op, u64)]) -> (Self, Final) {
        Self::record(ops, Recorder::default())
    }

    /// The same with a timeline.
    pub(super) fn record(ops: &[(Op, u64)], recorder: Recorder) -> (Self, Final) {
        let mut this = Self {
            recorder,
            now: 1_000_000,
            tree: super::tree(),
            images: Vec::new(),
            users: Vec::new(),
            processes: Vec::new(),
            events: Vec::new(),
            book: Vec::new(),
            values: Vec::new(),
        };
        this.create(0, None, ProcessFlags::PRE_EXEC);
        this.exec(0);
        for &(op, pause) in ops {
            this.now += pause;
            this.step(op);
        }
        // Tracing may end in the middle of a fork or an execve.
        match (this.living(ops.len()), ops.len() % 4) {
            (Some(p), unfinished @ 1..=2) => {
                let image = match this.processes[p].image {
                    Some(parent) if unfinished == 1 => this.copy(parent, p),
                    _ => this.nascent(p),
                };
                let id = this.images[image].id;
                this.processes[p].uses.push((id, UseKind::Failed));
            }
            // Or when execve has switched and not told yet.
            (Some(p), 3) => {
                this.switch(p);
            }
            _ => {}
        }
        this.now += 1000;
        let end = this.end();
        (this, end)
    }

    /// When the image with this id was born.
    pub(super) fn born_at(&self, id: u64) -> u64 {
        let image = self.images.iter().find(|image| image.id == id);
        image.map_or(0, |image| image.born_at)
    }

    fn living(&self, who: usize) -> Option<usize> {
        let living: Vec<usize> = (0..self.processes.len())
            .filter(|&i| self.processes[i].status.is_none())
            .collect();
        living.get(who % living.len().max(1)).copied()
    }

    fn step(&mut self, op: Op) {
        let (Op::Touch { who, .. }
        | Op::Fork { who }
        | Op::Vfork { who }
        | Op::Exec { who }
        | Op::FailedFork { who }
        | Op::FailedExec { who }
        | Op::Exit { who, .. }) = op;
        let Some(p) = self.living(who) else { return };
        let image = self.processes[p].image;
        match (op, image) {
            (Op::Touch { member, pages, .. }, Some(image)) => {
                let value = (self.images[image].cur[member] + pages).max(0);
                self.set(image, member, value);
            }
            (Op::Fork { .. }, Some(parent)) => {
                let child = self.copy(parent, p);
                self.images[child].state = ImageState::Active as u32;
                self.images[child].inherited = rss(&self.images[child].cur);
                self.create(p, Some(child), 0);
            }
            (Op::Vfork { .. }, Some(image)) => {
                self.create(p, Some(image), ProcessFlags::SHARES_IMAGE);
            }
            (Op::Exec { .. }, _) => self.exec(p),
            (Op::FailedFork { .. }, Some(parent)) => {
                let child = self.copy(parent, p);
                let id = self.images[child].id;
                self.processes[p].uses.push((id, UseKind::Failed));
                self.tear_down(child);
            }
            (Op::FailedExec { .. }, _) => {
                let nascent = self.nascent(p);
                let id = self.images[nascent].id;
                self.processes[p].uses.push((id, UseKind::Failed));
                self.tear_down(nascent);
            }
            (Op::Exit { status, .. }, image) => {
                self.exit(p, status);
                if let Some(image) = image {
                    self.release(image);
                }
            }
            (_, None) => {}
        }
    }

    fn tick(&mut self) -> u64 {
        self.now += 10;
        self.now
    }

    /// A new image; its id is its index + 1.
    fn born(&mut self, kind: ImageKind, state: ImageState, parent: u64, p: usize) -> usize {
        let index = self.images.len();
        let mut image = super::image(index as u64 + 1, kind);
        image.state = state as u32;
        image.parent = parent;
        image.tgid = self.processes[p].tgid;
        image.process = number(p);
        image.born_at = self.tick();
        self.images.push(image);
        self.users.push(1);
        self.tree.images += 1;
        index
    }

    fn copy(&mut self, parent: usize, p: usize) -> usize {
        let (id, cur) = (self.images[parent].id, self.images[parent].cur);
        let child = self.born(ImageKind::Fork, ImageState::Forking, id, p);
        for (member, pages) in cur.into_iter().enumerate() {
            self.set(child, member, pages);
        }
        child
    }

    fn nascent(&mut self, p: usize) -> usize {
        let nascent = self.born(ImageKind::Exec, ImageState::Execing, 0, p);
        self.set(nascent, 1, 2);
        nascent
    }

    fn create(&mut self, creator: usize, image: Option<usize>, flags: u32) {
        let used = |t: &u32| {
            self.processes
                .iter()
                .any(|p| p.status.is_none() && p.tgid == *t)
        };
        // The lowest free number: reused as soon as possible.
        let tgid = (100..).find(|t| !used(t)).unwrap_or(0);
        let started_at = self.tick();
        let Event::Fork(mut fork) = super::zeroed(event::FORK) else {
            return;
        };
        fork.header.at = self.tick();
        let own = self.processes.len();
        fork.process = number(own);
        if creator < own {
            fork.creator_process = number(creator);
        }
        fork.tgid = tgid;
        fork.ns_tgid = tgid;
        fork.creator = self.processes.get(creator).map_or(1, |p| p.tgid);
        fork.flags = flags;
        fork.started_at = started_at;
        fork.comm[..4].copy_from_slice(b"comm");
        let mut uses = Vec::new();
        if let Some(i) = image {
            fork.image = self.images[i].id;
            if flags & ProcessFlags::SHARES_IMAGE != 0 {
                self.users[i] += 1;
                uses.push((fork.image, UseKind::Shared));
            } else {
                self.images[i].tgid = tgid;
                self.images[i].process = number(own);
                uses.push((fork.image, UseKind::Fork));
            }
        }
        self.events.push(Event::Fork(fork));
        self.tree.processes += 1;
        self.processes.push(Truth {
            tgid,
            started_at,
            image,
            known: fork.image,
            status: None,
            runtime: 1000 + self.processes.len() as u64,
            uses,
        });
    }

    /// The part of an execve after which the new image is the process's own: its id and the old one's.
    fn switch(&mut self, p: usize) -> (u64, u64) {
        let nascent = self.nascent(p);
        self.activate(nascent);
        let old = self.processes[p].image.replace(nascent);
        let id = self.images[nascent].id;
        self.processes[p].uses.push((id, UseKind::Exec));
        let old_image = old.map_or(0, |old| self.images[old].id);
        if let Some(old) = old {
            self.release(old);
        }
        self.set(nascent, 0, 3);
        (id, old_image)
    }

    fn exec(&mut self, p: usize) {
        let (id, old_image) = self.switch(p);
        self.processes[p].known = id;
        let Event::Exec(mut exec) = super::zeroed(event::EXEC) else {
            return;
        };
        exec.header.at = self.tick();
        exec.process = number(p);
        exec.tgid = self.processes[p].tgid;
        exec.image = id;
        exec.old_image = old_image;
        let name = format!("prog{id}\0");
        exec.args[..name.len()].copy_from_slice(name.as_bytes());
        exec.args_len = u32::try_from(name.len()).unwrap_or(0);
        exec.args_total = exec.args_len;
        self.events.push(Event::Exec(exec));
    }

    fn exit(&mut self, p: usize, status: u32) {
        let Event::Exit(mut exit) = super::zeroed(event::EXIT) else {
            return;
        };
        exit.header.at = self.tick();
        exit.process = number(p);
        exit.tgid = self.processes[p].tgid;
        exit.wait_status = status << 8;
        self.processes[p].status = Some(status);
        self.events.push(Event::Exit(exit));
        let Event::Freed(mut freed) = super::zeroed(event::FREED) else {
            return;
        };
        freed.header.at = self.tick();
        freed.process = number(p);
        freed.runtime = self.processes[p].runtime;
        self.events.push(Event::Freed(freed));
    }

    fn release(&mut self, image: usize) {
        self.users[image] -= 1;
        if self.users[image] == 0 {
            self.tear_down(image);
        }
    }

    fn tear_down(&mut self, image: usize) {
        for member in 0..MEMBERS {
            if self.images[image].cur[member] != 0 {
                self.set(image, member, 0);
            }
        }
        self.users[image] = 0;
        self.images[image].header.kind = event::IMAGE_END;
        self.images[image].header.at = self.tick();
        self.events
            .push(Event::ImageEnd(Box::new(self.images[image])));
    }

    /// The image's value at the peak must be saved before it changes.
    fn save(&mut self, image: usize) {
        let (image, tree) = (&mut self.images[image], &self.tree);
        if image.seq < tree.peak_seq {
            image.at_peak = image.cur;
            image.seq = tree.peak_seq;
        }
    }

    fn counted(&self, image: usize) -> bool {
        self.images[image].state != ImageState::Execing as u32
    }

    /// One counter update as the kernel side books it.
    fn set(&mut self, index: usize, member: usize, value: i64) {
        let now = self.tick();
        if self.counted(index) {
            self.save(index);
        }
        let image = &mut self.images[index];
        let delta = value - image.cur[member];
        let held = now - image.integral_at[member];
        image.integral[member].add(image.cur[member], held);
        image.integral_at[member] = now;
        image.cur[member] = value;
        image.events += 1;
        image.peak[member] = image.peak[member].max(value);
        let sum = rss(&image.cur);
        if sum > image.peak_rss {
            image.peak_rss = sum;
            image.peak_rss_at = now;
            image.own_peak = image.cur;
        }
        image.peak_rss_swap = image.peak_rss_swap.max(sum + image.cur[2]);
        let id = image.id;
        let cur = image.cur;
        self.values.push((id, now, cur));
        if self.counted(index) {
            let mut deltas = [0; MEMBERS];
            deltas[member] = delta;
            self.book_to_tree(&deltas, now);
        }
        self.recorder
            .changed(&mut self.images[index], &mut self.tree, now);
    }

    /// A program begins to run: its pages are part of the tree from now on.
    fn activate(&mut self, index: usize) {
        let now = self.tick();
        let image = &mut self.images[index];
        image.state = ImageState::Active as u32;
        image.at_peak = [0; MEMBERS];
        image.seq = self.tree.peak_seq;
        let cur = image.cur;
        if self.tree.started_at == 0 {
            self.tree.started_at = now;
        }
        self.book_to_tree(&cur, now);
        self.recorder
            .changed(&mut self.images[index], &mut self.tree, now);
    }

    fn book_to_tree(&mut self, deltas: &Pages, now: u64) {
        let tree = &mut self.tree;
        for (member, delta) in deltas.iter().enumerate() {
            let held = now - tree.integral_at[member].max(tree.started_at);
            tree.integral[member].add(tree.cur[member], held);
            tree.integral_at[member] = now;
            tree.cur[member] += delta;
            tree.peak[member] = tree.peak[member].max(tree.cur[member]);
        }
        tree.events += 1;
        tree.rss = rss(&tree.cur);
        if tree.rss > tree.peak_rss {
            tree.peak_rss = tree.rss;
            tree.peak_rss_at = now;
            tree.peak_seq += 1;
            tree.peak_footprint_low = tree.rss;
            tree.peak_footprint_high = tree.rss;
        }
        tree.peak_rss_swap = tree.peak_rss_swap.max(tree.rss + tree.cur[2]);
        // The naive book: everything, every time.
        let held = (0..self.images.len())
            .filter(|&i| self.counted(i))
            .map(|i| (self.images[i].id, self.images[i].cur))
            .collect();
        self.book.push(Row { at: now, held });
    }

    fn end(&self) -> Final {
        let mut end = last(self.tree, self.now);
        end.images = (0..self.images.len())
            .filter(|&i| self.users[i] > 0)
            .map(|i| self.images[i])
            .collect();
        end.processes = self
            .processes
            .iter()
            .enumerate()
            .filter(|(_, p)| p.status.is_none())
            .map(|(index, p)| Process {
                id: number(index),
                image: p.known,
                ..process(p.tgid, p.started_at, 1)
            })
            .collect();
        end
    }
}

/// The number of the process with this index.
const fn number(index: usize) -> u64 {
    index as u64 + 1
}
