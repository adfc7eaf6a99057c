//! Booking a counter's value to its image and to the image's tree.
//!
//! Values are absolute: what is booked is the difference to what was booked
//! before, so the tree is the sum of its images at any time and a missed event is
//! healed by the next one. Everything here runs under the tree's lock.

use core::cmp::min;

use memtrace_ebpf::{
    ABSENT, EPOCHS, Image, ImageState, Integral, MEMBERS, Member, Pages, Tree, VM_MEANS, VmMean,
    rss,
};

use crate::{
    envelope, family,
    kernel::{Address, Struct, offset},
    segments, state, words,
};

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
        note_swap_peaks(image, tree, member, delta);
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
unsafe fn files(pages: *const Pages) -> i64 {
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
            WithSwap::NONE.raise_tree(tree);
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
        WithSwap::NONE.raise_tree(tree);
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
unsafe fn note_swap_peaks(image: *mut Image, tree: *mut Tree, member: u32, delta: i64) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let swap = Member::Swap as usize;
        let held = (*image).held_rss_swap | (*tree).held_rss_swap;
        if (*image).cur[swap] | (*tree).cur[swap] | held != 0 {
            swap_changed((*image).mm, member.into(), delta);
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

/// The same where something is swapped. A function of its own for the verifier, like
/// `state::wait_for_lock`: each of its cases would be followed through all that comes after.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn swap_changed(mm: u64, member: u64, delta: i64) -> u64 {
    let Some(image) = state::image(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let Some(tree) = state::tree((*image).tree) else {
            return 0;
        };
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

/// Completes the averages of virtual sizes of the image of `mm` up to `at`, and takes in what they are
/// now. Seldom enough for a function of its own, see `state::wait_for_lock`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sizes_change(mm: u64, at: u64) -> u64 {
    let Some(image) = state::image(mm) else {
        return 0;
    };
    let fields = Address::new(mm);
    // SAFETY: a map value; fields of the read-only data.
    unsafe {
        integrate_sizes(image, at);
        let set = |size: VmMean, value: u64| set_size(image, size, value);
        set(VmMean::Size, fields.load(offset!(mm_total_vm)));
        set(VmMean::Data, fields.load(offset!(mm_data_vm)));
        set(VmMean::Stack, fields.load(offset!(mm_stack_vm)));
        set(VmMean::Exec, fields.load(offset!(mm_exec_vm)));
        set(VmMean::Heap, heap(fields));
        set(VmMean::PageTables, fields.load(offset!(mm_pgtables_bytes)));
        set(VmMean::Locked, fields.load(offset!(mm_locked_vm)));
        set(VmMean::Pinned, fields.load(offset!(mm_pinned_vm)));
    }
    0
}

/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
unsafe fn set_size(image: *mut Image, size: VmMean, value: u64) {
    let index = size as usize;
    // SAFETY: the caller vouches for the pointer; indices are below the lengths.
    unsafe {
        *(&raw mut (*image).vm_cur).cast::<u64>().add(index) = value;
        // The peak of the whole is the kernel's own.
        if index > 0 {
            let peak = (&raw mut (*image).vm_peak).cast::<u64>().add(index - 1);
            if value > *peak {
                *peak = value;
            }
        }
    }
}

/// Completes the averages of virtual sizes.
#[inline(always)]
unsafe fn integrate_sizes(image: *mut Image, at: u64) {
    // SAFETY: `image` is a map value, see `note_sizes`; indices are below the length.
    unsafe {
        let until = (*image).vm_integral_at;
        if at <= until {
            return;
        }
        (*image).vm_integral_at = at;
        for size in 0..VM_MEANS {
            let pages = *(&raw const (*image).vm_cur).cast::<u64>().add(size);
            (*(&raw mut (*image).vm_integral).cast::<Integral>().add(size))
                .add(pages as i64, at - until);
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
    unsafe { integrate_sizes(image, at) };
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
        note_footprint(tree, at);
    }
}

/// Raises the peaks of the footprint's bounds to their present values.
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
        raise_footprint(tree, resident - twice(tree), resident, at);
    }
}

/// Pages of files and shared memory that may be the same in several images.
#[inline(always)]
unsafe fn twice(tree: *mut Tree) -> i64 {
    // SAFETY: a map value, see the callers.
    unsafe { files(&raw const (*tree).cur) - (*tree).files }
}

/// The same while pages are shared after fork. A function of its own for the
/// verifier, like `state::wait_for_lock`.
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
        raise_footprint(tree, once - twice(tree), high, at);
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

/// Raises the peaks of the image's virtual sizes.
///
/// The fields are read at every update: page-table, stack and data growth precede
/// the update of the fault that needed them. Sizes that grow and shrink without a
/// fault in between are seen only in `hiwater_vm`, which the kernel keeps exactly, and
/// at the ends of system calls where those are looked at (`programs::syscalls`).
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_sizes(image: *mut Image, mm: impl Struct, at: u64) {
    // SAFETY: fields of the read-only data; `image` as the caller vouches.
    unsafe {
        envelope::note_sizes(image, mm);
        let total: u64 = mm.load(offset!(mm_total_vm));
        let hiwater: u64 = mm.load(offset!(mm_hiwater_vm));
        let high = if hiwater > total { hiwater } else { total };
        if high > (*image).hiwater_vm {
            (*image).hiwater_vm = high;
        }
        if offset!(mm_hugetlb_usage) != ABSENT {
            let huge: i64 = mm.load(offset!(mm_hugetlb_usage));
            if huge != (*image).huge {
                huge_changed((*image).mm, huge);
            }
        }
        // What is as it was cannot exceed its peak.
        if sizes_differ(image, mm) {
            sizes_change((*image).mm, at);
        }
    }
}

/// The image of `mm` has `huge` pages of hugetlbfs now. Seldom enough for a function of its own, see
/// `state::wait_for_lock`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn huge_changed(mm: u64, huge: i64) -> u64 {
    let Some(image) = state::image(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let Some(tree) = state::tree((*image).tree) else {
            return 0;
        };
        let sum = (*tree).huge + huge - (*image).huge;
        (*image).huge = huge;
        if huge > (*image).peak_huge {
            (*image).peak_huge = huge;
        }
        (*tree).huge = sum;
        if sum > (*tree).peak_huge {
            (*tree).peak_huge = sum;
        }
    }
    0
}

