//! What `run` records.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use memtrace::probe::Resolution;

#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Recording", group = ArgGroup::new("recorded").args(["output", "html"]).multiple(true))]
pub(crate) struct RecordArgs {
    /// Record the run with its timeline to FILE, for `memtrace report` and others
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write a page to look around in to FILE when the run is over, as `memtrace report --html` does; with
    /// or without a recording that is kept
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Replace the recording if it exists
    #[arg(short, long, requires = "output")]
    pub(crate) force: bool,
    /// Width of the timeline's windows, from 1us to 60s; each keeps its largest value, so
    /// that no spike is lost. 0 records every change
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10ms",
        requires = "recorded"
    )]
    pub(crate) resolution: Resolution,
    /// Record each brk, mmap, munmap, mremap, mprotect and madvise, with arguments and result, and each
    /// major page fault, for `memtrace report --events`. Costs every system call and every page fault
    /// of every process on the machine a little
    #[arg(long, requires = "output")]
    pub(crate) events: bool,
    /// Buffer for the timeline, in KiB [default: 8192, for every change 32768]. Raise it if
    /// memtrace says that records of the timeline are missing
    #[arg(long, value_name = "KIB", requires = "recorded", value_parser = super::room::buffer)]
    pub(crate) timeline_ring_size: Option<u32>,
}
