//! `kmem:rss_stat`, the mandatory hook: `mm_trace_rss_stat()` (mm/memory.c) runs after
//! every change of `mm->rss_stat`, in whatever context makes it. And `mmap:exit_mmap`,
//! where an address space has ended for certain. The fallback for counters of an
//! unknown layout is in `classic`.

use aya_ebpf::{EbpfContext as _, macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{
    accounting, counters,
    kernel::Typed,
    life::{self, event_reason},
    state,
};

/// A counter of `mm` changed. Arguments: mm, member (and up to 6.1 the value).
#[btf_tracepoint(function = "rss_stat")]
pub(crate) fn rss_stat(ctx: BtfTracePointContext) -> i32 {
    let mm = Typed::new(ctx.arg::<*const u8>(0));
    let member = ctx.arg::<i32>(1) as u32;
    let Some(image) = life::image_of(mm) else {
        return 0;
    };
    state::count(memtrace_ebpf::Stat::Events);
    if cfg!(feature = "broken-events") && state::is_dropped(1000) {
        return 0;
    }
    // SAFETY: the second argument of the tracepoint.
    let same_member = unsafe { ctx.as_ptr().cast::<u64>().add(1).read_volatile() } as u32;
    life::update(mm, member, same_member, image);
    0
}

/// `mm` has been torn down. Normally its image has ended with the last update.
#[btf_tracepoint(function = "exit_mmap")]
pub(crate) fn exit_mmap(ctx: BtfTracePointContext) -> i32 {
    let mm = Typed::new(ctx.arg::<*const u8>(0));
    let Some(image) = state::image(mm.address()) else {
        return 0;
    };
    // SAFETY: map values, under the tree's lock.
    unsafe {
        let Some(tree) = state::tree((*image).tree) else {
            return 0;
        };
        let at = state::now();
        let held = state::lock(tree);
        if counters::may_lack_cpus() {
            let values = counters::sums(mm, image);
            accounting::settle(image, tree, &values, at);
        }
        life::finish_image((*image).mm, at, event_reason::EXIT_MMAP);
        state::unlock(tree, held);
        state::remove_image(mm.address());
    }
    0
}
