//! The tree as the BPF programs know it.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use memtrace_ebpf::{Process, ProcessFlags};

use super::{Member, Subject, Totals};
use crate::{probe::Probe, ptrace};

/// Nanoseconds per clock tick of /proc (`USER_HZ` is 100).
const TICK: u64 = 10_000_000;

/// How this process sees what the programs see in the initial namespaces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// The command in the initial PID namespace.
    pub(crate) root_tgid: u32,
    /// The same here.
    root: i32,
    page_size: u64,
    /// Whether ids here are those of the initial PID namespace.
    same_ids: bool,
    /// What to add to clock ticks since boot to get those that /proc shows here, in a time
    /// namespace.
    ticks_offset: i64,
}

impl View {
    /// Finds out from the command's process, which is `pid` here and lives.
    pub(crate) fn new(probe: &Probe, page_size: u64, pid: i32, root_tgid: u32) -> Self {
        let seen = ptrace::stat(pid).ok().map(|stat| stat.started);
        let known = probe.process(root_tgid).ok().flatten();
        let ticks_offset = match (seen, known) {
            (Some(seen), Some(known)) => seen
                .cast_signed()
                .saturating_sub((known.started_at / TICK).cast_signed()),
            _ => 0,
        };
        Self {
            root_tgid,
            root: pid,
            page_size,
            same_ids: u32::try_from(pid) == Ok(root_tgid),
            ticks_offset,
        }
    }

    /// Whether ids here are those of the initial PID namespace.
    pub(crate) const fn has_same_ids(&self) -> bool {
        self.same_ids
    }

    /// The id here of a process, if /proc shows one with it that was created then.
    pub(crate) fn pid_of(&self, tgid: u32, started_at: u64) -> Option<i32> {
        let pid = match (self.same_ids, tgid == self.root_tgid) {
            (true, _) => i32::try_from(tgid).ok()?,
            (false, true) => self.root,
            (false, false) => return None,
        };
        let stat = ptrace::stat(pid).ok()?;
        self.is_since(&stat, started_at).then_some(pid)
    }

    /// Whether what /proc shows was created at this time since boot, nanoseconds.
    fn is_since(&self, stat: &ptrace::Stat, started_at: u64) -> bool {
        let expected = i64::try_from(started_at / TICK)
            .unwrap_or(0)
            .saturating_add(self.ticks_offset);
        // Adding an offset before or after rounding differs by a tick.
        stat.started.cast_signed().abs_diff(expected) <= 1
    }

    /// Whether none of `processes` that has not been seen to end is there any more. `ids` lists the ids here
    /// by those in the processes' own PID namespaces, and `shown` is what /proc shows.
    fn is_deserted(
        &self,
        processes: &[Process],
        ids: impl FnOnce() -> HashMap<i32, Vec<i32>>,
        shown: impl Fn(i32) -> Option<ptrace::Stat>,
    ) -> bool {
        let mut living = processes
            .iter()
            .filter(|process| process.flags & ProcessFlags::EXITED == 0);
        let runs = |pid: i32, process: &Process| {
            shown(pid).is_some_and(|stat| self.is_run_by(&stat, process))
        };
        if self.same_ids {
            return living.all(|process| {
                i32::try_from(process.tgid).map_or(true, |pid| !runs(pid, process))
            });
        }
        let ids = ids();
        living.all(|process| {
            let own = i32::try_from(process.ns_tgid).ok();
            let candidates = own.and_then(|own| ids.get(&own)).into_iter().flatten();
            candidates.copied().all(|pid| !runs(pid, process))
        })
    }

    /// Whether what /proc shows is this process and has a thread that runs. Its first one can have ended
    /// before the others: it is a zombie then, as a process that is not waited for.
    fn is_run_by(&self, stat: &ptrace::Stat, process: &Process) -> bool {
        let ended = matches!(stat.state, b'Z' | b'X') && stat.threads <= 1;
        !ended && self.is_since(stat, process.started_at)
    }

    /// The tree.
    pub(crate) const fn of<'a>(&self, probe: &'a Probe) -> ProbeSubject<'a> {
        ProbeSubject { probe, view: *self }
    }
}

/// A tree that is followed by BPF programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeSubject<'a> {
    probe: &'a Probe,
    view: View,
}

/// An address space that can be looked at through /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// A process that has it, by its id here.
    pub(crate) pid: i32,
    /// When /proc says that process was created, clock ticks.
    pub(crate) started: u64,
}

