//! `raw_syscalls:sys_exit`, on request: mappings that are made and given back without a page
//! fault between change no counter, and only the ends of system calls tell of them.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use memtrace_ebpf::{Image, ImageState};

use crate::{
    envelope,
    kernel::{Address, Struct as _, Typed, offset},
    moment,
    preempt::{further, undisturbed},
    sizes, state,
};

/// A system call of any process is done. Its arguments do not matter: most calls change no size,
/// and whether one did is seen by the sizes.
#[btf_tracepoint(function = "sys_exit")]
pub(crate) fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    let _ = ctx;
    undisturbed(|| {
        if let Some((image, mm)) = outdated() {
            look(image, mm);
        }
    })
}

further!("sys_exit", SYS_EXIT_AGAIN, sys_exit_2 sys_exit_3 => |_: &BtfTracePointContext| {
    outdated().is_some()
});

/// The current process's image, if its sizes are not those that are known.
#[inline(always)]
fn outdated() -> Option<(*mut Image, Address)> {
    if !state::is_tracked(state::current_tgid()) {
        return None;
    }
    let mm = Typed::current().follow(offset!(task_mm));
    let image = state::image(mm.address())?;
    // A new program's image counts from its first update, see `life::activate`.
    // SAFETY: a map value.
    let active = unsafe { (*image).state } == ImageState::Active as u32;
    (active && sizes::sizes_differ(image, mm)).then_some((image, mm))
}

#[inline(always)]
fn look(image: *mut Image, mm: Address) {
    // SAFETY: map values, changed under the tree's lock.
    unsafe {
        let Some(tree) = state::tree((*image).tree) else {
            return;
        };
        let held = state::lock(tree);
        let at = state::now();
        sizes::note_sizes(image, mm, at);
        envelope::open(image, tree, at);
        moment::begin(tree);
        envelope::after_any(image, at);
        moment::end(tree);
        state::unlock(tree, held);
    }
}
