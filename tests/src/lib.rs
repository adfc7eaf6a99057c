//! What the end-to-end tests share.
//!
//! The tests run `memtrace` on workloads that know their own page counts and compare
//! what it reports with arithmetic or with the workload's own `/proc/self/status`.
//!
//! - [`Lab`] is what a test starts with: it runs alone on the machine, has a directory
//!   of its own, and runs workloads with and without memtrace.
//! - [`Summary`] is memtrace's JSON, as the contract `memtrace.summary/1` has it.
//! - [`Status`] is a `/proc/PID/status` that a workload wrote.
//! - [`workloads`] has the paths of the programs.
//!
//! Tests that need privileges skip without them and say why; with
//! `MEMTRACE_REQUIRE_ALL=1` that is a failure.

mod attached;
mod binary;
mod busy;
mod cgroup;
mod checkpoints;
mod huge;
mod kernel_objects;
mod lab;
mod many_units;
mod on_terminal;
mod oracle;
mod orphans;
mod output;
mod partner;
mod patience;
mod recorded;
mod requirements;
mod rings;
pub mod smaps;
mod status;
mod summary;
mod swap;
pub mod tier_p;
mod tmux;
mod unattended;
pub mod workloads;

pub use attached::{Attached, attach_refused, begin};
pub use binary::memtrace;
pub use busy::BusyCpus;
pub use cgroup::Cgroup;
pub use checkpoints::{Checkpoints, Held};
pub use huge::HugePages;
pub use kernel_objects::{KernelObjects, can_list_objects};
pub use lab::{Lab, Run};
pub use many_units::write_many_units;
pub use on_terminal::{ENTERS, LEAVES, OnTerminal};
pub use oracle::{DuckDb, Mprof, PerfettoUi, TraceProcessor, browser};
pub use orphans::Orphanage;
pub use output::{Finished, descendants, run_to_end};
pub use partner::Partner;
pub use patience::{PATIENCE, await_some, await_state, await_until, is_in_state};
pub use recorded::{Recorded, assert_complete, held_at};
pub use requirements::{
    Missing, announced, capability, exact_status, is_lacking, lacks, load, scaled, skip,
    threads_hold_back_changes,
};
pub use rings::await_drained;
pub use status::Status;
pub use summary::{
    Amounts, AtPeak, Before, Certificate, CrossChecks, Image, Kernel, Lost, Process, PssAtPeak,
    Root, Segment, Snapshot, Summary, Tree, Virtual, VirtualSizes,
};
pub use swap::Swap;
pub use tmux::Tmux;

/// A base page of this machine, bytes.
#[must_use]
pub fn page() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

/// Base pages in `mib` MiB.
#[must_use]
pub fn mib(mib: u64) -> u64 {
    (mib << 20) / page()
}

/// What the kernel books to the image that executes a program with a few arguments: the page
/// that holds them, while the new image is built (`acct_arg_size()`, fs/exec.c). With vfork
/// the image is the parent's. It is in the counters that `/proc` shows at that moment, so it is
/// in the peak of an image that is at its top then; it is never in the tree twice.
#[must_use]
pub fn exec_arguments() -> u64 {
    page()
}

/// Returns from the test, saying why, if something that it needs is missing;
/// panics instead with `MEMTRACE_REQUIRE_ALL=1`.
#[macro_export]
macro_rules! require {
    ($condition:expr) => {
        if let Err(missing) = $condition {
            $crate::skip(&missing);
            return Ok(());
        }
    };
}

/// Returns from the test, saying why, if memtrace cannot trace here.
#[macro_export]
macro_rules! require_privileges {
    () => {
        $crate::require!($crate::capability());
    };
}
