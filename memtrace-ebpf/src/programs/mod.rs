//! One file per hook family.
#![expect(
    clippy::needless_pass_by_value,
    reason = "aya's macros hand the context over by value"
)]

mod caches;
mod calls;
mod classic;
mod counters;
mod exec;
mod exit;
mod fork;
mod oom;
mod segments;
mod setup;
mod syscalls;