impl ProbeSubject<'_> {
    /// Whether /proc shows a process that was created when this one was.
    fn is_at(&self, pid: i32, process: &Process) -> bool {
        self.start_of(pid, process).is_some()
    }

    /// When /proc says it was created, if that is when this one was.
    fn start_of(&self, pid: i32, process: &Process) -> Option<u64> {
        let stat = ptrace::stat(pid).ok()?;
        let same = self.view.is_since(&stat, process.started_at);
        (same && !matches!(stat.state, b'Z' | b'X')).then_some(stat.started)
    }

    /// Whether none of the processes that the programs take for living ones is there any more: they did
    /// not see how the last ended.
    pub(crate) fn is_deserted(&self) -> bool {
        let Ok(processes) = self.probe.processes() else {
            return false;
        };
        let shown = |pid| ptrace::stat(pid).ok();
        self.view.is_deserted(&processes, ids, shown)
    }

    /// Each address space once, and the number of processes that have them; `None` if some
    /// changed while they were looked for.
    pub(crate) fn spaces(&self) -> Option<(Vec<Space>, usize)> {
        let members = self.members();
        let mut seen = HashSet::new();
        let mut spaces = Vec::new();
        for member in &members {
            let process = self.probe.process(member.key).ok()??;
            if process.started_at != member.started {
                return None;
            }
            if seen.insert(process.mm) {
                let started = self.start_of(member.pid, &process)?;
                let pid = member.pid;
                spaces.push(Space { pid, started });
            }
        }
        Some((spaces, members.len()))
    }
}

/// The ids here of processes by their id in their own PID namespace.
fn ids() -> HashMap<i32, Vec<i32>> {
    let mut ids: HashMap<i32, Vec<i32>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && let Ok(look) = ptrace::look(pid)
        {
            ids.entry(look.ns_tgid).or_default().push(pid);
        }
    }
    ids
}

