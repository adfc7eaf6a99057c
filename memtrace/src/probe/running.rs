//! Taking in processes that run already.

use std::{
    collections::HashMap,
    io::{self, Read as _},
};

use aya::{
    Btf, Endianness,
    maps::{Array, HashMap as BpfHashMap},
    programs::{Iter, links::LinkError},
};
use memtrace_ebpf::{Branch, Stat, Wanted};

use super::{Probe, ProbeError, attach, load, read::map_error};
use crate::{kernel, model::BranchState};

/// The program that goes through all threads.
pub(super) const PROGRAM: &str = "attach";
/// The function by whose type it is known (`DEFINE_BPF_ITER_FUNC(task, ...)`, `kernel/bpf/task_iter.c`).
pub(super) const FUNCTION: &str = "bpf_iter_task";
/// The kind of iterator, as aya names it.
pub(super) const KIND: &str = "task";

/// The map of those that are asked for.
const WANTED: &str = "WANTED";

/// A child can have a lower number than its parent, and then is found one time later; each time finds
/// somebody, so more than this is a tree that grows as fast as it is gone through.
const MOST_PASSES: u32 = 1000;

/// So often it finds nobody until that is all.
const IDLE_PASSES: u32 = 2;

/// What tells the kernel's function that calls the program.
pub(super) fn function(kernel: &kernel::Btf) -> Result<Btf, ProbeError> {
    let missing = ProbeError::NoFunction { name: FUNCTION };
    let id = kernel.function(FUNCTION).ok_or(missing)?;
    Btf::parse(&attach::function(id, FUNCTION), Endianness::default())
        .map_err(|source| ProbeError::Btf { source })
}

/// Processes that are asked for together: a root, or several that are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// By what name; `None`: by the id of the process.
    pub name: Option<String>,
    /// Their ids here.
    pub pids: Vec<u32>,
    /// None of them may have the memory of a process that does not belong to the tree. Otherwise such a one is
    /// followed without it.
    pub have_own: bool,
}

/// Whom that found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// Those that were asked for and are followed: the ids here and in the initial PID namespace.
    pub followed: Vec<(u32, u32)>,
    /// Those that are not, and the process whose memory each has, if that is why.
    pub missing: Vec<(u32, Option<u32>)>,
}

impl Probe {
    /// Takes in the processes with these ids here, and all their descendants, with all that they hold. From
    /// here on they are followed.
    ///
    /// The programs must have been loaded for as many ([`Options::attached`](super::Options::attached),
    /// [`Options::branches`](super::Options::branches)). Nobody should take the calling thread's CPU away meanwhile.
    ///
    /// # Errors
    ///
    /// When going through all threads fails.
    pub fn take_in(&mut self, roots: &[Roots]) -> Result<TakenIn, ProbeError> {
        for (branch, roots) in (0..).zip(roots) {
            self.want(roots, branch)?;
        }
        self.go_on_until_nobody_is_found()?;
        let strict = roots.iter().filter(|roots| roots.have_own);
        let strict: Vec<u32> = strict.flat_map(|roots| &roots.pids).copied().collect();
        let taken = self.taken_in(roots)?;
        let refused = |(pid, owner): &(u32, Option<u32>)| owner.is_some() && strict.contains(pid);
        if !taken.missing.iter().any(refused) && self.is_anyone_waiting()? {
            self.wait_no_longer()?;
            self.go_on_until_nobody_is_found()?;
        }
        self.unload_walk(PROGRAM)?;
        let taken = self.taken_in(roots)?;
        if roots.len() > 1 {
            let followed: HashMap<u32, u32> = taken.followed.iter().copied().collect();
            let known = |roots: &Roots| BranchState {
                name: roots.name.clone(),
                roots: roots
                    .pids
                    .iter()
                    .filter_map(|pid| followed.get(pid))
                    .copied()
                    .collect(),
                totals: Branch::default(),
            };
            self.branches = roots.iter().map(known).collect();
        }
        Ok(taken)
    }

