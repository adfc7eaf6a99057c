//! Which images still share pages because of fork.
//!
//! A fork copies every page-table entry, so the sum of RSS doubles although no
//! page was allocated. The images of a family are put into an order, and a page
//! counts for the first image that has it. [`Image::shared`] of an image is an
//! upper bound of its pages that an earlier one has too; `uncertain` is by how much
//! that bound may be too high, because pages that were freed or written to since
//! the fork may have been shared ones. Hence for a tree
//!
//! ```text
//! rss - shared  <=  footprint  <=  rss - shared + min(shared, uncertain)
//! ```
//!
//! An image's fork images (its heirs) form a list, oldest first. The oldest heir of
//! a family's first image can share no more than that one holds; what the first
//! frees below that passes to its oldest heir, and when it ends, its oldest heir
//! becomes the first. The heirs of any other image pass to the one it shared with.
//! Everything here runs under the tree's lock. What comes of it for the tree goes into
//! [`Tree::shared_next`] and [`Tree::uncertain_next`], and is taken over in one moment, with the change of RSS
//! that it belongs to if there is one ([`footprint::take_over`]): images without relatives do
//! not take that lock, and must not see half of it.
//!
//! Of images that were there before tracing began nothing is known: they are one family, each of which may
//! share anything with those before it.
//!
//! The entry points take addresses instead of pointers, so that the verifier
//! checks each of them once (see `main`). Only images that have
//! relatives pay for the second look-up.

mod doubt;

use core::cmp::min;

use memtrace_ebpf::{Image, MAX_TREES, Member, Tree, rss};

pub(crate) use doubt::{family_before_end, family_before_update, family_user_leaves, update};

use crate::{
    footprint,
    kernel::Typed,
    moment,
    peaks::{keep_before_change, keep_for_peak},
    state::{control, image as find, image_and_tree as both, tree},
};

/// Stands for "all of it": added to `uncertain` when nothing is known about writes.
const UNKNOWN: i64 = 1 << 40;

/// How many heirs are told that the image they share with has ended: in rounds, each of
/// which the verifier checks by itself, rather than every heir after every other.
const ROUNDS: u32 = 16;
const HEIRS_PER_ROUND: u32 = 16;

/// Does the image share pages with another one?
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn has_relatives(image: *mut Image) -> bool {
    // SAFETY: the caller vouches for the pointer.
    unsafe { (*image).sharer != 0 || (*image).heir != 0 }
}

/// What was found out about the tree at `index` holds from now on.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_take_over(index: u64, at: u64) -> u64 {
    let Some(tree) = tree(index as u32) else {
        return 0;
    };
    moment::begin(tree);
    // SAFETY: a map value.
    unsafe {
        footprint::take_over(tree, at);
        footprint::note_footprint(tree, at);
    }
    moment::end(tree);
    0
}

/// The RSS of the image of `mm` changes by `delta` to `now`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_resident_changed(
    mm: u64,
    delta: i64,
    now: i64,
    ending: u64,
) -> u64 {
    if let Some((image, tree)) = both(mm) {
        // SAFETY: map values.
        unsafe { resident_changed(image, tree, delta, now, ending != 0) };
    }
    0
}

/// # Safety
///
/// Both must point at map values; call under the tree's lock.
#[inline(always)]
pub(crate) unsafe fn resident_changed(
    image: *mut Image,
    tree: *mut Tree,
    delta: i64,
    now: i64,
    ending: bool,
) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let mut held = 0;
        if delta > 0 && (*image).sharer != 0 {
            held = min(delta, (*image).cur[Member::Swap as usize]);
        }
        hold(image, tree, held);
        if delta >= 0 || !has_relatives(image) {
            return;
        }
        let mut doubt = 0;
        let shared = (*image).shared;
        if shared > 0 {
            let left = if shared < now { shared } else { now };
            set_shared(image, tree, left);
            doubt = -delta - (shared - left);
        }
        // What it frees without sharing it with an earlier one, a later one may have alone now. Of an
        // ending one with an earlier one, all of that was counted when its end began.
        let counted = ending && (*image).sharer != 0;
        if !counted && ((*image).heir != 0 || (*image).younger != 0) {
            let unpassed = -delta - family_limit_heir((*image).mm, now);
            if unpassed > doubt {
                doubt = unpassed;
            }
        }
        add_doubt(image, tree, doubt);
    }
}

/// The oldest heir of a family's first image, that of `mm`, shares no more than `now`, what
/// that one holds. Returns by how much its share fell.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_limit_heir(mm: u64, now: i64) -> i64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        if (*image).sharer != 0 {
            return 0;
        }
        let Some(heir) = find((*image).heir) else {
            return 0;
        };
        let over = (*heir).shared - now;
        if over <= 0 {
            return 0;
        }
        set_shared_of_heir(heir, tree, now);
        over
    }
}

#[inline(always)]
unsafe fn set_shared(image: *mut Image, tree: *mut Tree, shared: i64) {
    // SAFETY: map values, see the callers.
    unsafe {
        (*tree).shared_next += shared - (*image).shared;
        (*image).shared = shared;
        cap_doubt(image, tree);
    }
}

