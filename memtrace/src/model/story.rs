//! Who was created by whom, ran what and ended how: the records other than
//! images, kept until the end and then put together.
//!
//! Every record carries its process's number, [`Process::id`](memtrace_ebpf::Process::id).
//! They are put together at the end, from sorted maps, so the order in which they arrive has no
//! influence.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
};

use memtrace_ebpf::{
    COMM_LEN, ProcessFlags,
    event::{Exec, Exit, Fork, Freed, Oom},
};

use super::summary::Program;

/// One FORK record.
#[derive(Clone, Debug)]
pub(super) struct Birth {
    pub(super) ns_tgid: u32,
    pub(super) creator: u32,
    /// The creator's number, 0 of a root.
    pub(super) creator_process: u64,
    pub(super) flags: u32,
    pub(super) image: u64,
    pub(super) started_at: u64,
    pub(super) at: u64,
    pub(super) inherited: i64,
    pub(super) comm: Vec<u8>,
    /// What one ran that was there before.
    pub(super) program: Option<Arc<Program>>,
}

impl Birth {
    /// Before the command's first program: its image is memtrace's own.
    pub(super) const fn is_stopped(&self) -> bool {
        self.flags & ProcessFlags::PRE_EXEC != 0
    }

    /// It ran before tracing began.
    pub(super) const fn is_attached(&self) -> bool {
        self.flags & ProcessFlags::ATTACHED != 0
    }

    /// A process whose tree is followed.
    pub(super) const fn is_root(&self) -> bool {
        self.is_stopped() || (self.is_attached() && self.creator_process == 0)
    }

    pub(super) const fn shares_image(&self) -> bool {
        self.flags & ProcessFlags::SHARES_IMAGE != 0
    }
}

/// One EXEC record.
#[derive(Clone, Debug)]
pub(super) struct Execution {
    pub(super) at: u64,
    pub(super) image: u64,
    pub(super) old_image: u64,
    pub(super) maxrss: u64,
    pub(super) program: Arc<Program>,
}

/// All records of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    /// Its number.
    pub(super) id: u64,
    pub(super) pid: u32,
    /// 0 if unknown.
    pub(super) started_at: u64,
    /// `None`: nobody told of its creation.
    pub(super) birth: Option<Birth>,
    pub(super) execs: Vec<Execution>,
    pub(super) exit: Option<Exit>,
    pub(super) freed: Option<Freed>,
    pub(super) oom: bool,
}

impl Life {
    pub(super) fn is_root(&self) -> bool {
        self.birth.as_ref().is_some_and(Birth::is_root)
    }

    /// What it ran at a time.
    pub(super) fn program_at(&self, at: u64) -> Option<&Arc<Program>> {
        self.execs
            .iter()
            .rev()
            .find(|exec| exec.at <= at)
            .map(|exec| &exec.program)
            .or_else(|| self.birth.as_ref()?.program.as_ref())
    }
}

/// The records as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// By process, with its pid.
    births: BTreeMap<u64, (u32, Birth)>,
    /// By process, time, image; with the pid.
    execs: BTreeMap<(u64, u64, u64), (u32, Execution)>,
    /// By process, time, and whether it replaces an earlier one.
    exits: BTreeMap<(u64, u64, u32), Exit>,
    /// By process.
    freed: BTreeMap<u64, Freed>,
    /// Processes that ended and are not in [`Story::freed`].
    held: BTreeSet<u64>,
    /// Processes with their pids.
    ooms: BTreeSet<(u64, u32)>,
}

impl Story {
    pub(super) fn fork(&mut self, fork: &Fork) {
        let birth = Birth {
            ns_tgid: fork.ns_tgid,
            creator: fork.creator,
            creator_process: fork.creator_process,
            flags: fork.flags,
            image: fork.image,
            started_at: fork.started_at,
            at: fork.header.at,
            inherited: fork.inherited,
            comm: until_nul(&fork.comm).to_vec(),
            program: None,
        };
        let (_, slot) = self
            .births
            .entry(fork.process)
            .or_insert((fork.tgid, birth.clone()));
        // Sent once per process; should it come twice, the earlier one counts.
        if (birth.at, birth.image) < (slot.at, slot.image) {
            *slot = birth;
        }
    }

    pub(super) fn exec(&mut self, exec: &Exec) {
        let execution = Execution {
            at: exec.header.at,
            image: exec.image,
            old_image: exec.old_image,
            maxrss: exec.maxrss,
            program: Arc::new(program_of(exec)),
        };
        self.execs.insert(
            (exec.process, exec.header.at, exec.image),
            (exec.tgid, execution),
        );
    }

    pub(super) fn exit(&mut self, exit: &Exit) {
        self.exits
            .insert((exit.process, exit.header.at, exit.again), *exit);
        if !self.freed.contains_key(&exit.process) {
            self.held.insert(exit.process);
        }
    }

    pub(super) fn freed(&mut self, freed: &Freed) {
        self.held.remove(&freed.process);
        self.freed.insert(freed.process, *freed);
    }

    /// Processes that ended and that the kernel has not let go of: their ids, and when they were created.
    pub(super) fn held(&self) -> impl Iterator<Item = (u32, u64)> {
        let births = self.held.iter().filter_map(|id| self.births.get(id));
        births.map(|(pid, birth)| (*pid, birth.started_at))
    }

