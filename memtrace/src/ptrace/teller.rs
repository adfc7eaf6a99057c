//! Tells of the tree as it becomes known: to the model that makes the result, and to whoever records it.
//!
//! A process is told of once it is known who created it: the creator's own news can come after the child's. What is
//! read of images is told in the order of time; of what was read at one time, what falls comes first, so that no sum
//! in between is larger than before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Instant,
};

use memtrace_ebpf::{Pages, SIZES};

use super::{
    follow::{lock, now},
    last::{SoFar, so_far},
    records,
    status::Memory,
    tree::{Reading, Tree},
};
use crate::{
    event::Event,
    model::{Model, UseKind},
};

/// So long the creator's news are waited for, nanoseconds: a creator that is gone never tells.
const PATIENCE: u64 = 1_000_000_000;

/// Takes in what is told while it goes on.
pub(crate) trait Listener {
    /// Something has happened.
    fn event(&mut self, event: &Event);

    /// When all that is known is wanted next.
    fn next(&self) -> Instant;

    /// All that is known. What has happened up to then was told before.
    fn so_far(&mut self, known: &SoFar);

    /// Whether that is enough; asked for often.
    fn has_enough(&mut self) -> bool;

    /// This process is about to stop (SIGTSTP), or goes on.
    fn stops(&mut self, stops: bool);

    /// All that was attached to has ended; whether nothing is waited for then.
    fn all_ended(&mut self) -> bool {
        true
    }
}

/// What has been told of a process that is not over.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    born: bool,
    /// Of how many of its images.
    uses: usize,
}