/// So many pages are perhaps swapped in.
#[inline(always)]
unsafe fn hold(image: *mut Image, tree: *mut Tree, pages: i64) {
    // SAFETY: map values, see the callers.
    unsafe {
        (*tree).held_shared_next += pages - (*image).held_shared;
        (*image).held_shared = pages;
    }
}

/// The same for an image that did not change itself.
#[inline(always)]
unsafe fn set_shared_of_heir(heir: *mut Image, tree: *mut Tree, shared: i64) {
    // SAFETY: map values, see the callers.
    unsafe {
        keep_before_change(heir, tree);
        set_shared(heir, tree, shared);
    }
}

#[inline(always)]
unsafe fn add_doubt(image: *mut Image, tree: *mut Tree, pages: i64) {
    if pages <= 0 {
        return;
    }
    // SAFETY: map values, see the callers.
    unsafe {
        (*image).uncertain += pages;
        (*tree).uncertain_next += pages;
        cap_doubt(image, tree);
    }
}

/// The doubts of an image without heirs and siblings concern only what it shares itself.
#[inline(always)]
unsafe fn cap_doubt(image: *mut Image, tree: *mut Tree) {
    // SAFETY: map values, see the callers.
    unsafe {
        let over = (*image).uncertain - (*image).shared;
        let alone = (*image).heir == 0 && (*image).older == 0 && (*image).younger == 0;
        if alone && over > 0 {
            (*image).uncertain -= over;
            (*tree).uncertain_next -= over;
        }
    }
}

/// Pages of an image with relatives were swapped in: with swap-out they had left what
/// it shares, but both sides may have got the same page back.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_swapped_in(mm: u64, pages: i64) -> u64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        hold(image, tree, 0);
        let resident = rss(&(*image).cur);
        let before = (*image).shared;
        if pages > 0 && (*image).sharer != 0 {
            set_shared(image, tree, min(before + pages, resident));
        }
        add_doubt(image, tree, pages);
    }
    0
}

/// A fork completed: the image of `mm` shares all its pages with that of `parent`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_join(mm: u64, parent: u64, at: u64) -> u64 {
    let (Some((image, tree)), Some(parent)) = (both(mm), find(parent)) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        moment::begin(tree);
        keep_for_peak(image, tree);
        footprint::is_copied(image, tree);
        // From here on whoever changes it takes the lock.
        (*image).sharer = (*parent).mm;
        moment::end(tree);
        let resident = rss(&(*image).cur);
        (*image).inherited = resident;
        set_shared(image, tree, resident);
        // What another thread gave back since the first pages were copied, the copy may have alone.
        let freed = (*parent).freed.wrapping_sub((*image).freed_before);
        add_doubt(image, tree, freed as i64);
        // One by one, see `words`.
        (&raw mut (*image).faults_seen).write_volatile(0);
        (&raw mut (*image).fault_pending).write_volatile(0);
        (*image).looked_at = at;
        if !has_relatives(parent) {
            (*parent).looked_at = at;
            match doubt::faults_of(Typed::current()) {
                Some(faults) => (*parent).faults_seen = faults,
                None => (*parent).faults_seen = 0,
            }
            (*parent).fault_pending = 0;
        }
        become_heir(image, parent, tree);
    }
    0
}

/// A fork completed of an address space that has no image: the one of `mm` shares nothing that counts here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_alone(mm: u64, at: u64) -> u64 {
    if let Some((image, tree)) = both(mm) {
        moment::begin(tree);
        // SAFETY: map values.
        unsafe {
            keep_for_peak(image, tree);
            footprint::shares_nothing(image, tree, at);
        }
        moment::end(tree);
    }
    0
}

/// The image becomes the youngest heir of `elder`.
#[inline(always)]
unsafe fn become_heir(image: *mut Image, elder: *mut Image, tree: *mut Tree) {
    // SAFETY: map values, see the callers.
    unsafe {
        let youngest = (*elder).last_heir;
        (*image).sharer = (*elder).mm;
        (*image).older = youngest;
        if youngest == 0 {
            // In a moment: a change of the elder's that was booked without the lock is through then, and
            // the next one takes it.
            moment::begin(tree);
            (*elder).heir = (*image).mm;
            moment::end(tree);
        } else if let Some(youngest) = find(youngest) {
            (*youngest).younger = (*image).mm;
        } else {
            (*tree).family_lost += 1;
        }
        (*elder).last_heir = (*image).mm;
    }
}

/// The image of `mm`, which `task` has, was there before tracing began: it may share all that it has with any of
/// the others that were, and perhaps nothing.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_attach(mm: u64, task: u64, at: u64) -> u64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let Some(first) = first_attached((*image).tree) else {
            return 0;
        };
        (*image).looked_at = at;
        if let Some(faults) = doubt::faults_of_owner(Some(task)) {
            (*image).faults_seen = faults;
        }
        let Some(head) = find(*first) else {
            *first = mm;
            return 0;
        };
        let resident = rss(&(*image).cur);
        // No more than all those before it have, in memory or in swap, from where it can come back.
        let others = (*tree).rss + (*tree).cur[Member::Swap as usize];
        (*image).inherited = resident;
        set_shared(image, tree, min(resident, others));
        add_doubt(image, tree, UNKNOWN);
        become_heir(image, head, tree);
    }
    0
}

