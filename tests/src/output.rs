//! Runs a command to its end and keeps what it wrote.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::PATIENCE;

/// How a command ended and what it wrote.
#[derive(Clone, Debug)]
pub struct Finished {
    /// As `wait` gave it.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit status, `None` if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Checks that it ended with status 0.
    ///
    /// # Errors
    /// It did not; what it wrote is in the message.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            Ok(self)
        } else {
            bail!(
                "ended with {}; stdout: {:?}; stderr: {:?}",
                self.status,
                self.stdout,
                self.stderr
            )
        }
    }
}

/// Runs a command to its end. Its output goes through files in `dir`, so that it
/// never waits for a reader. Standard input is empty unless the command says otherwise.
///
/// # Errors
/// It cannot be started or does not end ([`PATIENCE`]); then it and its descendants are killed.
pub fn run_to_end(command: &mut Command, dir: &Path) -> Result<Finished> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let (out, err) = (
        dir.join(format!("stdout.{number}")),
        dir.join(format!("stderr.{number}")),
    );
    command.stdin(Stdio::null());
    command.stdout(File::create(&out).context("create a file for stdout")?);
    command.stderr(File::create(&err).context("create a file for stderr")?);
    let mut child = command
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let status = wait(&mut child, PATIENCE).with_context(|| {
        format!(
            "{command:?}; stderr: {:?}",
            fs::read_to_string(&err).unwrap_or_default()
        )
    })?;
    let text =
        |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let finished = Finished {
        status,
        stdout: text(&out)?,
        stderr: text(&err)?,
    };
    fs::remove_file(&out)?;
    fs::remove_file(&err)?;
    Ok(finished)
}

/// Waits for a child; after `limit` kills it and its descendants.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() > limit {
            let mut doomed = vec![child.id()];
            doomed.extend(descendants(child.id()));
            for pid in doomed {
                // It may have ended by itself meanwhile.
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
            child.wait()?;
            bail!("still running after {limit:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The pids of all living descendants of a process.
#[must_use]
pub fn descendants(of: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == pid)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    found.split_off(1)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
