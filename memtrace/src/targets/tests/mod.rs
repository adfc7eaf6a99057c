//! Trees of files as `/proc` and cgroup file systems are; and the real `/proc`.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cgroups;
mod containers;
mod names;
mod real;
mod units;

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Places, Target, TargetsError, find,
    testing::{OWN, System},
};

impl System {
    fn new() -> Self {
        let system = Self::bare();
        system.process(OWN, "memtrace", 1, 900);
        system
    }

    /// Only version 2.
    fn v2() -> Self {
        Self::new().mounted("", "/", "cgroup2 cgroup2 rw,nsdelegate")
    }

    /// Version 1, with systemd's hierarchy; and version 2 without controllers.
    fn hybrid() -> Self {
        Self::v1().mounted("unified", "/", "cgroup2 cgroup2 rw")
    }

    fn v1() -> Self {
        Self::new()
            .mounted("memory", "/", "cgroup cgroup rw,memory")
            .mounted("cpu,cpuacct", "/", "cgroup cgroup rw,cpu,cpuacct")
            .mounted("systemd", "/", "cgroup cgroup rw,xattr,name=systemd")
    }

    /// A process that sleeps.
    fn process(&self, pid: i32, comm: &str, ppid: i32, started: u64) {
        self.stat(pid, comm, &format!("S {ppid}"), "4194304", 1, started);
    }

    fn stat(&self, pid: i32, comm: &str, state: &str, flags: &str, threads: u32, started: u64) {
        let directory = self.directory(pid);
        fs::create_dir_all(&directory).unwrap();
        let text = format!(
            "{pid} ({comm}) {state} 1 1 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 {threads} 0 {started} 5 6 7\n"
        );
        fs::write(directory.join("stat"), text).unwrap();
    }

    /// A cgroup that lists these.
    fn cgroup(&self, path: &str, pids: &[i32]) -> PathBuf {
        let listed: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        self.cgroup_with(path, &[("cgroup.procs", &listed)])
    }

    fn find(&self, target: &Target) -> Result<Vec<i32>, TargetsError> {
        let found = find(target, &self.places())?;
        Ok(found.iter().map(|found| found.pid).collect())
    }

    fn message(&self, target: &Target) -> String {
        self.find(target).unwrap_err().to_string()
    }
}

fn name(name: &str) -> Target {
    Target::Name(name.to_owned())
}

fn cgroup(path: impl AsRef<Path>) -> Target {
    Target::Cgroup(path.as_ref().to_path_buf())
}

fn unit(unit: &str) -> Target {
    Target::Unit(unit.to_owned())
}

fn container(id: &str) -> Target {
    Target::Container(id.to_owned())
}

/// A process by its id, with the time of its creation.
#[test]
fn a_process_id_is_itself() {
    let system = System::new();
    system.process(7, "a) b (c", 1, 55);
    let found = find(&Target::Pid(7), &system.places()).unwrap();
    assert_eq!((found.len(), found[0].pid, found[0].started), (1, 7, 55));
    assert_eq!(system.message(&Target::Pid(8)), "there is no process 8");
}

/// What is not given is no name of everything.
#[test]
fn nothing_is_asked_for() {
    let system = System::v2();
    for target in [name(""), cgroup(""), unit(""), container("")] {
        let error = system.find(&target).unwrap_err();
        assert!(
            matches!(error, TargetsError::Empty(_)),
            "{target:?}: {error}"
        );
    }
}

/// Each of them says so.
#[test]
fn there_are_no_cgroups() {
    let system = System::new();
    for target in [cgroup("/a"), unit("a"), container("abcd")] {
        let error = system.find(&target).unwrap_err();
        assert!(matches!(error, TargetsError::NotMounted), "{error}");
    }
}
