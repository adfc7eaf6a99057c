//! What it changes that a process executes another program.

use memtrace_ebpf::{ImageKind, Process, ProcessFlags};

use crate::{
    accounting, births, counters, creation, ends, family,
    kernel::{Address, Struct as _},
    life, state,
};

/// Ids of the image that the process has now and of the one it had, 0 where that is not tracked.
pub(crate) struct Change {
    pub(crate) image: u64,
    pub(crate) old: u64,
}

/// The current process, `tgid`, has the address space `mm` now.
///
/// # Safety
///
/// `process` must point at its entry.
#[inline(always)]
pub(crate) unsafe fn executed(mm: Address, tgid: u32, process: *mut Process) -> Change {
    // SAFETY: as the caller vouches.
    let attached = unsafe { creation::has_been_attached(process) };
    let image = match state::image(mm.address()) {
        Some(image) => Some(image),
        // It was all but done when the process was taken in.
        None if attached => births::create(mm, tgid, ImageKind::Exec),
        None => births::create_late(mm, tgid, ImageKind::Exec),
    };
    let mut image_id = 0;
    if let Some(image) = image {
        // SAFETY: map values, under the tree's lock.
        unsafe {
            if let Some(tree) = state::tree((*image).tree) {
                let held = state::lock(tree);
                let at = state::now();
                // Pages of a new program are counted while its arguments are
                // copied, partly without a page-table lock (GUP), so that a CPU
                // may have a share that no update told of.
                (*image).tgid = tgid;
                (*image).process = (*process).id;
                ends::note_text(mm, image);
                if life::is_executed(image) {
                    accounting::enter_tree((*image).mm, at);
                }
                // Of one that ran before, what it did before it was taken in was not seen either.
                if counters::may_lack_cpus() || attached {
                    accounting::settle_now((*image).mm, at);
                }
                state::unlock(tree, held);
            }
            image_id = (*image).id;
        }
    }
    let mut old_image = 0;
    // SAFETY: map values, under the tree's lock, under which it is taken in too if it ran before.
    unsafe {
        if let Some(tree) = state::tree((*process).tree) {
            let held = state::lock(tree);
            old_image = (*process).image;
            // It leaves the image that it had. If that is its creator's, or it has lent it to others, it is still
            // there, and what this process wrote there counts.
            if old_image != image_id {
                family::family_user_leaves((*process).mm, old_image, state::now());
            }
            (*process).image = image_id;
            (*process).mm = mm.address();
            (*process).flags &=
                !(ProcessFlags::PRE_EXEC | ProcessFlags::SHARES_IMAGE | ProcessFlags::ATTACHED);
            state::unlock(tree, held);
        }
    }
    Change {
        image: image_id,
        old: old_image,
    }
}