/// [`note_sizes`] of the image of `mm`, as a function of its own for the verifier, like
/// `state::wait_for_lock`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn note_sizes_of(mm: u64, at: u64) -> u64 {
    if let Some(image) = state::image(mm) {
        // SAFETY: a map value.
        unsafe { note_sizes(image, Address::new(mm), at) };
    }
    0
}

/// `brk - start_brk`.
#[inline(always)]
fn heap(mm: impl Struct) -> u64 {
    // SAFETY: fields of the read-only data.
    let (start, end): (u64, u64) =
        unsafe { (mm.load(offset!(mm_start_brk)), mm.load(offset!(mm_brk))) };
    if end > start && start != 0 {
        end - start
    } else {
        0
    }
}

/// Whether [`note_sizes`] would find a size that it has not seen. `image` must point at a map value.
#[inline(always)]
pub(crate) fn sizes_differ(image: *mut Image, mm: impl Struct) -> bool {
    let known = |size: VmMean| {
        // SAFETY: a map value, see above; the index is below the length.
        unsafe {
            *(&raw const (*image).vm_cur)
                .cast::<u64>()
                .add(size as usize)
        }
    };
    // One by one, for there is little room on the stack.
    // SAFETY: fields of the read-only data.
    unsafe {
        (mm.load::<u64>(offset!(mm_total_vm)) ^ known(VmMean::Size))
            | (mm.load::<u64>(offset!(mm_data_vm)) ^ known(VmMean::Data))
            | (mm.load::<u64>(offset!(mm_stack_vm)) ^ known(VmMean::Stack))
            | (mm.load::<u64>(offset!(mm_exec_vm)) ^ known(VmMean::Exec))
            | (heap(mm) ^ known(VmMean::Heap))
            | (mm.load::<u64>(offset!(mm_pgtables_bytes)) ^ known(VmMean::PageTables))
            | (mm.load::<u64>(offset!(mm_locked_vm)) ^ known(VmMean::Locked))
            | (mm.load::<u64>(offset!(mm_pinned_vm)) ^ known(VmMean::Pinned))
            != 0
    }
}
