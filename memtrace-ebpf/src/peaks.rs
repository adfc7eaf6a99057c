//! Peaks of RSS, of an image and of its tree, and what was held at them. To be called in a moment.

use memtrace_ebpf::{Image, ImageState, Member, Tree, rss};

use crate::{accounting::slot, branches, footprint, moment, words};

/// Remembers what the image holds now, if its tree has peaked since the image's
/// last change: that is what it held at that peak. To be called in a moment.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn keep_for_peak(image: *mut Image, tree: *mut Tree) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        if (*image).seq != (*tree).peak_seq {
            let at_peak = &raw mut (*image).at_peak;
            if (*image).state == ImageState::Execing as u32 {
                words::clear(at_peak);
            } else {
                words::copy(at_peak, &raw const (*image).cur);
            }
            (*image).at_peak_shared = (*image).shared;
            (*image).seq = (*tree).peak_seq;
        }
    }
}

/// [`keep_for_peak`], in a moment of its own.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn keep_before_change(image: *mut Image, tree: *mut Tree) {
    moment::begin(tree);
    // SAFETY: the caller vouches for the pointers.
    unsafe { keep_for_peak(image, tree) };
    moment::end(tree);
}

/// Whether a change of a member by `delta` makes a new peak of the tree's RSS.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn raises_tree(
    image: *mut Image,
    tree: *mut Tree,
    member: u32,
    delta: i64,
) -> bool {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        member != Member::Swap as u32
            && (*image).state != ImageState::Execing as u32
            && (*tree).rss + delta > (*tree).peak_rss
    }
}

/// [`raise_image`] when one member has changed: while the image grows, only that has to be copied.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn raise_image_by(image: *mut Image, member: u32, at: u64) -> bool {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let now = rss(&(*image).cur);
        if now <= (*image).peak_rss {
            (*image).own_peak_is_cur = 0;
            return false;
        }
        (*image).peak_rss = now;
        (*image).peak_rss_at = at;
        let (cur, own_peak) = (&raw mut (*image).cur, &raw mut (*image).own_peak);
        if (*image).own_peak_is_cur != 0 {
            *slot(own_peak, member) = *slot(cur, member);
        } else {
            words::copy(own_peak, cur);
            (*image).own_peak_is_cur = 1;
        }
        true
    }
}

/// Raises the peak of the image's RSS to what it is; whether that is more than ever.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn raise_image(image: *mut Image, at: u64) -> bool {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let now = rss(&(*image).cur);
        let at_peak = now > (*image).peak_rss;
        if at_peak {
            (*image).peak_rss = now;
            (*image).peak_rss_at = at;
            words::copy(&raw mut (*image).own_peak, &raw const (*image).cur);
        }
        (*image).own_peak_is_cur = 0;
        at_peak
    }
}

/// Raises the peaks of the tree and of the image's branch to their present values.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn note_peaks(image: *mut Image, tree: *mut Tree, at: u64) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        branches::note_peak(image, at);
        let resident = (*tree).rss;
        if resident > (*tree).peak_rss {
            (*tree).peak_rss = resident;
            (*tree).peak_rss_at = at;
            (*tree).peak_seq += 1;
        }
        footprint::note_footprint(tree, at);
    }
}
