//! Results for people and programs: one file per output, each a function of a
//! [`Summary`](crate::model::Summary).
//!
//! * [`text`]: what most people see.
//! * [`json`]: the contract for programs, `memtrace.summary/1`.
//! * [`runit`]: the block of Heng Li's `runit`.
//! * [`units`] and [`escape`]: amounts, times and names, made readable and harmless.

pub mod escape;
pub mod gnu_time;
pub mod json;
pub mod runit;
pub mod text;
pub mod units;
