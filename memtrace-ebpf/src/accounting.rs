//! Booking a counter's value to its image and to the image's tree.
//!
//! Values are absolute: what is booked is the difference to what was booked
//! before, so the tree is the sum of its images at any time and a missed event is
//! healed by the next one. Everything here runs under the tree's lock.

use memtrace_ebpf::{Image, ImageState, MEMBERS, Member, Pages, Tree, rss};

use crate::{envelope, family, footprint, segments, sizes, state, with_swap, words};

/// What one event says about an image.
pub(crate) struct Update {
    pub(crate) member: u32,
    pub(crate) value: i64,
    pub(crate) at: u64,
    /// `mm_users == 0`: the image is being torn down.
    pub(crate) ending: bool,
}

/// One member's place in an array of four.
#[inline(always)]
pub(crate) fn slot<T>(array: *mut [T; MEMBERS], member: u32) -> *mut T {
    // SAFETY: masked to the array's length of four.
    unsafe { array.cast::<T>().add((member & 3) as usize) }
}

/// What is booked of one member.
#[inline(always)]
pub(crate) fn current(image: *mut Image, member: u32) -> i64 {
    // SAFETY: a map value, see the callers.
    unsafe { core::ptr::read_volatile(slot(&raw mut (*image).cur, member)) }
}

/// Remembers what the image holds now, if its tree has peaked since the image's
/// last change: that is what it held at that peak.
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

/// Books one update. Call under the tree's lock.
///
/// # Safety
///
/// `image` and `tree` must point at map values.
#[inline(always)]
pub(crate) unsafe fn book(image: *mut Image, tree: *mut Tree, update: &Update) {
    let member = update.member;
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        keep_for_peak(image, tree);
        let cur = slot(&raw mut (*image).cur, member);
        let delta = update.value - *cur;
        integrate(image, member, *cur, update.at);
        *cur = update.value;
        (*image).events += 1;

        let peak = slot(&raw mut (*image).peak, member);
        if update.value > *peak {
            *peak = update.value;
        }
        let now = rss(&(*image).cur);
        let at_peak = now > (*image).peak_rss;
        if at_peak {
            (*image).peak_rss = now;
            (*image).peak_rss_at = update.at;
            words::copy(&raw mut (*image).own_peak, &raw const (*image).cur);
        }
        if (*image).state != ImageState::Execing as u32 {
            add_to_tree(tree, member, delta, update.at);
            if member != Member::Swap as u32 && delta != 0 {
                tell_family(image, delta, now, update.ending);
            } else if member == Member::Swap as u32
                && delta < 0
                && !update.ending
                && family::has_relatives(image)
            {
                family::family_swapped_in((*image).mm, -delta);
            }
            note_files(image, tree, update.at);
            note_peaks(tree, update.at);
        }
        with_swap::note_peaks(image, tree, member, delta);
        envelope::changed(image, update.at);
        // After it: a window that it ends tells of the segments before.
        if segments::are_on() {
            segments::changed((*image).mm, member, at_peak, update.at);
        }
    }
}

/// Keeps what the image has of files and shared memory, if no other of the tree has more: the largest
/// of such sums is a lower bound of how many different pages there are, also when it is that of an
/// image that has less than another by now.
#[inline(always)]
unsafe fn note_files(image: *mut Image, tree: *mut Tree, at: u64) {
    // SAFETY: map values, see `book`.
    unsafe {
        let held = files(&raw const (*image).cur);
        let known = (*tree).files;
        if held > known || (held != known && (*tree).files_of == (*image).id) {
            let until = (*tree).files_integral_at;
            if at > until {
                (*tree).files_integral.add(known, at - until);
                (*tree).files_integral_at = at;
            }
            (*tree).files = held;
            (*tree).files_of = (*image).id;
        }
    }
}

/// Pages of files and shared memory.
#[inline(always)]
pub(crate) unsafe fn files(pages: *const Pages) -> i64 {
    // SAFETY: a field of a map value, see the callers.
    unsafe { (*pages)[Member::File as usize] + (*pages)[Member::Shmem as usize] }
}

/// Most images have no relatives, and never come here.
#[inline(always)]
unsafe fn tell_family(image: *mut Image, delta: i64, now: i64, ending: bool) {
    // SAFETY: `image` is a map value, see `book`.
    unsafe {
        if (*image).state == ImageState::Forking as u32 || family::has_relatives(image) {
            family::family_resident_changed((*image).mm, delta, now, ending.into());
        }
    }
}

