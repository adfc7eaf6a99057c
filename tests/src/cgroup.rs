//! A cgroup of version 1 or 2 with a limit, removed when dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::Missing;

/// Where version 2 is.
const V2: &str = "/sys/fs/cgroup";

/// A cgroup with a limit.
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

    fn make(kind: &str, root: &Path, limit: &str, value: u64) -> Result<Self, Missing> {
        let missing =
            |what: &Path, error| Missing(format!("no {kind} cgroup: {}: {error}", what.display()));
        // Its members may outlive the test: the name is nobody's, whatever PIDs come again.
        let path = tempfile::Builder::new()
            .prefix("memtrace-tests-")
            .disable_cleanup(true)
            .tempdir_in(root)
            .map_err(|error| missing(root, error))?
            .keep();
        let group = Self { path };
        let file = group.path.join(limit);
        fs::write(&file, value.to_string()).map_err(|error| missing(&file, error))?;
        Ok(group)
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// The kernel has no such file or refuses the value.
    pub fn set(&self, file: &str, value: &str) -> std::io::Result<()> {
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