    fn want(&mut self, roots: &Roots, branch: u32) -> Result<(), ProbeError> {
        let map = self.map_mut(WANTED)?;
        let mut wanted =
            BpfHashMap::<_, u32, Wanted>::try_from(map).map_err(map_error("open", WANTED))?;
        let asked = Wanted {
            branch,
            ..Wanted::default()
        };
        for pid in &roots.pids {
            wanted
                .insert(pid, asked, 0)
                .map_err(map_error("fill", WANTED))?;
        }
        Ok(())
    }

    /// What became of those that are asked for.
    fn taken_in(&self, roots: &[Roots]) -> Result<TakenIn, ProbeError> {
        let map = self.map(WANTED)?;
        let wanted =
            BpfHashMap::<_, u32, Wanted>::try_from(map).map_err(map_error("open", WANTED))?;
        let mut taken = TakenIn::default();
        for pid in roots.iter().flat_map(|roots| &roots.pids) {
            let Wanted { tgid, owner, .. } =
                wanted.get(pid, 0).map_err(map_error("read", WANTED))?;
            if tgid == 0 {
                taken
                    .missing
                    .push((*pid, Some(owner).filter(|owner| *owner != 0)));
            } else {
                taken.followed.push((*pid, tgid));
            }
        }
        Ok(taken)
    }

    /// Goes through all threads until that finds nobody any more.
    fn go_on_until_nobody_is_found(&mut self) -> Result<(), ProbeError> {
        // What a thread's number is changes when another than the first executes a program, and then it is
        // perhaps not come across: once more.
        let (mut before, mut idle) = (self.control()?.attached, 0);
        for _ in 0..MOST_PASSES {
            self.go_through_threads(PROGRAM)?;
            let now = self.control()?.attached;
            idle = if now == before { idle + 1 } else { 0 };
            // For whom there is no room, there is none another time either.
            if idle == IDLE_PASSES || self.stats()?.get(Stat::ProcessesFull) > 0 {
                break;
            }
            before = now;
        }
        log::debug!("{before} processes that run are taken in");
        Ok(())
    }

    /// Whether somebody waits for a process that is not followed.
    fn is_anyone_waiting(&mut self) -> Result<bool, ProbeError> {
        let before = self.control()?.waiting;
        self.go_through_threads(PROGRAM)?;
        Ok(self.control()?.waiting != before)
    }

    /// From here on they come without the memory that is another's.
    fn wait_no_longer(&mut self) -> Result<(), ProbeError> {
        const MAP: &str = "IMPATIENT";
        let map = self.map_mut(MAP)?;
        Array::<_, u32>::try_from(map)
            .map_err(map_error("open", MAP))?
            .set(0, 1, 0)
            .map_err(map_error("write", MAP))
    }

    /// A program that goes through all threads is not needed any more.
    pub(super) fn unload_walk(&mut self, name: &'static str) -> Result<(), ProbeError> {
        let program: &mut Iter = load::program_mut(&mut self.ebpf, name)?;
        program.unload().map_err(|source| ProbeError::Attach {
            program: name,
            source: Box::new(source),
        })
    }

    /// Calls the program of this name for each thread once.
    pub(super) fn go_through_threads(&mut self, name: &'static str) -> Result<(), ProbeError> {
        let failed = |source: io::Error| ProbeError::Threads { source };
        let program: &mut Iter = load::program_mut(&mut self.ebpf, name)?;
        let mut threads = program
            .attach()
            .and_then(|link| program.take_link(link))
            .map_err(|source| ProbeError::Attach {
                program: name,
                source: Box::new(source),
            })?
            .into_file()
            .map_err(|source: LinkError| failed(io::Error::other(source)))?;
        // It writes nothing; reading is what makes the kernel go on.
        let mut nothing = [0; 4096];
        loop {
            match threads.read(&mut nothing) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // After so many threads without anything written (`bpf_seq_read()`, kernel/bpf/bpf_iter.c).
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}