/// Books all four values at once, where an image's counters are read outside of
/// its own updates. Call under the tree's lock.
///
/// # Safety
///
/// `image` and `tree` must point at map values.
#[inline(always)]
pub(crate) unsafe fn settle(image: *mut Image, tree: *mut Tree, values: &Pages, at: u64) {
    // SAFETY: the caller vouches for the pointers; indices are below four.
    unsafe {
        keep_for_peak(image, tree);
        let counted = (*image).state != ImageState::Execing as u32;
        let before = rss(&(*image).cur);
        for member in 0..MEMBERS as u32 {
            let value = *values.as_ptr().add(member as usize);
            let cur = slot(&raw mut (*image).cur, member);
            let delta = value - *cur;
            integrate(image, member, *cur, at);
            *cur = value;
            let peak = slot(&raw mut (*image).peak, member);
            if value > *peak {
                *peak = value;
            }
            if counted {
                add_to_tree(tree, member, delta, at);
            }
        }
        let now = rss(&(*image).cur);
        let at_peak = now > (*image).peak_rss;
        if at_peak {
            (*image).peak_rss = now;
            (*image).peak_rss_at = at;
            words::copy(&raw mut (*image).own_peak, &raw const (*image).cur);
        }
        let with_swap = now + (*image).cur[Member::Swap as usize];
        if with_swap > (*image).peak_rss_swap {
            (*image).peak_rss_swap = with_swap;
        }
        if counted {
            if now != before {
                tell_family(image, now - before, now, true);
            }
            note_files(image, tree, at);
            note_peaks(tree, at);
            with_swap::raise_tree(tree);
        }
        envelope::changed(image, at);
        if segments::are_on() {
            segments::settled((*image).mm, at_peak, at);
        }
    }
}

/// Counts the image of `mm`, which was being built, in its tree from now on. Call under the
/// tree's lock. A function of its own for the verifier, like `state::wait_for_lock`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn enter_tree(mm: u64, at: u64) -> u64 {
    let Some(image) = state::image(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let Some(tree) = state::tree((*image).tree) else {
            return 0;
        };
        keep_for_peak(image, tree);
        (*image).state = ImageState::Active as u32;
        begin_life(image, at);
        if (*tree).started_at == 0 {
            (*tree).started_at = at;
        }
        for member in 0..MEMBERS as u32 {
            let value = *slot(&raw mut (*image).cur, member);
            add_to_tree(tree, member, value, at);
        }
        note_files(image, tree, at);
        note_peaks(tree, at);
        with_swap::raise_tree(tree);
        envelope::changed(image, at);
    }
    0
}

/// The life of a new program's image, and with it its means, begin when it is in use: while it was built,
/// the old one was.
#[inline(always)]
unsafe fn begin_life(image: *mut Image, at: u64) {
    // SAFETY: a map value, see `enter_tree`.
    unsafe {
        (*image).born_at = at;
        words::clear(&raw mut (*image).integral);
        for member in 0..MEMBERS as u32 {
            *slot(&raw mut (*image).integral_at, member) = at;
        }
        words::clear(&raw mut (*image).vm_integral);
        (*image).vm_integral_at = at;
    }
}

#[inline(always)]
unsafe fn integrate(image: *mut Image, member: u32, value: i64, at: u64) {
    // SAFETY: `image` is a map value, see `book`.
    unsafe {
        let until = slot(&raw mut (*image).integral_at, member);
        if at > *until {
            (*slot(&raw mut (*image).integral, member)).add(value, at - *until);
            *until = at;
        }
    }
}

/// Completes the image's averages up to `at`.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn integrate_all(image: *mut Image, at: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe { sizes::integrate(image, at) };
    for member in 0..MEMBERS as u32 {
        // SAFETY: the caller vouches for the pointer.
        unsafe { integrate(image, member, *slot(&raw mut (*image).cur, member), at) };
    }
}

#[inline(always)]
unsafe fn add_to_tree(tree: *mut Tree, member: u32, delta: i64, at: u64) {
    // SAFETY: `tree` is a map value, see `book`.
    unsafe {
        let cur = slot(&raw mut (*tree).cur, member);
        let until = slot(&raw mut (*tree).integral_at, member);
        if at > *until {
            if *until != 0 {
                (*slot(&raw mut (*tree).integral, member)).add(*cur, at - *until);
            }
            *until = at;
        }
        // Atomic, because another program may be here too, if it gave up the lock.
        crate::atomic::add(cur.cast::<u64>(), delta as u64);
        if member != Member::Swap as u32 {
            crate::atomic::add((&raw mut (*tree).rss).cast::<u64>(), delta as u64);
        }
        let peak = slot(&raw mut (*tree).peak, member);
        if *cur > *peak {
            *peak = *cur;
        }
        (*tree).events += 1;
    }
}

/// Raises the tree's peaks to its present values.
///
/// # Safety
///
/// `tree` must point at a map value.
#[inline(always)]
unsafe fn note_peaks(tree: *mut Tree, at: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let resident = (*tree).rss;
        if resident > (*tree).peak_rss {
            (*tree).peak_rss = resident;
            (*tree).peak_rss_at = at;
            (*tree).peak_seq += 1;
        }
        footprint::note_footprint(tree, at);
    }
}
