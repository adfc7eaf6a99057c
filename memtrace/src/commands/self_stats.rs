//! `--self-stats`: what memtrace itself took.

use std::io::{self, Write};

use memtrace::phases::Phases;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

/// Prints where the time of the start went, up to its `end`, and what this process has used up to now.
pub(super) fn write(phases: &Phases, end: &str, out: &mut dyn Write) -> io::Result<()> {
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    writeln!(out, "memtrace itself, ms")?;
    for (step, time) in phases.steps() {
        writeln!(out, "{:>10.1}  {step}", ms(*time))?;
    }
    writeln!(out, "{:>10.1}  in all, until {end}", ms(phases.total()))?;
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let cpu = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e3;
    writeln!(
        out,
        "{:>10.1}  CPU time in user mode, start and end included",
        cpu(usage.user_time())
    )?;
    writeln!(
        out,
        "{:>10.1}  CPU time in the kernel",
        cpu(usage.system_time())
    )?;
    // Of this process: its own number, which it has no reason to doubt at its end.
    writeln!(out, "{:>10}  KiB of memory at most", usage.max_rss())
}
