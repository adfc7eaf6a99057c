//! What somebody shows who looks on, and how often.

use std::{
    fs::File,
    io::{Read, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use anyhow::{Context as _, Result};
use memtrace_tests::PATIENCE;
use nix::pty::{Winsize, openpty};

/// What is in each screen once: the cursor goes.
const SCREENS: &[u8] = b"\x1b[?25l";
/// What is behind each look of plain lines.
pub(crate) const LOOKS: &[u8] = b"\n\n";

/// How often something is shown, counted while it is read.
#[derive(Debug)]
pub(crate) struct Screens(Receiver<()>);

impl Screens {
    /// Reads to the end, in a thread of its own, and counts `mark`.
    pub(crate) fn read(mut from: impl Read + Send + 'static, mark: &'static [u8]) -> Self {
        let (shown, screens) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 65536];
            let mut matched = 0;
            // A terminal that nobody writes to any more gives an error.
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                for byte in bytes.iter().take(read) {
                    matched = if mark.get(matched) == Some(byte) {
                        matched + 1
                    } else {
                        usize::from(mark.first() == Some(byte))
                    };
                    if matched == mark.len() {
                        matched = 0;
                        // Nobody may be left who wants to know.
                        let _ = shown.send(());
                    }
                }
            }
        });
        Self(screens)
    }

    /// Waits for the first.
    pub(crate) fn first(&mut self) -> Result<()> {
        self.0
            .recv_timeout(PATIENCE)
            .context("wait for the first screen")
    }

    /// How many there were since that was asked last.
    pub(crate) fn since_last(&mut self) -> usize {
        self.0.try_iter().count()
    }
}

/// `memtrace top` on a terminal of its own.
#[derive(Debug)]
pub(crate) struct OnTerminal {
    child: Child,
    terminal: File,
    screens: Screens,
}

impl OnTerminal {
    /// Of the whole machine.
    pub(crate) fn start(memtrace: &Path, directory: &Path) -> Result<Self> {
        let size = Winsize {
            ws_row: 40,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).context("open a terminal")?;
        let end = || pty.slave.try_clone().map(Stdio::from);
        let mut command = Command::new(memtrace);
        command
            .arg("top")
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(directory)
            .process_group(0);
        let child = command
            .stdin(end()?)
            .stdout(end()?)
            .stderr(Stdio::null())
            .spawn()
            .context("start memtrace top")?;
        let terminal = File::from(pty.master);
        let screens = Screens::read(terminal.try_clone()?, SCREENS);
        Ok(Self {
            child,
            terminal,
            screens,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) const fn screens(&mut self) -> &mut Screens {
        &mut self.screens
    }

    /// Has it end.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.terminal.write_all(b"q").context("press a key")?;
        let status = self.child.wait().context("wait for memtrace top")?;
        anyhow::ensure!(status.success(), "memtrace top ended with {status}");
        Ok(())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // Where something went wrong before it was left.
        let _ = self.child.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::{LOOKS, Screens};

    #[test]
    fn what_is_shown_is_counted() {
        let mut screens = Screens::read(Cursor::new(b"a\nb\n\nc\n\n\nd\n".to_vec()), LOOKS);
        assert!(screens.first().is_ok());
        assert!(screens.first().is_ok());
        // Its end is the reader's.
        assert!(screens.first().is_err());
        assert_eq!(screens.since_last(), 0);
    }
}