impl Subject for ProbeSubject<'_> {
    fn totals(&self) -> Option<Totals> {
        let tree = self.probe.tree().ok()?;
        let bytes = |pages: i64| {
            u64::try_from(pages)
                .unwrap_or(0)
                .saturating_mul(self.view.page_size)
        };
        Some(Totals {
            rss: bytes(tree.rss),
            // Not of one moment: the peak may not have been raised yet.
            peak_rss: bytes(tree.peak_rss.max(tree.rss)),
            processes: u64::try_from(tree.live).unwrap_or(0),
        })
    }

    fn members(&self) -> Vec<Member> {
        let processes = self.probe.processes().unwrap_or_default();
        let living = processes
            .iter()
            .filter(|process| process.flags & ProcessFlags::EXITED == 0);
        let member = |pid: i32, process: &Process| Member {
            pid,
            key: process.tgid,
            started: process.started_at,
        };
        if self.view.same_ids {
            return living
                .filter_map(|process| Some(member(i32::try_from(process.tgid).ok()?, process)))
                .filter(|member| self.owns(member))
                .collect();
        }
        let ids = ids();
        living
            .filter_map(|process| {
                let own = i32::try_from(process.ns_tgid).ok()?;
                let mut candidates = ids
                    .get(&own)?
                    .iter()
                    .filter(|&&pid| self.is_at(pid, process));
                // Two containers' processes with the same id from the same moment cannot be
                // told apart: better none than a stranger's.
                match (candidates.next(), candidates.next()) {
                    (Some(&pid), None) => Some(member(pid, process)),
                    _ => None,
                }
            })
            .collect()
    }

    fn owns(&self, member: &Member) -> bool {
        match self.probe.process(member.key) {
            Ok(Some(process)) => {
                process.started_at == member.started
                    && process.flags & ProcessFlags::EXITED == 0
                    && self.is_at(member.pid, &process)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Process, ProcessFlags, TICK, View};
    use crate::{blank, ptrace::Stat};

    const HERE: View = View {
        root_tgid: 10,
        root: 10,
        page_size: 4096,
        same_ids: true,
        ticks_offset: 0,
    };
    const IN_A_CONTAINER: View = View {
        root: 1,
        same_ids: false,
        ..HERE
    };

    /// Created `tgid` ticks after the machine, with an id of 1000 less in its own PID namespace.
    fn process(tgid: u32) -> Process {
        Process {
            tgid,
            ns_tgid: tgid.saturating_sub(1000),
            started_at: u64::from(tgid) * TICK,
            ..blank::PROCESS
        }
    }

    fn ended(tgid: u32) -> Process {
        Process {
            flags: ProcessFlags::EXITED,
            ..process(tgid)
        }
    }

    fn shown(started: u64, state: u8, threads: u64) -> Stat {
        Stat {
            state,
            threads,
            started,
            ..Stat::default()
        }
    }

    /// Whether these processes are gone where /proc shows those, by their ids.
    fn are_gone(processes: &[Process], proc: &[(i32, Stat)]) -> bool {
        let never = || unreachable!("ids are known");
        let look = |pid| proc.iter().find(|(own, _)| *own == pid).map(|(_, s)| *s);
        HERE.is_deserted(processes, never, look)
    }

    #[test]
    fn a_tree_is_deserted_when_the_last_of_it_is_gone() {
        let two = [process(10), process(11)];
        let both = [(10, shown(10, b'S', 1)), (11, shown(11, b'R', 1))];
        assert!(!are_gone(&two, &both));
        assert!(!are_gone(&two, &both[..1]));
        assert!(!are_gone(&two, &both[1..]));
        assert!(are_gone(&two, &[]));
    }

    /// Who was seen to end is not looked for: its id may be another's by now, even from the same tick.
    #[test]
    fn who_was_seen_to_end_does_not_count() {
        let proc = [(10, shown(10, b'S', 1))];
        assert!(are_gone(&[ended(10)], &proc));
        assert!(are_gone(&[ended(10), process(11)], &proc));
        assert!(!are_gone(&[process(10), ended(11)], &proc));
    }

    #[test]
    fn who_has_its_id_but_was_created_at_another_time_is_a_stranger() {
        assert!(are_gone(&[process(10)], &[(10, shown(12, b'S', 1))]));
        assert!(are_gone(&[process(10)], &[(10, shown(8, b'S', 1))]));
        // An offset that was rounded.
        assert!(!are_gone(&[process(10)], &[(10, shown(11, b'S', 1))]));
        // In a time namespace, machines have another age.
        let older = View {
            ticks_offset: 500,
            ..HERE
        };
        let is_gone = |started| {
            let shown = |_| Some(shown(started, b'S', 1));
            older.is_deserted(&[process(10)], HashMap::new, shown)
        };
        assert!(!is_gone(510));
        assert!(is_gone(10));
    }

    /// A zombie is a process that is not waited for, or whose first thread has ended before the others.
    #[test]
    fn a_zombie_runs_as_long_as_it_has_further_threads() {
        for state in [b'Z', b'X'] {
            assert!(are_gone(&[process(10)], &[(10, shown(10, state, 1))]));
            assert!(are_gone(&[process(10)], &[(10, shown(10, state, 0))]));
            assert!(!are_gone(&[process(10)], &[(10, shown(10, state, 2))]));
        }
        // A stopped one and one that sleeps run too.
        for state in [b'T', b't', b'D'] {
            assert!(!are_gone(&[process(10)], &[(10, shown(10, state, 1))]));
        }
    }

    /// In another PID namespace than the first one, processes are found by their own ids, which several
    /// here can have.
    #[test]
    fn in_a_container_any_that_can_be_it_is() {
        let are_gone = |processes: &[Process], ids: &[(i32, &[i32])], proc: &[(i32, Stat)]| {
            let ids: HashMap<i32, Vec<i32>> =
                ids.iter().map(|(own, all)| (*own, all.to_vec())).collect();
            let look = |pid| proc.iter().find(|(own, _)| *own == pid).map(|(_, s)| *s);
            IN_A_CONTAINER.is_deserted(processes, || ids, look)
        };
        let one = [process(1007)];
        let stranger = (3, shown(500, b'S', 1));
        let itself = (4, shown(1007, b'S', 1));
        assert!(!are_gone(&one, &[(7, &[3, 4])], &[stranger, itself]));
        assert!(!are_gone(&one, &[(7, &[4, 3])], &[stranger, itself]));
        assert!(are_gone(&one, &[(7, &[3])], &[stranger, itself]));
        assert!(are_gone(&one, &[(7, &[3, 4])], &[stranger]));
        // Its id in the first namespace means nothing here.
        let other = (1007, shown(1007, b'S', 1));
        assert!(are_gone(&one, &[], &[other]));
    }
}
