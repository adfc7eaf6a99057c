//! A running command that a test talks with over its standard input and output.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{PATIENCE, output::wait};

/// A command with piped standard input and output; killed if it is dropped before its end.
#[derive(Debug)]
pub struct Partner {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    ended: bool,
}

impl Partner {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no pipe to the command")?);
        Ok(Self {
            child,
            input,
            output,
            ended: false,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says exactly this line.
    ///
    /// # Errors
    /// It says something else or ends.
    pub fn expect(&mut self, line: &str) -> Result<()> {
        let mut said = String::new();
        self.output
            .read_line(&mut said)
            .context("read what the command says")?;
        ensure!(
            said.trim_end() == line,
            "the command says {said:?} instead of {line:?}"
        );
        Ok(())
    }

    /// Lets it go on: one byte for the next `hear`.
    ///
    /// # Errors
    /// It is gone.
    pub fn tell(&mut self) -> Result<()> {
        let input = self.input.as_mut().context("its input was closed")?;
        input
            .write_all(b"\n")
            .and_then(|()| input.flush())
            .context("write to the command")
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid().cast_signed()), signal)
            .with_context(|| format!("send {signal}"))
    }

    /// Ends its standard input, which is what `hear` waits for.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Ends its standard input (which is what `hear` waits for) and waits for its end.
    /// Returns how it ended and what it said since the last [`Partner::expect`].
    ///
    /// # Errors
    /// It does not end.
    pub fn finish(mut self) -> Result<(ExitStatus, String)> {
        self.input = None;
        let status = wait(&mut self.child, PATIENCE)?;
        self.ended = true;
        let mut rest = String::new();
        self.output
            .read_to_string(&mut rest)
            .context("read the rest of what the command says")?;
        Ok((status, rest))
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        if !self.ended {
            // What remains is killed with it or ends with its standard input.
            let _ = wait(&mut self.child, Duration::ZERO);
        }
    }
}
