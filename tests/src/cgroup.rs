//! A memory cgroup of version 1 or 2 with a limit, removed when dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::Missing;

/// A cgroup with a memory limit.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one below the root of the hierarchy.
    ///
    /// # Errors
    /// There is no memory controller that this process may use.
    pub fn with_memory_limit(bytes: u64) -> Result<Self, Missing> {
        let name = format!("memtrace-tests-{}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (path, limit) = if v1.join("memory.limit_in_bytes").exists() {
            (v1.join(name), "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup").join(name), "memory.max")
        };
        let missing =
            |what: &Path, error| Missing(format!("no memory cgroup: {}: {error}", what.display()));
        fs::create_dir(&path).map_err(|error| missing(&path, error))?;
        let group = Self { path };
        let file = group.path.join(limit);
        fs::write(&file, bytes.to_string()).map_err(|error| missing(&file, error))?;
        Ok(group)
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
