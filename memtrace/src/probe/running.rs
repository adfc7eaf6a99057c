//! Taking in processes that run already.

use std::io::{self, Read as _};

use aya::{
    Btf, Endianness,
    maps::HashMap,
    programs::{Iter, links::LinkError},
};

use memtrace_ebpf::Stat;

use super::{Probe, ProbeError, attach, load};
use crate::kernel;

/// The program that goes through all threads.
pub(super) const PROGRAM: &str = "attach";
/// The function by whose type it is known (`DEFINE_BPF_ITER_FUNC(task, ...)`, `kernel/bpf/task_iter.c`).
pub(super) const FUNCTION: &str = "bpf_iter_task";
/// The kind of iterator, as aya names it.
pub(super) const KIND: &str = "task";

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

/// Whom that found.
#[derive(Clone, Copy, Debug)]
pub struct TakenIn {
    /// The first one's id in the initial PID namespace, if it is followed.
    pub root_tgid: Option<u32>,
    /// The process whose memory one has that was asked for, if that was not taken in because of it.
    pub owner: Option<u32>,
}

impl Probe {
    /// Takes in the processes with these ids here, and all their descendants, with all that they hold. From
    /// here on they are followed.
    ///
    /// The programs must have been loaded for that ([`Options::attached`](super::Options::attached)). Nobody
    /// should take the calling thread's CPU away meanwhile.
    ///
    /// # Errors
    ///
    /// When going through all threads fails.
    pub fn take_in(&mut self, roots: &[u32]) -> Result<TakenIn, ProbeError> {
        const WANTED: &str = "WANTED";
        let failed = |source| ProbeError::Map {
            operation: "fill",
            map: WANTED,
            source,
        };
        let tree = self.root_tree;
        let mut wanted = HashMap::<_, u32, u32>::try_from(self.map_mut(WANTED)?).map_err(failed)?;
        for root in roots {
            wanted.insert(root, tree, 0).map_err(failed)?;
        }
        // What a thread's number is changes when another than the first executes a program, and then it is
        // perhaps not come across: once more.
        let (mut before, mut idle) = (0, 0);
        for _ in 0..MOST_PASSES {
            self.go_through_threads()?;
            let now = self.control()?.attached;
            idle = if now == before { idle + 1 } else { 0 };
            // For whom there is no room, there is none another time either.
            if idle == IDLE_PASSES || self.stats()?.get(Stat::ProcessesFull) > 0 {
                break;
            }
            before = now;
        }
        log::debug!("{before} processes that run are taken in");
        let program: &mut Iter = load::program_mut(&mut self.ebpf, PROGRAM)?;
        program.unload().map_err(|source| ProbeError::Attach {
            program: PROGRAM,
            source: Box::new(source),
        })?;
        let control = self.control()?;
        let known = |tgid: u32| Some(tgid).filter(|tgid| *tgid != 0);
        Ok(TakenIn {
            root_tgid: known(control.root_tgid),
            owner: known(control.owner_tgid),
        })
    }

    /// Calls the program for each thread once.
    fn go_through_threads(&mut self) -> Result<(), ProbeError> {
        let failed = |source: io::Error| ProbeError::Threads { source };
        let program: &mut Iter = load::program_mut(&mut self.ebpf, PROGRAM)?;
        let mut threads = program
            .attach()
            .and_then(|link| program.take_link(link))
            .map_err(|source| ProbeError::Attach {
                program: PROGRAM,
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
