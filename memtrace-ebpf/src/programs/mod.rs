//! One file per hook family.

mod counters;
mod exec;
mod exit;
mod fork;
mod oom;
mod setup;
