//! Arguments of `memtrace maps`.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use super::report::TimePoint;

pub(crate) const NOTES: &str = "\
Of a process that runs, the table is read from /proc/PID/smaps. Of a recording made with
--segments, it is that of the largest process at that moment, or of the one given with --pid;
sizes of virtual memory are known of some segments only.

Times are since the tree's start: 12.3s, 500ms, 1m30s, +8.5s, peak, end.

Exit status: 0; 1 if there is nothing to show, 125 for wrong arguments.";

#[derive(Args, Debug)]
pub(crate) struct MapsArgs {
    /// A process id, or a recording as `memtrace run --segments -o FILE` writes it
    #[arg(value_name = "PID|FILE")]
    pub(crate) target: OsString,
    /// The moment of the recording
    #[arg(long, value_name = "TIME", default_value = "peak")]
    pub(crate) at: TimePoint,
    /// The process of the recording
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Write JSON to FILE; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
