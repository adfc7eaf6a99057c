//! Peaks of the footprint's bounds, and what they were lately, for doubts that are found late.

use core::cmp::min;

use memtrace_ebpf::{EPOCHS, Image, Member, Tree};

use crate::{accounting::files, state};

/// What is shared becomes what was found out since it was taken over last. To be called in a moment, under
/// the tree's lock.
///
/// # Safety
///
/// `tree` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn take_over(tree: *mut Tree, at: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let next = (*tree).shared_next + (*tree).copying;
        if (*tree).shared != next {
            share(tree, next, at);
        }
        (*tree).uncertain = (*tree).uncertain_next;
        (*tree).held_shared = (*tree).held_shared_next;
    }
}

/// So many pages are shared from now on.
#[inline(always)]
unsafe fn share(tree: *mut Tree, pages: i64, at: u64) {
    // SAFETY: a map value, see the callers.
    unsafe {
        let until = (*tree).shared_integral_at;
        if at > until {
            (*tree).shared_integral.add((*tree).shared, at - until);
            (*tree).shared_integral_at = at;
        }
        (*tree).shared = pages;
    }
}

/// An image that is being copied has `delta` more pages of a member: `dup_mmap()` copies page-table entries, so
/// each page that it has is another one's too. Nobody has to be told, as it has no relatives yet. To be called in
/// a moment.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn copied(image: *mut Image, tree: *mut Tree, member: u32, delta: i64, at: u64) {
    if member == Member::Swap as u32 || delta == 0 {
        return;
    }
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        (*image).shared += delta;
        (*tree).copying += delta;
        share(tree, (*tree).shared + delta, at);
    }
}

/// An image that is or was being copied has nothing in common with others. To be called in a moment.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn shares_nothing(image: *mut Image, tree: *mut Tree, at: u64) {
    // SAFETY: the caller vouches for the pointers.
    unsafe { copied(image, tree, Member::Anon as u32, -(*image).shared, at) };
}

/// The copy is complete: from now on what it shares is in the hands of who has the lock. To be called in a moment,
/// under the tree's lock.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn is_copied(image: *mut Image, tree: *mut Tree) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        (*tree).copying -= (*image).shared;
        (*tree).shared_next += (*image).shared;
    }
}

/// Raises the peaks of the footprint's bounds to their present values. To be called in a moment.
///
/// # Safety
///
/// `tree` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_footprint(tree: *mut Tree, at: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if (*tree).shared != 0 {
            note_shared_footprint((*tree).index, at);
            return;
        }
        let resident = (*tree).rss;
        let low = resident - (*tree).held_shared - twice(tree);
        raise_footprint(tree, low, resident, at);
    }
}

/// Pages of files and shared memory that may be the same in several images.
#[inline(always)]
unsafe fn twice(tree: *mut Tree) -> i64 {
    // SAFETY: a map value, see the callers.
    unsafe { files(&raw const (*tree).cur) - (*tree).files }
}

/// The same while pages are shared after fork. A function of its own for the
/// verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn note_shared_footprint(index: u64, at: u64) -> u64 {
    let Some(tree) = state::tree(index as u32) else {
        return 0;
    };
    // SAFETY: a map value.
    unsafe {
        let shared = (*tree).shared;
        let once = (*tree).rss - shared;
        let high = once + min((*tree).uncertain, shared);
        // Fork copies pages of files too: those are taken off twice, which keeps it a lower bound.
        let low = once - (*tree).held_shared - twice(tree);
        raise_footprint(tree, low, high, at);
        remember(tree, high, at);
    }
    0
}

#[inline(always)]
unsafe fn raise_footprint(tree: *mut Tree, low: i64, high: i64, at: u64) {
    // SAFETY: `tree` is a map value, see the callers.
    unsafe {
        if low > (*tree).peak_footprint_low {
            (*tree).peak_footprint_low = low;
            (*tree).peak_footprint_low_at = at;
        }
        if high > (*tree).peak_footprint_high {
            (*tree).peak_footprint_high = high;
            (*tree).peak_footprint_high_at = at;
        }
    }
}

/// How long a stretch of the recent past is.
const EPOCH_NS: u64 = 20_000_000;

/// Keeps the largest values of the recent past, while anything is shared.
#[inline(always)]
unsafe fn remember(tree: *mut Tree, high: i64, at: u64) {
    // SAFETY: `tree` is a map value, see `note_footprint`; the index is masked to the
    // arrays' length, a power of two.
    unsafe {
        let mut index = ((*tree).epoch & (EPOCHS as u64 - 1)) as usize;
        let starts = (&raw mut (*tree).epoch_start).cast::<u64>();
        let start = *starts.add(index);
        let fresh = start == 0 || at > start + EPOCH_NS;
        if fresh {
            (*tree).epoch += 1;
            index = (index + 1) & (EPOCHS - 1);
            *starts.add(index) = at;
        }
        let highest = (&raw mut (*tree).epoch_high).cast::<i64>().add(index);
        if fresh || high > *highest {
            *highest = high;
        }
        let resident = (&raw mut (*tree).epoch_rss).cast::<i64>().add(index);
        if fresh || (*tree).rss > *resident {
            *resident = (*tree).rss;
        }
    }
}
