//! Why a command could not be traced.

use std::io;

use crate::{
    cgroup::OwnCgroupError,
    kernel::{Access, BtfError, KernelError},
    launch::{Finished, LaunchError, NoRoom, OWN_FAILURE},
    probe::ProbeError,
};

/// What helps when no descriptor is left.
const NO_FILES: &str = "raise the limit on open files (`ulimit -n 1024`)";

/// Tracing did not come about. [`TraceError::remedy`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The command could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The command could not have a cgroup of its own.
    #[error(transparent)]
    Cgroup(#[from] OwnCgroupError),
    /// This process may not have the memory that tracing takes.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// /proc is missing, or is not the one that is needed.
    #[error("{0}: the command was not run")]
    Proc(crate::kernel::Obstacle),
    /// This kernel lacks something.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The kernel refused our programs.
    #[error("{source}: {cause}")]
    Refused {
        /// The most likely reason.
        cause: String,
        /// What helps against it.
        remedy: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<ProbeError>,
    },
    /// Reading the kernel side failed while the command ran or after it.
    #[error("{source}; the command ran, but its numbers are lost")]
    Lost {
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// How the command ended, so that its status can be passed on.
        finished: Box<Finished>,
    },
    /// There is no such process to follow.
    #[error(transparent)]
    Target(#[from] super::TargetError),
    /// Reading the kernel side failed at the end.
    #[error("{source}; the numbers are lost")]
    Unread {
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The recording could not be begun.
    #[error("{0}: the command was not run")]
    Recording(#[from] crate::recording::WriteError),
    /// The same of what runs already.
    #[error("{0}: nothing was measured")]
    Unrecorded(crate::recording::WriteError),
    /// A system call of ours failed.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl TraceError {
    /// The exit status for this failure: 126 and 127 if the command could not be
    /// run, 125 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Launch(error) => error.exit_code(),
            _ => OWN_FAILURE,
        }
    }

    /// How the command ended, if it ran at all.
    #[must_use]
    pub const fn finished(&self) -> Option<&Finished> {
        match self {
            Self::Lost { finished, .. } | Self::Launch(LaunchError::EndedEarly(finished)) => {
                Some(finished)
            }
            _ => None,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Refused { remedy, .. } => Some((*remedy).to_owned()),
            Self::Proc(obstacle) => Some(obstacle.remedy().to_owned()),
            Self::Cgroup(error) => error.remedy().map(str::to_owned),
            Self::NoRoom(error) => Some(error.remedy().to_owned()),
            Self::Kernel(KernelError::Btf(BtfError::Read { .. })) => {
                Some(crate::kernel::Obstacle::NoBtf.remedy().to_owned())
            }
            Self::System { source, .. } | Self::Launch(LaunchError::System { source, .. })
                if source.raw_os_error() == Some(libc::EMFILE) =>
            {
                Some(NO_FILES.to_owned())
            }
            _ => None,
        }
    }

    /// BPF is not permitted or not possible here: something else may work. Not so where
    /// something ran short, or an option asks for too much; that has a remedy, and whoever
    /// may have exact results shall not get others because of it.
    pub(super) fn is_of_bpf(&self) -> bool {
        let errno = match self {
            Self::Kernel(KernelError::Btf(BtfError::Read { source, .. })) => source.raw_os_error(),
            Self::Kernel(_) => None,
            Self::Refused { source, .. } => source.errno(),
            _ => return false,
        };
        !matches!(
            errno,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::E2BIG | libc::EAGAIN)
        )
    }

    /// Why BPF cannot be used, in few words.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Refused { cause, .. } => cause.clone(),
            other => other.to_string(),
        }
    }

    pub(super) fn refused(source: ProbeError) -> Self {
        // Buffers are mapped into this process: its own limits are the likelier cause.
        if source.errno() == Some(libc::ENOMEM)
            && let Some(error) = NoRoom::by_limits()
        {
            log::info!("{source}");
            return error.into();
        }
        let (cause, remedy) = match source.errno() {
            Some(libc::EMFILE) => (
                "this process may not open as many files as tracing needs",
                NO_FILES,
            ),
            // From bpf(2) as a map is created: its size does not fit into a number.
            Some(libc::E2BIG) => (
                "a map of that size is more than the kernel can have",
                "choose a smaller --max-images, --max-processes or --ring-size",
            ),
            Some(libc::EAGAIN) => (
                "signals interrupted the kernel's verification each time",
                "try again when nothing stops this process and lets it go on",
            ),
            _ => return Self::explained(source),
        };
        Self::Refused {
            cause: cause.to_owned(),
            remedy,
            source: Box::new(source),
        }
    }

    fn explained(source: ProbeError) -> Self {
        let obstacle = source.obstacle(&Access::of_this_process());
        Self::Refused {
            cause: obstacle.to_string(),
            remedy: obstacle.remedy(),
            source: Box::new(source),
        }
    }
}
