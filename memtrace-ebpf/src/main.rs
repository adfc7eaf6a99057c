//! memtrace's BPF programs.
//!
//! `kernel` reads kernel memory, `state` holds the maps, `atomic` wraps the
//! atomics, `lock` what else needs them, `waiting` waits for the lock of a tree, `ring` sends records, `preempt` keeps programs from being interrupted, `counters` sums the kernel's counters, `caches` adds what
//! threads hold back on old kernels, `accounting` books a value to
//! an image and its tree, `with_swap`, `footprint` and `sizes` what follows from it, `envelope` keeps or sends the timeline, `family` follows which fork images still share pages, `segments` books changes to what pages are for,
//! `stop` ends all of them at once,
//! `life` makes, updates and ends images, `creation` takes in processes, `execution` and `departure` tell what becomes of them, `words` clears and
//! copies what is too small for a loop, and `programs` has one file per hook family that ties an event of the kernel to those.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![cfg_attr(
    all(target_arch = "bpf", not(feature = "plain")),
    feature(asm_experimental_arch)
)]
#![expect(
    internal_features,
    reason = "core::sync::atomic has no fetching atomics for the BPF target"
)]

mod accounting;
mod atomic;
mod caches;
mod counters;
mod creation;
mod departure;
mod envelope;
mod execution;
mod family;
mod footprint;
mod kernel;
mod life;
mod lock;
mod preempt;
mod programs;
mod ring;
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
