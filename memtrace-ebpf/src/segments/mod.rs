//! Segments, on request: each change of a counter is booked to what the page is for.
//!
//! The event itself does not tell which mapping it is about. Programs that run before it, on the
//! functions of the kernel that come with the mapping, or on page faults and system calls, leave that in
//! the thread's [`Context`]; a change that comes without goes to [`Segment::Unknown`] and is
//! counted, as a bound of how wrong the others can be. Everything here runs under the tree's lock, but
//! for contexts, which only their own thread uses.

pub(crate) mod before;
pub(crate) mod context;
pub(crate) mod find;
mod kind;
mod sizes;

use aya_ebpf::{
    btf_maps::{Array, HashMap},
    helpers::bpf_get_current_pid_tgid,
    macros::btf_map,
};
use memtrace_ebpf::{
    ALLOCATION, Image, ImageState, MEMBERS, Member, Pages, SEGMENTS, Segment, SegmentHooks,
    SegmentsChange, SegmentsRecord, Stat, Timeline, event,
};

use crate::{
    accounting, counters,
    kernel::{Struct as _, Typed, config, offset},
    state, words,
};

/// Segments by the address of the image's `mm_struct`. Userspace sets the size.
#[btf_map]
static SEGMENTS_OF: HashMap<u64, SegmentsRecord, 1, ALLOCATION> = HashMap::new();

/// One with nothing in it, as `state::BLANK`.
#[btf_map]
static BLANK_SEGMENTS: Array<SegmentsRecord, 1> = Array::new();

/// Whether segments are wanted: a constant for the verifier.
#[inline(always)]
pub(crate) fn are_on() -> bool {
    config!(segments) != SegmentHooks::Off as u32
}

/// Whether contexts come from programs on the kernel's functions.
#[inline(always)]
pub(crate) fn from_functions() -> bool {
    config!(segments) == SegmentHooks::Functions as u32
}

/// The segments of an image, made now if they are not yet.
#[inline(always)]
fn of(mm: u64) -> Option<*mut SegmentsRecord> {
    const BPF_NOEXIST: u64 = 1;
    if let Some(known) = SEGMENTS_OF.get_ptr_mut(mm) {
        return Some(known);
    }
    let blank = BLANK_SEGMENTS.get(0)?;
    if SEGMENTS_OF.insert(mm, blank, BPF_NOEXIST).is_err() {
        return None;
    }
    SEGMENTS_OF.get_ptr_mut(mm)
}

/// One number of a table with [`MEMBERS`] columns.
#[inline(always)]
fn cell(table: *mut [Pages; SEGMENTS], segment: u32, member: u32) -> *mut i64 {
    let place = index(segment) * MEMBERS + (member & 3) as usize;
    // SAFETY: both below their numbers.
    unsafe { table.cast::<i64>().add(masked(place, 63)) }
}

/// A segment as an index.
#[inline(always)]
fn index(segment: u32) -> usize {
    let mut segment = segment as usize;
    if segment >= SEGMENTS {
        segment = Segment::Unknown as usize;
    }
    masked(segment, 15)
}

/// The same number, which is not above `most`, in a form in which verifiers see that: those before 6.3
/// forget what a comparison or a combination of halves of registers told. What the mask alone would
/// allow lies within the record. By way of memory, because the compiler would drop the mask.
#[inline(always)]
fn masked(number: usize, most: usize) -> usize {
    let mut kept = number;
    // SAFETY: a variable of this function.
    unsafe {
        core::ptr::write_volatile(&raw mut kept, number);
        core::ptr::read_volatile(&raw const kept) & most
    }
}

/// Nothing is to be booked.
const NOTHING: u64 = SEGMENTS as u64;

/// What the image of `mm` has of a member, beyond what is booked.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
unsafe fn unbooked(image: *mut Image, segments: *mut SegmentsRecord, member: u32) -> i64 {
    // SAFETY: the caller vouches for the pointers; the member is below the length.
    unsafe {
        let booked = (&raw const (*segments).booked)
            .cast::<i64>()
            .add(member as usize);
        accounting::current(image, member) - *booked
    }
}