/// Where [`Control::first_attached`] of the tree at `index` is.
#[inline(always)]
fn first_attached(index: u32) -> Option<*mut u64> {
    let control = control()?;
    // SAFETY: a map value; masked to the length of the array, a power of two.
    Some(unsafe {
        (&raw mut (*control).first_attached)
            .cast::<u64>()
            .add(index as usize & (MAX_TREES as usize - 1))
    })
}

/// The image ends: another one of its family is the first of those that were there before, if it was.
#[inline(always)]
unsafe fn pass_on_first(image: *mut Image, to: u64) {
    // SAFETY: a map value, see the callers.
    unsafe {
        if let Some(first) = first_attached((*image).tree)
            && *first == (*image).mm
        {
            *first = to;
        }
    }
}

/// The image of `mm` ended: its heirs take its place.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_leave(mm: u64, at: u64) -> u64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        doubt::family_before_leave(mm, at);
        family_unlink(mm);
        family_bequeath(mm);
        if let Some(sharer) = find((*image).sharer) {
            cap_doubt(sharer, tree);
        }
        set_shared(image, tree, 0);
        hold(image, tree, 0);
        (*tree).uncertain_next -= (*image).uncertain;
        (*image).uncertain = 0;
    }
    0
}

/// Takes the image of `mm` out of the list of the one it shares with.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn family_unlink(mm: u64) -> u64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let (sharer, older, younger) = ((*image).sharer, (*image).older, (*image).younger);
        if sharer == 0 {
            return 0;
        }
        let Some(sharer) = find(sharer) else {
            (*tree).family_lost += 1;
            return 0;
        };
        match find(older) {
            Some(older) => (*older).younger = younger,
            None => (*sharer).heir = younger,
        }
        match find(younger) {
            Some(younger) => (*younger).older = older,
            None => (*sharer).last_heir = older,
        }
        if (*sharer).heir != 0 {
            family_limit_heir((*sharer).mm, rss(&(*sharer).cur));
        }
    }
    0
}

/// Gives the heirs of the image of `mm` to the one it shared with, or else to the oldest of
/// them.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn family_bequeath(mm: u64) -> u64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let first = (*image).heir;
        if (*image).sharer == 0 {
            pass_on_first(image, first);
        }
        if first == 0 {
            return 0;
        }
        let Some(heir) = find(first) else {
            (*tree).family_lost += 1;
            return 0;
        };
        let last = (*image).last_heir;
        let successor = (*image).sharer;
        if let Some(sharer) = find(successor) {
            // They share with its sharer too.
            tell(first, successor, tree);
            append(sharer, first, last);
            return 0;
        }
        // The oldest heir is now the first of the family: all its pages count.
        let rest = (*heir).younger;
        set_shared_of_heir(heir, tree, 0);
        hold(heir, tree, 0);
        (*heir).sharer = 0;
        // One by one, see `words`.
        (&raw mut (*heir).older).write_volatile(0);
        (&raw mut (*heir).younger).write_volatile(0);
        if let Some(head) = find(rest) {
            (*head).older = 0;
            tell(rest, first, tree);
            append(heir, rest, last);
            family_limit_heir((*heir).mm, rss(&(*heir).cur));
        }
        // What others shared with the ended image alone, or with its heir.
        add_doubt(heir, tree, (*image).uncertain);
    }
    0
}

/// Tells a list of heirs, from `first` on, whom they share with now.
#[inline(always)]
unsafe fn tell(first: u64, sharer: u64, tree: *mut Tree) {
    // SAFETY: map values, see `family_leave`.
    unsafe {
        if family_tell(first, sharer) != 0 {
            // Too many to tell: nothing is certain about this tree's sharing any more.
            (*tree).family_lost += 1;
            (*tree).uncertain_next += UNKNOWN;
        }
    }
}

/// Tells as many as can be: gives the first heir that is left, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_tell(first: u64, sharer: u64) -> u64 {
    let mut next = first;
    for _ in 0..ROUNDS {
        next = family_tell_some(next, sharer);
        if next == 0 {
            break;
        }
    }
    next
}

/// A round of [`family_tell`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_tell_some(first: u64, sharer: u64) -> u64 {
    let mut next = first;
    for _ in 0..HEIRS_PER_ROUND {
        let Some(heir) = find(next) else { return 0 };
        // SAFETY: a map value.
        unsafe {
            (*heir).sharer = sharer;
            next = (*heir).younger;
        }
    }
    next
}

/// Appends a list of heirs, `first` to `last`, to those of `image`.
#[inline(always)]
unsafe fn append(image: *mut Image, first: u64, last: u64) {
    // SAFETY: map values, see `family_leave`.
    unsafe {
        let tail = (*image).last_heir;
        match (find(tail), find(first)) {
            (Some(tail_image), Some(first_image)) => {
                (*tail_image).younger = first;
                (*first_image).older = tail;
            }
            _ => (*image).heir = first,
        }
        (*image).last_heir = last;
    }
}
