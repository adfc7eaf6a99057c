//! Atomics on map values.
//!
//! `SeqCst` only: rustc 1.96 with LLVM 22.1.8 compiles a relaxed fetch-add whose
//! result is used into `lock *(u64 *)(r6 + 0x0) += r1`, without the fetch, and takes
//! the operand for the result. Sequentially consistent ones become
//! `atomic_fetch_add`, which is right. The kernel has them since 5.12; for older ones the
//! object is built without (feature `plain`, see `lock`).

use core::intrinsics::{self, AtomicOrdering};

/// Adds `value`.
///
/// # Safety
///
/// `at` must point into a map value, 8-byte aligned.
#[cfg(not(feature = "plain"))]
#[inline(always)]
pub(crate) unsafe fn add(at: *mut u64, value: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe { fetch_add(at, value) };
}

/// Adds `value`. Relaxed is right here, as nothing is returned: `lock +=`, which every
/// kernel has.
///
/// # Safety
///
/// `at` must point into a map value, 8-byte aligned.
#[cfg(feature = "plain")]
#[inline(always)]
pub(crate) unsafe fn add(at: *mut u64, value: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe { intrinsics::atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(at, value) };
}

/// Adds `value` and returns the value before.
///
/// # Safety
///
/// `at` must point into a map value, 8-byte aligned.
#[cfg(not(feature = "plain"))]
#[inline(always)]
pub(crate) unsafe fn fetch_add(at: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller vouches for the pointer.
    unsafe { intrinsics::atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(at, value) }
}

/// Stores `value` and returns the value before.
///
/// # Safety
///
/// As for [`fetch_add`].
#[cfg(not(feature = "plain"))]
#[inline(always)]
pub(crate) unsafe fn swap(at: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller vouches for the pointer.
    unsafe { intrinsics::atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(at, value) }
}

/// Stores `new` if the value is `old`; true if it was.
///
/// # Safety
///
/// As for [`fetch_add`].
#[cfg(not(feature = "plain"))]
#[inline(always)]
pub(crate) unsafe fn replace(at: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller vouches for the pointer.
    let (_, replaced) = unsafe {
        intrinsics::atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
            at, old, new,
        )
    };
    replaced
}
