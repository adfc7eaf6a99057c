//! Programs that run before tracing: one finds the per-CPU offsets, one lets the
//! stopped command's process register itself as the root of the tree.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_probe_read_kernel, generated::bpf_map_lookup_percpu_elem},
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use memtrace_ebpf::{COMM_LEN, MAX_CPUS};

#[cfg(feature = "plain")]
use crate::lock;
use crate::{
    atomic, creation,
    kernel::{Typed, as_number, config, offset, settings},
    log::debug,
    state,
};

/// Run once with `BPF_PROG_TEST_RUN`: fills `Control::cpu_offset`.
///
/// The address of a per-CPU variable on a CPU is its offset in the per-CPU area plus
/// that CPU's `__per_cpu_offset`, a symbol that only kernels with all of kallsyms
/// reveal. A map tells the same: `pptrs[0]` of a per-CPU array holds the variable's
/// per-CPU pointer, and `bpf_map_lookup_percpu_elem()` its address on each CPU.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub(crate) fn find_cpu_offsets(ctx: RawTracePointContext) -> i32 {
    let _ = ctx.as_ptr();
    let Some(control) = state::control() else {
        return 1;
    };
    let map = core::ptr::from_ref(state::offset_probe());
    let Some(map_address) = as_number(map as u64) else {
        return 2;
    };
    // SAFETY: the helper checks the address.
    let pointer = unsafe {
        let at = map_address + u64::from(offset!(array_pptrs));
        match bpf_probe_read_kernel(at as *const u64) {
            Ok(pointer) => pointer,
            Err(_) => return 3,
        }
    };
    let (cpus, real) = (config!(cpus), config!(real_cpus));
    let key = 0_u32;
    let mut page = 0;
    for cpu in 0..MAX_CPUS {
        if cpu >= cpus as usize {
            break;
        }
        // SAFETY: the map and the key outlive the call.
        let value = unsafe {
            bpf_map_lookup_percpu_elem(map.cast_mut().cast(), (&raw const key).cast(), cpu as u32)
        };
        if value.is_null() {
            if cpu >= real as usize {
                // A line of its own in memory that can be read, as far as there are any.
                let line = page + ((cpu as u64) << 6 & 0xfc0);
                // SAFETY: as below.
                unsafe { *(&raw mut (*control).cpu_offset).cast::<u64>().add(cpu) = line };
            }
            continue;
        }
        let Some(address) = as_number(value as u64) else {
            return 4;
        };
        page = address & !0xfff;
        // SAFETY: `cpu` is below the array's length; `control` is a map value.
        unsafe {
            *(&raw mut (*control).cpu_offset).cast::<u64>().add(cpu) =
                address.wrapping_sub(pointer);
        }
    }
    // SAFETY: a map value.
    unsafe { (*control).offsets_ready = 1 };
    0
}

/// `task:task_rename`, attached only until the root has registered: a process that
/// takes the name that userspace chose at random is the root. So no process id has
/// to cross PID namespaces.
#[btf_tracepoint(function = "task_rename")]
pub(crate) fn register(ctx: BtfTracePointContext) -> i32 {
    let task = Typed::new(ctx.arg::<*const u8>(0));
    let name = ctx.arg::<*const u8>(1);
    // SAFETY: the helper checks its source, of the same length.
    unsafe {
        // Words, because the verifier follows each comparison.
        let Ok(new) = bpf_probe_read_kernel(name.cast::<[u64; COMM_LEN / 8]>()) else {
            return 0;
        };
        let wanted = (&raw const settings().root_name).cast::<[u64; COMM_LEN / 8]>();
        let wanted = wanted.read_volatile();
        if new[0] != wanted[0] || new[1] != wanted[1] {
            return 0;
        }
    }
    creation::root_registered(task);
    debug!(&ctx, "process {} is the root", state::current_tgid());
    0
}

/// Run with `BPF_PROG_TEST_RUN` by the self-test: do the atomics return what they
/// should? A compiler that gets one wrong (see `atomic`) would spoil every number.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub(crate) fn check_atomics(ctx: RawTracePointContext) -> i32 {
    let _ = ctx.as_ptr();
    let Some(word) = state::offset_probe().get_ptr_mut(0) else {
        return 100;
    };
    #[cfg(feature = "plain")]
    // SAFETY: this CPU's own value of a map.
    unsafe {
        *word = 40;
        atomic::add(word, 2);
        if core::ptr::read_volatile(word) != 42 {
            return 1;
        }
        let Some(tree) = state::tree(0) else {
            return 100;
        };
        if !lock::take(tree) {
            return 2;
        }
        if lock::take(tree) {
            return 3;
        }
        lock::give(tree, 1);
        if core::ptr::read_volatile(&raw const (*tree).lock) != 0 {
            return 4;
        }
    }
    #[cfg(not(feature = "plain"))]
    // SAFETY: this CPU's own value of a map.
    unsafe {
        atomic::swap(word, 40);
        if atomic::fetch_add(word, 2) != 40 {
            return 1;
        }
        if atomic::swap(word, 7) != 42 {
            return 2;
        }
        if !atomic::replace(word, 7, 8) {
            return 3;
        }
        if atomic::replace(word, 7, 9) {
            return 4;
        }
        if atomic::fetch_add(word, 1_u64.wrapping_neg()) != 8 {
            return 5;
        }
        if atomic::swap(word, 0) != 7 {
            return 6;
        }
    }
    0
}