/// The segment that a change of the image of `mm` belongs to, or [`NOTHING`]. `own`: the current thread made one,
/// and this is its event. This, what follows from it and
/// the sizes are functions of their own for the verifier, see `main`, and called
/// one after the other, because verifiers allow 512 bytes of stack for all that call each other.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segment_told(mm: u64, member: u64, own: u64) -> u64 {
    let Some(image) = state::image(mm) else {
        return NOTHING;
    };
    // Nothing tells which mapping goes at the end; that all go is known.
    // SAFETY: a map value.
    if unsafe { (*image).end_reason } != 0 && !from_functions() {
        return NOTHING;
    }
    let Some(segments) = of(mm) else {
        // Counted once, by its end.
        return NOTHING;
    };
    let member = member as u32 & 3;
    // SAFETY: map values.
    unsafe {
        (*segments).image = (*image).id;
        (*segments).header.tree = (*image).tree;
        let delta = unbooked(image, segments, member);
        if before::is_to_be_read(image) {
            return match delta {
                0 => NOTHING,
                // That is what these pages are, whatever they are for.
                _ if member == Member::Shmem as u32 => Segment::Shmem as u64,
                _ => Segment::Unknown as u64,
            };
        }
        if own != 0 {
            watch(mm, image, segments, member, delta);
        }
        match delta {
            0 => NOTHING,
            delta => of_member(context::segment(mm, image, member, delta), member).into(),
        }
    }
}

/// Notes whether the event of a change, which finds `delta` to be booked, shows that changes were mixed up: a
/// thread that changes a counter while another one's change of it is not booked yet books both.
///
/// An event comes after its own change. So who finds nothing to be booked was forestalled: since then another
/// event has booked his change, to that one's segment. And every mixture ends with somebody who finds nothing: who
/// finds another one's change in place of his own leaves that one without. (Should two cancel each other, both find
/// nothing, and one of them has not booked last. Some events come with no change, `filemap_map_pages()` where others hold
/// the pages: who has booked last himself was not forestalled.) All events of an address space's users are over
/// before it ends: they end their own before they leave, and reclaim holds the lock of the page table that
/// `exit_mmap()` has to empty.
///
/// Up to 6.1 changes come late and several at a time, out of the caches of threads; there nobody else may have
/// changed the image at all.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
unsafe fn watch(
    mm: u64,
    image: *mut Image,
    segments: *mut SegmentsRecord,
    member: u32,
    delta: i64,
) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        if !counters::threads_have_caches() {
            (*segments).watched = 1;
            if delta == 0 {
                let (booker, own) = (booker(segments, member), thread());
                if *booker == 0 {
                    *booker = own;
                } else if *booker != own {
                    (*segments).mixed += 1;
                }
            }
            return;
        }
        // Who builds an image, and who takes it down, is alone with it.
        if (*image).state == ImageState::Active as u32
            && (*image).end_reason == 0
            && Typed::current().follow(offset!(task_mm)).address() != mm
        {
            (*segments).mixed += 1;
        }
    }
}

/// The current thread's id.
#[inline(always)]
fn thread() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// Who booked a change of a member last.
///
/// # Safety
///
/// `segments` must point at a map value.
#[inline(always)]
unsafe fn booker(segments: *mut SegmentsRecord, member: u32) -> *mut u32 {
    // SAFETY: the caller vouches for the pointer; the index is below four.
    unsafe { accounting::slot(&raw mut (*segments).bookers, member) }
}

/// Whether segments are told apart, and only where two never change one address space at a time.
#[inline(always)]
fn are_told_in_turns() -> bool {
    are_on() && (!from_functions() || counters::threads_have_caches())
}

/// The image of `mm` was there before tracing, and more than one process has it: whether its owner waits meanwhile, as for
/// vfork, is not known.
#[inline(always)]
pub(crate) fn found_lent(mm: u64) {
    if are_told_in_turns() {
        segments_lent(mm);
    }
}

