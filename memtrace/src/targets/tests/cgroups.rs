//! By path, and how a cgroup is read.

use std::{cell::Cell, fs, io, os::unix::fs::symlink, path::Path};

use super::{
    super::{look_up, members::settled},
    OWN, System, TargetsError, cgroup,
};

/// From the root of the file system, of the hierarchy, with and without a slash, and as a
/// line of `/proc/PID/cgroup`; with those below.
#[test]
fn each_way_to_write_a_path() {
    let system = System::v2();
    for (pid, started) in [(10, 300), (11, 200), (12, 100), (13, 50)] {
        system.process(pid, "x", 1, started);
    }
    let directory = system.cgroup("a.slice/b", &[10, 11, OWN]);
    system.cgroup("a.slice/b/c/d", &[12]);
    system.cgroup("a.slice/bb", &[13]);
    let whole = directory.to_str().unwrap();
    for path in [
        whole,
        "/a.slice/b",
        "a.slice/b",
        "a.slice/b/",
        "0::/a.slice/b",
    ] {
        assert_eq!(system.find(&cgroup(path)).unwrap(), [12, 11, 10], "{path}");
    }
}

/// It says where was looked, and does not leave the hierarchies.
#[test]
fn there_is_no_such_cgroup() {
    let system = System::v2();
    system.cgroup("a", &[]);
    for path in ["/b", "../proc", "a/cgroup.procs", "/tmp", "3:memory:/a"] {
        let error = system.find(&cgroup(path)).unwrap_err();
        assert!(
            matches!(error, TargetsError::NoCgroup { .. }),
            "{path}: {error}"
        );
    }
    let message = system.message(&cgroup("/b\n"));
    let looked = system.cgroups().join("b\\n");
    assert!(message.contains(looked.to_str().unwrap()), "{message}");
}

#[test]
fn nothing_runs_there() {
    let system = System::v2();
    system.cgroup("a/b", &[OWN]);
    let error = system.find(&cgroup("/a")).unwrap_err();
    assert!(matches!(error, TargetsError::EmptyCgroup(_)), "{error}");
}

/// Version 1: by a controller's directory, a symbolic link to one, a line, and where the
/// hierarchies agree by the path alone.
#[test]
fn hierarchies_of_version_1() {
    let system = System::v1();
    symlink("cpu,cpuacct", system.cgroups().join("cpu")).unwrap();
    for pid in [10, 11] {
        system.process(pid, "x", 1, 100);
    }
    system.cgroup("memory/a", &[10]);
    system.cgroup("cpu,cpuacct/a", &[11]);
    for (path, pid) in [
        ("memory/a", 10),
        ("cpu/a", 11),
        ("4:memory:/a", 10),
        ("3:cpu,cpuacct:/a", 11),
    ] {
        assert_eq!(system.find(&cgroup(path)).unwrap(), [pid], "{path}");
    }
    let TargetsError::AmbiguousCgroup { found, .. } = system.find(&cgroup("/a")).unwrap_err()
    else {
        panic!("two different cgroups are one");
    };
    assert_eq!(found.len(), 2);
    // An empty one is not meant; equal ones are one.
    system.cgroup("cpu,cpuacct/a", &[]);
    assert_eq!(system.find(&cgroup("/a")).unwrap(), [10]);
    system.cgroup("cpu,cpuacct/a", &[10]);
    assert_eq!(system.find(&cgroup("/a")).unwrap(), [10]);
}

/// A container without a cgroup namespace has a part of the tree.
#[test]
fn a_part_of_the_tree_is_mounted() {
    let system = System::new().mounted("", "/docker/x\\040y", "cgroup2 cgroup2 rw");
    system.process(10, "x", 1, 100);
    system.cgroup("a", &[10]);
    assert_eq!(system.find(&cgroup("/docker/x y/a")).unwrap(), [10]);
}

/// Those without an id here, and those that /proc hides, are counted.
#[test]
fn hidden_processes_are_counted() {
    let system = System::v2();
    system.process(10, "x", 1, 100);
    system.cgroup("a", &[0, 10, 0]);
    system.cgroup("a/b", &[77]);
    let findings = look_up(&cgroup("/a"), &system.places()).unwrap();
    assert_eq!((findings.processes.len(), findings.hidden), (1, 3));
    assert!(findings.settled);
    let error = system.find(&cgroup("/a/b")).unwrap_err();
    assert!(
        matches!(error, TargetsError::Hidden { hidden: 1, .. }),
        "{error}"
    );
}

