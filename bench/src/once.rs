//! One run of a command, with its wall time and the CPU time of all that was waited for.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::Lab;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

/// What a run took.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Wall time, ms.
    pub(crate) wall_ms: f64,
    /// User and system time of the process and its descendants that were waited for, ms.
    pub(crate) cpu_ms: f64,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

/// Runs a command line in a directory, with an empty environment but for `PATH`.
///
/// CPU time is the growth of that of all children: nothing else may be waited for meanwhile.
pub(crate) fn run(lab: &Lab, line: &[String], directory: &Path) -> Result<Run> {
    let (program, arguments) = line.split_first().context("an empty command line")?;
    let errors = lab.path("stderr-of-the-run");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&errors).context("create a file for standard error")?);
    let before = cpu_ms()?;
    let start = Instant::now();
    let status = command.status().with_context(|| format!("run {program}"))?;
    let wall_ms = start.elapsed().as_secs_f64() * 1e3;
    let cpu_ms = cpu_ms()? - before;
    let stderr = String::from_utf8_lossy(&fs::read(&errors)?).into_owned();
    ensure!(
        status.success(),
        "`{}` ended with {status}: {}",
        line.join(" "),
        stderr.lines().next().unwrap_or_default()
    );
    Ok(Run {
        wall_ms,
        cpu_ms,
        stderr,
    })
}

fn cpu_ms() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("read the children's CPU time")?;
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(us as f64 / 1e3)
}
