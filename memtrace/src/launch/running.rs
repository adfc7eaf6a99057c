//! A command that runs, and how it ended.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use crate::ptrace::Reaped;

/// A running child process of this one.
#[derive(Debug)]
pub struct Running {
    pid: i32,
    pidfd: Option<OwnedFd>,
    started_ns: u64,
    finished: Option<Finished>,
    /// Where its end comes from when a tracer of ours reaps it.
    reaper: Option<Receiver<Reaped>>,
}

/// The end of a process.
#[derive(Clone, Copy)]
pub struct Finished {
    /// Status as wait4(2) gives it; read it with `libc::WIFEXITED` and so on.
    pub status: i32,
    /// What the kernel counted for the process and the children it waited for.
    pub rusage: libc::rusage,
    /// When it was let go into its `exec`, or forked if it never was:
    /// nanoseconds of `CLOCK_BOOTTIME`.
    pub started_ns: u64,
    /// When it was reaped: nanoseconds of `CLOCK_BOOTTIME`.
    pub ended_ns: u64,
}

impl Finished {
    /// Wall-clock time from the release to the end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.ended_ns.saturating_sub(self.started_ns))
    }

    /// The same in nanoseconds.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.started_ns)
    }

    /// The exit status, unless a signal ended it.
    #[must_use]
    pub fn exit_status(&self) -> Option<i32> {
        libc::WIFEXITED(self.status).then(|| libc::WEXITSTATUS(self.status))
    }

    /// The signal that ended it, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        libc::WIFSIGNALED(self.status).then(|| libc::WTERMSIG(self.status))
    }
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finished")
            .field("exit_status", &self.exit_status())
            .field("signal", &self.signal())
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

impl Running {
    pub(super) fn new(pid: i32) -> Self {
        Self {
            pid,
            pidfd: open_pidfd(pid).ok(),
            started_ns: boot_time(),
            finished: None,
            reaper: None,
        }
    }

    /// From now on a thread that traces the process reaps it. Waiting for it here as well
    /// would take away what that thread waits for, its stops too. Should the thread end
    /// without having reaped it, waiting here works again.
    pub(super) fn delegate(&mut self, reaper: Receiver<Reaped>) {
        self.reaper = Some(reaper);
    }

    pub(super) fn released(&mut self, at_ns: u64) {
        self.started_ns = at_ns;
    }

    /// The process id. It stays this process's until it has been waited for.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// When it was let go into its `exec`: nanoseconds of `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// A descriptor that becomes readable when the process has ended, for an
    /// event loop. `None` where the kernel has none (before Linux 5.3, or a
    /// sandbox forbids it): then block in [`Running::wait`] or poll
    /// [`Running::try_wait`].
    #[must_use]
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(|fd| fd.as_fd())
    }

    /// A second descriptor like [`Running::pidfd`], to give away.
    ///
    /// # Errors
    ///
    /// When no descriptor is left.
    pub fn try_clone_pidfd(&self) -> io::Result<Option<OwnedFd>> {
        self.pidfd.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// How it ended, if it has. A stopped process has not.
    ///
    /// # Errors
    ///
    /// ECHILD when something else in this program reaped it.
    pub fn try_wait(&mut self) -> io::Result<Option<Finished>> {
        self.wait4(libc::WNOHANG)
    }

    /// Blocks until it has ended. A stopped process has not.
    ///
    /// # Errors
    ///
    /// As [`Running::try_wait`].
    pub fn wait(&mut self) -> io::Result<Finished> {
        loop {
            if let Some(finished) = self.wait4(0)? {
                return Ok(finished);
            }
        }
    }

    /// Sends a signal to it; does nothing once it has been waited for.
    ///
    /// # Errors
    ///
    /// EPERM when it has become another user's, EINVAL for no valid signal.
    pub fn forward(&self, signal: i32) -> io::Result<()> {
        if self.finished.is_some() {
            return Ok(());
        }
        if self.reaper.is_some()
            && let Some(pidfd) = &self.pidfd
        {
            return send_through(pidfd, signal);
        }
        // SAFETY: no memory is involved. The id is that of our child, which
        // nobody else gets before we have waited for it.
        match unsafe { libc::kill(self.pid, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn wait4(&mut self, options: i32) -> io::Result<Option<Finished>> {
        while self.finished.is_none() {
            if let Some(reaper) = &self.reaper {
                let reaped = if options & libc::WNOHANG == 0 {
                    reaper.recv().map_err(|_| TryRecvError::Disconnected)
                } else {
                    reaper.try_recv()
                };
                match reaped {
                    Ok(reaped) => self.end(reaped),
                    Err(TryRecvError::Empty) => return Ok(None),
                    Err(TryRecvError::Disconnected) => self.reaper = None,
                }
                continue;
            }
            let mut status = 0;
            let mut rusage = MaybeUninit::<libc::rusage>::zeroed();
            // SAFETY: both pointers are to live memory of the right types.
            let reaped =
                unsafe { libc::wait4(self.pid, &raw mut status, options, rusage.as_mut_ptr()) };
            if reaped == 0 {
                return Ok(None);
            }
            if reaped < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            // Stops are only told to a tracer; should there be one, go on.
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                // SAFETY: all-zero bytes are a valid `rusage`, and the call
                // filled it.
                let rusage = unsafe { rusage.assume_init() };
                self.end(Reaped { status, rusage });
            }
        }
        Ok(self.finished)
    }

    fn end(&mut self, reaped: Reaped) {
        let Reaped { status, rusage } = reaped;
        self.finished = Some(Finished {
            status,
            rusage,
            started_ns: self.started_ns,
            ended_ns: boot_time(),
        });
    }
}

/// `pidfd_send_signal(2)`: no other process can have the number by now. Nothing to do for
/// one that has ended.
pub(crate) fn send_through(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: a descriptor, numbers, and no siginfo, as for kill(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        gone if gone.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

/// `pidfd_open(2)`; the descriptor is close-on-exec.
///
/// # Errors
///
/// ESRCH when there is no such process; ENOSYS or EPERM where a sandbox forbids it.
pub(crate) fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd)
        .ok()
        .filter(|fd| *fd >= 0)
        .ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call just opened it, and nobody else knows the number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Nanoseconds of `CLOCK_BOOTTIME`: steady, and it goes on through a suspend
/// as the user's own clock does.
pub(super) fn boot_time() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec. The clock exists since 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
