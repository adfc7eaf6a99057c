//! Waiting for what must happen. How fast a machine is never decides over a test: a limit is only
//! there so that a hang ends with words.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How long something that must happen may take: much longer than on any machine.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Waits until something is there.
///
/// # Errors
/// It is not after [`PATIENCE`]: `what` names it. Or looking fails.
pub fn await_some<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            bail!("after {PATIENCE:?} this has not happened: {what}");
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Waits until something is so.
///
/// # Errors
/// As [`await_some`].
pub fn await_until(what: &str, mut so: impl FnMut() -> bool) -> Result<()> {
    await_some(what, || Ok(so().then_some(())))
}

/// The state of a process: the letter of `proc_pid_stat(5)`, field 3.
fn state(pid: u32) -> Result<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("read the state of process {pid}"))?;
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.with_context(|| format!("no state in {stat:?}"))
}

/// Waits until the state of a process is one of these letters.
///
/// # Errors
/// As [`await_some`], or the process is gone.
pub fn await_state(pid: u32, states: &str) -> Result<()> {
    await_some(&format!("process {pid} in a state of {states}"), || {
        Ok(states.contains(state(pid)?).then_some(()))
    })
}

/// Whether the state of a process is one of these letters now.
///
/// # Errors
/// The process is gone.
pub fn is_in_state(pid: u32, states: &str) -> Result<bool> {
    Ok(states.contains(state(pid)?))
}
