//! What a command prints while the screen has the terminal: kept in a file without a name, and shown afterwards.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    thread::JoinHandle,
};

use memtrace::launch::{Spec, UserSpec};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::SigSet,
    unistd::{fchown, pipe2},
};

use super::nameless::nameless;

/// The file, and how what the command prints gets there: through a pipe, because whoever opens its streams by name
/// (`/dev/stderr`) would cut a file short.
pub(super) struct Kept {
    file: File,
    /// The pipe's end for the command.
    end: OwnedFd,
    /// Dropped when nothing more is waited for.
    over: OwnedFd,
    thread: JoinHandle<io::Result<()>>,
    stdout: bool,
    stderr: bool,
}

impl Kept {
    /// Keeps what would go to a terminal; `None` if nothing would. A command of another user may open its streams by
    /// name.
    pub(super) fn prepare(user: Option<&UserSpec>) -> io::Result<Option<Self>> {
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        if !stdout && !stderr {
            return Ok(None);
        }
        let file = nameless()?;
        let (from, end) = pipe2(OFlag::O_CLOEXEC)?;
        if let Some(user) = user {
            fchown(&end, Some(user.uid.into()), Some(user.gid.into()))?;
        }
        // Of this end alone: the command's writes wait for room.
        fcntl(&from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (is_over, over) = pipe2(OFlag::O_CLOEXEC)?;
        let to = file.try_clone()?;
        // Signals are for the main thread.
        let before = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        let thread = std::thread::Builder::new()
            .name("memtrace-kept".to_owned())
            .spawn(move || keep(File::from(from), &is_over, to));
        before.thread_set_mask()?;
        Ok(Some(Self {
            file,
            end,
            over,
            thread: thread?,
            stdout,
            stderr,
        }))
    }

    /// The command with these streams.
    pub(super) fn redirect(&self, mut spec: Spec) -> io::Result<Spec> {
        if self.stdout {
            spec = spec.stdout(File::from(self.end.try_clone()?));
        }
        if self.stderr {
            spec = spec.stderr(File::from(self.end.try_clone()?));
        }
        Ok(spec)
    }

    /// Shows what was printed up to now. Who still runs has nobody any more who reads it.
    pub(super) fn show(self) -> io::Result<()> {
        let Self {
            file,
            over,
            thread,
            stdout,
            ..
        } = self;
        drop(over);
        let kept = thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that reads it has panicked")));
        let mut bytes = [0; 1 << 13];
        let mut at = 0;
        loop {
            let read = file.read_at(&mut bytes, at)?;
            let more = bytes.get(..read).unwrap_or_default();
            if more.is_empty() {
                break;
            }
            at += more.len() as u64;
            if stdout {
                io::stdout().write_all(more)?;
            } else {
                io::stderr().write_all(more)?;
            }
        }
        io::stdout().flush()?;
        kept
    }
}

/// Takes what comes, until nobody can write any more, or until it is over and nothing is left. Without room for it, the
/// command goes on all the same.
fn keep(mut from: File, is_over: &OwnedFd, mut to: File) -> io::Result<()> {
    let mut kept = Ok(());
    let mut bytes = [0; 1 << 16];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return kept,
            Ok(read) => {
                if kept.is_ok() {
                    kept = to.write_all(bytes.get(..read).unwrap_or_default());
                }
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut ready = [
            PollFd::new(from.as_fd(), PollFlags::POLLIN),
            PollFd::new(is_over.as_fd(), PollFlags::empty()),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [more, over] = ready.map(|ready| ready.any().unwrap_or(true));
        if over && !more {
            return kept;
        }
    }
}
