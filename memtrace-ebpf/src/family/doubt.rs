//! Doubts about what is still shared, from page faults: a fault that changed no counter
//! may have copied a page.

use core::cmp::min;

use memtrace_ebpf::{EPOCHS, Image, ImageState, Tree, rss};

use super::{UNKNOWN, add_doubt, family_take_over, find, has_relatives};
use crate::{
    atomic,
    kernel::{Struct as _, Typed, offset, probe},
    moment,
    state::{current_tgid, image_and_tree as both},
};

/// Page faults of the task's process, with those that took place since the task
/// began, or `None` if it has several threads, whose counts cannot be added here.
#[inline(always)]
pub(super) fn faults_of(task: Typed) -> Option<u64> {
    let signal = task.follow(offset!(task_signal));
    let threads: i32 = signal.load(offset!(signal_nr_threads));
    if threads > 1 {
        return None;
    }
    let own: u64 =
        task.load::<u64>(offset!(task_min_flt)) + task.load::<u64>(offset!(task_maj_flt));
    let gone: u64 =
        signal.load::<u64>(offset!(signal_min_flt)) + signal.load::<u64>(offset!(signal_maj_flt));
    Some(own + gone)
}

/// The process that an mm, known by address only, belongs to, if it can be found.
#[inline(always)]
fn owner_of(mm: u64) -> Option<u64> {
    probe(mm, offset!(mm_owner))
}

/// Its page faults, as [`faults_of`].
#[inline(always)]
pub(super) fn faults_of_owner(owner: Option<u64>) -> Option<u64> {
    let owner = owner?;
    let signal: u64 = probe(owner, offset!(task_signal))?;
    let threads: i32 = probe(signal, offset!(signal_nr_threads))?;
    if threads > 1 {
        return None;
    }
    let own: u64 =
        probe::<u64>(owner, offset!(task_min_flt))? + probe::<u64>(owner, offset!(task_maj_flt))?;
    let gone: u64 = probe::<u64>(signal, offset!(signal_min_flt))?
        + probe::<u64>(signal, offset!(signal_maj_flt))?;
    Some(own + gone)
}

/// A doubt is found that may have existed since the image was looked at last, when
/// the tree may have been larger: it counts for every moment since then.
#[inline(always)]
unsafe fn found_late(image: *mut Image, pages: i64, at: u64) {
    // SAFETY: a map value, see the callers.
    unsafe { family_found_late((*image).mm, pages, at) };
}

/// [`found_late`] for the image of `mm`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_found_late(mm: u64, pages: i64, at: u64) -> u64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values; indices are below the arrays' length.
    unsafe {
        let since = (*image).looked_at;
        if pages <= 0 {
            return 0;
        }
        moment::begin(tree);
        for epoch in 0..EPOCHS {
            raise_epoch(tree, epoch, since, pages);
        }
        let starts = (&raw const (*tree).epoch_start).cast::<u64>();
        let oldest = *starts.add(((*tree).epoch as usize + 1) & (EPOCHS - 1));
        // Longer ago than is remembered: the largest ever stands for all.
        if oldest > since {
            let high = min((*tree).peak_footprint_high + pages, (*tree).peak_rss);
            raise_peak(tree, high, at);
        }
        moment::end(tree);
        add_doubt(image, tree, pages);
    }
    0
}

/// Counts `pages` for one stretch of the past, if it reached beyond `since`.
#[inline(always)]
unsafe fn raise_epoch(tree: *mut Tree, epoch: usize, since: u64, pages: i64) {
    // SAFETY: map values; indices are masked to the arrays' length.
    unsafe {
        let starts = (&raw const (*tree).epoch_start).cast::<u64>();
        let start = *starts.add(epoch);
        let next = *starts.add((epoch + 1) & (EPOCHS - 1));
        // The present one has no next; what follows it in the ring is older.
        let over = next > start && next <= since;
        if start == 0 || over {
            return;
        }
        let high = (&raw mut (*tree).epoch_high).cast::<i64>().add(epoch);
        let limit = *(&raw const (*tree).epoch_rss).cast::<i64>().add(epoch);
        let raised = min(*high + pages, limit);
        *high = raised;
        raise_peak(tree, raised, since);
    }
}

#[inline(always)]
unsafe fn raise_peak(tree: *mut Tree, high: i64, at: u64) {
    // SAFETY: a map value, see the callers.
    unsafe {
        if high > (*tree).peak_footprint_high {
            (*tree).peak_footprint_high = high;
            (*tree).peak_footprint_high_at = at;
        }
    }
}

/// Takes the faults of the owner since the last look for copies on write, except
/// those that changed a counter and so brought a page of their own.
#[inline(always)]
unsafe fn note_faults(image: *mut Image, faults: Option<u64>, at: u64) {
    // SAFETY: map values, see the callers.
    unsafe {
        let Some(faults) = faults else {
            if (*image).uncertain < UNKNOWN {
                found_late(image, UNKNOWN, at);
            }
            return;
        };
        let since = faults.wrapping_sub((*image).faults_seen);
        if since == 0 || since > i64::MAX as u64 {
            return;
        }
        // The fault that the last increase came from is counted by now.
        let accounted = (*image).fault_pending;
        (*image).fault_pending = 0;
        (*image).faults_seen = faults;
        found_late(image, since as i64 - accounted as i64, at);
        // What others who use it have written to is not known before they leave.
        if (*image).borrowers == 0 {
            (*image).looked_at = at;
        }
    }
}

