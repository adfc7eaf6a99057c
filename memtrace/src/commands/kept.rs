//! What a command prints while the screen has the terminal: kept in a file without a name, and shown afterwards.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
};

use memtrace::launch::{Spec, UserSpec};

/// The file, and the streams of the command that go to it.
pub(super) struct Kept {
    file: File,
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
        if let Some(user) = user {
            let (owner, group) = (user.uid.into(), user.gid.into());
            nix::unistd::fchown(&file, Some(owner), Some(group))?;
        }
        Ok(Some(Self {
            file,
            stdout,
            stderr,
        }))
    }

    /// The command with these streams.
    pub(super) fn redirect(&self, mut spec: Spec) -> io::Result<Spec> {
        if self.stdout {
            spec = spec.stdout(self.file.try_clone()?);
        }
        if self.stderr {
            spec = spec.stderr(self.file.try_clone()?);
        }
        Ok(spec)
    }

    /// Shows it. Where it is read is not where whoever still has it writes.
    pub(super) fn show(&self) -> io::Result<()> {
        let mut bytes = [0; 1 << 13];
        let mut at = 0;
        loop {
            let read = self.file.read_at(&mut bytes, at)?;
            let more = bytes.get(..read).unwrap_or_default();
            if more.is_empty() {
                break;
            }
            at += more.len() as u64;
            if self.stdout {
                io::stdout().write_all(more)?;
            } else {
                io::stderr().write_all(more)?;
            }
        }
        io::stdout().flush()
    }
}

/// A file in the directory for temporary ones that is gone with whoever has it open.
fn nameless() -> io::Result<File> {
    let path = env::temp_dir().join(format!(
        "memtrace-{}-{:x}",
        std::process::id(),
        memtrace::kernel::clock::boottime().map_err(io::Error::other)?
    ));
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        // Not what somebody else has put there.
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
