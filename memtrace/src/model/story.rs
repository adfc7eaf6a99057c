//! Who was created by whom, ran what and ended how: the records other than
//! images, kept until the end and then put together by time.
//!
//! Only a FORK record carries a process's full identity, its tgid and its start
//! time; the others carry a tgid and a time. A tgid belongs to one process at a
//! time, so a record belongs to the latest process with its tgid that had
//! started by then. Since this is decided at the end, from sorted maps, the order
//! in which records arrive has no influence.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use memtrace_ebpf::{
    COMM_LEN, ProcessFlags,
    event::{Exec, Exit, Fork, Oom},
};

use super::summary::Program;

/// tgid and start time: unique for as long as the machine runs.
pub(super) type Identity = (u32, u64);

/// One FORK record.
#[derive(Clone, Debug)]
pub(super) struct Birth {
    pub(super) ns_tgid: u32,
    pub(super) creator: u32,
    pub(super) flags: u32,
    pub(super) image: u64,
    pub(super) at: u64,
    pub(super) comm: Vec<u8>,
}

impl Birth {
    pub(super) const fn is_root(&self) -> bool {
        self.flags & ProcessFlags::PRE_EXEC != 0
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
    pub(super) pid: u32,
    /// 0 if unknown.
    pub(super) started_at: u64,
    /// `None`: nobody told of its creation.
    pub(super) birth: Option<Birth>,
    pub(super) execs: Vec<Execution>,
    pub(super) exit: Option<Exit>,
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
    }
}

/// The records as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    births: BTreeMap<Identity, Birth>,
    /// By tgid, time, image.
    execs: BTreeMap<(u32, u64, u64), Execution>,
    /// By tgid, whether it replaces an earlier one, and time.
    exits: BTreeMap<(u32, u64, u32), Exit>,
    ooms: BTreeSet<(u32, u64)>,
}

impl Story {
    pub(super) fn fork(&mut self, fork: &Fork) {
        let birth = Birth {
            ns_tgid: fork.ns_tgid,
            creator: fork.creator,
            flags: fork.flags,
            image: fork.image,
            at: fork.header.at,
            comm: until_nul(&fork.comm).to_vec(),
        };
        let slot = self
            .births
            .entry((fork.tgid, fork.started_at))
            .or_insert(birth.clone());
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
            program: Arc::new(program(exec)),
        };
        self.execs
            .insert((exec.tgid, exec.header.at, exec.image), execution);
    }

    pub(super) fn exit(&mut self, exit: &Exit) {
        self.exits
            .insert((exit.tgid, exit.header.at, exit.again), *exit);
    }

    pub(super) fn oom(&mut self, oom: &Oom) {
        self.ooms.insert((oom.tgid, oom.header.at));
    }

    /// Puts the records together: one [`Life`] per process, ordered by tgid and start.
    pub(super) fn lives(self) -> Lives {
        let Self {
            births,
            execs,
            exits,
            ooms,
        } = self;
        let mut lives = Lives::default();
        for ((pid, started_at), birth) in births {
            let life = Life {
                pid,
                started_at,
                birth: Some(birth),
                ..Life::default()
            };
            lives.0.insert((pid, started_at), life);
        }
        for ((pid, at, _), exec) in execs {
            lives.at_or_new(pid, at).execs.push(exec);
        }
        for ((pid, at, _), exit) in exits {
            let life = lives.at_or_new(pid, at);
            let newer = |old: &Exit| (old.again, old.header.at) < (exit.again, at);
            if life.exit.as_ref().is_none_or(newer) {
                life.exit = Some(exit);
            }
        }
        for (pid, at) in ooms {
            lives.at_or_new(pid, at).oom = true;
        }
        lives
    }
}

/// The processes by identity.
#[derive(Clone, Debug, Default)]
pub(super) struct Lives(pub(super) BTreeMap<Identity, Life>);

impl Lives {
    /// The process that had this pid at that time.
    pub(super) fn at(&self, pid: u32, at: u64) -> Option<&Life> {
        let (identity, life) = self.0.range(..=(pid, at)).next_back()?;
        (identity.0 == pid).then_some(life)
    }

    /// The same; if there is none, a process of unknown origin.
    fn at_or_new(&mut self, pid: u32, at: u64) -> &mut Life {
        let identity = self
            .at(pid, at)
            .map_or((pid, 0), |life| (pid, life.started_at));
        self.0.entry(identity).or_insert_with(|| Life {
            pid,
            ..Life::default()
        })
    }
}

/// The bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

/// What an EXEC record says was executed.
fn program(exec: &Exec) -> Program {
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
