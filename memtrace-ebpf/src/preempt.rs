//! Programs that the kernel could preempt.
//!
//! Up to 6.19 a tracepoint calls its programs with preemption off. Since 7.0 it does not
//! (commit a46023d5616e), and a program is skipped while another task, preempted on the same CPU, is
//! in the middle of it; one that waits for the tree's lock could wait for a task that does
//! not run. So programs turn preemption off themselves, with `bpf_preempt_disable()`:
//! nobody waits for a task that does not run. But the kernel's own mark is set a little
//! longer than that, and a preemption that was asked for meanwhile takes place just when
//! preemption is turned on again. So hooks have further programs ([`further!`]), which do what
//! those before were skipped for: an event is lost only if on one CPU and at one time a task is
//! preempted at the end of each of them. While many processes end, ten can pass one that was
//! preempted; hence more than two.
//!
//! aya cannot bind functions of the kernel; userspace puts their numbers into the object
//! before it is loaded, or nothing where they are not needed (see `PREEMPT_DISABLE`).

use memtrace_ebpf::{PREEMPT_DISABLE, PREEMPT_ENABLE};

use crate::stop::is_stopped;

/// Runs `body`, the whole of a program, without being preempted, unless tracing has ended.
#[inline(always)]
pub(crate) fn undisturbed(body: impl FnOnce()) -> i32 {
    if is_stopped() {
        return 0;
    }
    call::<PREEMPT_DISABLE>();
    body();
    call::<PREEMPT_ENABLE>();
    0
}

#[inline(always)]
fn call<const NUMBER: u32>() {
    // SAFETY: the call of a helper by its number, as aya's own bindings do it; userspace
    // replaces the instruction before the verifier sees it.
    unsafe {
        let function: unsafe extern "C" fn() = core::mem::transmute(NUMBER as usize);
        function();
    }
}

/// Further programs on the event of an earlier one, loaded where tracepoints can be
/// preempted. Each finds out whether anything is left to do, and if so goes on in the earlier
/// program, which userspace puts into the array: the kernel's mark is that of the program
/// which it called, not of one that was jumped to. So they are short, and quickly verified.
macro_rules! further {
    ($hook:literal, $array:ident, $($name:ident)+ => $left:expr) => {
        #[aya_ebpf::macros::map]
        static $array: aya_ebpf::maps::ProgramArray =
            aya_ebpf::maps::ProgramArray::with_max_entries(1, 0);

        further!($hook, in $array, $($name)+ => $left);
    };
    ($hook:literal, in $array:ident, $($name:ident)+ => $left:expr) => {
        $(
            #[aya_ebpf::macros::btf_tracepoint(function = $hook)]
            pub(crate) fn $name(ctx: aya_ebpf::programs::BtfTracePointContext) -> i32 {
                if !$crate::stop::is_stopped() && ($left)(&ctx) {
                    // SAFETY: nothing here needs to be dropped.
                    unsafe { $array.tail_call(&ctx, 0) };
                    // That there is nothing to go on in must not go unnoticed.
                    $crate::state::count(memtrace_ebpf::Stat::NotContinued);
                }
                0
            }
        )+
    };
}

pub(crate) use further;
