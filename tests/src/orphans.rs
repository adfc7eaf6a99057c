//! Orphans of a killed memtrace become children of the test, which sees how they end.

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl::set_child_subreaper,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{await_some, descendants};

/// While this lives, orphaned descendants of this process become its children
/// (`PR_SET_CHILD_SUBREAPER`, prctl(2)). Only with a [`crate::Lab`]: every child is waited for.
#[derive(Debug)]
pub struct Orphanage(());

impl Orphanage {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open() -> Result<Self> {
        set_child_subreaper(true).context("become a subreaper")?;
        Ok(Self(()))
    }

    /// Waits until this process has no child any more, so that nothing of a tree is left,
    /// stopped or not; gives how the children ended, in order.
    ///
    /// # Errors
    /// Somebody does not end. They are killed then, and described.
    pub fn await_all(&self) -> Result<Vec<WaitStatus>> {
        let mut ended = Vec::new();
        let all = await_some("every orphan ends", || {
            loop {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Err(Errno::ECHILD) => return Ok(Some(())),
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(error).context("wait for orphans"),
                    Ok(WaitStatus::StillAlive) => return Ok(None),
                    Ok(status) => ended.push(status),
                }
            }
        });
        all.with_context(|| format!("left: {:?}", end_them()))?;
        Ok(ended)
    }
}

impl Drop for Orphanage {
    fn drop(&mut self) {
        // It was possible a moment ago.
        let _ = set_child_subreaper(false);
    }
}

/// Kills what is left; gives a description of each.
fn end_them() -> Vec<String> {
    let describe = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.chars().take(60).collect()
    };
    let left = descendants(std::process::id());
    let described = left.iter().map(describe).collect();
    for pid in left {
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
    described
}
