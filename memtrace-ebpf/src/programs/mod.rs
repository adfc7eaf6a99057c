//! One file per hook family.
#![expect(
    clippy::needless_pass_by_value,
    reason = "aya's macros hand the context over by value"
)]

#[cfg(not(feature = "lean"))]
mod caches;
#[cfg(not(feature = "lean"))]
mod calls;
#[cfg(not(feature = "lean"))]
mod classic;
mod counters;
mod exec;
mod exit;
mod fork;
mod free;
mod oom;
#[cfg(not(feature = "lean"))]
mod segments;
mod setup;
mod syscalls;
mod tasks;
