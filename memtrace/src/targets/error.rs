//! Why it is not known which processes are meant.

use std::{
    fmt, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::report::escape::escape;

/// As many names as a message has room for.
const SHOWN: usize = 8;

/// A container that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The id, or the name of one of LXC's.
    pub id: String,
    /// Its cgroup, from the root of the hierarchy.
    pub cgroup: PathBuf,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", text(&self.id), shown(&self.cgroup))
    }
}

/// It is not known which processes are meant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetsError {
    /// Nobody has this id.
    #[error("there is no process {0}")]
    NoProcess(i32),
    /// Nothing was asked for.
    #[error("the {0} is empty: give one")]
    Empty(&'static str),
    /// Nobody has this name.
    #[error(
        "no process is called {}{}: a name has to be exact, as for pgrep -x",
        text(.name), hint("those that run and contain it", .near)
    )]
    NoName {
        /// The name.
        name: String,
        /// Names of processes that contain it.
        near: Vec<String>,
    },
    /// There are no cgroups here.
    #[error(
        "no cgroup file system is mounted (/proc/self/mountinfo has none): mount one, as with `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    NotMounted,
    /// There is no such cgroup.
    #[error(
        "there is no cgroup {}: looked for {}; a running process's is in /proc/PID/cgroup",
        shown(.cgroup), paths(.looked)
    )]
    NoCgroup {
        /// What was asked for.
        cgroup: PathBuf,
        /// The directories that would have been it.
        looked: Vec<PathBuf>,
    },
    /// Several hierarchies of version 1 have such a cgroup, with different processes.
    #[error(
        "cgroup {} is in several hierarchies, with different processes: give the whole path, one of {}",
        shown(.cgroup), paths(.found)
    )]
    AmbiguousCgroup {
        /// What was asked for.
        cgroup: PathBuf,
        /// All of them.
        found: Vec<PathBuf>,
    },
    /// Nothing runs there.
    #[error("no process that can be measured is in cgroup {} or below it", shown(.0))]
    EmptyCgroup(PathBuf),
    /// All that runs there is out of sight.
    #[error(
        "none of the {hidden} processes in cgroup {} can be seen from here: they are of another PID namespace, or hidden in /proc (hidepid); run memtrace on the host, as root",
        shown(.cgroup)
    )]
    Hidden {
        /// The cgroup.
        cgroup: PathBuf,
        /// How many there are.
        hidden: usize,
    },
    /// systemd has no cgroups here.
    #[error(
        "systemd has no cgroups here: neither cgroup2 nor the hierarchy name=systemd is mounted; --cgroup takes a path"
    )]
    NoSystemd,
    /// No such unit runs.
    #[error(
        "no unit {} is running: no cgroup below {} has its name{}; `systemctl status` tells of units that do not run",
        text(.unit), paths(.looked), hint("names that contain it", .near)
    )]
    NoUnit {
        /// Its name, with the suffix.
        unit: String,
        /// The hierarchies.
        looked: Vec<PathBuf>,
        /// Units that run and whose names contain it.
        near: Vec<String>,
    },
    /// Several units have the name: of the system and of users, or in containers.
    #[error(
        "several units are called {}: {}; give the one that is meant by its path, with --cgroup",
        text(.unit), paths(.found)
    )]
    AmbiguousUnit {
        /// Its name, with the suffix.
        unit: String,
        /// The cgroups, from the root of the hierarchy.
        found: Vec<PathBuf>,
    },
    /// Too little of an id.
    #[error(
        "{} is too short for a container: give at least {least} digits of its id (another container may soon begin with fewer)",
        text(.id)
    )]
    ShortId {
        /// What was given.
        id: String,
        /// How many digits are needed.
        least: usize,
    },
    /// No such container runs.
    #[error(
        "no running container has the id {}{}; names are known to the engine alone, which tells the id: `docker inspect --format '{{{{.Id}}}}' NAME`, or the same with podman",
        text(.id), hint("those that run", .running)
    )]
    NoContainer {
        /// What was given.
        id: String,
        /// Ids of those that there are.
        running: Vec<String>,
    },
    /// Several containers are meant.
    #[error("several containers are {}: {}; give more of the id", text(.id), joined(.found))]
    AmbiguousContainer {
        /// What was given.
        id: String,
        /// All of them.
        found: Vec<Container>,
    },
    /// It may not be read.
    #[error("may not read {}: run memtrace as root (sudo)", shown(.0))]
    Denied(PathBuf),
    /// It cannot be read.
    #[error("cannot read {}: {source}", shown(.path))]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl TargetsError {
    /// What became of reading `path`.
    pub(super) fn reading(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied(path)
        } else {
            Self::Read { path, source }
        }
    }
}

/// A name as it can be printed.
fn text(name: &str) -> String {
    format!("\"{}\"", escape(name.as_bytes()))
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

fn paths(all: &[PathBuf]) -> String {
    let shown: Vec<String> = all.iter().map(|one| shown(one)).collect();
    joined(&shown)
}

/// As many as there is room for.
fn joined(all: &[impl fmt::Display]) -> String {
    let mut shown: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
    if all.len() > SHOWN {
        shown.push(format!("{} more", all.len() - SHOWN));
    }
    shown.join(", ")
}

/// In brackets; nothing if there are none.
fn hint(what: &str, names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = names.iter().map(|name| text(name)).collect();
    format!(" ({what}: {})", joined(&shown))
}
