//! Clearing and copying a few words.
//!
//! The compiler makes a call of `memset` or `memmove` of what would be plain assignments, and
//! for BPF that is a loop over bytes, which costs at each run and which the verifier follows
//! byte by byte. Stores that it must take one by one stay what they are.

/// Sets the words to 0.
///
/// # Safety
///
/// `at` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn clear<T: Default, const N: usize>(at: *mut [T; N]) {
    for index in 0..N {
        // SAFETY: the index is below the array's length.
        unsafe { at.cast::<T>().add(index).write_volatile(T::default()) };
    }
}

/// Copies the words.
///
/// # Safety
///
/// `to` must be valid for writes, `from` for reads.
#[inline(always)]
pub(crate) unsafe fn copy<T: Copy, const N: usize>(to: *mut [T; N], from: *const [T; N]) {
    for index in 0..N {
        // SAFETY: the index is below the array's length.
        unsafe {
            let word = from.cast::<T>().add(index).read_volatile();
            to.cast::<T>().add(index).write_volatile(word);
        }
    }
}
