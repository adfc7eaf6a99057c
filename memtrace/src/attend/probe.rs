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
        let same = self.started_with(&stat, process);
        (same && !matches!(stat.state, b'Z' | b'X')).then_some(stat.started)
    }

    /// Whether what /proc shows was created when this process was.
    fn started_with(&self, stat: &ptrace::Stat, process: &Process) -> bool {
        self.view.is_since(stat, process.started_at)
    }

    /// Whether none of the processes that the programs take for living ones is there any more: they did
    /// not see how the last ended.
    pub(crate) fn is_deserted(&self) -> bool {
        let Ok(processes) = self.probe.processes() else {
            return false;
        };
        let mut living = processes
            .iter()
            .filter(|process| process.flags & ProcessFlags::EXITED == 0);
        if self.view.same_ids {
            return living.all(|process| {
                i32::try_from(process.tgid).map_or(true, |pid| !self.runs(pid, process))
            });
        }
        let ids = self.ids();
        living.all(|process| {
            let own = i32::try_from(process.ns_tgid).ok();
            let candidates = own.and_then(|own| ids.get(&own)).into_iter().flatten();
            candidates.copied().all(|pid| !self.runs(pid, process))
        })
    }

    /// Whether it has a thread that runs. Its first one can have ended before the others: it is a zombie
    /// then, as a process that is not waited for.
    fn runs(&self, pid: i32, process: &Process) -> bool {
        ptrace::stat(pid).is_ok_and(|stat| {
            let ended = matches!(stat.state, b'Z' | b'X') && stat.threads <= 1;
            !ended && self.started_with(&stat, process)
        })
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

    /// The ids here of processes by their id in their own PID namespace.
    fn ids(&self) -> HashMap<i32, Vec<i32>> {
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
        let ids = self.ids();
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
