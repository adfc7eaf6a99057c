//! Booking a counter's value to its image and to the image's tree.
//!
//! Values are absolute: what is booked is the difference to what was booked
//! before, so the tree is the sum of its images at any time and a missed event is
//! healed by the next one. What belongs together is booked in one moment (`moment`).

use core::cmp::max;

use memtrace_ebpf::{Image, ImageState, MEMBERS, Member, Pages, Tree, rss};

use crate::{
    branches, counters, envelope, family, footprint,
    kernel::{Address, key},
    moment,
    peaks::{
        keep_before_change, keep_for_peak, note_peaks, raise_image, raise_image_by, raises_tree,
    },
    segments, sizes, state, with_swap, words,
};

/// What one event says about an image.
pub(crate) struct Update {
    pub(crate) member: u32,
    pub(crate) value: i64,
    pub(crate) at: u64,
    /// `mm_users == 0`: the image is being torn down.
    pub(crate) ending: bool,
    /// The reading's number, see [`moment::next_reading`](crate::moment::next_reading).
    pub(crate) reading: u64,
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

/// Books one update with all that follows from it. Call under the tree's lock.
///
/// # Safety
///
/// `image` and `tree` must point at map values.
#[inline(always)]
pub(crate) unsafe fn book_locked(image: *mut Image, tree: *mut Tree, update: &Update) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let mm = key(image);
        envelope::open(image, tree, update.at);
        let done = if moment::are_apart() {
            let what = u64::from(update.member & 3) | (u64::from(update.ending) << 2);
            book_update(mm, what, update.value, update.at, update.reading)
        } else {
            // Each update comes here.
            book_and_tell(image, tree, update, false)
        };
        if done == NOT_BOOKED {
            return;
        }
        let at = booked_at(tree, update.at);
        if envelope::sends_changes() {
            envelope::after_any(image, at);
        }
        moment::end(tree);
        let at_peak = done == AT_PEAK;
        if segments::are_on() {
            segments::changed(mm, update.member, at_peak, at);
        }
    }
}

/// What [`book_update`] returns if there is no such image.
const NOT_BOOKED: u64 = 0;
/// If it has booked the update, in a moment that has not ended.
const BOOKED: u64 = 1;
/// The same, and the image's RSS is at a new peak.
const AT_PEAK: u64 = 2;

/// [`book_and_tell`] where most updates are booked without the lock. A function of its own for the verifier,
/// see `main`. `what` is the member, and 4 if the image is being torn down.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn book_update(mm: u64, what: u64, value: i64, at: u64, reading: u64) -> u64 {
    let update = &Update {
        member: what as u32 & 3,
        value,
        at,
        ending: what & 4 != 0,
        reading,
    };
    if let Some(image) = state::image(mm) {
        // SAFETY: map values.
        unsafe {
            if let Some(tree) = state::tree((*image).tree) {
                return book_and_tell(image, tree, update, true);
            }
        }
    }
    NOT_BOOKED
}

/// Tells relatives of an update, and books it in a moment, which the caller ends. `seldom` is a constant:
/// most updates do not come here, and what those mean for relatives is found out here and not in a function
/// that has to look up the image once more.
#[inline(always)]
unsafe fn book_and_tell(image: *mut Image, tree: *mut Tree, update: &Update, seldom: bool) -> u64 {
    let member = update.member;
    // SAFETY: map values, see the callers.
    unsafe {
        let older = update.reading < *slot(&raw mut (*image).booked, member);
        if (*image).state != ImageState::Execing as u32 && !older {
            let delta = update.value - current(image, member);
            if member != Member::Swap as u32 && delta != 0 {
                let resident = rss(&(*image).cur) + delta;
                if !seldom {
                    tell_family(image, tree, delta, resident, update.ending);
                } else if family::has_relatives(image) {
                    keep_before_change(image, tree);
                    family::resident_changed(image, tree, delta, resident, update.ending);
                }
            } else if member == Member::Swap as u32
                && delta < 0
                && !update.ending
                && family::has_relatives(image)
            {
                family::family_swapped_in(key(image), -delta);
            }
        }
        moment::begin(tree);
        footprint::take_over(tree, update.at);
        if book(image, tree, update) {
            AT_PEAK
        } else {
            BOOKED
        }
    }
}

