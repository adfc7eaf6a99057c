//! What it changes that a process executes another program.

use memtrace_ebpf::{ImageKind, ImageState, Process, ProcessFlags};

use crate::{
    accounting, counters, family,
    kernel::{Address, Struct as _},
    life,
    moment::next_reading,
    state,
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
/// `process` must point at its entry, which only its own hooks change.
#[inline(always)]
pub(crate) unsafe fn executed(mm: Address, tgid: u32, process: *mut Process) -> Change {
    let image = match state::image(mm.address()) {
        Some(image) => Some(image),
        None => life::create_late(mm, tgid, ImageKind::Exec),
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
                life::note_text(mm, image);
                if (*image).state == ImageState::Execing as u32 {
                    accounting::enter_tree((*image).mm, at);
                }
                if counters::may_lack_cpus() {
                    let reading = next_reading(image);
                    let values = counters::sums(mm, image);
                    accounting::settle(image, tree, &values, reading, at);
                }
                state::unlock(tree, held);
            }
            image_id = (*image).id;
        }
    }
    // SAFETY: map values, under the tree's lock.
    unsafe {
        if (*process).flags & ProcessFlags::SHARES_IMAGE != 0
            && let Some(tree) = state::tree((*process).tree)
        {
            // It leaves its creator's image; what it wrote there counts.
            let held = state::lock(tree);
            family::family_user_leaves((*process).mm, state::now());
            state::unlock(tree, held);
        }
    }
    // SAFETY: a map value that only its own process's hooks change.
    let old_image = unsafe {
        let old = (*process).image;
        (*process).image = image_id;
        (*process).mm = mm.address();
        (*process).flags &= !(ProcessFlags::PRE_EXEC | ProcessFlags::SHARES_IMAGE);
        old
    };
    Change {
        image: image_id,
        old: old_image,
    }
}
