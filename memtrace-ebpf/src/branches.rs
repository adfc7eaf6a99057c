//! What each of several roots has with its descendants ([`Branch`]). To be called in a moment of their tree.
//!
//! Functions of their own for the verifier, see `main`; nothing at all where there is but one root.

use memtrace_ebpf::{Image, MEMBERS, Member};

use crate::{accounting::slot, atomic, kernel::config, state, words};

/// A member of the image, which counts, changes by `delta`.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn add(image: *mut Image, member: u32, delta: i64) {
    if config!(branches) != 0 {
        // SAFETY: as the caller vouches.
        branch_add(unsafe { (*image).branch }, member.into(), delta);
    }
}

/// All that belongs to one change of the image is added.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_peak(image: *mut Image, at: u64) {
    if config!(branches) != 0 {
        // SAFETY: as the caller vouches.
        branch_note_peak(unsafe { (*image).branch }, at);
    }
}

/// [`add`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn branch_add(index: u64, member: u64, delta: i64) -> u64 {
    let Some(branch) = state::branch(index as u32) else {
        return 0;
    };
    let member = member as u32 & (MEMBERS as u32 - 1);
    // SAFETY: a map value. Atomic, because another program may be here too, if it gave up the lock.
    unsafe {
        atomic::add(
            slot(&raw mut (*branch).cur, member).cast::<u64>(),
            delta as u64,
        );
        if member != Member::Swap as u32 {
            atomic::add((&raw mut (*branch).rss).cast::<u64>(), delta as u64);
        }
    }
    1
}

/// [`note_peak`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn branch_note_peak(index: u64, at: u64) -> u64 {
    let Some(branch) = state::branch(index as u32) else {
        return 0;
    };
    // SAFETY: a map value.
    unsafe {
        let resident = (*branch).rss;
        if resident > (*branch).peak_rss {
            (*branch).peak_rss = resident;
            (*branch).peak_rss_at = at;
            words::copy(&raw mut (*branch).at_peak, &raw const (*branch).cur);
        }
    }
    1
}
