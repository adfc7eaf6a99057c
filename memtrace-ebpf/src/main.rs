//! memtrace's BPF programs.
//!
//! `kernel` reads kernel memory, `state` holds the maps, `atomic` wraps the
//! atomics, `lock` what else needs them; `moment` and `waiting` order what programs on several CPUs change,
//! `line` is where they wait; `ring` sends records, `preempt` keeps programs from being interrupted, `counters`
//! sums the kernel's counters, `caches` adds what threads hold back on old kernels, `accounting` books a value
//! to an image and its tree, `branches`, `with_swap`, `footprint` and `sizes` what follows from it, `envelope` keeps or
//! sends the timeline, `family` follows which fork images still share pages, `segments` books changes to what
//! pages are for, `stop` ends all of them at once, `births`, `life` and `ends` make, update and end images, `creation` takes in
//! processes and `adoption` those that ran before, `execution` and `departure` tell what becomes of them, `words` clears and copies what is too
//! small for a loop, `repeat` repeats what is too much for one, and `programs` has one file per hook family that ties an event of the kernel to those.
//!
//! # Functions of their own
//!
//! Nearly all is inlined into the programs, where the verifier follows each way through all that comes after
//! it. What has many ways of its own, or is seldom needed, is a *global* function instead: exported
//! (`no_mangle`, `extern "C"`), with plain numbers for arguments. The verifier checks such a one by itself, once for each
//! program, whatever it is called with; since 6.8 only if it is called. So it has to look up again what its caller has,
//! by address or index, and find out whether that is there. The stacks of functions that call one another add up,
//! to at most 512 bytes in at most eight frames; and the more ways there are from function to function, the longer
//! the kernel takes to find the deepest (`check_max_stack_depth()`, kernel/bpf/verifier.c).
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![cfg_attr(
    all(target_arch = "bpf", not(feature = "plain")),
    feature(asm_experimental_arch)
)]
#![cfg_attr(
    feature = "lean",
    expect(dead_code, reason = "the whole object uses more of it")
)]
#![expect(
    internal_features,
    reason = "core::sync::atomic has no fetching atomics for the BPF target"
)]

mod accounting;
mod adoption;
mod atomic;
mod births;
mod branches;
#[cfg(not(feature = "lean"))]
mod caches;
mod counters;
mod creation;
mod departure;
mod ends;
mod envelope;
mod execution;
mod family;
mod footprint;
mod kernel;
mod life;
#[cfg(not(feature = "plain"))]
mod line;
mod lock;
mod log;
mod moment;
mod peaks;
mod preempt;
mod programs;
mod repeat;
mod ring;
#[cfg(not(feature = "lean"))]
mod segments;
#[cfg(feature = "lean")]
#[path = "segments/off.rs"]
mod segments;
mod sizes;
mod state;
mod stop;
mod waiting;
mod with_swap;
mod words;

/// "Dual MIT/GPL": the kernel lets only GPL-compatible programs read its structs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Nothing here panics; should a panic ever become reachable, the endless loop
/// makes the verifier refuse the program.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
