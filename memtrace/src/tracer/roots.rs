//! The processes that are attached to.

use std::{collections::VecDeque, os::fd::OwnedFd};

use super::TargetError;
use crate::{
    launch::open_pidfd,
    model::{Limit, Limited, reasons::Remedy},
    probe::{Roots, TakenIn},
    ptrace,
    targets::{self, Findings, Found, Places, Target},
    units::counted,
};

/// `PF_KTHREAD` (include/linux/sched.h).
const PF_KTHREAD: u64 = 0x20_0000;

/// A process that runs and can be attached to.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: i32,
    /// When it was created, clock ticks: tells the users of an id apart.
    started: u64,
    pub(super) pidfd: Option<OwnedFd>,
}

impl Running {
    /// The process that has this id now.
    fn find(pid: i32) -> Result<Self, TargetError> {
        // First: the descriptor stays this process's, whoever has the id later.
        let pidfd = match open_pidfd(pid) {
            Ok(pidfd) => Some(pidfd),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                return Err(TargetError::NoProcess(pid));
            }
            // A thread that is no process, or a kernel without them; looked at below.
            Err(_) => None,
        };
        if i32::try_from(std::process::id()) == Ok(pid) {
            return Err(TargetError::Own(pid));
        }
        let gone = |_| TargetError::NoProcess(pid);
        let stat = ptrace::stat(pid).map_err(gone)?;
        let look = ptrace::look(pid).map_err(gone)?;
        if look.tgid != pid {
            let process = look.tgid;
            return Err(TargetError::Thread { pid, process });
        }
        if look.memory.is_none() && look.threads <= 1 {
            return Err(match look.state {
                b'Z' | b'X' => TargetError::Zombie(pid),
                _ if stat.flags & PF_KTHREAD != 0 => TargetError::Kernel(pid),
                _ => TargetError::Ending(pid),
            });
        }
        Ok(Self {
            pid,
            started: stat.started,
            pidfd,
        })
    }

    /// The one that was found. It has no descriptor yet: of many there would be too many.
    const fn found(Found { pid, started }: Found) -> Self {
        Self {
            pid,
            started,
            pidfd: None,
        }
    }

    /// Has its end waited for.
    fn watch(&mut self) {
        if self.pidfd.is_none() {
            // Where its id is another's already it has ended, and that is looked at anyway.
            self.pidfd = open_pidfd(self.pid).ok();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        ptrace::stat(self.pid).map_or(true, |stat| {
            stat.started != self.started || (matches!(stat.state, b'Z' | b'X') && stat.threads <= 1)
        })
    }

    /// Whether its id is another's by now.
    fn is_another(&self) -> bool {
        ptrace::stat(self.pid).is_ok_and(|stat| stat.started != self.started)
    }

    /// Why it was not found among all threads.
    fn missing(&self, owner: Option<u32>) -> TargetError {
        let pid = self.pid;
        if self.has_ended() || ptrace::look(pid).is_ok_and(|look| look.memory.is_none()) {
            TargetError::Gone(pid)
        } else if let Some(owner) = owner {
            TargetError::Borrows { pid, owner }
        } else {
            TargetError::Hidden(pid)
        }
    }
}

/// Everything that is to be attached to.
#[derive(Debug)]
pub(super) struct Wanted {
    targets: Vec<Target>,
    places: Places,
    /// By target.
    processes: Vec<Vec<Running>>,
    /// Processes that belong to a group and cannot be seen.
    hidden: usize,
    /// Groups that were never the same twice.
    unsettled: usize,
}

