//! Why the command cannot have a cgroup of its own.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::targets::TargetsError;

/// What helps where memtrace's cgroup cannot have any below it: systemd gives it one that can.
const DELEGATE: &str = "give memtrace a cgroup that it may divide: `systemd-run --scope -p Delegate=yes memtrace run --own-cgroup -- CMD`, with `--user` if you are not root";

/// The command could not be given a cgroup of its own. It was not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnCgroupError {
    /// It cannot be read what is mounted.
    #[error("no cgroup for the command: {0}: the command was not run")]
    Unknown(#[from] TargetsError),
    /// No hierarchy of version 2.
    #[error("no cgroup for the command: no cgroup v2 is mounted here: the command was not run")]
    NotMounted,
    /// The memory controller is with version 1.
    #[error(
        "no cgroup for the command: the memory controller is with cgroup v1 here ({}), and memtrace uses that of v2 alone: the command was not run",
        mount.display()
    )]
    Version1 {
        /// Where that is mounted.
        mount: PathBuf,
    },
    /// The cgroup of this process has no memory controller to give on.
    #[error(
        "no cgroup for the command: {}, in which memtrace runs, has no memory controller: the command was not run",
        directory.display()
    )]
    NoController {
        /// The cgroup.
        directory: PathBuf,
    },
    /// This process is outside of what is mounted.
    #[error(
        "no cgroup for the command: memtrace's own, {}, is not part of what is mounted on {}: the command was not run",
        path.display(),
        mount.display()
    )]
    Outside {
        /// The cgroup of this process.
        path: PathBuf,
        /// Where the hierarchy is mounted.
        mount: PathBuf,
    },
    /// "No Internal Process Constraint".
    #[error(
        "no cgroup for the command: other processes are in {} with memtrace, and then the kernel does not account memory of cgroups below it: the command was not run",
        directory.display()
    )]
    Occupied {
        /// The cgroup of this process.
        directory: PathBuf,
    },
    /// The kernel refused something.
    #[error("no cgroup for the command: cannot {operation} {}: {source}: the command was not run", path.display())]
    System {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl OwnCgroupError {
    pub(super) fn system(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::System {
            operation,
            path: path.to_path_buf(),
            source,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NotMounted => {
                Some("mount it (`mount -t cgroup2 none /sys/fs/cgroup`), or leave out --own-cgroup")
            }
            Self::Version1 { .. } => Some(
                "boot with systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1=memory, or leave out --own-cgroup",
            ),
            Self::Outside { .. } => {
                Some("mount cgroup2 where memtrace runs, or leave out --own-cgroup")
            }
            Self::NoController { .. } | Self::Occupied { .. } => Some(DELEGATE),
            Self::System { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some(DELEGATE)
                }
                _ => None,
            },
            Self::Unknown(_) => None,
        }
    }
}
