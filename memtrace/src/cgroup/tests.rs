//! Trees of files as `/proc` and cgroup file systems are. The kernel makes files in a new cgroup, nobody does here: what
//! is done with a real one is tested in guests.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Cgroup, OwnCgroupError, numbers, place::Place};
use crate::{
    model::{CgroupEvents, CgroupStat},
    targets::testing::{OWN, System},
};

/// In which memtrace's `/proc/self/cgroup` has this.
fn system(cgroup: &str) -> System {
    let system = System::bare();
    fs::write(system.directory(OWN).join("cgroup"), cgroup).unwrap();
    system
}

fn v2(cgroup: &str) -> System {
    system(cgroup).mounted("fs", "/", "cgroup2 cgroup2 rw")
}

fn place(system: &System) -> Result<Place, OwnCgroupError> {
    Place::find(&system.places())
}

fn make(system: &System) -> OwnCgroupError {
    Cgroup::make_at(&place(system).unwrap()).unwrap_err()
}

/// What is below memtrace's cgroup, which nothing may be.
fn directories(of: &Path) -> usize {
    let entries = fs::read_dir(of).unwrap();
    entries
        .filter(|entry| entry.as_ref().unwrap().path().is_dir())
        .count()
}

/// At the root, below it, and with a line of version 1 before.
#[test]
fn memtraces_own_place_is_found() {
    for (told, at) in [
        ("0::/\n", ""),
        ("0::/a.slice/b c\n", "a.slice/b c"),
        ("1:name=systemd:/x\n0::/a\n", "a"),
    ] {
        let system = v2(told);
        let directory = system.cgroup_with("fs", &[]).join(at);
        fs::create_dir_all(&directory).unwrap();
        let place = place(&system).unwrap();
        assert_eq!(place.directory, directory.components().collect::<PathBuf>());
        assert_eq!(place.path, Path::new("/").join(at));
        assert_eq!(place.own, OWN);
    }
}

/// As in a container without a cgroup namespace.
#[test]
fn a_part_of_the_tree_is_mounted() {
    let system = system("0::/docker/x/y\n").mounted("fs", "/docker/x", "cgroup2 cgroup2 rw");
    let directory = system.cgroup_with("fs/y", &[]);
    assert_eq!(place(&system).unwrap().directory, directory);
}

/// Beside the root of the namespace, and where nothing of it is mounted.
#[test]
fn a_place_that_cannot_be_seen_is_outside() {
    for told in ["0::/../x\n", "0::/gone\n"] {
        let error = place(&v2(told)).unwrap_err();
        assert!(matches!(error, OwnCgroupError::Outside { .. }), "{error}");
        assert!(error.remedy().is_some());
    }
}

/// A hybrid system has version 2, but not for memory.
#[test]
fn version_1_has_the_memory_controller() {
    let system = v2("4:memory:/a\n0::/\n").mounted("memory", "/", "cgroup cgroup rw,memory");
    let error = place(&system).unwrap_err();
    assert!(matches!(error, OwnCgroupError::Version1 { .. }), "{error}");
    assert!(error.remedy().unwrap().contains("cgroup_no_v1=memory"));
}

#[test]
fn version_2_is_not_mounted() {
    let without = system("0::/\n");
    let other = system("1:cpu:/\n").mounted("cpu", "/", "cgroup cgroup rw,cpu");
    for system in [without, other] {
        let error = place(&system).unwrap_err();
        assert!(matches!(error, OwnCgroupError::NotMounted), "{error}");
    }
}

/// Controllers come from above, and whoever is above may not have given this one on.
#[test]
fn there_is_no_memory_controller_to_give_on() {
    let system = v2("0::/a\n");
    let directory = system.cgroup_with(
        "fs/a",
        &[("cgroup.controllers", "cpu memory_hotplug pids\n")],
    );
    let error = make(&system);
    assert!(
        matches!(error, OwnCgroupError::NoController { .. }),
        "{error}"
    );
    assert_eq!(directories(&directory), 0);
}

/// The shell beside memtrace, and a process of another PID namespace, which has no id here.
#[test]
fn others_are_in_memtraces_cgroup() {
    for procs in ["10\n4242\n", "4242\n0\n"] {
        let system = v2("0::/a\n");
        let directory = system.cgroup_with(
            "fs/a",
            &[
                ("cgroup.controllers", "cpu memory\n"),
                ("cgroup.subtree_control", "\n"),
                ("cgroup.type", "domain\n"),
                ("cgroup.procs", procs),
            ],
        );
        let error = make(&system);
        assert!(matches!(error, OwnCgroupError::Occupied { .. }), "{error}");
        assert!(
            error
                .remedy()
                .unwrap()
                .contains("systemd-run --scope -p Delegate=yes")
        );
        assert_eq!(directories(&directory), 0);
    }
}

/// The files that a kernel would make are missing: what was made is removed again.
#[test]
fn what_was_made_is_removed_after_an_error() {
    let system = v2("0::/\n");
    let directory = system.cgroup_with(
        "fs",
        &[
            ("cgroup.controllers", "memory\n"),
            ("cgroup.subtree_control", "memory\n"),
        ],
    );
    // Somebody has its name.
    system.cgroup_with("fs/memtrace-4242", &[]);
    let error = make(&system);
    assert!(
        matches!(error, OwnCgroupError::NoController { .. }),
        "{error}"
    );
    assert_eq!(directories(&directory), 1);
}

/// `memory.stat` has many more lines, of which some begin alike.
#[test]
fn numbers_are_read_by_their_names() {
    let stat =
        numbers::stat("anon_thp 9\nanon 1\nfile 2\nkernel 3\nslab_reclaimable 8\nslab 4\nsock x\n");
    let expected = CgroupStat {
        anon: Some(1),
        file: Some(2),
        kernel: Some(3),
        slab: Some(4),
        ..CgroupStat::default()
    };
    assert_eq!(stat, expected);
    let events = numbers::events("low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n");
    let expected = CgroupEvents {
        high: Some(1),
        max: Some(2),
        oom: Some(3),
        oom_kill: Some(4),
    };
    assert_eq!(events, expected);
}

/// A kernel without some of the files.
#[test]
fn what_the_kernel_does_not_have_is_nothing() {
    let system = v2("0::/\n");
    let directory = system.cgroup_with(
        "fs/a",
        &[
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("memory.events", ""),
        ],
    );
    let told = numbers::read(&directory, Path::new("/a"));
    assert_eq!((told.current, told.peak), (Some(4096), Some(8192)));
    assert_eq!(
        (told.swap_peak, told.stat.anon, told.events.max),
        (None, None, None)
    );
    assert_eq!(told.path, b"/a");
}
