//! A cgroup of version 1 or 2, removed when dropped.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::Missing;

/// Where version 2 is.
const V2: &str = "/sys/fs/cgroup";

fn missing(kind: &str, what: &Path, error: &io::Error) -> Missing {
    Missing(format!("no {kind} cgroup: {}: {error}", what.display()))
}

/// A cgroup of its own.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one with a limit on memory, below the root of the hierarchy.
    ///
    /// # Errors
    /// There is no memory controller that this process may use.
    pub fn with_memory_limit(bytes: u64) -> Result<Self, Missing> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        if v1.join("memory.limit_in_bytes").exists() {
            Self::make("memory", v1, "memory.limit_in_bytes", bytes)
        } else {
            Self::make("memory", Path::new(V2), "memory.max", bytes)
        }
    }

    /// Makes one with a limit on the number of tasks.
    ///
    /// # Errors
    /// There is no pids controller that this process may use.
    pub fn with_task_limit(tasks: u64) -> Result<Self, Missing> {
        let v1 = Path::new("/sys/fs/cgroup/pids");
        // The root group of either version has no pids.max, only groups below it.
        let root = if v1.join("cgroup.procs").exists() {
            v1
        } else {
            Path::new(V2)
        };
        Self::make("pids", root, "pids.max", tasks)
    }

    /// Makes one that tells what CPU time its tasks have had.
    ///
    /// # Errors
    /// There is no hierarchy in which this process may make one.
    pub fn of_cpu_time() -> Result<Self, Missing> {
        let v1 = Path::new("/sys/fs/cgroup/cpuacct");
        // Of version 2 each group has it, whatever its controllers.
        let root = if v1.join("cgroup.procs").exists() {
            v1
        } else {
            Path::new(V2)
        };
        Self::below("cpuacct", root)
    }

    /// The CPU time that tasks in it have had, nanoseconds, and how exact that is.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn cpu_time(&self) -> Result<(u64, u64)> {
        if let Ok(usage) = fs::read_to_string(self.path.join("cpuacct.usage")) {
            return Ok((usage.trim().parse()?, 1));
        }
        let stat = fs::read_to_string(self.path.join("cpu.stat"))?;
        let usage = stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        let usage: u64 = usage.context("no usage_usec in cpu.stat")?.parse()?;
        Ok((usage * 1000, 1000))
    }

    fn make(kind: &str, root: &Path, limit: &str, value: u64) -> Result<Self, Missing> {
        let group = Self::below(kind, root)?;
        let file = group.path.join(limit);
        fs::write(&file, value.to_string()).map_err(|error| missing(kind, &file, &error))?;
        Ok(group)
    }

    fn below(kind: &str, root: &Path) -> Result<Self, Missing> {
        // Its members may outlive the test: the name is nobody's, whatever PIDs come again.
        let path = tempfile::Builder::new()
            .prefix("memtrace-tests-")
            .disable_cleanup(true)
            .tempdir_in(root)
            .map_err(|error| missing(kind, root, &error))?
            .keep();
        Ok(Self { path })
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// The kernel has no such file or refuses the value.
    pub fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(file), value)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A member that was just reaped may still be leaving.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
