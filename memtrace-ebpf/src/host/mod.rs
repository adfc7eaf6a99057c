//! The kernel side on the host: accounting, footprints and lives of images are the very modules that
//! become BPF programs, over maps ([`state`](crate::state)), helpers and a kernel ([`kernel`]) that
//! are made up here. So they can be compared with an oracle that knows every page.
//!
//! One thread is one machine at a time: everything is kept per thread, until the next one begins.

use memtrace_ebpf::{Config, Offsets};

pub(crate) mod helpers;
mod kernel;
mod machine;
pub(crate) mod state;

#[path = "../segments/off.rs"]
pub(crate) mod segments;

mod families;
mod races;
pub(crate) mod windows;

/// Where this kernel has what.
pub(crate) fn offsets() -> &'static Offsets {
    &kernel::OFFSETS
}

/// What the programs were told.
pub(crate) fn settings() -> &'static Config {
    kernel::config()
}
