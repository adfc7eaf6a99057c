//! A command that exists as a process but has not begun.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::{NAME_LEN, Order, Plan, Report, Stage};
use super::error::LaunchError;
use super::inherited::{self, Inherited, full_set, swap_mask};
use super::running::{Finished, Running, boot_time};
use super::spec::Spec;

/// Forks the process that will become the command and leaves it waiting.
///
/// It stays in this process's group, session and terminal. Whatever happens to
/// this process, the waiting one cannot stay behind: it ends when the returned
/// handle is dropped or this process ends in any way.
///
/// # Errors
///
/// When a string holds a NUL byte, or the kernel refuses a socket or a process.
pub fn spawn_stopped(spec: &Spec, inherited: &Inherited) -> Result<Stopped, LaunchError> {
    let mut plan = Plan::new(spec, inherited)?;
    keep_exit_statuses();
    // Both ends are close-on-exec.
    let (ours, theirs) = UnixStream::pair().map_err(LaunchError::system("create a socket pair"))?;
    let (our_fd, their_fd) = (ours.as_raw_fd(), theirs.as_raw_fd());
    // No handler of this process may run in the child.
    let mask = swap_mask(libc::SIG_SETMASK, Some(&full_set()));
    // SAFETY: the child calls nothing but `Plan::run`, which is written for it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is the child, with every signal blocked.
        unsafe { plan.run(their_fd, our_fd) }
    }
    let forked = io::Error::last_os_error();
    swap_mask(libc::SIG_SETMASK, Some(&mask));
    if pid < 0 {
        return Err(LaunchError::System {
            operation: "fork",
            source: forked,
        });
    }
    Ok(Stopped {
        process: Some(Running::new(pid)),
        socket: ours.into(),
        file: spec.argv().first().cloned().unwrap_or_default(),
        user: spec
            .user
            .as_ref()
            .map(|user| user.name.clone())
            .unwrap_or_default(),
        directory: spec.start_dir.clone().unwrap_or_default().into(),
    })
}