impl Wanted {
    /// What the targets mean now.
    pub(super) fn find(targets: &[Target]) -> Result<Self, TargetError> {
        let places = Places::of_this_system()?;
        let mut wanted = Self {
            targets: targets.to_vec(),
            places,
            processes: Vec::new(),
            hidden: 0,
            unsettled: 0,
        };
        for target in targets {
            let found = wanted.look_up(target)?;
            wanted.processes.push(found);
        }
        let all = wanted.processes.iter().flatten();
        let mut pids: Vec<i32> = all.map(|running| running.pid).collect();
        pids.sort_unstable();
        if let Some(twice) = pids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(TargetError::Twice(twice[0]));
        }
        Ok(wanted)
    }

    fn look_up(&mut self, target: &Target) -> Result<Vec<Running>, TargetError> {
        if let Target::Pid(pid) = target {
            return Ok(vec![Running::find(*pid)?]);
        }
        let Findings {
            processes,
            hidden,
            settled,
        } = targets::look_up(target, &self.places)?;
        self.hidden += hidden;
        self.unsettled += usize::from(!settled);
        Ok(processes.into_iter().map(Running::found).collect())
    }

    /// Looks for groups again: some came and some went since. From here on the hooks see who is created.
    pub(super) fn look_again(&mut self) -> Result<(), TargetError> {
        let ids = |target: &&Target| matches!(target, Target::Pid(_));
        let known: Vec<i32> = self
            .targets
            .iter()
            .zip(&self.processes)
            .filter(|(target, _)| ids(target))
            .flat_map(|(_, processes)| processes.iter().map(|running| running.pid))
            .collect();
        (self.hidden, self.unsettled) = (0, 0);
        for (place, target) in self.targets.clone().iter().enumerate() {
            if ids(&target) {
                continue;
            }
            let mut found = self.look_up(target)?;
            found.retain(|running| !known.contains(&running.pid));
            if let Some(processes) = self.processes.get_mut(place) {
                *processes = found;
            }
        }
        Ok(())
    }

    /// Why not all of a group may be there.
    pub(super) fn limits(&self) -> Vec<Limit> {
        let hidden = (self.hidden > 0).then(|| {
            counted(
                self.hidden as u64,
                "process of the cgroup cannot be seen from here (another PID namespace, or hidepid): run memtrace on the host",
                "processes of the cgroup cannot be seen from here (another PID namespace, or hidepid): run memtrace on the host",
            )
        });
        let unsettled = (self.unsettled > 0).then(|| {
            "processes of the cgroup came and went faster than they can be listed; those whose parents ended meanwhile may be missing".to_owned()
        });
        let limit = |reason| Limit {
            reason,
            bound_bytes: None,
            of: Limited::Rss,
        };
        hidden.into_iter().chain(unsettled).map(limit).collect()
    }

    /// For how many there has to be room.
    pub(super) fn room(&self) -> u32 {
        /// For those that come while programs are loaded.
        const MORE: usize = 1024;
        let known: usize = self.processes.iter().map(Vec::len).sum();
        let more = if self.has_groups() { known + MORE } else { 0 };
        u32::try_from(known + more).unwrap_or(u32::MAX)
    }

    fn has_groups(&self) -> bool {
        let mut targets = self.targets.iter();
        !targets.all(|target| matches!(target, Target::Pid(_)))
    }

    /// How many roots there can be whose totals are wanted each; 0: a single one.
    pub(super) fn branches(&self) -> u32 {
        let names = |target: &Target| matches!(target, Target::Name(_));
        if self.targets.iter().any(names) {
            self.room()
        } else if self.targets.len() > 1 {
            u32::try_from(self.targets.len()).unwrap_or(u32::MAX)
        } else {
            0
        }
    }

    /// As the programs are asked for them. Each process of a name is a root by itself; those of a cgroup are one.
    pub(super) fn roots(&self) -> Vec<Roots> {
        let id = |running: &Running| running.pid.cast_unsigned();
        let mut roots = Vec::new();
        for (target, processes) in self.targets.iter().zip(&self.processes) {
            if matches!(target, Target::Pid(_) | Target::Name(_)) {
                roots.extend(processes.iter().map(|running| Roots {
                    name: None,
                    pids: vec![id(running)],
                    have_own: matches!(target, Target::Pid(_)),
                }));
                continue;
            }
            roots.push(Roots {
                name: Some(target.to_string()),
                pids: processes.iter().map(id).collect(),
                have_own: false,
            });
        }
        roots
    }

    /// What was asked for.
    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        let words = self.targets.iter().map(ToString::to_string);
        words.map(String::into_bytes).collect()
    }

    /// All that is known, with the times of their creation.
    pub(super) fn all(&self) -> Vec<(i32, u64)> {
        let all = self.processes.iter().flatten();
        all.map(|running| (running.pid, running.started)).collect()
    }

    /// Why what was asked for can not be looked at, when nobody is left.
    pub(super) fn gone(&self) -> TargetError {
        match (&self.targets[..], self.all().first()) {
            ([Target::Pid(_)], Some((pid, _))) => TargetError::Gone(*pid),
            _ => TargetError::Nobody,
        }
    }

    /// Those that are followed.
    pub(super) fn followed(self, taken: &TakenIn) -> Result<Followed, TargetError> {
        let tgid = |running: &Running| {
            let pid = running.pid.cast_unsigned();
            let known = taken.followed.iter().find(|(own, _)| *own == pid);
            known
                .map(|(_, tgid)| *tgid)
                .filter(|_| !running.is_another())
        };
        let owner = |running: &Running| {
            let pid = running.pid.cast_unsigned();
            let missing = taken.missing.iter().find(|(own, _)| *own == pid);
            missing.and_then(|(_, owner)| *owner)
        };
        let mut followed = Vec::new();
        let mut why = None;
        let mut unseen = 0;
        for (target, processes) in self.targets.iter().zip(self.processes) {
            for running in processes {
                match tgid(&running) {
                    Some(tgid) => followed.push((running, tgid)),
                    None if matches!(target, Target::Pid(_)) => {
                        return Err(running.missing(owner(&running)));
                    }
                    None => {
                        let missing = running.missing(owner(&running));
                        unseen += u64::from(!matches!(missing, TargetError::Gone(_)));
                        why = Some(missing);
                    }
                }
            }
        }
        let mut all = followed.into_iter();
        match all.next() {
            Some((first, first_tgid)) => Ok(Followed {
                first,
                first_tgid,
                others: all.map(|(running, _)| running).collect(),
                unseen,
            }),
            None => Err(why.unwrap_or(TargetError::Nobody)),
        }
    }
}

