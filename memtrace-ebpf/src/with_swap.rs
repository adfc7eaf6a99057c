//! Peaks of RSS + swap.

use memtrace_ebpf::{Image, ImageState, Member, Tree, rss};

use crate::{kernel::key, state};

/// The peak of RSS + swap. `do_swap_page()` counts a page as resident before it
/// uncounts its swap entry, so an increase of anon while something is swapped is
/// only held as a candidate until the next update shows that it was no swap-in.
struct WithSwap {
    /// The update is an increase of anon while something is swapped.
    may_be_swap_in: bool,
    /// The update uncounts swap entries.
    was_swap_in: bool,
}

impl WithSwap {
    /// Nothing to do with swap.
    const NONE: Self = Self {
        may_be_swap_in: false,
        was_swap_in: false,
    };

    /// # Safety
    ///
    /// `image` must point at a map value.
    #[inline(always)]
    unsafe fn raise_image(&self, image: *mut Image) {
        // SAFETY: the caller vouches for the pointer.
        unsafe {
            self.raise(
                rss(&(*image).cur) + (*image).cur[Member::Swap as usize],
                &mut (*image).peak_rss_swap,
                &mut (*image).held_rss_swap,
            );
        }
    }

    /// # Safety
    ///
    /// `tree` must point at a map value.
    #[inline(always)]
    unsafe fn raise_tree(&self, tree: *mut Tree) {
        // SAFETY: the caller vouches for the pointer.
        unsafe {
            self.raise(
                (*tree).rss + (*tree).cur[Member::Swap as usize],
                &mut (*tree).peak_rss_swap,
                &mut (*tree).held_rss_swap,
            );
        }
    }

    #[inline(always)]
    fn raise(&self, sum: i64, peak: &mut i64, held: &mut i64) {
        let candidate = *held;
        *held = 0;
        if candidate > *peak && !self.was_swap_in {
            *peak = candidate;
        }
        if sum > *peak {
            if self.may_be_swap_in {
                *held = sum;
            } else {
                *peak = sum;
            }
        }
    }
}

/// Raises the peaks of RSS + swap after an update of `member` by `delta`.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn note_peaks(image: *mut Image, tree: *mut Tree, member: u32, delta: i64) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let swap = Member::Swap as usize;
        let held = (*image).held_rss_swap | (*tree).held_rss_swap;
        if (*image).cur[swap] | (*tree).cur[swap] | held != 0 {
            swap_changed(key(image), member.into(), delta);
            return;
        }
        // Nothing is swapped, nor was before this update in a way that matters.
        let resident = rss(&(*image).cur);
        if resident > (*image).peak_rss_swap {
            (*image).peak_rss_swap = resident;
        }
        if (*tree).rss > (*tree).peak_rss_swap {
            (*tree).peak_rss_swap = (*tree).rss;
        }
    }
}

/// The same where something is swapped. A function of its own for the verifier, see
/// `main`: each of its cases would be followed through all that comes after.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn swap_changed(mm: u64, member: u64, delta: i64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let swapped = (*image).cur[Member::Swap as usize];
        let with_swap = WithSwap {
            may_be_swap_in: member == Member::Anon as u64 && delta > 0 && swapped > 0,
            was_swap_in: member == Member::Swap as u64 && delta < 0,
        };
        with_swap.raise_image(image);
        if (*image).state != ImageState::Execing as u32 {
            with_swap.raise_tree(tree);
        }
    }
    0
}

/// Raises the tree's peak where what changed has nothing to do with swapping in.
///
/// # Safety
///
/// `tree` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn raise_tree(tree: *mut Tree) {
    // SAFETY: the caller vouches for the pointer.
    unsafe { WithSwap::NONE.raise_tree(tree) };
}
