//! Atomics on map values, of which only one thread knows.

/// Adds `value`.
///
/// # Safety
///
/// `at` must point into a map value.
pub(crate) unsafe fn add(at: *mut u64, value: u64) {
    // SAFETY: as the caller vouches.
    unsafe { *at = (*at).wrapping_add(value) };
}