    pub(super) fn oom(&mut self, oom: &Oom) {
        self.ooms.insert((oom.process, oom.tgid));
    }

    /// How many ends of processes are kept.
    pub(super) fn ended(&self) -> usize {
        self.exits.len()
    }

    /// Numbers of the processes whose creation is known, in order.
    pub(super) fn processes(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.births.keys().copied()
    }

    /// What is known of one process.
    pub(super) fn told(&self, process: u64) -> Told<'_> {
        let birth = self.births.get(&process);
        let pid = birth.map_or(0, |(pid, _)| *pid);
        Told {
            birth: birth.map(|(_, birth)| birth),
            execs: self
                .execs
                .range(execs_of(process))
                .map(|(_, (_, exec))| exec)
                .collect(),
            exits: self
                .exits
                .range(exits_of(process))
                .map(|(_, exit)| exit)
                .collect(),
            oom: self.ooms.contains(&(process, pid)),
        }
    }

    /// Each process with each image that a record names as its own.
    pub(super) fn claims(&self) -> impl Iterator<Item = (u64, u64)> {
        let births = self
            .births
            .iter()
            .filter(|(_, (_, birth))| !birth.shares_image())
            .map(|(process, (_, birth))| (*process, birth.image));
        let execs = self.execs.iter();
        let execs = execs.map(|((process, ..), (_, exec))| (*process, exec.image));
        births.chain(execs).filter(|(_, image)| *image != 0)
    }

    /// Forgets one process.
    pub(super) fn forget(&mut self, process: u64) {
        self.births.remove(&process);
        let execs: Vec<_> = self.execs.range(execs_of(process)).map(key).collect();
        for key in execs {
            self.execs.remove(&key);
        }
        let exits: Vec<_> = self.exits.range(exits_of(process)).map(key).collect();
        for key in exits {
            self.exits.remove(&key);
        }
        self.held.remove(&process);
    }

    /// Puts the records together: one [`Life`] per process, in order of their numbers.
    pub(super) fn lives(self) -> Lives {
        let Self {
            births,
            execs,
            exits,
            freed,
            held: _,
            ooms,
        } = self;
        let mut lives = Lives::default();
        for (id, (pid, birth)) in births {
            let life = lives.get_or_new(id, pid);
            life.started_at = birth.started_at;
            life.birth = Some(birth);
        }
        for ((id, ..), (pid, exec)) in execs {
            let life = lives.get_or_new(id, pid);
            match &mut life.birth {
                // It did not execute that: it was running it when it was taken in.
                Some(birth) if birth.is_attached() && birth.image == exec.image => {
                    birth.program = Some(exec.program);
                }
                _ => life.execs.push(exec),
            }
        }
        for ((id, at, _), exit) in exits {
            let life = lives.get_or_new(id, exit.tgid);
            let newer = |old: &Exit| (old.again, old.header.at) < (exit.again, at);
            if life.exit.as_ref().is_none_or(newer) {
                life.exit = Some(exit);
            }
        }
        for (id, freed) in freed {
            // Of one of whose end nobody told it says nothing.
            if let Some(life) = lives.0.get_mut(&id) {
                life.freed = Some(freed);
            }
        }
        for (id, pid) in ooms {
            lives.get_or_new(id, pid).oom = true;
        }
        lives
    }
}

fn key<K: Copy, V>((key, _): (&K, V)) -> K {
    *key
}

const fn execs_of(process: u64) -> RangeInclusive<(u64, u64, u64)> {
    (process, 0, 0)..=(process, u64::MAX, u64::MAX)
}

const fn exits_of(process: u64) -> RangeInclusive<(u64, u64, u32)> {
    (process, 0, 0)..=(process, u64::MAX, u32::MAX)
}

/// What is known of one process so far.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) birth: Option<&'a Birth>,
    pub(super) execs: Vec<&'a Execution>,
    pub(super) exits: Vec<&'a Exit>,
    pub(super) oom: bool,
}

/// The processes by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Lives(pub(super) BTreeMap<u64, Life>);

impl Lives {
    /// The process with this number; if there is none, one of unknown origin.
    fn get_or_new(&mut self, id: u64, pid: u32) -> &mut Life {
        self.0.entry(id).or_insert_with(|| Life {
            id,
            pid,
            ..Life::default()
        })
    }
}

/// The bytes before the first NUL.
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

/// What an EXEC record says was executed.
pub(crate) fn program_of(exec: &Exec) -> Program {
    let comm: &[u8; COMM_LEN] = &exec.comm;
    let comm = until_nul(comm).to_vec();
    let path_len = (exec.path_len as usize).min(exec.path.len());
    let path = until_nul(exec.path.get(..path_len).unwrap_or_default()).to_vec();
    let args_len = (exec.args_len as usize).min(exec.args.len());
    let bytes = exec.args.get(..args_len).unwrap_or_default();
    let whole = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let mut args: Vec<Vec<u8>> = Vec::new();
    if !bytes.is_empty() {
        args.extend(whole.split(|&b| b == 0).map(<[u8]>::to_vec));
    }
    let truncated = exec.args_total > exec.args_len;
    if args.is_empty() {
        let name = if path.is_empty() { &comm } else { &path };
        if !name.is_empty() {
            args.push(name.clone());
        }
    }
    Program {
        args,
        truncated,
        path,
        comm,
    }
}
