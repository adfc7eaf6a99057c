//! The kernel side on the host: accounting, footprints and lives of images are the very modules that
//! become BPF programs, over maps ([`state`](crate::state)), helpers and a kernel ([`kernel`]) that
//! are made up here. So they can be compared with an oracle that knows every page.
//!
//! One thread is one machine at a time: everything is kept per thread, until the next one begins.

use memtrace_ebpf::{Config, Offsets};

pub(crate) mod helpers;
mod kernel;
pub(crate) mod state;

/// Segments are not told apart here.
pub(crate) mod segments {
    pub(crate) const fn are_on() -> bool {
        false
    }

    pub(crate) const fn from_functions() -> bool {
        false
    }

    pub(crate) const fn changed(_mm: u64, _member: u32, _peak: bool, _at: u64) {}

    pub(crate) const fn settled(_mm: u64, _peak: bool, _at: u64) {}

    pub(crate) const fn segments_end(_mm: u64, _at: u64) -> u64 {
        0
    }

    pub(crate) const fn segments_moment(_mm: u64, _at: u64) -> u64 {
        0
    }

    pub(crate) const fn segments_forked(_mm: u64, _parent: u64) -> u64 {
        0
    }

    pub(crate) const fn look_again(_mm: u64) {}
}

mod families;
mod races;

/// Where this kernel has what.
pub(crate) fn offsets() -> &'static Offsets {
    &kernel::OFFSETS
}

/// What the programs were told.
pub(crate) fn settings() -> &'static Config {
    &kernel::CONFIG
}