/// Who knows what has been told.
pub(super) struct Teller<'a> {
    /// None is wanted where no result is.
    model: Option<Model>,
    listener: Option<&'a mut (dyn Listener + 'a)>,
    page: u64,
    /// Places of processes that are not over, and the first that was not looked at.
    processes: BTreeMap<usize, Told>,
    next_process: usize,
    /// The same of images.
    images: BTreeSet<usize>,
    next_image: usize,
    /// What is told of images that hold something.
    held: BTreeMap<usize, (Pages, [u64; SIZES])>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(page: u64, listener: Option<&'a mut (dyn Listener + 'a)>) -> Self {
        Self {
            model: Some(Model::new()),
            listener,
            page,
            processes: BTreeMap::new(),
            next_process: 0,
            images: BTreeSet::new(),
            next_image: 0,
            held: BTreeMap::new(),
        }
    }

    /// Makes no result, and keeps nothing of who is over.
    pub(super) fn without_result(mut self) -> Self {
        self.model = None;
        self
    }

    /// Whether anybody listens before the end.
    pub(super) const fn is_heard(&self) -> bool {
        self.listener.is_some()
    }

    /// When somebody wants to be told.
    pub(super) fn next(&self) -> Option<Instant> {
        self.listener.as_ref().map(|listener| listener.next())
    }

    /// Tells what is new, if anybody takes it in before the end.
    pub(super) fn tell(&mut self, tree: &Mutex<Tree>) {
        if !self.is_heard() {
            return;
        }
        let is_due = self.next().is_some_and(|next| Instant::now() >= next);
        let known = {
            let mut tree = lock(tree);
            let now = now();
            self.tell_at(&mut tree, now);
            is_due.then(|| so_far(&tree, now, self.page))
        };
        if let (Some(listener), Some(known)) = (&mut self.listener, known) {
            listener.so_far(&known);
        }
    }

    /// Tells what is new.
    pub(super) fn tell_at(&mut self, tree: &mut Tree, now: u64) {
        self.tell_of(tree, Some(now));
    }

    /// Whether whoever listens has enough.
    pub(super) fn has_enough(&mut self) -> bool {
        let listener = self.listener.as_mut();
        listener.is_some_and(|listener| listener.has_enough())
    }

    /// All that was attached to has ended; whether nothing is waited for then.
    pub(super) fn all_ended(&mut self) -> bool {
        let listener = self.listener.as_mut();
        listener.is_none_or(|listener| listener.all_ended())
    }

    /// This process is about to stop, or goes on.
    pub(super) fn stops(&mut self, stops: bool) {
        if let Some(listener) = &mut self.listener {
            listener.stops(stops);
        }
    }

    /// Tells all that is left, and gives the model.
    pub(super) fn finish(mut self, tree: &mut Tree) -> Model {
        self.tell_of(tree, None);
        self.model.unwrap_or_default()
    }

    /// `now` is `None` at the end, when nobody is waited for.
    fn tell_of(&mut self, tree: &mut Tree, now: Option<u64>) {
        let mut events = Vec::new();
        let readings = std::mem::take(&mut tree.readings);
        self.readings(readings, tree, &mut events);
        for place in self.next_process..tree.processes.places() {
            self.processes.insert(place, Told::default());
        }
        self.next_process = tree.processes.places();
        self.images.extend(self.next_image..tree.images.places());
        self.next_image = tree.images.places();
        let processes = self.lives(tree, now, &mut events);
        let images = self.ends(tree, &mut events);
        if self.model.is_none() {
            tree.forget(&processes, &images);
        }
        events.sort_by_key(Event::at);
        for event in &events {
            if let Some(model) = &mut self.model {
                model.apply(event);
            }
            if let Some(listener) = &mut self.listener {
                listener.event(event);
            }
        }
    }

    fn readings(&mut self, mut readings: Vec<Reading>, tree: &Tree, events: &mut Vec<Event>) {
        // Two threads look.
        readings.sort_by_key(|reading| reading.at);
        for Reading { at, parts } in readings {
            let (mut falls, mut rises) = (Vec::new(), Vec::new());
            let mut parts: BTreeMap<usize, Memory> = parts.into_iter().collect();
            // What is not in it held nothing any more, or has ended.
            for place in self.held.keys() {
                parts.entry(*place).or_default();
            }
            for (place, memory) in parts {
                // It ended before whoever looked was done.
                let image = tree.images.get(place);
                if image.is_none_or(|image| image.end.is_some_and(|end| end < at)) {
                    continue;
                }
                let new = records::members(&memory.now, self.page);
                let sizes = records::sizes(&memory, self.page);
                let (old, old_sizes) = self.held.entry(place).or_default();
                if *old_sizes != sizes {
                    let change = records::resize(place, at, sizes);
                    events.push(Event::SizesChange(Box::new(change)));
                    *old_sizes = sizes;
                }
                for (member, (old, new)) in old.iter().zip(new).enumerate() {
                    let change = Event::Change(records::change(place, at, member, new));
                    if new < *old {
                        falls.push(change);
                    } else if new > *old {
                        rises.push(change);
                    }
                }
                *old = new;
            }
            events.append(&mut falls);
            events.append(&mut rises);
        }
    }

    /// The processes that are over.
    fn lives(&mut self, tree: &mut Tree, now: Option<u64>, events: &mut Vec<Event>) -> Vec<usize> {
        let (mut born, mut over) = (Vec::new(), Vec::new());
        for (&place, told) in &mut self.processes {
            let Some(process) = tree.processes.get(place) else {
                continue;
            };
            if !told.born {
                let waits = |now: u64| now.saturating_sub(process.start) < PATIENCE;
                if tree.awaits_creator(place) && now.is_some_and(waits) {
                    continue;
                }
                events.push(Event::Fork(records::fork(tree, place, process, self.page)));
                told.born = true;
                born.push(place);
            }
            let mut old = told.uses.checked_sub(1).and_then(|i| process.uses.get(i));
            for used in process.uses.iter().skip(told.uses) {
                let image = tree.images.get(used.image);
                if let Some(image) =
                    image.filter(|_| !matches!(used.kind, UseKind::Fork | UseKind::Shared))
                {
                    let exec = records::exec(place, process, used, old, &image.program);
                    events.push(Event::Exec(Box::new(exec)));
                }
                old = Some(used);
            }
            told.uses = process.uses.len();
            if let Some(end) = process.end {
                events.push(Event::Exit(records::exit(place, process, end)));
                over.push(place);
            }
        }
        for place in &over {
            self.processes.remove(place);
        }
        for place in born {
            tree.is_told(place);
        }
        over
    }

    /// The images that are over.
    fn ends(&mut self, tree: &Tree, events: &mut Vec<Event>) -> Vec<usize> {
        let mut over = Vec::new();
        for &place in &self.images {
            let Some(image) = tree.images.get(place) else {
                continue;
            };
            let end = match image.end {
                Some(end) => end,
                // It was another one, shared: what was told of it is taken back.
                None if image.void => image.start.max(tree.sampled_at),
                None => continue,
            };
            let (held, _) = self.held.remove(&place).unwrap_or_default();
            for (member, _) in held.iter().enumerate().filter(|(_, pages)| **pages != 0) {
                events.push(Event::Change(records::change(place, end, member, 0)));
            }
            let owner = self.processes.get(&image.owner);
            if owner.is_some_and(|told| !told.born) {
                continue;
            }
            over.push(place);
            if !image.void {
                let record = records::image(tree, place, image, end, self.page);
                events.push(Event::ImageEnd(Box::new(record)));
            }
        }
        for place in &over {
            self.images.remove(place);
        }
        over
    }
}
