//! Who came to be, and who created whom: a tracer is told of that by both sides, in either order; whoever only looks
//! finds it out.

use std::sync::Arc;

use super::{Announced, Process, Tree, Use};
use crate::{
    model::{Origin, UseKind},
    ptrace::status::Look,
};

impl Tree {
    /// The pid of the process that created one or, before that is known, of its parent.
    pub(in crate::ptrace) fn creator_of(&self, pid: i32, parent: i32) -> Option<i32> {
        match self.announced.get(&pid) {
            Some(announced) => self.pid(announced.creator),
            None => self.find(parent).map(|_| parent),
        }
    }

    /// A new process. `shared` tells whether it uses its creator's image, if that is known.
    pub(in crate::ptrace) fn process(
        &mut self,
        look: &Look,
        shared: Option<bool>,
        now: u64,
    ) -> usize {
        let announced = self.announced.remove(&look.tgid);
        let creator = announced
            .map(|announced| announced.creator)
            .or_else(|| self.find(look.ppid));
        let index = self.add(look.tgid, look.ns_tgid, creator, now);
        if creator.is_none()
            && let Some(process) = self.processes.get_mut(index)
        {
            process.ppid = look.ppid;
        }
        if announced.is_none() {
            self.unannounced.insert(look.tgid, index);
        }
        let theirs = creator.and_then(|creator| self.image_of(creator));
        if let Some(process) = self.processes.get_mut(index) {
            process.guessed = shared.is_none();
        }
        let shared = shared.unwrap_or_else(|| announced.is_some_and(|a| a.vfork));
        match theirs {
            Some(image) if shared => self.begin_use(index, image, UseKind::Shared, now),
            _ => {
                let earliest = announced.map(|announced| announced.earliest);
                let creator = creator.and_then(|creator| self.processes.get(creator));
                // Untold, it can be as old as its parent.
                let earliest = earliest.or(creator.map(|creator| creator.start));
                let image = self.new_image(Origin::Fork, index, earliest.unwrap_or(0), now);
                let program = theirs.and_then(|theirs| self.images.get(theirs));
                let program = program.map(|theirs| Arc::clone(&theirs.program));
                if let Some(image) = self.images.get_mut(image) {
                    image.parent = theirs;
                    image.program = program.unwrap_or_default();
                }
                self.begin_use(index, image, UseKind::Fork, now);
            }
        }
        self.observe(index, look, now);
        index
    }

    /// A process that was found, of which the beginning was not seen.
    pub(in crate::ptrace) fn found(&mut self, look: &Look, origin: Origin, now: u64) -> usize {
        let creator = self.find(look.ppid);
        let index = match self.find(look.tgid) {
            Some(root) => root,
            None => self.add(look.tgid, look.ns_tgid, creator, now),
        };
        self.polled = true;
        let image = self.new_image(origin, index, 0, now);
        let kind = match origin {
            Origin::Exec => UseKind::Exec,
            Origin::Fork | Origin::Found => UseKind::Found,
        };
        self.begin_use(index, image, kind, now);
        self.zero.get_or_insert(now);
        index
    }

    /// The same of one that has its parent's address space.
    pub(in crate::ptrace) fn found_with_parents(&mut self, look: &Look, now: u64) -> usize {
        let creator = self.find(look.ppid);
        let theirs = creator.and_then(|creator| self.image_of(creator));
        let Some(image) = theirs else {
            return self.found(look, Origin::Found, now);
        };
        let index = self.add(look.tgid, look.ns_tgid, creator, now);
        self.begin_use(index, image, UseKind::Shared, now);
        index
    }

    /// The same of one that ran before, since `started_at`.
    pub(in crate::ptrace) fn attached(&mut self, look: &Look, started_at: u64, now: u64) -> usize {
        let index = self.found(look, Origin::Found, now);
        let image = self.image_of(index);
        if let (Some(image), Some(memory)) = (
            image.and_then(|image| self.images.get_mut(image)),
            &look.memory,
        ) {
            image.before = Some((memory.hwm, memory.vm.size));
        }
        if let Some(process) = self.processes.get_mut(index) {
            process.attached = true;
            process.start = started_at;
            if process.creator.is_none() {
                process.ppid = look.ppid;
            }
        }
        index
    }

    /// A thread tells that it created a process or a thread.
    pub(in crate::ptrace) fn announce(&mut self, creator_tid: i32, child: i32, vfork: bool) {
        let Some(&(creator, earliest)) = self.threads.get(&creator_tid) else {
            return;
        };
        if let Some(index) = self.unannounced.remove(&child) {
            self.correct(index, creator, earliest, vfork);
        } else if !self.threads.contains_key(&child) {
            let announced = Announced {
                creator,
                earliest,
                vfork,
            };
            self.announced.insert(child, announced);
        }
    }

    /// Processes and threads that were told of and not seen yet.
    pub(in crate::ptrace) fn expected(&self) -> Vec<i32> {
        self.announced.keys().copied().collect()
    }

    /// Whether a process was seen, and its creator has not told of it.
    pub(in crate::ptrace) fn awaits_creator(&self, process: usize) -> bool {
        let pid = self.pid(process).unwrap_or(0);
        self.unannounced.get(&pid) == Some(&process)
    }

    /// From now on a process stays as it is known.
    pub(in crate::ptrace) fn is_told(&mut self, process: usize) {
        if let Some(process) = self.processes.get_mut(process) {
            process.told = true;
        }
    }

    /// The truth about a process that was seen before its creator told of it.
    fn correct(&mut self, index: usize, creator: usize, earliest: u64, vfork: bool) {
        let (pid, theirs) = (self.pid(creator), self.image_of(creator));
        let told = |process: &&mut Process| !process.told;
        let Some(process) = self.processes.get_mut(index).filter(told) else {
            return;
        };
        process.creator = Some(creator);
        process.ppid = pid.unwrap_or(process.ppid);
        let guessed = process.guessed;
        let Some(used) = process.uses.first_mut() else {
            return;
        };
        let first = *used;
        if guessed
            && vfork
            && first.kind == UseKind::Fork
            && let Some(theirs) = theirs
        {
            *used = Use {
                image: theirs,
                kind: UseKind::Shared,
                ..first
            };
            if let Some(image) = self.images.get_mut(first.image) {
                image.void = true;
                image.users.clear();
            }
            if first.end.is_none()
                && let Some(image) = self.images.get_mut(theirs)
            {
                image.users.insert(index);
            }
            return;
        }
        if let Some(image) = self.images.get_mut(first.image)
            && image.owner == index
            && image.origin == Origin::Fork
        {
            image.earliest = image.earliest.max(earliest).min(image.start);
        }
    }
}
