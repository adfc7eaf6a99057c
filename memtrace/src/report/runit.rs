//! The block that Heng Li's `runit` prints, for scripts that read it.
//!
//! Layout: `runit` of <https://github.com/lh3/misc> (`sys/runit`): label padded to
//! ten columns, value in `%16.3f`, kB of 1024 bytes. Its numbers come from
//! polling one process every 10 ms; ours are exact: `maxrss` is the peak of the
//! tree's sum of RSS, `avgrss` its mean over wall-clock time (runit weights by CPU
//! time). `maxvsize` is the largest `VmPeak` of a single process image after exec,
//! and `avgvsize` the same image's mean.

use std::io;

use super::subject::subject;
use crate::model::{Origin, Outcome, Summary};

/// The machine's memory, bytes (`/proc/meminfo`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineMemory {
    /// `MemTotal`.
    pub total: u64,
    /// `MemAvailable`.
    pub available: u64,
    /// `MemFree`.
    pub free: u64,
}

/// Bytes as kB with three decimals, like `printf("%16.3f", bytes / 1024.0)`.
fn kb(bytes: u64) -> String {
    format!("{:16.3} kB", bytes as f64 / 1024.0)
}

/// Nanoseconds as seconds with three decimals.
fn sec(ns: u64) -> String {
    format!("{:16.3} sec", ns as f64 / 1e9)
}

/// Writes the block.
///
/// # Errors
///
/// Those of the writer.
pub fn write(summary: &Summary, machine: MachineMemory, out: &mut dyn io::Write) -> io::Result<()> {
    // As runit does it: WEXITSTATUS, which is 0 for a command that a signal ended.
    let exit_status = summary
        .outcome
        .as_ref()
        .and_then(|outcome: &Outcome| outcome.exit_status);
    let retval = exit_status.unwrap_or(0);
    let programs = summary
        .images
        .iter()
        .filter(|image| image.origin == Origin::Exec);
    let (max_vsize, mean_vsize) = programs
        .filter(|image| image.ran())
        .max_by_key(|image| image.vm.size)
        .map_or((0, 0), |image| (image.vm.size, image.vm_average.size));
    writeln!(out, "-- CMD: {}", subject(summary))?;
    writeln!(out)?;
    writeln!(out, "-- totalmem  {}", kb(machine.total))?;
    writeln!(out, "-- available {}", kb(machine.available))?;
    writeln!(out, "-- free      {}", kb(machine.free))?;
    writeln!(out)?;
    writeln!(out, "-- retval    {retval:16}")?;
    writeln!(out, "-- real      {}", sec(summary.wall_ns))?;
    writeln!(out, "-- user      {}", sec(summary.user_ns))?;
    writeln!(out, "-- sys       {}", sec(summary.system_ns))?;
    writeln!(out, "-- maxrss    {}", kb(summary.tree.peak_rss))?;
    writeln!(out, "-- avgrss    {}", kb(summary.tree.average_rss))?;
    writeln!(out, "-- maxvsize  {}", kb(max_vsize))?;
    writeln!(out, "-- avgvsize  {}", kb(mean_vsize))?;
    writeln!(out)
}