/// Books one update; whether the image's RSS is at a new peak. To be called in a moment.
///
/// # Safety
///
/// `image` and `tree` must point at map values.
#[inline(always)]
pub(crate) unsafe fn book(image: *mut Image, tree: *mut Tree, update: &Update) -> bool {
    let member = update.member;
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let at = advance(tree, update.at);
        (*image).events += 1;
        let booked = slot(&raw mut (*image).booked, member);
        if update.reading < *booked {
            if (*image).state != ImageState::Execing as u32 {
                (*tree).events += 1;
            }
            book_older(key(image), member.into(), update.value, update.reading, at);
            return false;
        }
        *booked = update.reading;
        let cur = slot(&raw mut (*image).cur, member);
        let delta = update.value - *cur;
        // What was held at the peak before is of no interest if this makes another one.
        if !raises_tree(image, tree, member, delta) {
            keep_for_peak(image, tree);
        }
        envelope::before_change(image, tree, member, delta);
        integrate(image, member, *cur, at);
        *cur = update.value;
        note_freed(image, member, delta);
        if (*image).state == ImageState::Forking as u32 {
            footprint::copied(image, tree, member, delta, at);
        }

        let peak = slot(&raw mut (*image).peak, member);
        if update.value > *peak {
            *peak = update.value;
        }
        let at_peak = raise_image_by(image, member, at);
        if (*image).state != ImageState::Execing as u32 {
            add_to_tree(image, tree, member, delta, at);
            note_files(image, tree, at);
            note_peaks(image, tree, at);
        }
        with_swap::note_peaks(image, tree, member, delta);
        envelope::after_change(image, tree, member, delta);
        at_peak
    }
}

/// A reading that was begun before the one that is booked: what is booked has all that it has. It was true
/// at its moment, though, and can be the image's own peak. A function of its own for the verifier, see
/// `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn book_older(
    mm: u64,
    member: u64,
    value: i64,
    reading: u64,
    at: u64,
) -> u64 {
    let Some(image) = state::image(mm) else {
        return 0;
    };
    let own = member as u32 & 3;
    // SAFETY: a map value.
    unsafe {
        let peak = slot(&raw mut (*image).peak, own);
        if value > *peak {
            *peak = value;
        }
        // The other members' values are of that moment only if none was read later.
        let booked = &raw const (*image).booked;
        let mut alone = own != Member::Swap as u32;
        for member in [Member::File, Member::Anon, Member::Shmem] {
            if member as u32 != own && (*booked)[member as usize] > reading {
                alone = false;
            }
        }
        if alone {
            let cur = slot(&raw mut (*image).cur, own);
            let newer = *cur;
            *cur = value;
            raise_image(image, at);
            *cur = newer;
        }
    }
    0
}

#[inline(always)]
unsafe fn note_freed(image: *mut Image, member: u32, delta: i64) {
    if delta < 0 && member != Member::Swap as u32 {
        // SAFETY: a map value, see `book`.
        unsafe { (*image).freed += delta.unsigned_abs() };
    }
}

/// The time at which to book what was read at `at`: not before what is booked. Clocks are read before the
/// moment begins, and it can have been waited for.
#[inline(always)]
unsafe fn advance(tree: *mut Tree, at: u64) -> u64 {
    // SAFETY: a map value, see `book`.
    unsafe {
        let at = booked_at(tree, at);
        (*tree).latest = at;
        at
    }
}

/// When what was read at `at` is booked, or has been: what the timeline says of it is told as of then, so that times are
/// in the order of records.
///
/// # Safety
///
/// `tree` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn booked_at(tree: *mut Tree, at: u64) -> u64 {
    // SAFETY: as the caller vouches.
    max(at, unsafe { (*tree).latest })
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

/// Before the image's RSS changes by `delta` to `now`. Most images have no relatives, and nobody to tell.
#[inline(always)]
unsafe fn tell_family(image: *mut Image, tree: *mut Tree, delta: i64, now: i64, ending: bool) {
    // SAFETY: map values, see `book`.
    unsafe {
        if family::has_relatives(image) {
            keep_before_change(image, tree);
            family::family_resident_changed(key(image), delta, now, ending.into());
        }
    }
}

