//! Tests of what is read and of what is concluded from it.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;

/// Root on a usual machine.
fn root() -> Access {
    Access {
        capabilities: 0x1ff_ffff_ffff,
        uid: 0,
        initial_user_namespace: Some(true),
        seccomp: false,
        maps_are_locked: false,
        proc: Proc::Own,
        unprivileged_bpf_disabled: Some(2),
        lockdown: Lockdown::None,
        btf: true,
        tracefs: None,
    }
}

#[test]
fn capabilities_that_suffice() {
    for (capabilities, enough) in [
        (0, false),
        (capability::BPF, false),
        (capability::PERFMON, false),
        (capability::BPF | capability::PERFMON, true),
        (capability::SYS_ADMIN, true),
        (capability::SYS_PTRACE | capability::SYS_RESOURCE, false),
    ] {
        assert_eq!(
            Access {
                capabilities,
                ..root()
            }
            .may_trace(),
            enough,
            "{capabilities:#x}"
        );
    }
    assert!(
        !Access {
            initial_user_namespace: Some(false),
            ..root()
        }
        .may_trace()
    );
}

#[test]
fn bits_are_those_of_the_kernels_header() {
    assert_eq!(capability::SYS_PTRACE.trailing_zeros(), 19);
    assert_eq!(capability::SYS_ADMIN.trailing_zeros(), 21);
    assert_eq!(capability::SYS_RESOURCE.trailing_zeros(), 24);
    assert_eq!(capability::PERFMON.trailing_zeros(), 38);
    assert_eq!(capability::BPF.trailing_zeros(), 39);
}

#[test]
fn the_most_likely_cause() {
    let user = Access {
        capabilities: 0,
        uid: 1000,
        ..root()
    };
    let bpf_only = Access {
        capabilities: capability::BPF,
        ..user.clone()
    };
    let setcap = Access {
        capabilities: capability::BPF | capability::PERFMON,
        ..user.clone()
    };
    let cases = [
        (
            user.clone(),
            Some(libc::EPERM),
            Obstacle::Capabilities {
                missing: vec!["CAP_BPF", "CAP_PERFMON"],
            },
        ),
        // The verifier of old kernels says EACCES where a privilege is missing.
        (
            user.clone(),
            Some(libc::EACCES),
            Obstacle::Capabilities {
                missing: vec!["CAP_BPF", "CAP_PERFMON"],
            },
        ),
        (
            bpf_only,
            Some(libc::EPERM),
            Obstacle::Capabilities {
                missing: vec!["CAP_PERFMON"],
            },
        ),
        (
            Access {
                initial_user_namespace: Some(false),
                ..root()
            },
            Some(libc::EPERM),
            Obstacle::UserNamespace,
        ),
        (root(), Some(libc::ENOSYS), Obstacle::NoBpf),
        (
            Access {
                unprivileged_bpf_disabled: None,
                ..root()
            },
            Some(libc::EPERM),
            Obstacle::NoBpf,
        ),
        (
            Access {
                btf: false,
                ..root()
            },
            Some(libc::ENOENT),
            Obstacle::NoBtf,
        ),
        (
            Access {
                btf: false,
                ..root()
            },
            None,
            Obstacle::NoBtf,
        ),
        (
            Access {
                lockdown: Lockdown::Confidentiality,
                ..root()
            },
            Some(libc::EPERM),
            Obstacle::Lockdown,
        ),
        (
            Access {
                lockdown: Lockdown::Confidentiality,
                ..root()
            },
            Some(libc::EINVAL),
            Obstacle::Lockdown,
        ),
        (
            Access {
                lockdown: Lockdown::Integrity,
                ..root()
            },
            Some(libc::EPERM),
            Obstacle::SecurityModule,
        ),
        (
            Access {
                maps_are_locked: true,
                ..setcap.clone()
            },
            Some(libc::EPERM),
            Obstacle::LockedMemory,
        ),
        // Since 5.11 that limit does not matter.
        (setcap.clone(), Some(libc::EPERM), Obstacle::SecurityModule),
        (
            Access {
                seccomp: true,
                ..setcap
            },
            Some(libc::EPERM),
            Obstacle::Seccomp,
        ),
        (
            Access {
                seccomp: true,
                ..root()
            },
            Some(libc::ENOSYS),
            Obstacle::Seccomp,
        ),
        (
            Access {
                seccomp: true,
                unprivileged_bpf_disabled: None,
                ..root()
            },
            Some(libc::ENOSYS),
            Obstacle::NoBpf,
        ),
        (
            Access {
                proc: Proc::Missing,
                ..user.clone()
            },
            Some(libc::EPERM),
            Obstacle::NoProc,
        ),
        (
            Access {
                seccomp: true,
                ..root()
            },
            Some(libc::EPERM),
            Obstacle::Seccomp,
        ),
        (root(), Some(libc::ENOMEM), Obstacle::NoMemory),
        (root(), Some(libc::EINVAL), Obstacle::Unknown),
        (root(), None, Obstacle::Unknown),
    ];
    for (access, errno, expected) in cases {
        assert_eq!(
            access.explain(errno),
            expected,
            "errno {errno:?}, {access:?}"
        );
    }
}

#[test]
fn releases() {
    for (text, expected) in [
        ("5.10.0-32-amd64\n", Some((5, 10))),
        ("6.18.44-fc", Some((6, 18))),
        ("7.0-rc1", Some((7, 0))),
        ("5", None),
        ("", None),
    ] {
        assert_eq!(release(text), expected, "{text:?}");
    }
}

#[test]
fn what_is_at_proc() {
    let own = std::process::id();
    assert_eq!(Proc::at(Path::new("/proc"), own), Proc::Own);
    assert_eq!(Proc::at(Path::new("/proc"), own + 1), Proc::OfOthers);
    assert_eq!(Proc::at(Path::new("/nonexistent"), own), Proc::Missing);
}

#[test]
fn lockdown_modes() {
    for (text, expected) in [
        ("[none] integrity confidentiality\n", Lockdown::None),
        ("none [integrity] confidentiality\n", Lockdown::Integrity),
        (
            "none integrity [confidentiality]\n",
            Lockdown::Confidentiality,
        ),
        ("none integrity confidentiality", Lockdown::Unknown),
        ("]none[", Lockdown::Unknown),
        ("", Lockdown::Unknown),
    ] {
        assert_eq!(lockdown(text), expected, "{text:?}");
    }
}

#[test]
fn fields_of_status() {
    let status = "Name:\tCapEff: 12\nUid:\t1000\t0\t1000\t1000\nCapEffX:\t1\nCapEff:\t000000c000000000\nSeccomp:\t2\n";
    assert_eq!(field(status, "CapEff"), Some("000000c000000000"));
    assert_eq!(field(status, "Uid"), Some("1000\t0\t1000\t1000"));
    assert_eq!(field(status, "Gid"), None);
}

#[test]
fn an_empty_root_gives_nothing() {
    let none = Access::read(Path::new("/nonexistent"));
    assert!(!none.may_trace());
    assert_eq!(none.capabilities, 0);
    assert_eq!(none.uid, u32::MAX);
    assert!(!none.btf);
    assert_eq!(none.lockdown, Lockdown::Unknown);
    assert_eq!(none.tracefs, None);
    assert_eq!(none.proc, Proc::Missing);
}

#[test]
fn this_process_agrees_with_the_system() {
    let access = Access::of_this_process();
    assert_eq!(access.uid, nix::unistd::geteuid().as_raw());
    let status = procfs::process::Process::myself()
        .unwrap()
        .status()
        .unwrap();
    assert_eq!(access.capabilities, status.capeff);
}
