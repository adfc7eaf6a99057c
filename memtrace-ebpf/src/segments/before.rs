//! What was there before tracing: nothing but its sum is known when it is taken in, and it is booked to
//! [`Segment::Unknown`]. All that comes and goes from then on is booked as always, so that a segment from which
//! pages of before go is below 0 by as many. Userspace finds out what those pages were for (`/proc/PID/smaps`), and then each
//! segment gets what it had from the beginning on.

use aya_ebpf::{btf_maps::HashMap, macros::btf_map};
use memtrace_ebpf::{
    BASES, Base, Image, MEMBERS, Member, Pages, SEGMENTS, Segment, SegmentsRecord, Timeline,
};

use super::{SEGMENTS_OF, booker, cell, index, segments_moment};
use crate::{
    adoption, counters,
    kernel::{config, key},
    state,
};

/// What userspace found, by the address of the image's `mm_struct`.
#[btf_map]
static BASES_OF: HashMap<u64, Base, BASES> = HashMap::new();

/// Whether the image was there before tracing, and what it holds has not been read.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(super) unsafe fn is_to_be_read(image: *mut Image) -> bool {
    // SAFETY: the caller vouches for the pointer.
    config!(attached) != 0 && unsafe { adoption::is_to_be_read(image) }
}

/// All that the image of `mm`, which was there before, holds is booked; who booked it has changed nothing. Call under the
/// tree's lock.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segments_found(mm: u64) -> u64 {
    let Some(segments) = SEGMENTS_OF.get_ptr_mut(mm) else {
        return 0;
    };
    // SAFETY: a map value.
    unsafe {
        if !counters::threads_have_caches() {
            (*segments).watched = 1;
        }
        (*segments).residual = 0;
        for member in 0..MEMBERS as u32 {
            *booker(segments, member) = 0;
            let pages = *cell(&raw mut (*segments).cur, Segment::Unknown as u32, member);
            (*segments).residual += pages.unsigned_abs();
        }
    }
    0
}

/// Gives the segments of the image of `mm` what userspace has found, if it has and they do not have it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segments_based(mm: u64) -> u64 {
    let Some(base) = BASES_OF.get_ptr_mut(mm) else {
        return 0;
    };
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values, under the tree's lock.
    unsafe {
        let held = state::lock(tree);
        if key(image) == mm && (*image).id == (*base).image {
            add_base(mm, base);
            let at = state::now();
            if config!(timeline) != Timeline::Off as u32 {
                segments_moment(mm, at);
            }
        }
        state::unlock(tree, held);
    }
    0
}

/// Adds it to what is booked.
///
/// # Safety
///
/// `base` must point at a map value.
#[inline(always)]
unsafe fn add_base(mm: u64, base: *mut Base) {
    let Some(segments) = SEGMENTS_OF.get_ptr_mut(mm) else {
        return;
    };
    // SAFETY: map values.
    unsafe {
        if (*segments).image != (*base).image {
            return;
        }
        (*base).image = 0;
        (*segments).residual = 0;
        crate::atomic::add(&raw mut (*segments).untold, (*base).within);
        let held = &raw mut (*base).held;
        let (mut resident, mut swapped) = (0, 0);
        for segment in 0..Segment::Unknown as u32 {
            let mut own = 0;
            for member in 0..MEMBERS as u32 {
                let pages = *cell(held, segment, member);
                give(&raw mut (*segments).cur, segment, member, pages);
                give(&raw mut (*segments).at_peak, segment, member, pages);
                if member != Member::Swap as u32 {
                    own += pages;
                }
            }
            let in_swap = *cell(held, segment, Member::Swap as u32);
            shift(segments, segment, own, in_swap);
            resident += own;
            swapped += in_swap;
        }
        shift(segments, Segment::Unknown as u32, -resident, -swapped);
    }
}

/// Moves pages from [`Segment::Unknown`] to a segment.
///
/// # Safety
///
/// `table` must lie in a map value.
#[inline(always)]
unsafe fn give(table: *mut [Pages; SEGMENTS], segment: u32, member: u32, pages: i64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        *cell(table, segment, member) += pages;
        *cell(table, Segment::Unknown as u32, member) -= pages;
    }
}

/// A segment had so many pages more at any moment than was booked: its peaks are as much higher.
///
/// # Safety
///
/// `segments` must point at a map value.
#[inline(always)]
unsafe fn shift(segments: *mut SegmentsRecord, segment: u32, resident: i64, swapped: i64) {
    // SAFETY: the caller vouches for the pointer; the index is below the length.
    unsafe {
        let index = index(segment);
        raise(&raw mut (*segments).peak_resident, index, resident);
        raise(&raw mut (*segments).peak_swapped, index, swapped);
    }
}

/// # Safety
///
/// `peaks` must lie in a map value, and the index be that of a segment.
#[inline(always)]
unsafe fn raise(peaks: *mut [i64; SEGMENTS], index: usize, by: i64) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let peak = peaks.cast::<i64>().add(index);
        let raised = *peak + by;
        *peak = if raised < 0 { 0 } else { raised };
    }
}
