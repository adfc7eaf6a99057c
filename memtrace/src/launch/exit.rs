//! Ending as the command ended.

use super::inherited::{set_of, swap_mask};

/// Exit status of a failure that is ours and not the command's.
pub const OWN_FAILURE: i32 = 125;

/// Ends this process as the command ended: with the same exit status, or by
/// the same signal, so that a shell loop stops at Ctrl-C and a caller sees the
/// truth. Never leaves a core dump of this process.
///
/// `status` is a status of wait4(2). Flush what you wrote to standard output
/// before: a death by signal does not, and waiting for its lock here could
/// hang on another thread.
pub fn exit_like(status: i32) -> ! {
    if libc::WIFEXITED(status) {
        std::process::exit(libc::WEXITSTATUS(status));
    }
    if !libc::WIFSIGNALED(status) {
        std::process::exit(OWN_FAILURE);
    }
    let signal = libc::WTERMSIG(status);
    let no_core = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is a live struct, prctl gets plain numbers, and no
    // handler function is installed. The limit alone is not enough: a pipe in
    // core_pattern ignores it (core(5)).
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    // If it was blocked, it takes effect here.
    swap_mask(libc::SIG_UNBLOCK, Some(&set_of(&[signal])));
    std::process::exit(128 + signal)
}