/// A process that forks and ends while it is read: the list is read until it stays.
#[test]
fn readings_are_repeated_until_they_agree() {
    let system = System::v2();
    for (pid, started) in [(10, 100), (11, 110), (12, 120)] {
        system.process(pid, "x", 1, started);
    }
    let directory = system.cgroup("a", &[]);
    let count = Cell::new(0);
    let read = |_: &Path| -> io::Result<Vec<u8>> {
        count.set(count.get() + 1);
        // The first has ended, and is not in /proc.
        let lists = ["9\n10\n", "10\n11\n", "11\n12\n", "11\n12\n"];
        Ok(lists[count.get() - 1].as_bytes().to_vec())
    };
    let findings = settled(&system.places(), &[directory], &read).unwrap();
    let pids: Vec<i32> = findings.processes.iter().map(|found| found.pid).collect();
    assert_eq!(
        (pids, findings.hidden, findings.settled),
        (vec![11, 12], 0, true)
    );
    assert_eq!(count.get(), 4);
}

/// The id is listed twice, and is another process's: that has to be seen again.
#[test]
fn an_id_that_is_used_again_is_another_process() {
    let system = System::v2();
    let directory = system.cgroup("a", &[]);
    let count = Cell::new(0_u64);
    let read = |_: &Path| -> io::Result<Vec<u8>> {
        count.set(count.get() + 1);
        system.process(10, "x", 1, 100 * count.get().min(3));
        Ok(b"10\n".to_vec())
    };
    let findings = settled(&system.places(), &[directory], &read).unwrap();
    assert_eq!(findings.processes[0].started, 300);
    assert_eq!(count.get(), 4);
}

/// Where they never agree it comes to an end, and says so.
#[test]
fn restless_cgroups_are_said_to_be_so() {
    let system = System::v2();
    for pid in [10, 11] {
        system.process(pid, "x", 1, 100);
    }
    let directory = system.cgroup("a", &[]);
    let count = Cell::new(0);
    let read = |_: &Path| -> io::Result<Vec<u8>> {
        count.set(count.get() + 1);
        Ok(format!("{}\n", 10 + count.get() % 2).into_bytes())
    };
    let findings = settled(&system.places(), &[directory], &read).unwrap();
    assert!(!findings.settled);
    assert_eq!(findings.processes.len(), 1);
}

/// Threaded cgroups list threads only.
#[test]
fn threads_stand_for_their_processes() {
    let system = System::v2();
    system.process(10, "x", 1, 100);
    for tid in [10, 15] {
        system.process(tid, "x", 1, 100);
        fs::write(
            system.directory(tid).join("status"),
            "Name:\tx\nTgid:\t10\n",
        )
        .unwrap();
    }
    let directory = system.cgroup("a", &[]);
    let read = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
        Some("cgroup.threads") => Ok(b"10\n15\n0\n".to_vec()),
        _ => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
    };
    let findings = settled(&system.places(), &[directory], &read).unwrap();
    let pids: Vec<i32> = findings.processes.iter().map(|found| found.pid).collect();
    assert_eq!((pids, findings.hidden), (vec![10], 1));
}

/// A cgroup may be removed, and may be somebody else's.
#[test]
fn removed_and_forbidden() {
    let system = System::v2();
    let directory = system.cgroup("a", &[]);
    let answer = |code| {
        let read = move |_: &Path| Err(io::Error::from_raw_os_error(code));
        settled(&system.places(), std::slice::from_ref(&directory), &read)
    };
    for code in [libc::ENOENT, libc::ENODEV] {
        assert!(answer(code).unwrap().processes.is_empty());
    }
    let denied = answer(libc::EACCES).unwrap_err();
    assert!(matches!(denied, TargetsError::Denied(_)), "{denied}");
    let failed = answer(libc::EIO).unwrap_err();
    assert!(matches!(failed, TargetsError::Read { .. }), "{failed}");
}
