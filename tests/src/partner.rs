//! A running command that a test talks with over its standard input and output.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::fd::AsFd as _,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
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
    /// It says something else, nothing, or ends.
    pub fn expect(&mut self, line: &str) -> Result<()> {
        let said = self
            .line()
            .with_context(|| format!("the command shall say {line:?}"))?;
        ensure!(
            said == line,
            "the command says {said:?} instead of {line:?}"
        );
        Ok(())
    }

    /// What it says next, up to the end of the line; nothing if it has ended.
    ///
    /// # Errors
    /// It says nothing.
    pub fn line(&mut self) -> Result<String> {
        let mut said = Vec::new();
        while said.last() != Some(&b'\n') {
            let heard = self.hear()?;
            let end = heard.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(heard.len(), |at| at + 1);
            if length == 0 {
                break;
            }
            said.extend(&heard[..length]);
            self.output.consume(length);
        }
        Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
    }

    /// What it said and nobody read yet, or says next; nothing if whoever could say something is
    /// gone.
    fn hear(&mut self) -> Result<&[u8]> {
        if self.output.buffer().is_empty() {
            let pipe = self.output.get_ref().as_fd();
            let mut pipe = [PollFd::new(pipe, PollFlags::POLLIN)];
            let limit = PollTimeout::try_from(PATIENCE).context("a limit for poll(2)")?;
            let ready = poll(&mut pipe, limit).context("wait for what the command says")?;
            ensure!(ready > 0, "after {PATIENCE:?} it says nothing and goes on");
        }
        self.output.fill_buf().context("read what the command says")
    }

    /// The lines up to an empty one; there is at least one.
    ///
    /// # Errors
    /// It has ended.
    pub fn paragraph(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                ensure!(!lines.is_empty(), "it says no more");
                return Ok(lines);
            }
            lines.push(line);
        }
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
        let start = Instant::now();
        let mut rest = Vec::new();
        // First: it cannot end while the pipe is full.
        loop {
            let heard = self.hear().context("the command shall end")?;
            let length = heard.len();
            if length == 0 {
                break;
            }
            rest.extend(heard);
            self.output.consume(length);
            ensure!(
                start.elapsed() < PATIENCE,
                "still talking after {PATIENCE:?}"
            );
        }
        let status = wait(&mut self.child, PATIENCE)?;
        self.ended = true;
        Ok((status, String::from_utf8_lossy(&rest).into_owned()))
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
