//! Loading programs, several at a time: the kernel verifies them independently, and that takes
//! most of the time of a start.

use std::{
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, Iter, Program, ProgramError, ProgramInfo},
};

use super::{ProbeError, running};

/// More threads than this would wait for the largest program.
const MOST_THREADS: usize = 4;

/// A program that is to be loaded.
struct Wanted<'a> {
    /// Its place in the order of attaching.
    order: usize,
    name: &'static str,
    kind: Kind<'a>,
}

/// How it is loaded.
enum Kind<'a> {
    /// For a tracepoint.
    Hook(&'static str, &'a mut BtfTracePoint),
    /// For going through all threads, with what tells the kernel's function for that.
    Threads(&'a Btf, &'a mut Iter),
}

impl Kind<'_> {
    fn load(&mut self, btf: &Btf) -> Result<(), ProgramError> {
        match self {
            Self::Hook(hook, program) => program.load(hook, btf),
            Self::Threads(function, program) => program.load(running::KIND, function),
        }
    }

    fn info(&self) -> Result<ProgramInfo, ProgramError> {
        match self {
            Self::Hook(_, program) => program.info(),
            Self::Threads(_, program) => program.info(),
        }
    }
}

/// Loads the programs of `plan`, pairs of a program and the tracepoint that it is for: from the
/// last, which should be the largest. And, with the function of the kernel that calls them, those that go
/// through all threads.
///
/// # Errors
///
/// When the object does not have one of them, or the kernel refuses one.
pub(super) fn all(
    ebpf: &mut Ebpf,
    plan: impl Iterator<Item = (&'static str, &'static str)>,
    btf: &Btf,
    threads: Option<(&Btf, &[&'static str])>,
) -> Result<(), ProbeError> {
    let mut plan: Vec<_> = plan.collect();
    let (threads, walks) = threads.unzip();
    let walks = walks.into_iter().flatten();
    plan.extend(walks.map(|name| (*name, running::FUNCTION)));
    let mut wanted: Vec<Wanted<'_>> = ebpf
        .programs_mut()
        .filter_map(|(found, program)| {
            let order = plan.iter().position(|(name, _)| *name == found)?;
            let (name, hook) = *plan.get(order)?;
            let kind = match (program, threads) {
                (Program::BtfTracePoint(program), _) => Kind::Hook(hook, program),
                (Program::Iter(program), Some(function)) => Kind::Threads(function, program),
                _ => return None,
            };
            Some(Wanted { order, name, kind })
        })
        .collect();
    let missing = plan
        .iter()
        .find(|(name, _)| wanted.iter().all(|one| one.name != *name));
    if let Some((name, _)) = missing {
        return Err(ProbeError::Missing {
            kind: "program",
            name,
        });
    }
    // Taken from the end.
    wanted.sort_by_key(|one| one.order);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(MOST_THREADS).min(wanted.len());
    let queue = Mutex::new(wanted);
    let work = || loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match next {
            Some(next) => load(next, btf)?,
            None => return Ok(()),
        }
    };
    thread::scope(|scope| {
        // Where no thread can be had, this one does it all.
        let others: Vec<_> = (1..threads)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let own = work();
        others
            .into_iter()
            // None panics; should one, its program is missing when it is attached.
            .filter_map(|other| other.join().ok())
            .fold(own, Result::and)
    })
}

fn load(wanted: Wanted<'_>, btf: &Btf) -> Result<(), ProbeError> {
    let Wanted { name, mut kind, .. } = wanted;
    let started = Instant::now();
    kind.load(btf).map_err(|source| ProbeError::Load {
        program: name,
        source: Box::new(source),
    })?;
    log::debug!(
        "program {name}: {} instructions verified in {:?}",
        kind.info()
            .ok()
            .and_then(|info| info.verified_instruction_count())
            .map_or_else(|| "unknown".to_owned(), |count| count.to_string()),
        started.elapsed()
    );
    Ok(())
}
