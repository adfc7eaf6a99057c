//! Which processes are meant: by name, by cgroup, by unit of systemd, by container.
//!
//! All of it is read from `/proc` and from the cgroup filesystems; no daemon is asked.
//! What is found is what there was at one moment: processes that are created later are
//! followed as descendants of these, or are not meant.
//!
//! ```
//! use memtrace::targets::{Places, Target, find};
//!
//! let me = std::process::id().cast_signed();
//! let found = find(&Target::Pid(me), &Places::of_this_system()?)?;
//! assert_eq!(found[0].pid, me);
//! # Ok::<(), memtrace::targets::TargetsError>(())
//! ```

mod cgroup;
mod container;
mod error;
mod members;
mod name;
mod places;
mod process;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unit;
mod walk;

use std::{fmt, path::PathBuf};

pub use error::{Container, TargetsError};
pub use places::Places;
pub(crate) use places::{Hierarchy, Version};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One process.
    Pid(i32),
    /// All processes of this name, as `pgrep -x` takes it: the kernel's name of the
    /// process, or the file name of its program.
    Name(String),
    /// Every process of the machine that this one can see.
    All,
    /// All processes of a cgroup and of those below: a path in the file system, from the
    /// root of a hierarchy, or as a line of `/proc/PID/cgroup` has it.
    Cgroup(PathBuf),
    /// All processes of a unit of systemd; without a suffix, of a service.
    Unit(String),
    /// All processes of a container: the id that its engine gave it, or the beginning of
    /// it, or the name of one of LXC's.
    Container(String),
}

/// In words, as in `process 12`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "process {pid}"),
            Self::Name(name) => write!(f, "name {name}"),
            Self::All => f.write_str("everything"),
            Self::Cgroup(path) => write!(f, "cgroup {}", path.display()),
            Self::Unit(unit) => write!(f, "unit {unit}"),
            Self::Container(container) => write!(f, "container {container}"),
        }
    }
}

/// One process to attach to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// Its id.
    pub pid: i32,
    /// When it was created, clock ticks since boot (field 22 of `/proc/PID/stat`): tells
    /// the users of an id apart.
    pub started: u64,
}

/// What was found, and how surely that is all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The processes, in the order of their creation; at least one.
    pub processes: Vec<Found>,
    /// Processes of the cgroup that this process cannot see, because they belong to
    /// another PID namespace or `/proc` hides them (`hidepid`).
    pub hidden: usize,
    /// Whether two readings of the cgroup, one after the other, were the same. If not,
    /// processes came and went faster than they could be read, and these are the last reading.
    pub settled: bool,
}

impl Findings {
    /// Processes that nothing can be missing from.
    const fn all(processes: Vec<Found>) -> Self {
        Self {
            processes,
            hidden: 0,
            settled: true,
        }
    }
}

/// The processes that `target` means, in the order of their creation; at least one. What
/// may be missing is logged as a warning; [`look_up`] gives it as a value.
///
/// This process is never among them, unless it is asked for by its id, nor are threads of
/// the kernel. Of processes of a name that descend from each other only the topmost is
/// given: the others are followed as its descendants.
///
/// # Errors
///
/// When nothing is meant, or it is not clear what is, or it cannot be read.
pub fn find(target: &Target, places: &Places) -> Result<Vec<Found>, TargetsError> {
    let findings = look_up(target, places)?;
    if findings.hidden > 0 {
        log::warn!(
            "{} more {} there, of another PID namespace or hidden in /proc, and cannot be attached to",
            findings.hidden,
            if findings.hidden == 1 {
                "process is"
            } else {
                "processes are"
            }
        );
    }
    if !findings.settled {
        log::warn!(
            "processes come and go faster than they can be listed: those whose parents ended meanwhile may be missing"
        );
    }
    Ok(findings.processes)
}

/// As [`find`], with what may be missing.
///
/// # Errors
///
/// As [`find`].
pub fn look_up(target: &Target, places: &Places) -> Result<Findings, TargetsError> {
    match target {
        Target::Pid(pid) => process::one(places, *pid).map(|found| Findings::all(vec![found])),
        Target::Name(name) => name::find(places, name).map(Findings::all),
        Target::All => process::every(places).map(Findings::all),
        Target::Cgroup(path) => cgroup::find(places, path),
        Target::Unit(unit) => unit::find(places, unit),
        Target::Container(container) => container::find(places, container),
    }
}
