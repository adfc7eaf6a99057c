//! Numbers for the processes of recordings of schemas 1 and 2, whose records have pids and times alone.
//!
//! A pid belongs to one process at a time, and a record comes behind that of its process's creation, so it
//! is the latest process's with that pid that had started by then.

use std::collections::BTreeMap;

use memtrace_ebpf::{Image, Process, ProcessFlags};

use super::Entry;
use crate::event::Event;

/// The processes so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identities {
    /// The last number given.
    last: u64,
    /// Numbers by pid and start.
    known: BTreeMap<(u32, u64), u64>,
    /// Whose the images are that records of creations and programs name.
    images: BTreeMap<u64, u64>,
}

impl Identities {
    /// Gives numbers to processes that have none.
    pub(super) fn complete(&mut self, entry: &mut Entry) {
        match entry {
            Entry::Event(event) => self.complete_event(event),
            Entry::Checkpoint(state) => {
                self.complete_state(&mut state.processes, &mut state.images);
            }
            Entry::End(last) => self.complete_state(&mut last.processes, &mut last.images),
            Entry::Loss(_) => {}
        }
    }

    /// The same in one event.
    pub(crate) fn complete_event(&mut self, event: &mut Event) {
        match event {
            Event::Fork(fork) if fork.process == 0 => {
                fork.process = self.started(fork.tgid, fork.started_at);
                if fork.creator != 0 && fork.flags & ProcessFlags::PRE_EXEC == 0 {
                    fork.creator_process = self.known(fork.creator, fork.header.at).unwrap_or(0);
                }
                if fork.flags & ProcessFlags::SHARES_IMAGE == 0 {
                    self.images.insert(fork.image, fork.process);
                }
            }
            Event::Exec(exec) if exec.process == 0 => {
                exec.process = self.at(exec.tgid, exec.header.at);
                self.images.insert(exec.image, exec.process);
            }
            Event::Exit(exit) if exit.process == 0 => {
                exit.process = self.at(exit.tgid, exit.header.at);
            }
            Event::Oom(oom) if oom.process == 0 => {
                oom.process = self.at(oom.tgid, oom.header.at);
            }
            Event::ImageEnd(image) => self.complete_image(image, image.header.at),
            _ => {}
        }
    }

    /// The same in what was read of the maps.
    pub(crate) fn complete_state(&mut self, processes: &mut [Process], images: &mut [Image]) {
        for process in processes.iter_mut().filter(|process| process.id == 0) {
            process.id = self.started(process.tgid, process.started_at);
        }
        for image in images {
            self.complete_image(image, u64::MAX);
        }
    }

    fn complete_image(&self, image: &mut Image, until: u64) {
        if image.process == 0 {
            let named = self.images.get(&image.id).copied();
            image.process = named
                .or_else(|| self.known(image.tgid, image.born_at))
                .or_else(|| self.known(image.tgid, until))
                .unwrap_or(0);
        }
    }

    /// The process that had this pid at that time.
    fn known(&self, pid: u32, at: u64) -> Option<u64> {
        let (&(known, _), &number) = self.known.range(..=(pid, at)).next_back()?;
        (known == pid).then_some(number)
    }

    /// The same; one of unknown start if there is none.
    fn at(&mut self, pid: u32, at: u64) -> u64 {
        match self.known(pid, at) {
            Some(number) => number,
            None => self.started(pid, 0),
        }
    }

    /// The process with this pid that started then.
    fn started(&mut self, pid: u32, at: u64) -> u64 {
        let next = self.last.saturating_add(1);
        let number = *self.known.entry((pid, at)).or_insert(next);
        self.last = self.last.max(number);
        number
    }
}

#[cfg(test)]
mod tests {
    use memtrace_ebpf::event::{Exec, Fork};

    use super::Identities;
    use crate::{blank, event::Event};

    fn fork(pid: u32, creator: u32, started_at: u64) -> Event {
        let mut fork = Fork {
            tgid: pid,
            creator,
            started_at,
            ..blank::FORK
        };
        fork.header.at = started_at + 1;
        Event::Fork(fork)
    }

    fn numbers(event: &Event) -> (u64, u64) {
        match event {
            Event::Fork(fork) => (fork.process, fork.creator_process),
            Event::Exec(exec) => (exec.process, 0),
            _ => (0, 0),
        }
    }

    /// A pid that is used again is another process's, and a creator is the one of its time.
    #[test]
    fn a_pid_used_again_is_another_process() {
        let mut identities = Identities::default();
        let mut exec = Exec {
            tgid: 7,
            ..blank::EXEC
        };
        exec.header.at = 350;
        let mut events = [
            fork(5, 0, 100),
            fork(7, 5, 200),
            fork(7, 5, 300),
            fork(8, 7, 250),
            fork(9, 7, 400),
            Event::Exec(Box::new(exec)),
        ];
        for event in &mut events {
            identities.complete_event(event);
        }
        let numbers: Vec<_> = events.iter().map(numbers).collect();
        assert_eq!(numbers, [(1, 0), (2, 1), (3, 1), (4, 2), (5, 3), (3, 0)]);
    }

    /// Numbers that are there stay.
    #[test]
    fn numbers_of_the_recording_stay() {
        let mut event = fork(5, 0, 100);
        if let Event::Fork(fork) = &mut event {
            fork.process = 40;
        }
        Identities::default().complete_event(&mut event);
        assert_eq!(numbers(&event), (40, 0));
    }
}
