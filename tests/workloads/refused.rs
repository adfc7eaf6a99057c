//! Forks, execs and other calls that the kernel must refuse.

use crate::{
    process::clone_as,
    sys::{self, SIGCHLD, check, die, sys},
};

const CLONE_PIDFD: usize = 0x1000;
const RLIMIT_NPROC: usize = 6;
const RLIMIT_NOFILE: usize = 7;
const EEXIST: usize = 17;
const EAGAIN: usize = 11;
const EMFILE: usize = 24;
/// The user "nobody" of Debian; any unprivileged one would do.
const NOBODY: usize = 65534;

/// An exec that must fail with this number. `argv` ends with a null pointer.
pub fn exec(argv: &[*const u8], envp: *const *const u8, expected: usize) {
    match sys!(EXECVE, argv[0], argv.as_ptr(), envp) {
        Err(errno) if errno == expected => {}
        result => die(b"exec: not refused as expected", sys::bytes(argv[0]), result.err().unwrap_or(0)),
    }
}

fn set_limit(which: usize, soft: usize) -> usize {
    let mut old = [0usize; 2];
    check(b"prlimit", sys!(PRLIMIT64, 0, which, 0, old.as_mut_ptr()));
    let new = [soft, old[1]];
    check(b"prlimit", sys!(PRLIMIT64, 0, which, new.as_ptr(), 0));
    old[0]
}

/// A fork that must fail for this reason.
pub fn fork(kind: &[u8]) {
    let (result, expected) = match kind {
        b"nproc" => {
            check(b"setresuid", sys!(SETRESUID, NOBODY, NOBODY, NOBODY));
            let old = set_limit(RLIMIT_NPROC, 0);
            let result = sys!(CLONE, SIGCHLD);
            set_limit(RLIMIT_NPROC, old);
            (result, EAGAIN)
        }
        b"pidfd" => {
            let mut pidfd = 0i32;
            let old = set_limit(RLIMIT_NOFILE, 0);
            let result = sys!(CLONE, CLONE_PIDFD | SIGCHLD, 0, &raw mut pidfd);
            set_limit(RLIMIT_NOFILE, old);
            (result, EMFILE)
        }
        b"set-tid" => {
            (clone_as(sys::getpid() as i32), EEXIST)
        }
        b"pids" => (sys!(CLONE, SIGCHLD), EAGAIN),
        _ => die(b"fail-fork", kind, 0),
    };
    match result {
        Err(errno) if errno == expected => {}
        Err(errno) => die(b"fail-fork: another error", kind, errno),
        Ok(0) => sys::exit_group(0),
        Ok(_) => die(b"fail-fork: no error", kind, 0),
    }
}

/// Makes a system call fail with this number from here on, with a seccomp filter (seccomp(2)).
pub fn call(number: usize, errno: usize) {
    const PR_SET_SECCOMP: usize = 22;
    const SECCOMP_MODE_FILTER: usize = 2;
    const RET_ERRNO: u32 = 0x0005_0000;
    const RET_ALLOW: u32 = 0x7fff_0000;
    // struct sock_filter: code, jt, jf and k; loads the number, compares it, returns.
    let step = |code: u16, jt: u8, jf: u8, k: u32| {
        u64::from(code) | u64::from(jt) << 16 | u64::from(jf) << 24 | u64::from(k) << 32
    };
    let filter = [
        step(0x20, 0, 0, 0),
        step(0x15, 0, 1, number as u32),
        step(0x06, 0, 0, RET_ERRNO | errno as u32),
        step(0x06, 0, 0, RET_ALLOW),
    ];
    // struct sock_fprog: the length, and where it is.
    let program = [filter.len(), filter.as_ptr() as usize];
    check(
        b"prctl",
        sys!(PRCTL, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program.as_ptr()),
    );
}
