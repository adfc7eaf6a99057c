//! By container.

use super::{System, TargetsError, container};

/// 64 digits that begin with these.
fn id(begin: &str) -> String {
    format!("{begin:0<64}")
}

/// As each engine names cgroups, by the whole id and by its beginning.
#[test]
fn each_engine() {
    let id = id("ab12cd");
    for path in [
        format!("docker/{id}"),
        format!("system.slice/docker-{id}.scope"),
        format!("machine.slice/libpod-{id}.scope"),
        format!("libpod_parent/libpod-{id}"),
        format!("kubepods/burstable/pod1234-5678/{id}"),
        format!("kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
        format!("kubepods.slice/kubepods-pod1.slice/crio-{id}.scope"),
        format!("system.slice/kubepods-pod1.slice:cri-containerd:{id}"),
    ] {
        let system = System::v2();
        system.process(10, "x", 1, 100);
        system.process(11, "x", 1, 110);
        system.cgroup(&path, &[10]);
        system.cgroup(&format!("{path}/init.scope"), &[11]);
        for asked in [id.as_str(), "ab12cd", "ab12"] {
            assert_eq!(system.find(&container(asked)).unwrap(), [10, 11], "{path}");
        }
    }
}

/// Who watches a container, and what is only called like it, is not in it.
#[test]
fn what_is_no_container() {
    let id = id("ab12cd");
    let system = System::v2();
    system.process(10, "x", 1, 100);
    for path in [
        format!("libpod-conmon-{id}.scope"),
        format!("crio-conmon-{id}.scope"),
        format!("{id}.service"),
        format!("a{id}"),
        format!("docker-{}.scope", id.to_uppercase()),
        "lxc.monitor.ab12".to_owned(),
    ] {
        system.cgroup(&path, &[10]);
        let error = system.find(&container("ab12")).unwrap_err();
        assert!(
            matches!(error, TargetsError::NoContainer { .. }),
            "{path}: {error}"
        );
    }
}

/// In several hierarchies of version 1 it is one container.
#[test]
fn a_container_in_several_hierarchies() {
    let id = id("ab12cd");
    let system = System::hybrid();
    system.process(10, "x", 1, 100);
    system.process(11, "x", 1, 110);
    system.cgroup(&format!("memory/docker/{id}"), &[10, 11]);
    system.cgroup(&format!("systemd/system.slice/docker-{id}.scope"), &[10]);
    assert_eq!(system.find(&container("ab12")).unwrap(), [10, 11]);
}

/// Names of LXC, old and new; of several users, all are told.
#[test]
fn containers_of_lxc() {
    let system = System::v2();
    for pid in [10, 11] {
        system.process(pid, "x", 1, 100);
    }
    system.cgroup("lxc.payload.web 1", &[10]);
    system.cgroup("lxc/old", &[11]);
    assert_eq!(system.find(&container("web 1")).unwrap(), [10]);
    assert_eq!(system.find(&container("old")).unwrap(), [11]);
    system.cgroup("user.slice/lxc.payload.old", &[10]);
    let message = system.message(&container("old"));
    assert!(message.contains("/user.slice/lxc.payload.old"), "{message}");
}

/// More of the id is asked for.
#[test]
fn an_ambiguous_beginning() {
    let system = System::v2();
    system.process(10, "x", 1, 100);
    for begin in ["ab12c", "ab12d"] {
        system.cgroup(&format!("docker/{}", id(begin)), &[10]);
    }
    let message = system.message(&container("ab12"));
    for part in ["ab12c0000000", "ab12d0000000", "/docker/ab12c"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(system.find(&container("ab12c")).unwrap(), [10]);
}

/// A beginning that is too short, and a name.
#[test]
fn what_is_no_id() {
    let system = System::v2();
    system.process(10, "x", 1, 100);
    system.cgroup(&format!("docker/{}", id("abc1")), &[10]);
    let error = system.find(&container("abc")).unwrap_err();
    assert!(
        matches!(error, TargetsError::ShortId { least: 4, .. }),
        "{error}"
    );
    let message = system.message(&container("web"));
    for part in ["docker inspect --format '{{.Id}}' NAME", "\"abc100000000\""] {
        assert!(message.contains(part), "{message}");
    }
}
