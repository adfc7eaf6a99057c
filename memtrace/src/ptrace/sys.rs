//! The system calls behind the tracer; the only file of this module with `unsafe`.
//!
//! nix has ptrace(2) and waitid(2) too, but its signal type has no real-time signals:
//! a tracer that cannot name a signal cannot deliver it unchanged.

use std::{
    io,
    mem::MaybeUninit,
    ptr::{null, null_mut},
};

/// `PTRACE_EVENT_STOP` (linux/ptrace.h): a group-stop, or the first stop of a new child.
pub(super) const EVENT_STOP: i32 = 128;

/// What the tracer is told of. Never `PTRACE_O_EXITKILL`: if memtrace dies, the command
/// goes on.
const OPTIONS: i32 = libc::PTRACE_O_TRACEEXIT
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE;

/// `KCMP_VM` (linux/kcmp.h).
const KCMP_VM: i32 = 1;

/// Whose news [`peek`] asks for: of the calling thread's tracees and children only, of
/// threads and processes alike.
const OURS: i32 = libc::__WALL | libc::__WNOTHREAD;

/// Something happened to a thread that this thread traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// The thread.
    pub(super) tid: i32,
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It has ended and waits to be reaped.
    Ended,
    /// It is about to receive a signal.
    Signal(i32),
    /// A `PTRACE_EVENT_*`, with the signal that came with it.
    Event { event: i32, signal: i32 },
}

/// The end of a thread or process, as wait4(2) gives it.
#[derive(Clone, Copy)]
pub(crate) struct Reaped {
    /// The status.
    pub(crate) status: i32,
    /// What the kernel counted for a process and the children it waited for.
    pub(crate) rusage: libc::rusage,
}

fn ptrace(request: libc::c_uint, tid: i32, data: usize) -> io::Result<()> {
    // SAFETY: the requests used here take no address and a number as data.
    let result = unsafe { libc::ptrace(request, tid, null_mut::<libc::c_void>(), data) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the calling thread the tracer of a process, without stopping it.
pub(super) fn seize(pid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_SEIZE, pid, OPTIONS as usize)
}

/// The same without asking for any event, to see whether it is allowed.
pub(super) fn try_seize(pid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_SEIZE, pid, 0)
}

/// Lets a stopped thread go on, with a signal unless that is 0.
pub(super) fn resume(tid: i32, signal: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_CONT, tid, usize::try_from(signal).unwrap_or(0))
}

/// Leaves a thread in its group-stop until SIGCONT.
pub(super) fn listen(tid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_LISTEN, tid, 0)
}

/// What belongs to the event of a stopped thread: for a fork the child's id.
pub(super) fn message(tid: i32) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the data is a pointer to a live unsigned long, as the request wants.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GETEVENTMSG,
            tid,
            null_mut::<libc::c_void>(),
            &raw mut message,
        )
    };
    if result == 0 {
        Ok(message)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Blocks until there is news, and leaves it where it is: a stop ends when the thread is
/// resumed, a zombie when it is reaped. So a signal that a tracee is about to receive
/// stays with it, and is delivered, if this program is killed in between.
///
/// # Errors
///
/// ECHILD when this thread traces nothing any more.
pub(super) fn peek() -> io::Result<News> {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | OURS;
        // SAFETY: the pointer is to live memory of the right type.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
        if result != 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        // SAFETY: all-zero bytes are a valid `siginfo_t`, and the call filled in the
        // fields of a SIGCHLD.
        let (code, tid, status) = unsafe {
            let info = info.assume_init();
            (info.si_code, info.si_pid(), info.si_status())
        };
        let what = match code {
            libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED => What::Ended,
            _ => match (status >> 8, status & 0xff) {
                (0, signal) => What::Signal(signal),
                (event, signal) => What::Event { event, signal },
            },
        };
        return Ok(News { tid, what });
    }
}

/// Takes the news of a stop away, which [`peek`] left.
pub(super) fn take(tid: i32) {
    // SAFETY: no memory is involved. Without WEXITED nothing is reaped.
    unsafe {
        libc::waitid(
            libc::P_PID,
            tid.unsigned_abs(),
            null_mut(),
            libc::WSTOPPED | libc::WNOHANG | OURS,
        )
    };
}

/// Reaps a thread or process of ours that has ended; `None` if it is not there to be reaped.
pub(super) fn reap(tid: i32) -> Option<Reaped> {
    let mut status = 0;
    let mut rusage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live memory of the right types.
    let reaped = unsafe {
        libc::wait4(
            tid,
            &raw mut status,
            libc::WNOHANG | OURS,
            rusage.as_mut_ptr(),
        )
    };
    (reaped == tid).then(|| Reaped {
        status,
        // SAFETY: all-zero bytes are a valid `rusage`, and the call filled it.
        rusage: unsafe { rusage.assume_init() },
    })
}

/// Whether two processes share one address space; `None` where that cannot be told
/// (`CONFIG_KCMP` is off, or a sandbox forbids it).
pub(super) fn same_memory(one: i32, other: i32) -> Option<bool> {
    // SAFETY: kcmp(2) takes numbers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) };
    (order >= 0).then_some(order == 0)
}

/// Whether a file carries capabilities (`security.capability`, capabilities(7)).
pub(super) fn has_capabilities(path: &std::ffi::CStr) -> bool {
    // SAFETY: both strings end with NUL; without a buffer only the size is returned.
    let size = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            null::<libc::c_void>().cast_mut(),
            0,
        )
    };
    size > 0
}

#[cfg(test)]
mod tests {
    use super::{EVENT_STOP, OPTIONS, same_memory};

    /// The command must outlive its tracer.
    #[test]
    fn a_dead_tracer_kills_nothing() {
        assert_eq!(OPTIONS & libc::PTRACE_O_EXITKILL, 0);
        assert_eq!(EVENT_STOP, libc::PTRACE_EVENT_STOP);
    }

    #[test]
    fn a_process_shares_memory_with_itself() {
        let me = std::process::id().cast_signed();
        assert_ne!(same_memory(me, me), Some(false));
    }
}
