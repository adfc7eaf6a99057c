//! What `mprof run` of Python's `memory_profiler` writes, for `mprof plot` and `mprof peak`.
//!
//! The tree is one line of the plot, as with `mprof run --include-children`: a line per process
//! would be hundreds. Values are MiB with all the digits that pages need, times are seconds since
//! 1970.

use std::io;

use super::{Data, ExportError};
use crate::report::subject::subject;

const MIB: f64 = 1_048_576.0;
const SECOND: u64 = 1_000_000_000;

/// Writes the command and what the tree held over time.
///
/// # Errors
///
/// The writer's, or the timeline cannot be read.
pub fn write(data: &Data<'_>, out: &mut dyn io::Write) -> Result<(), ExportError> {
    writeln!(out, "CMDLINE {}", subject(data.summary))?;
    let mut line = Line {
        zero: data.summary.started_unix_ns.unwrap_or(0),
        at: 0,
        rss: 0,
        out,
    };
    let end = data.spans.end_ns();
    data.spans.tree(&mut |span| {
        line.keep_until(span.start_ns)?;
        line.point(span.max_at_ns, span.max_rss)?;
        let close = span.start_ns.saturating_add(data.spans.width_ns()).min(end);
        line.point(close, span.last.rss())
    })?;
    line.keep_until(end)?;
    Ok(())
}

/// The line that mprof draws, straight from one point to the next.
struct Line<'a> {
    /// Nanoseconds since 1970 at the tree's start.
    zero: u64,
    at: u64,
    rss: u64,
    out: &'a mut dyn io::Write,
}

impl Line<'_> {
    /// The sum stays as it is until then: without this point it would seem to grow slowly.
    fn keep_until(&mut self, at: u64) -> Result<(), ExportError> {
        if at > self.at {
            self.point(at, self.rss)?;
        }
        Ok(())
    }

    /// Points do not go back in time, whatever a damaged recording says.
    fn point(&mut self, at: u64, rss: u64) -> Result<(), ExportError> {
        self.at = self.at.max(at);
        self.rss = rss;
        let unix = self.zero.saturating_add(self.at);
        let (s, us) = (unix / SECOND, unix % SECOND / 1000);
        let mib = rss as f64 / MIB;
        Ok(writeln!(self.out, "MEM {mib:.8} {s}.{us:06}")?)
    }
}
