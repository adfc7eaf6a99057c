//! What this process got from its parent and must hand on to the command:
//! ignored signals, the signal mask, closed standard streams.
//!
//! Rust's runtime changes two of them before `main`: it ignores SIGPIPE, and it
//! opens `/dev/null` on standard streams that are closed. A constructor that
//! runs before the runtime looks at both, so that `trap '' PIPE; memtrace ...`
//! and `memtrace ... <&-` reach the command unchanged.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Highest signal number of Linux, `_NSIG` (MIPS has more and is no target).
pub(super) const LAST_SIGNAL: i32 = 64;

/// Bit 0 to 2: this standard stream was closed; bit 3: SIGPIPE was ignored.
static AT_START: AtomicU8 = AtomicU8::new(0);
const PIPE_IGNORED: u8 = 1 << 3;

extern "C" fn look_before_runtime() {
    let mut seen = 0;
    for stream in 0..3 {
        // SAFETY: F_GETFD only asks about a number, valid or not.
        if unsafe { libc::fcntl(stream, libc::F_GETFD) } == -1 {
            seen |= 1 << stream;
        }
    }
    if is_ignored(libc::SIGPIPE) {
        seen |= PIPE_IGNORED;
    }
    AT_START.store(seen, Ordering::Relaxed);
}

// SAFETY: the C library calls every pointer in this section once, before
// `main`, as a function; this one uses nothing that needs the Rust runtime.
#[unsafe(link_section = ".init_array")]
#[used]
static LOOK_BEFORE_RUNTIME: extern "C" fn() = look_before_runtime;

/// Whether the disposition of a signal is to ignore it.
fn is_ignored(signal: i32) -> bool {
    action(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

/// The present action of a signal; `None` for numbers that have none.
pub(super) fn action(signal: i32) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only reads, into memory of the right type.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid `sigaction`, and the call filled it.
    (result == 0).then(|| unsafe { action.assume_init() })
}

/// The signal state that a command is to be started with.
#[derive(Clone, Copy)]
pub struct Inherited {
    /// Bit `n - 1`: signal `n` is ignored.
    pub(super) ignored: u64,
    /// The signal mask.
    pub(super) mask: libc::sigset_t,
    /// Bit `n`: standard stream `n` is closed.
    pub(super) closed_streams: u8,
}

impl Inherited {
    /// What the calling thread would hand on now, except that SIGPIPE is as it
    /// was when the process began: Rust's runtime ignores it.
    #[must_use]
    pub fn current() -> Self {
        let at_start = AT_START.load(Ordering::Relaxed);
        let mut ignored = 0;
        for signal in 1..=LAST_SIGNAL {
            let is_ignored = if signal == libc::SIGPIPE {
                at_start & PIPE_IGNORED != 0
            } else {
                is_ignored(signal)
            };
            if is_ignored {
                ignored |= bit(signal);
            }
        }
        let mut closed_streams = 0;
        for stream in 0..3_u8 {
            if at_start & (1 << stream) != 0 && is_dev_null(i32::from(stream)) {
                closed_streams |= 1 << stream;
            }
        }
        Self {
            ignored,
            mask: thread_mask(),
            closed_streams,
        }
    }

    /// Whether the command is to ignore this signal.
    #[must_use]
    pub fn ignores(&self, signal: i32) -> bool {
        self.ignored & bit(signal) != 0
    }
}

impl std::fmt::Debug for Inherited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inherited")
            .field("ignored", &format_args!("{:#x}", self.ignored))
            .field("closed_streams", &self.closed_streams)
            .finish_non_exhaustive()
    }
}

/// The bit of a signal in a set, 0 for a number out of range.
pub(super) fn bit(signal: i32) -> u64 {
    u32::try_from(signal - 1)
        .ok()
        .and_then(|shift| 1_u64.checked_shl(shift))
        .unwrap_or(0)
}

/// Whether a standard stream still is what the runtime put on a closed one.
fn is_dev_null(stream: i32) -> bool {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: fstat fills memory of the right type, or fails on a bad number.
    if unsafe { libc::fstat(stream, stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: all-zero bytes are a valid `stat`, and the call filled it.
    let stat = unsafe { stat.assume_init() };
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3)
}

/// The signal mask of the calling thread.
pub(super) fn thread_mask() -> libc::sigset_t {
    swap_mask(libc::SIG_BLOCK, None)
}

/// Changes the signal mask of the calling thread; returns the one before.
pub(super) fn swap_mask(how: i32, set: Option<&libc::sigset_t>) -> libc::sigset_t {
    let mut old = empty_set();
    let set = set.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: both pointers are null or point to a `sigset_t`. The call can
    // only fail for an unknown `how`, which no caller here passes.
    unsafe { libc::pthread_sigmask(how, set, &raw mut old) };
    old
}

/// A set with no signal in it.
pub(super) fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigemptyset initialises the set it is given and cannot fail.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// A set of some signals.
pub(super) fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = empty_set();
    for &signal in signals {
        // SAFETY: the set is initialised; an invalid number only fails.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// A set of all signals.
pub(super) fn full_set() -> libc::sigset_t {
    let mut set = empty_set();
    // SAFETY: the set is initialised; sigfillset cannot fail.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}
