//! Trees of files as `/proc` and cgroup file systems are, for tests.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::Places;

/// The id of memtrace in these trees.
pub(crate) const OWN: i32 = 4242;

/// A system of files, removed at the end of the test.
pub(crate) struct System {
    _removed: tempfile::TempDir,
    root: PathBuf,
    mounts: String,
}

impl System {
    /// Nothing is mounted, and memtrace's own directory in `/proc` is empty.
    pub(crate) fn bare() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let system = Self {
            _removed: directory,
            root,
            mounts: String::new(),
        };
        fs::create_dir_all(system.directory(OWN)).unwrap();
        symlink(OWN.to_string(), system.proc().join("self")).unwrap();
        system
    }

    /// With a hierarchy more.
    pub(crate) fn mounted(mut self, at: &str, root: &str, kind: &str) -> Self {
        let mount = self.cgroups().join(at);
        fs::create_dir_all(&mount).unwrap();
        let mount = mount.to_str().unwrap().trim_end_matches('/').to_owned();
        self.mounts += &format!("31 23 0:28 {root} {mount} rw,relatime shared:9 - {kind}\n");
        self
    }

    /// Where hierarchies are mounted.
    pub(crate) fn cgroups(&self) -> PathBuf {
        self.root.join("cgroup")
    }

    /// A cgroup with these files.
    pub(crate) fn cgroup_with(&self, path: impl AsRef<Path>, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.cgroups().join(path);
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        directory
    }

    fn proc(&self) -> PathBuf {
        self.root.join("proc")
    }

    /// Of a process.
    pub(crate) fn directory(&self, pid: i32) -> PathBuf {
        self.proc().join(pid.to_string())
    }

    pub(crate) fn places(&self) -> Places {
        fs::write(self.directory(OWN).join("mountinfo"), &self.mounts).unwrap();
        Places::at(&self.proc()).unwrap()
    }
}
