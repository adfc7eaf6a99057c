//! Limits on this process's memory: raised where that is permitted, and checked where it is not.
//!
//! Rust ends a program whose memory runs out (`handle_alloc_error`), and the kernel one whose
//! stack does. A command under a tight limit (`ulimit -v`, `-d`, `-s`) is to be measured all the
//! same, so the tracer takes what it may have for itself, and each command gets back what its
//! limits were; where nothing can be raised, room is looked for before it is needed.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use memmap2::MmapMut;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

/// What this process would like to have. More stack than that only costs room.
const WANTED: [(Resource, rlim_t); 3] = [
    (Resource::RLIMIT_AS, RLIM_INFINITY),
    (Resource::RLIMIT_DATA, RLIM_INFINITY),
    (Resource::RLIMIT_STACK, 8 << 20),
];

/// What reading arguments and saying that something failed takes, by far.
const LEAST: usize = 4 << 20;
/// Builds without optimisation need up to 400 KiB for the command line.
const LEAST_STACK: rlim_t = 512 << 10;

/// A limit that was raised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raised {
    pub(super) resource: Resource,
    pub(super) soft: rlim_t,
    pub(super) hard: rlim_t,
}

static RAISED: Mutex<Vec<Raised>> = Mutex::new(Vec::new());

/// Raises the limits of this process as far as it may. Commands that are started from here on
/// get those that it had before.
///
/// For programs that do nothing else, before they do anything: what they have in use need not
/// fit into the old limits any more.
///
/// # Errors
///
/// When the rest is too little for anything.
pub fn raise_limits() -> Result<(), NoRoom> {
    // Before anything that takes stack.
    for (resource, wanted) in WANTED {
        let Ok((soft, hard)) = getrlimit(resource) else {
            continue;
        };
        if soft >= wanted {
            continue;
        }
        // The hard limit is for root to raise, and not for every root.
        if setrlimit(resource, wanted, wanted.max(hard)).is_ok()
            || setrlimit(resource, wanted.min(hard), hard).is_ok()
        {
            let mut raised = RAISED.lock().unwrap_or_else(PoisonError::into_inner);
            raised.push(Raised {
                resource,
                soft,
                hard,
            });
        }
    }
    let stack = getrlimit(Resource::RLIMIT_STACK).map_or(RLIM_INFINITY, |(soft, _)| soft);
    if stack < LEAST_STACK {
        return Err(NoRoom {
            needed: LEAST_STACK - stack,
            limits: vec![("stack", "ulimit -s", stack)],
        });
    }
    require_room(LEAST)
}

/// What a command is to be given back.
pub(super) fn raised() -> Vec<Raised> {
    let raised = RAISED.lock().unwrap_or_else(PoisonError::into_inner);
    raised.clone()
}

/// Makes sure that this process can have so many bytes more.
///
/// # Errors
///
/// When it cannot; the limits that are to blame are named.
pub(crate) fn require_room(bytes: usize) -> Result<(), NoRoom> {
    // Not by an allocation: having freed one that large, glibc keeps all of that size in its heap, and
    // gives nothing back (`M_MMAP_THRESHOLD` in mallopt(3)), which costs what was asked for.
    if MmapMut::map_anon(bytes).is_ok() {
        return Ok(());
    }
    Err(NoRoom {
        needed: bytes as u64,
        limits: memory_limits(),
    })
}

/// The limits on memory that are in force.
fn memory_limits() -> Vec<(&'static str, &'static str, u64)> {
    [
        (Resource::RLIMIT_AS, "address space", "ulimit -v"),
        (Resource::RLIMIT_DATA, "data", "ulimit -d"),
    ]
    .into_iter()
    .filter_map(|(resource, what, ask)| {
        let (soft, _) = getrlimit(resource).ok()?;
        (soft != RLIM_INFINITY).then_some((what, ask, soft))
    })
    .collect()
}

/// There is not enough memory for this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    needed: u64,
    /// What is limited, what shows the limit, and the limit in bytes.
    limits: Vec<(&'static str, &'static str, u64)>,
}

impl NoRoom {
    /// To blame where the kernel had no memory for this process; `None` if no limit is in force.
    pub(crate) fn by_limits() -> Option<Self> {
        let limits = memory_limits();
        (!limits.is_empty()).then_some(Self { needed: 0, limits })
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        if self.limits.is_empty() {
            "free some memory"
        } else {
            "raise the limit where memtrace is started (`ulimit -v unlimited`, `-d`, `-s`), or run it as root; the command alone can have one: memtrace run -- sh -c 'ulimit -v 20000; exec CMD'"
        }
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too little memory for memtrace itself: ")?;
        for (index, (what, ask, bytes)) in self.limits.iter().enumerate() {
            if index > 0 {
                f.write_str(" and ")?;
            }
            write!(f, "its {what} is limited to {} KiB ({ask})", bytes / 1024)?;
        }
        if self.limits.is_empty() {
            f.write_str("the system gives no more")?;
        }
        if self.needed > 0 {
            write!(f, "; {} KiB more are needed", self.needed / 1024)?;
        }
        f.write_str(", and the command was not run")
    }
}

impl std::error::Error for NoRoom {}

#[cfg(test)]
mod tests {
    use super::{NoRoom, require_room};

    #[test]
    fn there_is_room_for_a_megabyte_and_none_for_everything() {
        assert_eq!(require_room(1 << 20), Ok(()));
        assert!(require_room(isize::MAX as usize).is_err());
    }

    #[test]
    fn the_limits_are_named() {
        let error = NoRoom {
            needed: 4096,
            limits: vec![
                ("address space", "ulimit -v", 20_480),
                ("data", "ulimit -d", 1024),
            ],
        };
        assert_eq!(
            error.to_string(),
            "too little memory for memtrace itself: its address space is limited to 20 KiB (ulimit -v) and its data is limited to 1 KiB (ulimit -d); 4 KiB more are needed, and the command was not run"
        );
    }
}
