//! `sched:sched_process_exec`: at the end of `exec_binprm()` (fs/exec.c), in the
//! context of the process, whose new image is complete.

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use memtrace_ebpf::{
    ProcessFlags, Stat,
    event::{self, ARGS_LEN, Exec, PATH_LEN},
};

use crate::{
    creation,
    execution::{self, Change},
    kernel::{Struct, Typed, offset},
    log::debug,
    preempt::{further, undisturbed},
    segments, state,
};

/// Arguments: the task, its thread id before it became the leader, the `linux_binprm`.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    undisturbed(|| executed(&ctx))
}

further!("sched_process_exec", EXEC_AGAIN, sched_process_exec_2 sched_process_exec_3 => is_left);

/// Whether no program has seen the current process execute this one.
#[inline(always)]
fn is_left(ctx: &BtfTracePointContext) -> bool {
    let Some(process) = state::process(state::current_tgid()) else {
        return false;
    };
    let task = Typed::new(ctx.arg::<*const u8>(0));
    // A new program never has the address space of the old one.
    // SAFETY: a map value.
    let left = unsafe {
        (*process).mm != task.follow(offset!(task_mm)).address()
            || (*process).flags & (ProcessFlags::PRE_EXEC | ProcessFlags::SHARES_IMAGE) != 0
    };
    if left {
        state::count(Stat::ProcessHealed);
    }
    left
}

#[inline(always)]
fn executed(ctx: &BtfTracePointContext) {
    let task = Typed::new(ctx.arg::<*const u8>(0));
    let old_tid = ctx.arg::<i32>(1) as u32;
    let bprm = Typed::new(ctx.arg::<*const u8>(2));
    let tgid = state::current_tgid();
    if !state::is_tracked(tgid) {
        return;
    }
    if segments::are_on() {
        segments::context::executed();
    }
    let Some(process) = state::process(tgid) else {
        return;
    };
    let mm = task.follow(offset!(task_mm));
    // SAFETY: a map value.
    let Change {
        image: image_id,
        old: old_image,
    } = unsafe { execution::executed(mm, tgid, process) };
    debug!(
        ctx,
        "process {} executes: image {} after {}", tgid, image_id, old_image
    );
    state::send_in_place::<Exec>(|record| {
        // SAFETY: `record` is reserved ring memory of this type.
        unsafe {
            (*record).header = event::Header {
                kind: event::EXEC,
                tree: (*process).tree,
                at: state::now(),
            };
            (*record).process = (*process).id;
            (*record).tgid = tgid;
            (*record).old_tid = old_tid;
            (*record).image = image_id;
            (*record).old_image = old_image;
            let signal = task.follow(offset!(task_signal));
            (*record).maxrss = signal.load(offset!(signal_maxrss));
            (*record).reserved = 0;
            (*record).comm = creation::comm(task);
            read_path(record, bprm);
            read_args(record, mm);
        }
    });
}

/// # Safety
///
/// `record` must be reserved ring memory.
#[inline(always)]
unsafe fn read_path(record: *mut Exec, bprm: Typed) {
    // SAFETY: as the caller vouches; the helpers check their source.
    unsafe {
        let filename: u64 = bprm.load(offset!(bprm_filename));
        let length = bpf_probe_read_kernel_str(
            (&raw mut (*record).path).cast(),
            PATH_LEN as u32,
            filename as *const _,
        );
        (*record).path_len = if length > 0 { length as u32 } else { 0 };
    }
}

/// The arguments lie on the new stack, written a moment ago by this very task.
///
/// # Safety
///
/// `record` must be reserved ring memory.
#[inline(always)]
unsafe fn read_args(record: *mut Exec, mm: impl Struct) {
    // SAFETY: as the caller vouches; the helpers check their source.
    unsafe {
        let start: u64 = mm.load(offset!(mm_arg_start));
        let end: u64 = mm.load(offset!(mm_arg_end));
        let total = end.wrapping_sub(start);
        (*record).args_total = total as u32;
        let mut length = total;
        if length > ARGS_LEN as u64 {
            length = ARGS_LEN as u64;
        }
        let failed = bpf_probe_read_user(
            (&raw mut (*record).args).cast(),
            length as u32,
            start as *const _,
        );
        (*record).args_len = if failed == 0 { length as u32 } else { 0 };
    }
}
