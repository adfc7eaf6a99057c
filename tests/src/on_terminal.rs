//! memtrace on a terminal of its own.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    poll::{PollFd, PollFlags, poll},
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use crate::{Lab, PATIENCE, memtrace, output::wait};

/// What enters the other screen.
pub const ENTERS: &str = "\x1b[?1049h";
/// What leaves it.
pub const LEAVES: &str = "\x1b[?1049l";

/// memtrace on a terminal of 100 columns and 30 lines; killed if it is dropped before its end.
#[derive(Debug)]
pub struct OnTerminal {
    child: Child,
    terminal: File,
    far_end: OwnedFd,
    shown: String,
    ended: bool,
}

impl OnTerminal {
    /// Starts it with these arguments, with its standard input and output on the terminal, and its standard error on
    /// a pipe that nobody reads.
    ///
    /// # Errors
    /// There is no terminal, or it cannot be started.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Result<Self> {
        let mut command = with_default_signals();
        command.arg(memtrace()?).args(arguments);
        // Of a group that its parent could continue, or it would not stop (`is_current_pgrp_orphaned()`,
        // kernel/exit.c).
        command.process_group(0);
        Self::with(lab, command, |_| Ok(Stdio::piped()))
    }

    /// Starts it with all three streams on the terminal, whose keys send it signals.
    ///
    /// # Errors
    /// As for [`OnTerminal::start`].
    pub fn start_session(lab: &Lab, arguments: &[&str]) -> Result<Self> {
        let mut command = with_default_signals();
        command.args(["setsid", "--ctty"]);
        command.arg(memtrace()?).args(arguments);
        Self::with(lab, command, |end| Ok(Stdio::from(end.try_clone()?)))
    }

    fn with(
        lab: &Lab,
        mut command: Command,
        stderr: impl FnOnce(&OwnedFd) -> Result<Stdio>,
    ) -> Result<Self> {
        let size = Winsize {
            ws_row: 30,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None)?;
        let end = || pty.slave.try_clone().map(Stdio::from);
        let child = command
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(lab.dir())
            .stdin(end()?)
            .stdout(end()?)
            .stderr(stderr(&pty.slave)?)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self {
            child,
            terminal: File::from(pty.master),
            far_end: pty.slave,
            shown: String::new(),
            ended: false,
        })
    }

    /// Reads what it writes until this is in it.
    ///
    /// # Errors
    /// It does not write that.
    pub fn await_text(&mut self, text: &str) -> Result<()> {
        /// How often it is looked whether it lives.
        const LOOK: u16 = 100;
        let mut bytes = [0; 4096];
        let began = Instant::now();
        while !self.shown.contains(text) {
            // Before it is looked for its last words.
            let has_ended = self.has_ended()?;
            let mut ready = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, LOOK)? > 0 {
                let read = self.terminal.read(&mut bytes)?;
                let more = bytes.get(..read).unwrap_or_default();
                self.shown.push_str(&String::from_utf8_lossy(more));
                continue;
            }
            ensure!(!has_ended, "it ended without {text:?} in {:?}", self.shown);
            ensure!(
                began.elapsed() < PATIENCE,
                "no {text:?} in {:?}",
                self.shown
            );
        }
        Ok(())
    }

    /// Whether it has ended; it stays to be waited for.
    fn has_ended(&self) -> Result<bool> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(self.ended || waitid(Id::Pid(pid), how)? != WaitStatus::StillAlive)
    }

    /// What it has written since it was last forgotten, as far as that was read.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Forgets what it has written so far.
    pub fn forget(&mut self) {
        self.shown.clear();
    }

    /// Types something.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.terminal.write_all(keys.as_bytes())?;
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).context("send a signal")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the terminal is in raw mode.
    ///
    /// # Errors
    /// The terminal does not tell.
    pub fn is_raw(&self) -> Result<bool> {
        let modes = tcgetattr(self.far_end.as_fd())?;
        Ok(!modes.local_flags.contains(LocalFlags::ICANON))
    }

    /// The terminal goes away, as when its window is closed.
    ///
    /// # Errors
    /// There is nothing in its place.
    pub fn hang_up(&mut self) -> Result<()> {
        self.far_end = File::open("/dev/null")?.into();
        self.terminal = File::open("/dev/null")?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&mut self) -> Result<ExitStatus> {
        let status = wait(&mut self.child, PATIENCE)?;
        self.ended = true;
        Ok(status)
    }
}

/// What follows has the default disposition of every signal: whoever runs the tests may ignore those of keys.
fn with_default_signals() -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal");
    command
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if !self.ended {
            let _ = wait(&mut self.child, std::time::Duration::ZERO);
        }
    }
}