/// The current process creates another task, with these flags of clone(2). A process that shares the address space
/// and does not keep its creator waiting, as vfork does, is as a thread is, and not counted as one.
#[inline(always)]
pub(crate) fn lent(flags: u64) {
    const CLONE_VM: u64 = 0x100;
    const CLONE_VFORK: u64 = 0x4000;
    const CLONE_THREAD: u64 = 0x10000;
    if are_told_in_turns()
        && flags & (CLONE_VM | CLONE_VFORK | CLONE_THREAD) == CLONE_VM
        && state::is_tracked(state::current_tgid())
    {
        segments_lent(Typed::current().follow(offset!(task_mm)).address());
    }
}

/// See [`lent`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segments_lent(mm: u64) -> u64 {
    if let Some(segments) = of(mm) {
        // SAFETY: a map value. Atomic, because the tree's lock is not held.
        unsafe { crate::atomic::add(&raw mut (*segments).mixed, 1) };
    }
    0
}

/// Books it. `peak`: the image's RSS is at a new peak.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segment_changed(mm: u64, member: u64, segment: u64, peak: u64) -> u64 {
    let (Some(image), Some(segments)) = (state::image(mm), SEGMENTS_OF.get_ptr_mut(mm)) else {
        return 0;
    };
    let (member, segment) = (member as u32 & 3, segment as u32);
    // SAFETY: map values; the member is below the length.
    unsafe {
        let delta = unbooked(image, segments, member);
        let booked = (&raw mut (*segments).booked)
            .cast::<i64>()
            .add(member as usize);
        *booked += delta;
        *booker(segments, member) = thread();
        if segment == Segment::Unknown as u32
            && !before::is_to_be_read(image)
            && !context::is_executing(mm)
        {
            let moved = if delta < 0 { -delta } else { delta } as u64;
            if (*image).end_reason == 0 {
                // Atomic, as in `segments_moved`.
                crate::atomic::add(&raw mut (*segments).untold, moved);
            } else {
                // No peak rises any more.
                (*segments).untold_at_end += moved;
            }
        }
        let place = cell(&raw mut (*segments).cur, segment, member);
        *place += delta;
        raise(segments, segment);
        keep_peak(segments, segment, member, peak);
    }
    0
}

/// Looks at the sizes of segments in address space, if there is any need, see [`sizes`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segment_sizes(mm: u64, peak: u64, at: u64) -> u64 {
    if let Some(segments) = SEGMENTS_OF.get_ptr_mut(mm) {
        // SAFETY: a map value.
        unsafe { sizes::look(mm, segments, peak != 0, at) };
    }
    0
}

/// Books what the image has of a member by now; whether there was anything. `own` as in [`segment_told`].
#[inline(always)]
fn book(mm: u64, member: u32, own: bool, peak: bool) -> bool {
    let segment = segment_told(mm, member.into(), own.into());
    if segment == NOTHING {
        return false;
    }
    segment_changed(mm, member.into(), segment, peak.into());
    true
}

/// A member of the image has changed. Call under the tree's lock.
#[inline(always)]
pub(crate) fn changed(mm: u64, member: u32, peak: bool, at: u64) {
    let changed = book(mm, member, true, peak);
    tell(mm, changed, peak, at);
}

/// Any of them may have, where none is known to be the one.
#[inline(always)]
pub(crate) fn settled(mm: u64, peak: bool, at: u64) {
    let mut changed = false;
    for member in 0..MEMBERS as u32 {
        changed |= book(mm, member, false, peak);
    }
    tell(mm, changed, peak, at);
}

#[inline(always)]
fn tell(mm: u64, changed: bool, peak: bool, at: u64) {
    if !changed {
        return;
    }
    segment_sizes(mm, peak.into(), at);
    if config!(timeline) == Timeline::EveryChange as u32 {
        segments_moment(mm, at);
    }
}

