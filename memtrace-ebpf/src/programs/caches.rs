//! Kernels whose threads hold back changes of their counters, up to 6.1: the same event as
//! in `counters`, and the end of every page fault.

use aya_ebpf::{
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};

use crate::{births, caches, counters, kernel::Typed, life, state, stop::is_stopped};

/// A counter of `mm` changed, or a thread's cache is being flushed to it.
#[btf_tracepoint(function = "rss_stat")]
pub(crate) fn rss_stat_cached(ctx: BtfTracePointContext) -> i32 {
    let mm = Typed::new(ctx.arg::<*const u8>(0));
    let member = ctx.arg::<i32>(1) as u32;
    if is_stopped() {
        return 0;
    }
    let Some(image) = births::image_of(mm) else {
        return 0;
    };
    if cfg!(feature = "broken-events") && state::is_dropped(1000) {
        return 0;
    }
    life::update_with(mm, member, image, |ending| {
        // SAFETY: a map value.
        unsafe { caches::at_event(mm, member, image, ending) }
    });
    0
}

/// A page fault of the current thread is done. Where the kernel refuses this program, what
/// threads hold back is seen only when they give it up, and the result has a bound.
#[fexit(function = "handle_mm_fault")]
pub(crate) fn fault_done(ctx: FExitContext) -> i32 {
    let _ = ctx;
    if !counters::threads_have_caches() {
        return 0; // loaded on request where there is nothing to see
    }
    if is_stopped() || cfg!(feature = "broken-share") {
        return 0;
    }
    caches::look();
    0
}
