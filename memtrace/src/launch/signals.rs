//! The tracer's own signals while the command runs.
//!
//! The terminal sends Ctrl-C and Ctrl-\ to the command itself, so the tracer
//! leaves them to it and lives to report. What a process sends to the tracer is
//! meant for the command: it is passed on. Ctrl-Z stops both.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::inherited::{Inherited, action, set_of, swap_mask};
use super::running::Running;

/// Received through a descriptor instead of a handler.
const HANDLED: [i32; 8] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGTSTP,
];

/// Those of them that a terminal sends to end the command: when it has ended, what
/// arrived meanwhile is not to end this process before it has reported.
const FROM_KEYBOARD: [i32; 2] = [libc::SIGINT, libc::SIGQUIT];

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// The process that sent it; 0 for the kernel.
    pub sender: i32,
    /// The kernel sent it, which here means the terminal, and to the command
    /// as well.
    pub by_kernel: bool,
}

/// The signals of this process, taken over until [`Signals::restore`] or drop.
///
/// Take them over before the command is forked and before other threads exist:
/// a thread that does not block them would get them, with their default effect.
#[derive(Debug)]
pub struct Signals {
    inherited: Inherited,
    /// The signals blocked for the descriptor.
    blocked: Vec<i32>,
    descriptor: SignalFd,
    restored: bool,
}

impl Signals {
    /// Receives SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCONT and
    /// SIGTSTP through a descriptor from now on, except those that were ignored
    /// already.
    ///
    /// # Errors
    ///
    /// When the kernel has no descriptor left.
    pub fn take_over() -> io::Result<Self> {
        Self::take_over_with(&[])
    }

    /// The same, and SIGINT and SIGQUIT also if they were ignored, as a shell lets its background jobs do when it
    /// has no job control: what a process sends is meant for this one. Those of the keyboard are still not.
    ///
    /// # Errors
    ///
    /// As [`Signals::take_over`].
    pub fn take_over_interrupts() -> io::Result<Self> {
        Self::take_over_with(&FROM_KEYBOARD)
    }

    fn take_over_with(also: &[i32]) -> io::Result<Self> {
        let inherited = Inherited::current();
        let blocked: Vec<_> = HANDLED
            .into_iter()
            .filter(|signal| !inherited.ignores(*signal) || also.contains(signal))
            .collect();
        let set = set_of(&blocked);
        // SAFETY: the set was initialised by sigemptyset.
        let nix_set = unsafe { SigSet::from_sigset_t_unchecked(set) };
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let descriptor = SignalFd::with_flags(&nix_set, flags)?;
        swap_mask(libc::SIG_BLOCK, Some(&set));
        Ok(Self {
            inherited,
            blocked,
            descriptor,
            restored: false,
        })
    }

    /// The state before, for the command.
    #[must_use]
    pub fn inherited(&self) -> &Inherited {
        &self.inherited
    }

    /// The next signal that arrived, without blocking.
    ///
    /// # Errors
    ///
    /// What reading the descriptor gives; not expected.
    pub fn read_signal(&self) -> io::Result<Option<Received>> {
        loop {
            match self.descriptor.read_signal() {
                Ok(info) => {
                    return Ok(info.map(|info| Received {
                        signal: i32::try_from(info.ssi_signo).unwrap_or(0),
                        sender: i32::try_from(info.ssi_pid).unwrap_or(0),
                        // What kill(2), tgkill(2) and sigqueue(3) send is not above 0.
                        by_kernel: info.ssi_code > 0,
                    }));
                }
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Does what is due for every signal that arrived: passes it on to the
    /// command, and stops this process for SIGTSTP.
    ///
    /// # Errors
    ///
    /// When a signal cannot be passed on, for instance to a command that
    /// became another user's; the others are passed on all the same.
    pub fn forward_pending(&self, command: &Running) -> io::Result<()> {
        self.forward_pending_around(command, |_| ())
    }

    /// The same; `stops` is called with true before this process stops, and with false when it goes on.
    ///
    /// # Errors
    ///
    /// As [`Signals::forward_pending`].
    pub fn forward_pending_around(
        &self,
        command: &Running,
        mut stops: impl FnMut(bool),
    ) -> io::Result<()> {
        let mut result = Ok(());
        while let Some(received) = self.read_signal()? {
            // What the terminal sends goes to the whole process group, and
            // what the command sends us it sent in the knowledge of its own.
            let has_it = received.by_kernel || received.sender == command.pid();
            if !has_it && let Err(error) = command.forward(received.signal) {
                result = Err(error);
            }
            if received.signal == libc::SIGTSTP {
                stops(true);
                stop_self();
                stops(false);
            }
        }
        result
    }

    /// Before the command is released: takes the signals that arrived so far
    /// and returns the first that is to end this process. Then drop the
    /// stopped command, call [`Signals::restore`] and end by
    /// [`exit_like`](super::exit_like) with that number as the status.
    ///
    /// # Errors
    ///
    /// As [`Signals::read_signal`].
    pub fn take_fatal(&self) -> io::Result<Option<i32>> {
        self.take_fatal_around(|_| ())
    }

    /// The same; `stops` is called with true before this process stops (SIGTSTP), and with false when it goes on.
    ///
    /// # Errors
    ///
    /// As [`Signals::read_signal`].
    pub fn take_fatal_around(&self, mut stops: impl FnMut(bool)) -> io::Result<Option<i32>> {
        while let Some(received) = self.read_signal()? {
            match received.signal {
                libc::SIGCONT => {}
                libc::SIGTSTP => {
                    stops(true);
                    stop_self();
                    stops(false);
                }
                ignored if received.by_kernel && self.inherited.ignores(ignored) => {}
                fatal => return Ok(Some(fatal)),
            }
        }
        Ok(None)
    }

    /// Gives every signal back the effect it had. What arrived and was not
    /// read takes that effect now, but for SIGINT and SIGQUIT: the command that
    /// they were for has ended.
    pub fn restore(&mut self) {
        if self.restored {
            return;
        }
        self.restored = true;
        for signal in FROM_KEYBOARD {
            if self.blocked.contains(&signal)
                && let Some(old) = action(signal)
            {
                // SAFETY: to ignore a signal drops what is pending of it; no handler function
                // is installed, and the action put back is the one from before.
                unsafe {
                    libc::signal(signal, libc::SIG_IGN);
                    libc::sigaction(signal, &raw const old, std::ptr::null_mut());
                }
            }
        }
        // Only what was not blocked before.
        let was_open = |signal: &i32| {
            // SAFETY: the mask is initialised and the numbers are valid.
            unsafe { libc::sigismember(&raw const self.inherited.mask, *signal) == 0 }
        };
        let ours: Vec<_> = self.blocked.iter().copied().filter(was_open).collect();
        swap_mask(libc::SIG_UNBLOCK, Some(&set_of(&ours)));
    }
}

impl AsFd for Signals {
    /// Readable when a signal has arrived, for an event loop.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Stops this process as Ctrl-Z would, so that the shell sees why, and returns
/// when it is continued.
fn stop_self() {
    let set = set_of(&[libc::SIGTSTP]);
    // SAFETY: no memory is involved. Blocked, it waits for the next line.
    unsafe { libc::raise(libc::SIGTSTP) };
    let mask = swap_mask(libc::SIG_UNBLOCK, Some(&set));
    swap_mask(libc::SIG_SETMASK, Some(&mask));
}
