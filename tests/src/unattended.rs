//! Runs during which nobody reads what the kernel side writes: memtrace is stopped meanwhile.

use std::{fs, fs::File, process::Command};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::{Finished, Lab, Partner, Run, await_drained, await_state};

impl Lab {
    /// Runs a script under `memtrace run` and keeps memtrace stopped from the script's first
    /// word until its end. The script's own status is then at `start`.
    ///
    /// # Errors
    /// It cannot be run, does not come to its end, or memtrace's JSON breaks the contract.
    pub fn unattended(&self, options: &[&str], words: &str) -> Result<Run> {
        let mut line = self.memtrace_run(options)?;
        line.extend(self.script(&format!("status @start say ready hear {words}")));
        let stderr = self.path("stderr.unattended");
        let mut command: Command = self.fixed(&line);
        command.stderr(File::create(&stderr).context("create a file for stderr")?);
        let mut memtrace = Partner::start(&mut command)?;
        memtrace.expect("ready")?;
        // Nothing writes while the script waits, so that tests can count records from here on.
        await_drained(memtrace.pid())?;
        memtrace.signal(Signal::SIGSTOP)?;
        await_state(memtrace.pid(), "T")?;
        memtrace.end_input();
        await_state(self.status("start")?.pid()?, "Z").context("the command's end")?;
        memtrace.signal(Signal::SIGCONT)?;
        let (status, stdout) = memtrace.finish()?;
        let stderr = fs::read_to_string(&stderr).context("read its stderr")?;
        self.summary(Finished {
            status,
            stdout,
            stderr,
        })
    }
}
