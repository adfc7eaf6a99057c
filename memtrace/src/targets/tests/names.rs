//! By name.

use std::{fs, os::unix::fs::symlink};

use super::{OWN, System, name};

/// In the order of creation, whatever the ids; not those that only contain it.
#[test]
fn all_of_a_name_are_found() {
    let system = System::new();
    system.process(30, "nginx", 1, 500);
    system.process(20, "nginx", 1, 700);
    system.process(10, "nginx2", 1, 100);
    assert_eq!(system.find(&name("nginx")).unwrap(), [30, 20]);
}

/// Children of children too; a parent that is younger only has an id of old.
#[test]
fn only_the_topmost_of_a_tree() {
    let system = System::new();
    system.process(10, "make", 1, 100);
    system.process(11, "sh", 10, 110);
    system.process(12, "make", 11, 120);
    system.process(20, "make", 21, 200);
    system.process(21, "make", 1, 300);
    // What was not read at one moment can be a circle.
    system.process(40, "x", 41, 400);
    system.process(41, "make", 40, 400);
    assert_eq!(system.find(&name("make")).unwrap(), [10, 20, 21, 41]);
}

/// memtrace, threads of the kernel, and what has ended.
#[test]
fn what_cannot_be_meant_is_left_out() {
    let system = System::new();
    system.process(10, "memtrace", 1, 100);
    system.stat(11, "memtrace", "S 2", "2129984", 1, 100);
    system.stat(12, "memtrace", "Z 1", "4194304", 1, 100);
    // Its first thread has ended, another goes on.
    system.stat(13, "memtrace", "Z 1", "4194304", 2, 100);
    let found = system.find(&name("memtrace")).unwrap();
    assert!(!found.contains(&OWN));
    assert_eq!(found, [10, 13]);
}

/// They are anything but a NUL byte.
#[test]
fn hostile_names_of_the_kernel() {
    let system = System::new();
    for (pid, comm) in [(10, "a b"), (11, "a) Z 1 (b"), (12, "a\nb"), (13, ")")] {
        system.process(pid, comm, 1, 100);
        assert_eq!(system.find(&name(comm)).unwrap(), [pid], "{comm:?}");
    }
    let message = system.message(&name("\u{1b}[2J"));
    assert!(
        message.contains(r"\u{1b}[2J") && !message.contains('\u{1b}'),
        "{message}"
    );
}

/// The file of the program, also if it was replaced since.
#[test]
fn the_program_has_the_name() {
    let system = System::new();
    system.process(10, "renamed", 1, 100);
    symlink("/usr/bin/python3.12", system.directory(10).join("exe")).unwrap();
    system.process(11, "other", 1, 110);
    symlink(
        "/opt/python3.12 (deleted)",
        system.directory(11).join("exe"),
    )
    .unwrap();
    assert_eq!(system.find(&name("python3.12")).unwrap(), [10, 11]);
}

/// The kernel keeps 15 bytes.
#[test]
fn long_names_are_in_the_arguments() {
    let system = System::new();
    let long = "a-very-long-name-indeed";
    for (pid, comm, arguments) in [
        (10, "a-very-long-nam", "/opt/a-very-long-name-indeed\0-x\0"),
        (
            11,
            "a-very-long-nam",
            "/bin/sh\0./a-very-long-name-indeed\0",
        ),
        // An editor of that file.
        (12, "vi", "vi\0a-very-long-name-indeed\0"),
        (13, "a-very-long-nam", "a-very-long-name-too\0"),
    ] {
        system.process(pid, comm, 1, 100);
        fs::write(system.directory(pid).join("cmdline"), arguments).unwrap();
    }
    assert_eq!(system.find(&name(long)).unwrap(), [10, 11]);
    // Of a short name the arguments say nothing.
    system.process(14, "x", 1, 100);
    fs::write(system.directory(14).join("cmdline"), "short\0").unwrap();
    assert!(system.find(&name("short")).is_err());
}

/// Names that contain it are told.
#[test]
fn near_names_are_told() {
    let system = System::new();
    system.process(10, "nginx-worker", 1, 100);
    system.process(11, "Nginx", 1, 100);
    system.process(12, "bash", 1, 100);
    assert_eq!(
        system.message(&name("nginx")),
        "no process is called \"nginx\" (those that run and contain it: \"Nginx\", \
         \"nginx-worker\"): a name has to be exact, as for pgrep -x"
    );
}