/// What an update of an image with relatives does.
pub(crate) mod update {
    /// It adds pages.
    pub(crate) const INCREASES: u64 = 1;
    /// It is the first of the image's end: relatives are looked at by `family_before_end` right after.
    pub(crate) const LAST: u64 = 2;
}

/// Before an update of an image with relatives: learns of the pages that its owner
/// wrote to since the last one. `update` is a value of [`update`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_before_update(mm: u64, update: u64, at: u64) -> u64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        if (*image).state != ImageState::Active as u32 || current_tgid() != (*image).tgid {
            return 0;
        }
        note_faults(image, faults_of(Typed::current()), at);
        if update == update::LAST {
            return 0;
        }
        if update == update::INCREASES {
            (*image).fault_pending = 1;
        } else {
            // A peak may be passing: what its nearest relatives wrote to counts.
            note_relatives(image, at);
        }
        family_take_over((*tree).index, at);
    }
    0
}

#[inline(always)]
unsafe fn note_relatives(image: *mut Image, at: u64) {
    // SAFETY: map values, see the callers.
    unsafe {
        if let Some(sharer) = find((*image).sharer) {
            note_faults_of_relative(sharer, (*image).sharer, at);
        }
        if let Some(heir) = find((*image).heir) {
            note_faults_of_relative(heir, (*image).heir, at);
        }
    }
}

/// What a relative wrote to. Once its last process has left, which `mm_update_next_owner()`
/// (kernel/exit.c) marks by an owner of none, nobody can write any more; that process's own last
/// look is due with its end (`family_user_leaves`, `ends::begin_end`).
#[inline(always)]
unsafe fn note_faults_of_relative(relative: *mut Image, mm: u64, at: u64) {
    let owner = owner_of(mm);
    // SAFETY: a map value, see the callers.
    unsafe {
        if owner != Some(0) {
            note_faults(relative, faults_of_owner(owner), at);
        }
    }
}

/// Before the image of `mm` leaves its family: who is without relatives then is not looked at any more,
/// and has perhaps not been since it wrote. (The first of a family and its oldest heir look at
/// each other alone when they end together.)
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn family_before_leave(mm: u64, at: u64) -> u64 {
    let Some(image) = find(mm) else {
        return 0;
    };
    // SAFETY: a map value.
    unsafe {
        note_last_faults_of((*image).sharer, at);
        note_last_faults_of((*image).heir, at);
    }
    0
}

/// [`note_faults_of_relative`], perhaps for the last time. Up to 6.15, where `exit_mm()` precedes
/// `sched_process_exit`, its last process can have let go of it without having been looked at: then
/// nothing is known.
#[inline(always)]
unsafe fn note_last_faults_of(mm: u64, at: u64) {
    let Some(relative) = find(mm) else {
        return;
    };
    // SAFETY: a map value.
    unsafe {
        let seen = (*relative).user_left != 0 || (*relative).end_reason != 0;
        if (*relative).borrowers != 0 {
            // What they wrote to is looked at when they leave, but not without relatives.
            note_faults(relative, None, at);
            return;
        }
        match owner_of(mm) {
            Some(0) if seen => {}
            Some(0) => note_faults(relative, None, at),
            owner => note_faults(relative, faults_of_owner(owner), at),
        }
    }
}

/// The last thread of a process leaves the image `id` of `mm`: the last look at what it wrote to. That image can
/// have ended, and be another's by now. Call under the tree's lock.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_user_leaves(mm: u64, id: u64, at: u64) -> u64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        if (*image).id != id {
            return 0;
        }
        let owns = current_tgid() == (*image).tgid;
        if !owns && (*image).borrowers > 0 {
            atomic::add(&raw mut (*image).borrowers, 1_u64.wrapping_neg());
        }
        if (*image).state != ImageState::Active as u32 || !has_relatives(image) {
            return 0;
        }
        let faults = faults_of(Typed::current());
        if owns {
            note_faults(image, faults, at);
        } else {
            let faults = match faults {
                Some(faults) => faults as i64,
                None => UNKNOWN,
            };
            found_late(image, faults, at);
        }
        if (*image).lent == 0 && owns {
            (*image).user_left = 1;
        }
        family_take_over((*tree).index, at);
    }
    0
}

/// Before the image is torn down: learns of the pages that the relatives wrote to
/// while both were whole.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn family_before_end(mm: u64, at: u64) -> u64 {
    let Some((image, tree)) = both(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        // Its end was first seen in another task (kswapd, a reader of /proc), or before that of all who shared
        // it: what its last thread, or they, wrote to is not known, unless that was looked at before.
        let seen = current_tgid() == (*image).tgid || (*image).user_left != 0;
        if !seen || (*image).borrowers != 0 {
            note_faults(image, None, at);
        }
        note_relatives(image, at);
        if let Some(sharer) = find((*image).sharer) {
            // What it does not share with an earlier one, later ones may share with it, and it will be
            // one of theirs: heirs whatever it has, siblings what it inherited.
            let mut common = 0;
            if (*image).heir != 0 {
                common = rss(&(*image).cur);
            } else if (*image).younger != 0 {
                common = min(rss(&(*image).cur), (*image).inherited);
            }
            add_doubt(sharer, tree, common - (*image).shared + (*image).uncertain);
        }
        family_take_over((*tree).index, at);
    }
    0
}