/// Sends what the segments of the image of `mm` hold, as of `at`, to the timeline.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segments_moment(mm: u64, at: u64) -> u64 {
    let Some(segments) = SEGMENTS_OF.get_ptr_mut(mm) else {
        return 0;
    };
    state::send_to_timeline_in_place::<SegmentsChange>(|record| {
        // SAFETY: reserved ring memory of this type, and a map value.
        unsafe {
            (*record).header = event::Header {
                kind: event::SEGMENTS_CHANGE,
                tree: (*segments).header.tree,
                at,
            };
            (*record).image = (*segments).image;
            let cur = &raw mut (*segments).cur;
            for segment in 0..SEGMENTS as u32 {
                let place = (&raw mut (*record).resident).cast::<i64>();
                *place.add(segment as usize) = resident(cur, segment);
                let place = (&raw mut (*record).swapped).cast::<i64>();
                *place.add(segment as usize) = *cell(cur, segment, Member::Swap as u32);
            }
        }
    });
    0
}

/// Resident pages of one segment.
///
/// # Safety
///
/// `cur` must lie in a map value.
#[inline(always)]
unsafe fn resident(cur: *mut [Pages; SEGMENTS], segment: u32) -> i64 {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        *cell(cur, segment, Member::File as u32)
            + *cell(cur, segment, Member::Anon as u32)
            + *cell(cur, segment, Member::Shmem as u32)
    }
}

/// What a process wrote to its private mapping of shared memory is its own copy, as of any file.
#[inline(always)]
fn of_member(segment: u32, member: u32) -> u32 {
    if segment == Segment::Shmem as u32 && member != Member::Shmem as u32 {
        Segment::File as u32
    } else {
        segment
    }
}

/// Raises the peaks of one segment.
///
/// # Safety
///
/// `segments` must point at a map value.
#[inline(always)]
unsafe fn raise(segments: *mut SegmentsRecord, segment: u32) {
    // SAFETY: the caller vouches for the pointer; the segment is below its number.
    unsafe {
        let cur = &raw mut (*segments).cur;
        let resident = resident(cur, segment);
        let swapped = *cell(cur, segment, Member::Swap as u32);
        let index = index(segment);
        let peak = (&raw mut (*segments).peak_resident)
            .cast::<i64>()
            .add(index);
        if resident > *peak {
            *peak = resident;
        }
        let peak = (&raw mut (*segments).peak_swapped).cast::<i64>().add(index);
        if swapped > *peak {
            *peak = swapped;
        }
    }
}

/// Keeps what the segments hold at the image's peak. While it grows, only the cell that changed
/// has to be copied.
///
/// # Safety
///
/// `segments` must point at a map value.
#[inline(always)]
unsafe fn keep_peak(segments: *mut SegmentsRecord, segment: u32, member: u32, peak: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if peak == 0 {
            (*segments).at_peak_is_cur = 0;
            return;
        }
        let cur = &raw mut (*segments).cur;
        let at_peak = &raw mut (*segments).at_peak;
        if (*segments).at_peak_is_cur != 0 {
            *cell(at_peak, segment, member) = *cell(cur, segment, member);
            return;
        }
        words::copy(
            at_peak.cast::<[i64; SEGMENTS * MEMBERS]>(),
            cur.cast::<[i64; SEGMENTS * MEMBERS]>(),
        );
        (*segments).at_peak_is_cur = 1;
    }
}

