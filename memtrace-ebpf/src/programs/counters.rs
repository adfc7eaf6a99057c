//! `kmem:rss_stat`, the mandatory hook: `mm_trace_rss_stat()` (mm/memory.c) runs after
//! every change of `mm->rss_stat`, in whatever context makes it. And `mmap:exit_mmap`,
//! where an address space has ended for certain. The fallback for counters of an
//! unknown layout is in `classic`.

use aya_ebpf::{EbpfContext as _, macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{
    accounting, births, counters, ends,
    kernel::{Struct as _, Typed},
    life,
    preempt::{further, undisturbed},
    state,
};

/// A counter of `mm` changed. Arguments: mm, member (and up to 6.1 the value).
#[btf_tracepoint(function = "rss_stat")]
pub(crate) fn rss_stat(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| {
        let mm = Typed::new(ctx.arg::<*const u8>(0));
        let Some(image) = births::image_of(mm) else {
            return;
        };
        if cfg!(feature = "broken-events") && state::is_dropped(1000) {
            return;
        }
        life::update(mm, || member(&ctx), image);
    })
}

/// The second argument of the tracepoint, read anew each time.
#[inline(always)]
fn member(ctx: &BtfTracePointContext) -> u32 {
    // SAFETY: the context has all arguments, each in eight bytes.
    unsafe { ctx.as_ptr().cast::<u64>().add(1).read_volatile() as u32 }
}

// Nearly all updates are made under a page-table lock, where nothing is preempted: two
// programs suffice.
further!("rss_stat", RSS_STAT_AGAIN, rss_stat_2 => |ctx: &BtfTracePointContext| {
    if cfg!(feature = "broken-events") {
        // What is dropped on purpose must not come back.
        return false;
    }
    let mm = Typed::new(ctx.arg::<*const u8>(0));
    let Some(image) = state::image(mm.address()) else {
        return state::is_tracked(state::current_tgid());
    };
    !counters::includes_this_cpu(image)
        || counters::sum(mm, || member(ctx), image, false)
            != accounting::current(image, member(ctx))
});

/// `mm` has been torn down, and its image ends if it has not with the last update.
#[btf_tracepoint(function = "exit_mmap")]
pub(crate) fn exit_mmap(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| ends::torn_down(Typed::new(ctx.arg::<*const u8>(0))))
}

further!("exit_mmap", EXIT_MMAP_AGAIN, exit_mmap_2 exit_mmap_3 => |ctx: &BtfTracePointContext| {
    state::image(Typed::new(ctx.arg::<*const u8>(0)).address()).is_some()
});