/// With SIGCHLD ignored, as some parents leave it, the kernel reaps children by
/// itself and their exit status is lost. The command still starts with what
/// was inherited.
fn keep_exit_statuses() {
    let ignored = inherited::action(libc::SIGCHLD).is_some_and(|action| {
        action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
    });
    if ignored {
        // SAFETY: no handler function is installed.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    }
}

/// A process that waits to become the command.
///
/// Dropping it ends and reaps the process; the command never runs.
#[derive(Debug)]
pub struct Stopped {
    /// `None` once it was released or reaped.
    process: Option<Running>,
    socket: OwnedFd,
    file: OsString,
    user: String,
    directory: OsString,
}

impl Stopped {
    /// The process id, which the command will have too.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, Running::pid)
    }

    /// From now on a thread that traces the process reaps it ([`Running::delegate`]).
    pub(crate) fn delegate(&mut self, reaper: std::sync::mpsc::Receiver<crate::ptrace::Reaped>) {
        if let Some(process) = &mut self.process {
            process.delegate(reaper);
        }
    }

    /// Makes the process name itself by `prctl(PR_SET_NAME)` and waits until it
    /// did. The kernel cuts the name at its first NUL, or to 15 bytes.
    ///
    /// # Errors
    ///
    /// [`LaunchError::EndedEarly`] when the process is gone.
    pub fn rename(&mut self, name: &[u8; NAME_LEN]) -> Result<(), LaunchError> {
        let mut message = [0; NAME_LEN + 1];
        for (to, from) in message
            .iter_mut()
            .zip([Order::Rename as u8].iter().chain(name))
        {
            *to = *from;
        }
        // The last byte of the name stays 0 whatever the caller gave.
        message[NAME_LEN] = 0;
        if self.order(&message)? {
            Ok(())
        } else {
            Err(self.ended_early())
        }
    }

    /// Lets the process become the command; returns when it has.
    ///
    /// # Errors
    ///
    /// [`LaunchError::CannotRun`] when the command does not exist or cannot be
    /// run, [`LaunchError::SwitchUser`] or [`LaunchError::ChangeDirectory`]
    /// when it did not come that far, [`LaunchError::EndedEarly`] when a signal
    /// ended the process. It is reaped in every one of these cases.
    pub fn release(mut self) -> Result<Running, LaunchError> {
        let released_ns = boot_time();
        let mut report = [0_u8; size_of::<Report>()];
        if !self.order(&[Order::Go as u8])? {
            return Err(self.ended_early());
        }
        // Nothing but the end of the stream: the exec closed the socket, or a
        // signal ended the process just before, which waiting will tell.
        let length = self.receive(&mut report)?;
        let Some(mut process) = self.process.take() else {
            return Err(self.ended_early());
        };
        process.released(released_ns);
        if length == 0 {
            return Ok(process);
        }
        let finished = process
            .wait()
            .map_err(LaunchError::system("wait for the command"))?;
        if length != report.len() {
            return Err(LaunchError::EndedEarly(Box::new(finished)));
        }
        let [s0, s1, s2, s3, e0, e1, e2, e3] = report;
        let stage = i32::from_ne_bytes([s0, s1, s2, s3]);
        let source = io::Error::from_raw_os_error(i32::from_ne_bytes([e0, e1, e2, e3]));
        Err(self.explain(stage, source, finished))
    }

    fn explain(&mut self, stage: i32, source: io::Error, finished: Finished) -> LaunchError {
        let user = std::mem::take(&mut self.user);
        let operation = match stage {
            stage if stage == Stage::Directory as i32 => {
                let directory = std::mem::take(&mut self.directory);
                return LaunchError::ChangeDirectory { directory, source };
            }
            stage if stage == Stage::Null as i32 => {
                return LaunchError::System {
                    operation: "open /dev/null for the command",
                    source,
                };
            }
            stage if stage == Stage::Output as i32 => {
                return LaunchError::System {
                    operation: "redirect the command's output",
                    source,
                };
            }
            stage if stage == Stage::Groups as i32 => "set the groups",
            stage if stage == Stage::Gid as i32 => "set the group id",
            stage if stage == Stage::Uid as i32 => "set the user id",
            _ => {
                let file = std::mem::take(&mut self.file);
                let finished = Box::new(finished);
                return LaunchError::CannotRun {
                    file,
                    source,
                    finished,
                };
            }
        };
        LaunchError::SwitchUser {
            operation,
            user,
            source,
        }
    }

    /// Sends an order and waits until it is obeyed; `false` when the process
    /// is gone.
    fn order(&self, message: &[u8]) -> Result<bool, LaunchError> {
        let mut answer = [0_u8; 1];
        Ok(self.send(message) && self.receive(&mut answer)? == answer.len())
    }

    /// Sends all of a message; `false` when the process is gone.
    fn send(&self, message: &[u8]) -> bool {
        let fd = self.socket.as_raw_fd();
        // SAFETY: the buffer is a live slice. So short a message is sent whole.
        let sent = unsafe {
            libc::send(
                fd,
                message.as_ptr().cast(),
                message.len(),
                libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent) == Ok(message.len())
    }

    /// Fills a buffer as far as the stream goes; returns how far.
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, LaunchError> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            if !self.wait_for_input() {
                break;
            }
            match nix::unistd::read(&self.socket, rest) {
                // A reset means that it died before it read our last message.
                Ok(0) | Err(nix::Error::ECONNRESET) => break,
                Ok(got) => done += got,
                Err(nix::Error::EINTR) => {}
                Err(error) => {
                    return Err(LaunchError::System {
                        operation: "read from the waiting command",
                        source: error.into(),
                    });
                }
            }
        }
        Ok(done)
    }

    /// Blocks until there is something to read, the end of the stream too;
    /// `false` when the process is gone and left nothing. Another child of
    /// this program, forked at the wrong moment on another thread, may hold
    /// the far end open, so its end alone would not tell.
    fn wait_for_input(&self) -> bool {
        let Some(pidfd) = self.process.as_ref().and_then(Running::pidfd) else {
            return true;
        };
        let readable = |timeout| {
            let input = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = [input(self.socket.as_fd()), input(pidfd)];
            // After an error, such as a signal, reading blocks or tells.
            poll(&mut fds, timeout).is_err() || fds[0].any().unwrap_or(true)
        };
        // What it sent just before its end may have come between the looks at
        // the two descriptors.
        readable(PollTimeout::NONE) || readable(PollTimeout::ZERO)
    }

    /// Reaps a process that is known to have closed its end.
    fn ended_early(&mut self) -> LaunchError {
        let gone = || io::Error::from_raw_os_error(libc::ECHILD);
        let waited = self
            .process
            .take()
            .ok_or_else(gone)
            .and_then(|mut process| process.wait());
        match waited {
            Ok(finished) => LaunchError::EndedEarly(Box::new(finished)),
            Err(source) => LaunchError::System {
                operation: "wait for the command",
                source,
            },
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SIGKILL also ends a process that someone stopped by SIGSTOP,
            // which would never see that the socket is closed.
            let _ = process.forward(libc::SIGKILL);
            let _ = process.wait();
        }
    }
}
