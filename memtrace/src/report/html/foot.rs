//! The end of the page: how it was measured, and how to get at the numbers.

use std::io;

use super::markup::escape_markup;
use crate::report::{
    chart::{Run, headline::counted},
    escape::one_line,
    units::{duration, grouped},
};

pub(super) fn write(out: &mut dyn io::Write, runs: &[Run<'_>]) -> io::Result<()> {
    write!(
        out,
        "<footer><details open><summary>How it was measured</summary>\n<p>Every number comes from the kernel's RSS counters, \
         followed event by event; amounts are in units of 1024 bytes, times since the run's start (CLOCK_BOOTTIME). The \
         timeline is folded to windows without losing a maximum, and ranges are moved to the edges of windows, so that \
         their answers are exact.</p>\n<ul>\n"
    )?;
    for (run, name) in runs.iter().zip(["A: ", "B: "]) {
        let name = if runs.len() > 1 { name } else { "" };
        let certificate = &run.summary.certificate;
        let timeline = run.timeline;
        let recorded = match timeline.recorded_width_ns {
            _ if timeline.tree.is_empty() => "no timeline".to_owned(),
            0 => "each change recorded".to_owned(),
            width => format!("recorded in windows of {}", duration(width)),
        };
        let lost = timeline
            .losses
            .iter()
            .fold(0, |sum: u64, loss| sum.saturating_add(loss.records));
        let lost = match lost {
            0 => "no record of it lost".to_owned(),
            n => format!(
                "{} of its records lost, on which no peak depends",
                grouped(n)
            ),
        };
        writeln!(
            out,
            "<li>{name}tier {}, {} counter updates, {}, {recorded}, {lost}.</li>",
            escape_markup(&one_line(&certificate.tier)),
            grouped(certificate.events),
            counted(
                usize::try_from(certificate.cross_checks.count).unwrap_or(usize::MAX),
                "comparison with /proc",
                "comparisons with /proc"
            )
        )?;
    }
    write!(
        out,
        "<li>Page written by memtrace {}.</li>\n</ul></details>\n\
         <details><summary>The numbers elsewhere</summary>\n<pre>\
         memtrace report FILE.memtrace --json -\n\
         memtrace export FILE.memtrace --format parquet -o out\n\
         duckdb -c \"select max(rss_max_bytes) from 'out/tree.parquet'\"\n\
         python3 -c \"import pandas; print(pandas.read_parquet('out/processes.parquet')[['pid', 'name', 'peak_rss_bytes']])\"\n\
         memtrace export FILE.memtrace --format perfetto -o out.pftrace   # opens in ui.perfetto.dev</pre></details></footer>\n",
        env!("CARGO_PKG_VERSION")
    )
}
