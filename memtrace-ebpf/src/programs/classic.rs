//! The fallback where the layout of the counters is unknown: the classic tracepoint
//! `kmem:rss_stat` carries the value, which the kernel itself sums up
//! (`percpu_counter_sum_positive()` since 6.2), but not the mm. So two programs share
//! the work on each event: `rss_stat_before`, attached first and therefore called
//! first, notes the mm, and `rss_stat_size` books the record's size to it.

use aya_ebpf::{
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use memtrace_ebpf::Stat;

use crate::{
    accounting::Update,
    births,
    kernel::{Typed, config},
    life, state,
    stop::is_stopped,
};

/// Notes which image the event is about, or that it is about none of ours.
#[btf_tracepoint(function = "rss_stat")]
pub(crate) fn rss_stat_before(ctx: BtfTracePointContext) -> i32 {
    let mm = Typed::new(ctx.arg::<*const u8>(0));
    let member = ctx.arg::<i32>(1) as u32;
    // The other one then finds nothing to complete.
    if is_stopped() {
        return 0;
    }
    let Some(pending) = state::pending() else {
        return 0;
    };
    // SAFETY: this CPU's own slot of a map.
    unsafe {
        if (*pending).mm != 0 {
            // The kernel skipped the other program: that value is missing.
            state::count(Stat::ReadFailed);
        }
        (*pending).mm = 0;
    }
    let Some(image) = births::image_of(mm) else {
        return 0;
    };
    // SAFETY: map values, under the lock of the image's tree.
    unsafe {
        let index = (*image).tree;
        let Some(tree) = state::tree(index) else {
            return 0;
        };
        let held = state::lock(tree);
        if !life::is_of(mm, image) {
            state::unlock(tree, held);
            return 0;
        }
        let ending = life::is_ending(mm);
        let at = state::now();
        // Whether the value grows is not known yet; taking it for no makes the
        // footprint's high bound higher, never lower.
        life::prepare(mm, image, ending, false, at);
        let number = (*image).mm;
        state::unlock(tree, held);
        *pending = state::Pending {
            mm: number,
            at,
            member,
            ending: ending.into(),
            tree: index,
            reserved: 0,
        };
    }
    0
}

/// Books the size in the record, which is in bytes.
#[tracepoint(category = "kmem", name = "rss_stat")]
pub(crate) fn rss_stat_size(ctx: TracePointContext) -> u32 {
    let Some(slot) = state::pending() else {
        return 0;
    };
    // SAFETY: this CPU's own slot of a map.
    let (pending, at, shift) = unsafe { (*slot, config!(classic_size), config!(page_shift)) };
    if pending.mm == 0 {
        return 0;
    }
    // SAFETY: as above.
    unsafe { (*slot).mm = 0 };
    // SAFETY: the helper behind it checks the address.
    let Ok(size) = (unsafe { ctx.read_at::<i64>(at as usize) }) else {
        state::count(Stat::ReadFailed);
        return 0;
    };
    let update = Update {
        member: pending.member,
        value: size >> shift,
        at: pending.at,
        ending: pending.ending != 0,
        reading: 0,
    };
    life::complete_later(pending.mm, pending.tree, &update);
    0
}
