//! Why a command could not be started.

use std::ffi::OsString;
use std::io;

use super::exit::OWN_FAILURE;
use super::running::Finished;

/// A command did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The command line has no command.
    #[error("no command to run: give one after the options")]
    NoCommand,
    /// A string with a NUL byte inside cannot be handed to the kernel.
    #[error("the {what} {value:?} contains a NUL byte, which no program can be given")]
    Nul {
        /// What the string is.
        what: &'static str,
        /// The string.
        value: OsString,
    },
    /// `-u` names nobody.
    #[error("no user {0:?} on this machine: give a name of `getent passwd` or a numeric user id")]
    UnknownUser(String),
    /// The user database could not be read.
    #[error("cannot look up user {user:?}")]
    UserLookup {
        /// The name or id that was looked up.
        user: String,
        /// What the user database said.
        source: io::Error,
    },
    /// Changing to another user failed before the `exec`.
    #[error(
        "cannot {operation} for user {user:?}: {source}; run memtrace as root (sudo) to use -u"
    )]
    SwitchUser {
        /// The call that failed.
        operation: &'static str,
        /// The user asked for.
        user: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The directory to start in cannot be entered.
    #[error("cannot change to directory {directory:?}: {source}")]
    ChangeDirectory {
        /// The directory asked for.
        directory: OsString,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The `exec` failed. The text is GNU time's, without the program's name.
    #[error("cannot run {}: {}", file.display(), strerror(source))]
    CannotRun {
        /// The command's name as given.
        file: OsString,
        /// The kernel's answer.
        source: io::Error,
        /// The end of the process that was to become the command; its exit
        /// status is [`LaunchError::exit_code`].
        finished: Box<Finished>,
    },
    /// The process ended before it was released, for instance by Ctrl-C.
    #[error("the command was ended before it started")]
    EndedEarly(Box<Finished>),
    /// A system call of ours failed.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl LaunchError {
    /// The exit status to end with: 127 when the command does not exist, 126
    /// when it cannot be run, 125 for every failure of our own.
    ///
    /// For [`LaunchError::EndedEarly`] use [`exit_like`](super::exit_like) on
    /// the status inside.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::CannotRun { source, .. } => exec_exit_code(source.raw_os_error().unwrap_or(0)),
            _ => OWN_FAILURE,
        }
    }

    /// A closure for `map_err` that names what failed.
    pub(super) fn system(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { operation, source }
    }
}

/// The exit status for a failed `exec`, as shells and GNU tools choose it.
pub(super) fn exec_exit_code(errno: i32) -> i32 {
    if errno == libc::ENOENT { 127 } else { 126 }
}

/// The text of strerror(3): what [`io::Error`] prints, without its number.
pub(super) fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}