/// The child's anonymous pages are copies of its parent's, mapping by mapping
/// (`copy_page_range()`); where no program saw them copied, they are told apart as the parent's are.
/// Pages of files are copied for some mappings only. Call under the tree's lock.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segments_forked(mm: u64, parent: u64) -> u64 {
    let (Some(child), Some(parent)) =
        (SEGMENTS_OF.get_ptr_mut(mm), SEGMENTS_OF.get_ptr_mut(parent))
    else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        (*child).untold += (*parent).untold;
        for member in [Member::Anon as u32, Member::Swap as u32] {
            let cur = &raw mut (*child).cur;
            let unknown = cell(cur, Segment::Unknown as u32, member);
            let mut sum = 0;
            for segment in 0..Segment::Unknown as u32 {
                sum += *cell(&raw mut (*parent).cur, segment, member);
            }
            // Some mappings are not copied (MADV_DONTFORK), or another thread has changed them since; or what the
            // parent had before tracing is not told apart yet.
            if sum != *unknown || (*parent).residual != 0 {
                continue;
            }
            for segment in 0..Segment::Unknown as u32 {
                let theirs = *cell(&raw mut (*parent).cur, segment, member);
                *cell(cur, segment, member) += theirs;
                raise(child, segment);
            }
            *unknown = 0;
            let moved = if sum < 0 { 0 } else { sum as u64 };
            (*child).untold = (*child).untold.saturating_sub(moved);
        }
        let place = index(Segment::Unknown as u32);
        *(&raw mut (*child).peak_resident).cast::<i64>().add(place) = 0;
        *(&raw mut (*child).peak_swapped).cast::<i64>().add(place) = 0;
        raise(child, Segment::Unknown as u32);
        (*child).at_peak_is_cur = 0;
        keep_peak(child, 0, Member::Anon as u32, 1);
    }
    0
}

/// The current process does something to `len` bytes from `address` that moves pages to another segment
/// without a change of any counter: as many can be wrong from now on.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segments_moved(mm: u64, len: u64) -> u64 {
    if let Some(segments) = SEGMENTS_OF.get_ptr_mut(mm) {
        // SAFETY: a map value. Atomic, because the tree's lock is not held.
        unsafe { crate::atomic::add(&raw mut (*segments).untold, len >> config!(page_shift)) };
    }
    0
}

/// A fork is done: all mappings are there now. Call under the tree's lock.
#[inline(always)]
pub(crate) fn look_again(mm: u64) {
    if let Some(segments) = SEGMENTS_OF.get_ptr_mut(mm) {
        // SAFETY: a map value.
        unsafe { (*segments).looked_for = u64::MAX };
    }
}

/// What the image of `mm`, which was there before tracing, held is read. Call under the tree's lock.
#[inline(always)]
pub(crate) fn found(mm: u64) {
    if are_on() {
        before::segments_found(mm);
    }
}

/// Sends the segments of an image that ends, and forgets them. Call under the tree's lock.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segments_end(mm: u64, at: u64) -> u64 {
    let Some(segments) = SEGMENTS_OF.get_ptr_mut(mm) else {
        if let Some(image) = state::image(mm) {
            // SAFETY: a map value.
            if unsafe { (*image).events } > 0 {
                state::count(Stat::SegmentsFull);
            }
        }
        return 0;
    };
    // SAFETY: a map value; indices are below the length.
    unsafe {
        if from_functions() {
            let mut left = 0;
            let cur = (&raw const (*segments).cur).cast::<i64>();
            for index in 0..(SEGMENTS - 1) * MEMBERS {
                let pages = *cur.add(index);
                left += if pages < 0 { -pages } else { pages };
            }
            // What could not be told does not make more of itself.
            let told = (*segments).untold + (*segments).untold_at_end;
            (*segments).residual = (left as u64).saturating_sub(told);
        }
        (*segments).header = event::Header {
            kind: event::SEGMENTS,
            tree: (*segments).header.tree,
            at,
        };
        state::send(&*segments);
    }
    if SEGMENTS_OF.remove(mm).is_err() {
        state::count(Stat::MapBusy);
    }
    0
}

/// Whether the image is being built by its task for a program: all its pages are the new stack's.
#[inline(always)]
fn is_new_stack(mm: u64, image: *mut Image) -> bool {
    // SAFETY: a map value.
    unsafe {
        (*image).state == ImageState::Execing as u32
            && Typed::current().follow(offset!(task_mm)).address() != mm
    }
}