/// Those that are followed; at least one.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) first: Running,
    /// Its id in the initial PID namespace.
    pub(super) first_tgid: u32,
    pub(super) others: Vec<Running>,
    /// Processes of groups that run and are not followed.
    unseen: u64,
}

impl Followed {
    /// That not all are followed, if so.
    pub(super) fn limit(&self) -> Option<Limit> {
        (self.unseen > 0).then(|| Limit {
            reason: Remedy::Again.end(&counted(
                self.unseen,
                "process that was asked for runs, and is not among those that this kernel shows to BPF programs",
                "processes that were asked for run, and are not among those that this kernel shows to BPF programs",
            )),
            bound_bytes: None,
            of: Limited::Rss,
        })
    }
}

/// All that are followed, until the last has ended.
pub(super) struct Living {
    first: i32,
    /// Those that had not ended when they were looked at last, and all after the first.
    running: VecDeque<Running>,
}

impl Living {
    pub(super) fn new(first: Running, others: Vec<Running>) -> Self {
        let mut living = Self {
            first: first.pid,
            running: std::iter::once(first).chain(others).collect(),
        };
        living.watch_one();
        living
    }

    /// The id of the first.
    pub(super) const fn pid(&self) -> i32 {
        self.first
    }

    fn watch_one(&mut self) {
        if let Some(one) = self.running.front_mut() {
            one.watch();
        }
    }

    /// One whose end is waited for.
    pub(super) fn any(&self) -> Option<&Running> {
        self.running.front()
    }

    /// Whether all have ended.
    pub(super) fn have_ended(&mut self) -> bool {
        // One after the other, for there can be many.
        while self.running.front().is_some_and(Running::has_ended) {
            self.running.pop_front();
        }
        self.watch_one();
        self.running.is_empty()
    }
}
