//! The moment at which numbers change.
//!
//! All that belongs to one moment, an image's values, its tree's sums and the peaks of both, changes
//! between [`begin`] and [`end`], a few dozen nanoseconds. What is read of the kernel is read before; readings
//! are numbered ([`next_reading`]), because they can come to be booked in another order.
//!
//! Where the kernel does not take a spin lock in programs like these
//! ([`Config::spin_lock`](memtrace_ebpf::Config::spin_lock) is 0) this is nothing at all, and every update
//! takes the tree's lock (`waiting`) instead, and reads under it.

#[cfg(not(feature = "plain"))]
pub(crate) use apart::{are_apart, begin, end, next_reading};
#[cfg(feature = "plain")]
pub(crate) use within_lock::{are_apart, begin, end, next_reading};

#[cfg(not(feature = "plain"))]
mod apart {
    use core::sync::atomic::{Ordering::SeqCst, compiler_fence};

    use memtrace_ebpf::{Image, Tree};

    use crate::{
        atomic,
        kernel::config,
        line::{self, Word},
    };

    /// Whether numbers change in moments.
    #[inline(always)]
    pub(crate) fn are_apart() -> bool {
        cfg!(feature = "lean") || config!(spin_lock) != 0
    }

    /// The number of a reading of the image's counters, to be had before it begins. Only numbers tell
    /// which of two has what the other lacks: the clock of one CPU can be behind another's.
    #[inline(always)]
    pub(crate) fn next_reading(image: *mut Image) -> u64 {
        if !are_apart() {
            return 0;
        }
        // SAFETY: a field of a map value.
        unsafe { atomic::fetch_add(&raw mut (*image).readings, 1) + 1 }
    }

    /// Begins one of the tree, which must point at a map value.
    #[inline(always)]
    pub(crate) fn begin(tree: *mut Tree) {
        if !are_apart() {
            return;
        }
        // SAFETY: fields of a map value.
        unsafe {
            if !atomic::replace(&raw mut (*tree).moment, 0, 1) {
                line::wait_in_line((*tree).index, Word::Moment as u64);
            }
        }
    }

    /// Ends it.
    #[inline(always)]
    pub(crate) fn end(tree: *mut Tree) {
        if !are_apart() {
            return;
        }
        compiler_fence(SeqCst);
        // SAFETY: a field of a map value.
        unsafe {
            let word = &raw mut (*tree).moment;
            if config!(fences) == 0 {
                // Stores of this CPU are seen in their order.
                word.write_volatile(0);
            } else {
                atomic::swap(word, 0);
            }
        }
    }
}

#[cfg(feature = "plain")]
mod within_lock {
    use memtrace_ebpf::{Image, Tree};

    /// They change under the lock.
    #[inline(always)]
    pub(crate) const fn are_apart() -> bool {
        false
    }

    /// All are the same: one comes after the other.
    #[inline(always)]
    pub(crate) const fn next_reading(_image: *mut Image) -> u64 {
        0
    }

    #[inline(always)]
    pub(crate) const fn begin(_tree: *mut Tree) {}

    #[inline(always)]
    pub(crate) const fn end(_tree: *mut Tree) {}
}
