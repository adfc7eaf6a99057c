//! By unit of systemd.

use super::{System, TargetsError, unit};

/// Each layout has it elsewhere, and other hierarchies do not count.
#[test]
fn a_unit_in_each_layout() {
    for (system, at) in [
        (System::v2(), ""),
        (System::v1(), "systemd/"),
        (System::hybrid(), "systemd/"),
        (System::hybrid(), "unified/"),
    ] {
        system.process(10, "x", 1, 100);
        system.process(11, "x", 1, 90);
        system.cgroup(&format!("{at}system.slice/nginx.service"), &[10]);
        system.cgroup(&format!("{at}system.slice/nginx.service/sub"), &[11]);
        if at == "systemd/" {
            system.cgroup("memory/other/nginx.service", &[10]);
        }
        for name in ["nginx", "nginx.service"] {
            assert_eq!(system.find(&unit(name)).unwrap(), [11, 10], "{at}{name}");
        }
    }
}

/// The hybrid layout has each twice: that is one.
#[test]
fn both_hierarchies_have_one_unit() {
    let system = System::hybrid();
    system.process(10, "x", 1, 100);
    for at in ["systemd", "unified"] {
        system.cgroup(&format!("{at}/user.slice/run-1.scope"), &[10]);
    }
    assert_eq!(system.find(&unit("run-1.scope")).unwrap(), [10]);
    assert_eq!(system.find(&unit("user.slice")).unwrap(), [10]);
    assert_eq!(system.find(&unit("-.slice")).unwrap(), [10]);
}

/// systemd.unit(5) escapes names, and systemd names that files of a cgroup could have.
#[test]
fn escaped_names() {
    let system = System::v2();
    for pid in [10, 11, 12] {
        system.process(pid, "x", 1, 100);
    }
    system.cgroup(r"system.slice/a\x2db@c\x20d.service", &[10]);
    system.cgroup("system.slice/_memory.service", &[11]);
    system.cgroup("system.slice/__x.service", &[12]);
    for (name, pid) in [
        (r"a\x2db@c\x20d", 10),
        (r"a\x2db@c d", 10),
        ("memory.service", 11),
        ("_x", 12),
    ] {
        assert_eq!(system.find(&unit(name)).unwrap(), [pid], "{name}");
    }
}

/// Of two users: the paths are told. One below itself is one.
#[test]
fn several_units_of_a_name() {
    let system = System::v2();
    system.process(10, "x", 1, 100);
    for user in ["1000", "1001"] {
        system.cgroup(&format!("user.slice/{user}/db.service"), &[10]);
    }
    let message = system.message(&unit("db"));
    for path in [
        "/user.slice/1000/db.service",
        "/user.slice/1001/db.service",
        "--cgroup",
    ] {
        assert!(message.contains(path), "{message}");
    }
    system.cgroup("web.service/inner/web.service", &[10]);
    assert_eq!(system.find(&unit("web")).unwrap(), [10]);
}

/// With those that are meant perhaps.
#[test]
fn no_unit_of_the_name() {
    let system = System::v2();
    system.cgroup("system.slice/postgresql@16-main.service", &[]);
    let message = system.message(&unit("postgresql"));
    assert!(message.contains("postgresql@16-main.service"), "{message}");
    let error = system.find(&unit("postgresql@16-main")).unwrap_err();
    assert!(matches!(error, TargetsError::EmptyCgroup(_)), "{error}");
    let without = System::new().mounted("memory", "/", "cgroup cgroup rw,memory");
    let error = without.find(&unit("a")).unwrap_err();
    assert!(matches!(error, TargetsError::NoSystemd), "{error}");
}
