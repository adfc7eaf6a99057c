//! The lock of a tree, and waiting for it.

use aya_ebpf::{btf_maps::Array, helpers::generated::bpf_probe_read_kernel, macros::btf_map};
use memtrace_ebpf::{Stat, Tree};

use crate::{
    atomic, lock,
    state::{count, now, tree},
};
#[cfg(not(feature = "plain"))]
use crate::{line, moment};

/// How often to try for the lock: first with little time between, as a holder needs
/// less than a microsecond, then with much, for one whose virtual CPU is not running.
/// In rounds, each of which is a function of its own for the verifier.
const SHORT_ROUNDS: u32 = 6;
const LONG_ROUNDS: u32 = 8;

/// How often to try in one round.
const TRIES: u32 = 4;

/// Reads of the clock in a short wait, about a tenth of a microsecond together.
const SHORT_PAUSE: u32 = 4;

/// Copies of [`IDLE`] onto itself in a long wait, less than a millisecond together.
const LONG_PAUSE: u32 = 32;

/// Something to copy where time has to pass: the slowest thing that is allowed. Always
/// zeros, so it does not matter how many CPUs copy it onto itself at once.
#[btf_map]
static IDLE: Array<[u8; IDLE_LEN], 1> = Array::new();
const IDLE_LEN: usize = 128 * 1024;

/// Takes the tree's lock, so that no other program changes the same tree; give the
/// result to [`unlock`].
///
/// The lock makes what concerns several images, the timeline and segments belong to one moment, and
/// where the kernel has nothing better (see `moment`) everything. It is held
/// for one update only and never waited for without end: a program that gives up
/// goes on without it, and what depended on it is not exact (see [`given_up`]).
#[inline(always)]
pub(crate) fn lock(tree: *mut Tree) -> Held {
    // SAFETY: `tree` points at a map value.
    unsafe {
        if lock::take(tree) {
            return Held(1);
        }
        Held(wait_for_lock((*tree).index))
    }
}

/// Whether the tree's lock is held: 1, or 0 if it was given up. A number, so that [`unlock`]
/// need not ask: where the end of a program depends on how it began, the verifier follows all
/// that lies between once for each beginning.
#[must_use]
pub(crate) struct Held(u64);

impl Held {
    /// Nothing is held.
    pub(crate) const NOT: Self = Self(0);
}

/// Returns the tree's lock, if it was held.
#[inline(always)]
pub(crate) fn unlock(tree: *mut Tree, Held(held): Held) {
    // SAFETY: `tree` points at a map value.
    unsafe { lock::give(tree, held) };
}

/// Waits for the lock of the tree at `index`; 1 if it was taken. A function of its own, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn wait_for_lock(index: u64) -> u64 {
    #[cfg(not(feature = "plain"))]
    if moment::are_apart() {
        return line::wait_in_line(index, line::Word::Lock as u64);
    }
    for _ in 0..SHORT_ROUNDS {
        if wait_short(index) != 0 {
            return 1;
        }
    }
    for _ in 0..LONG_ROUNDS {
        if wait_long(index) != 0 {
            return 1;
        }
    }
    given_up(index);
    0
}

/// Tells that the lock, or a moment, was not had: all that its holders change is in doubt.
#[inline(always)]
pub(crate) fn given_up(index: u64) {
    let Some(tree) = tree(index as u32) else {
        return;
    };
    count(Stat::Unlocked);
    // SAFETY: `tree` points at a map value.
    unsafe { atomic::add(&raw mut (*tree).unlocked, 1) };
}

/// One round of [`wait_for_lock`] with little time between tries.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn wait_short(index: u64) -> u64 {
    let Some(tree) = tree(index as u32) else {
        return 0;
    };
    for _ in 0..TRIES {
        for _ in 0..SHORT_PAUSE {
            now();
        }
        // SAFETY: `tree` points at a map value.
        if unsafe { lock::take(tree) } {
            return 1;
        }
    }
    0
}

/// Lets some microseconds pass.
#[inline(always)]
pub(crate) fn pause() {
    if let Some(idle) = IDLE.get_ptr_mut(0) {
        // SAFETY: source and destination are a map value of this length.
        unsafe { bpf_probe_read_kernel(idle.cast(), IDLE_LEN as u32, idle.cast()) };
    }
}

/// Lets time pass between two tries. A function of its own, so that the verifier follows its loop once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn pause_long() -> u64 {
    for _ in 0..LONG_PAUSE {
        pause();
    }
    0
}

/// One round of [`wait_for_lock`] with much time between tries.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn wait_long(index: u64) -> u64 {
    let Some(tree) = tree(index as u32) else {
        return 0;
    };
    for _ in 0..TRIES {
        pause_long();
        // SAFETY: `tree` points at a map value.
        if unsafe { lock::take(tree) } {
            return 1;
        }
    }
    0
}
