//! The end of tracing, at once for all programs. Detaching them one after the other would leave a time
//! in which some events count and others do not. So userspace first sets a word, after which no program
//! begins anything, and waits for those that had begun (`Probe::stop`).

use core::ptr::read_volatile;

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};

/// 1 from the end of tracing on. The only word of `.bss`, which userspace knows as an array of one
/// value.
#[unsafe(no_mangle)]
static mut STOPPED: u64 = 0;

/// Only there to be written to by userspace: the kernel then waits until all programs that run have
/// returned, since they might be looking into it (`maybe_wait_bpf_programs()`, kernel/bpf/syscall.c,
/// since 5.0).
#[btf_map]
static GRACE: ArrayOfMaps<Array<u64, 1>, 1> = ArrayOfMaps::new();

/// Whether tracing has ended.
#[inline(always)]
pub(crate) fn is_stopped() -> bool {
    // SAFETY: an aligned word; volatile, because it is userspace that changes it.
    unsafe { read_volatile(&raw const STOPPED) != 0 }
}
