//! Ends of images.

use memtrace_ebpf::{CounterLayout, Image, ImageKind, ImageState, MEMBERS, Stat, event};

use crate::{
    accounting, counters, envelope, family, footprint,
    kernel::{Address, Struct, Typed, config, key, offset, probe},
    life, moment, segments, sizes, state,
};

/// The address space has been torn down: its image ends, if it has not with the last update.
#[inline(always)]
pub(crate) fn torn_down(mm: Typed) {
    let Some(image) = state::image(mm.address()) else {
        return;
    };
    // SAFETY: map values, under the tree's lock.
    unsafe {
        let index = (*image).tree;
        let Some(tree) = state::tree(index) else {
            return;
        };
        let held = state::lock(tree);
        if !life::is_of(mm, image) {
            state::unlock(tree, held);
            return;
        }
        let at = state::now();
        if counters::may_lack_cpus() {
            accounting::settle_now(key(image), at);
        }
        finish_image(key(image), at, event_reason::EXIT_MMAP);
        state::unlock(tree, held);
        state::remove_image(mm.address());
    }
}

/// [`Image::end_reason`].
pub(crate) mod event_reason {
    pub(crate) const ALL_ZERO: u64 = 1;
    pub(crate) const EXIT_MMAP: u64 = 2;
    /// Either of them.
    pub(crate) const ENDED: u32 = (ALL_ZERO | EXIT_MMAP) as u32;
    /// The end has begun; never sent.
    pub(crate) const BEGUN: u32 = 4;
}

/// The old image's end begins, in the task that has executed another program: from
/// `exec_mmap()` on the new image is what it has, with the pages of its arguments, and counts before the
/// old one's go.
#[inline(always)]
pub(crate) unsafe fn enter_successor(mm: u64, at: u64) {
    // SAFETY: a map value.
    unsafe {
        let own = Typed::current().follow(offset!(task_mm)).address();
        if own != mm
            && let Some(image) = state::image(own)
            && life::is_executed(image)
        {
            accounting::enter_tree(own, at);
        }
    }
}

/// The first update after the last user left: everything is still as it was in
/// life but for the pages of this update. Once per image, so it may look the image up again:
/// a function of its own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn begin_end(mm: u64, at: u64) -> u64 {
    let Some(image) = state::image(mm) else {
        return 0;
    };
    let fields = Address::new(mm);
    // SAFETY: a map value.
    unsafe {
        (*image).end_reason = event_reason::BEGUN;
        note_text(fields, image);
        note_hiwater(fields, image);
        if family::has_relatives(image) {
            family::family_before_update(mm, family::update::LAST, at);
            family::family_before_end(mm, at);
        }
    }
    0
}

/// What the kernel takes for the image's peak RSS: `get_mm_hiwater_rss()`, with
/// `get_mm_rss()` reading the shared counts only.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_hiwater(mm: impl Struct, image: *mut Image) {
    // SAFETY: `image` as the caller vouches.
    unsafe {
        if !cfg!(feature = "lean") && config!(layout) == CounterLayout::Classic as u32 {
            return;
        }
        let base = offset!(mm_rss_stat) + offset!(counter_count);
        let stride = offset!(counter_stride);
        let mut now = 0_i64;
        // Not by typed loads: verifiers do not walk into an array of atomic_long_t (6.1).
        let file = probe::<i64>(mm.address(), base).unwrap_or(0);
        let anon = probe::<i64>(mm.address(), base + stride).unwrap_or(0);
        let shmem = probe::<i64>(mm.address(), base + 3 * stride).unwrap_or(0);
        if file > 0 {
            now += file;
        }
        if anon > 0 {
            now += anon;
        }
        if shmem > 0 {
            now += shmem;
        }
        let kept: u64 = mm.load(offset!(mm_hiwater_rss));
        let high = if kept > now as u64 { kept } else { now as u64 };
        if high > (*image).hiwater_rss {
            (*image).hiwater_rss = high;
        }
    }
}

/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_text(mm: impl Struct, image: *mut Image) {
    // SAFETY: `image` as the caller vouches.
    unsafe {
        let start: u64 = mm.load(offset!(mm_start_code));
        let end: u64 = mm.load(offset!(mm_end_code));
        let page = 1_u64 << config!(page_shift);
        if end > start {
            (*image).text_bytes = ((end + page - 1) & !(page - 1)) - (start & !(page - 1));
        }
    }
}

/// Ends the image of `mm`: its totals are final. The caller removes it from the
/// map. Call under the tree's lock.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn finish_image(mm: u64, at: u64, reason: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        // Not before its last change.
        let at = accounting::booked_at(tree, at);
        if segments::are_on() {
            segments::segments_end(mm, at);
        }
        if family::has_relatives(image) || (*image).kind == ImageKind::Attached as u32 {
            family::family_leave(mm, at);
            family::family_take_over((*image).tree.into(), at);
            moment::begin(tree);
            envelope::shared_changed(tree, (*image).tree, at);
            moment::end(tree);
        }
        let mut residual = 0;
        // Nothing is booked to it from here on.
        moment::begin(tree);
        envelope::ended(image);
        accounting::integrate_all(image, at);
        if (*image).held_rss_swap > (*image).peak_rss_swap {
            (*image).peak_rss_swap = (*image).held_rss_swap;
        }
        if (*image).state == ImageState::Forking as u32 {
            footprint::shares_nothing(image, tree, at);
        }
        for member in 0..MEMBERS {
            residual += *(&raw const (*image).cur).cast::<i64>().add(member);
        }
        (*image).residual = residual;
        (*image).end_reason = reason as u32;
        sizes::set_huge(image, tree, 0);
        moment::end(tree);
        if residual != 0 {
            state::count(Stat::Residual);
        }
        (*image).header.kind = event::IMAGE_END;
        (*image).header.tree = (*image).tree;
        (*image).header.at = at;
        state::send(&*image);
    }
    0
}