/// Books all four values at once, where an image's counters are read outside of
/// its own updates: the reading of number `reading`. Call under the tree's lock.
///
/// # Safety
///
/// `image` and `tree` must point at map values.
#[inline(always)]
pub(crate) unsafe fn settle(
    image: *mut Image,
    tree: *mut Tree,
    values: &Pages,
    reading: u64,
    at: u64,
) {
    // SAFETY: the caller vouches for the pointers; indices are below four.
    unsafe {
        let counted = (*image).state != ImageState::Execing as u32;
        let (now, before) = (rss(values), rss(&(*image).cur));
        if counted && now != before {
            tell_family(image, tree, now - before, now, true);
        }
        envelope::open(image, tree, at);
        moment::begin(tree);
        envelope::before_any(image);
        footprint::take_over(tree, at);
        let at = advance(tree, at);
        keep_for_peak(image, tree);
        for member in 0..MEMBERS as u32 {
            let booked = slot(&raw mut (*image).booked, member);
            if reading < *booked {
                continue;
            }
            *booked = reading;
            let value = *values.as_ptr().add(member as usize);
            let cur = slot(&raw mut (*image).cur, member);
            let delta = value - *cur;
            integrate(image, member, *cur, at);
            *cur = value;
            note_freed(image, member, delta);
            if (*image).state == ImageState::Forking as u32 {
                footprint::copied(image, tree, member, delta, at);
            }
            let peak = slot(&raw mut (*image).peak, member);
            if value > *peak {
                *peak = value;
            }
            if counted {
                add_to_tree(image, tree, member, delta, at);
            }
        }
        let at_peak = raise_image(image, at);
        let with_swap = rss(&(*image).cur) + (*image).cur[Member::Swap as usize];
        if with_swap > (*image).peak_rss_swap {
            (*image).peak_rss_swap = with_swap;
        }
        if counted {
            note_files(image, tree, at);
            note_peaks(image, tree, at);
            with_swap::raise_tree(tree);
        }
        envelope::after_any(image, at);
        moment::end(tree);
        if segments::are_on() {
            segments::settled(key(image), at_peak, at);
        }
    }
}

/// [`settle`] with what the counters of `mm` are now. Call under the tree's lock. A function of its own for
/// the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn settle_now(mm: u64, at: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    let reading = moment::next_reading(image);
    let mut values = counters::sums(Address::new(mm), image);
    // SAFETY: map values.
    unsafe {
        if counters::threads_have_caches() {
            words::copy(&raw mut (*image).counted, &raw const values);
            add_held_back(image, &mut values);
        }
        settle(image, tree, &values, reading, at);
    }
    0
}

/// Adds what threads hold back.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn add_held_back(image: *mut Image, values: &mut Pages) {
    for member in 0..MEMBERS as u32 {
        // SAFETY: as the caller vouches.
        unsafe {
            *slot(&raw mut *values, member) += *slot(&raw mut (*image).held_back, member);
        }
    }
}

/// Counts the image of `mm`, which was being built, in its tree from now on. Call under the
/// tree's lock. A function of its own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn enter_tree(mm: u64, at: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        envelope::open(image, tree, at);
        moment::begin(tree);
        envelope::before_any(image);
        footprint::take_over(tree, at);
        let at = advance(tree, at);
        keep_for_peak(image, tree);
        (*image).state = ImageState::Active as u32;
        begin_life(image, at);
        if (*tree).started_at == 0 {
            (*tree).started_at = at;
        }
        for member in 0..MEMBERS as u32 {
            let value = *slot(&raw mut (*image).cur, member);
            add_to_tree(image, tree, member, value, at);
        }
        note_files(image, tree, at);
        note_peaks(image, tree, at);
        with_swap::raise_tree(tree);
        envelope::after_any(image, at);
        moment::end(tree);
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
unsafe fn add_to_tree(image: *mut Image, tree: *mut Tree, member: u32, delta: i64, at: u64) {
    // SAFETY: map values, see `book`.
    unsafe {
        branches::add(image, member, delta);
        let cur = slot(&raw mut (*tree).cur, member);
        let until = slot(&raw mut (*tree).integral_at, member);
        if at > *until {
            if *until != 0 {
                (*slot(&raw mut (*tree).integral, member)).add(*cur, at - *until);
            }
            *until = at;
        }
        if !moment::are_apart() {
            // Atomic, because another program may be here too, if it gave up the lock.
            crate::atomic::add(cur.cast::<u64>(), delta as u64);
            if member != Member::Swap as u32 {
                crate::atomic::add((&raw mut (*tree).rss).cast::<u64>(), delta as u64);
            }
        } else {
            *cur += delta;
            if member != Member::Swap as u32 {
                (*tree).rss += delta;
            }
        }
        let peak = slot(&raw mut (*tree).peak, member);
        if *cur > *peak {
            *peak = *cur;
        }
        (*tree).events += 1;
    }
}
