//! Moments, as `crate::moment` has them for BPF programs.

use memtrace_ebpf::{Image, Tree};

use crate::{host::windows, kernel::config, state};

/// Whether numbers change in moments.
pub(crate) fn are_apart() -> bool {
    config!(spin_lock) != 0
}

/// The number of a reading.
pub(crate) fn next_reading(image: *mut Image) -> u64 {
    if !are_apart() {
        return 0;
    }
    // SAFETY: a map value of this thread's.
    unsafe {
        (*image).readings += 1;
        (*image).readings
    }
}

/// Begins one: nobody else's is under way.
pub(crate) fn begin(tree: *mut Tree) {
    if !are_apart() {
        return;
    }
    state::others(state::Point::Moment);
    // SAFETY: a map value of this thread's.
    unsafe {
        assert_eq!((*tree).moment, 0, "a moment within a moment");
        (*tree).moment = 1;
    }
}

/// Ends it.
pub(crate) fn end(tree: *mut Tree) {
    // SAFETY: a map value of this thread's.
    unsafe { (*tree).moment = 0 };
    windows::look(tree);
}
