//! Summaries and timelines in formats of other tools: one file per format, each a function
//! of [`Data`].
//!
//! * [`tables`]: what [`csv`], [`ndjson`] and [`parquet`] write, defined once: names, units
//!   and meaning of each column, as in `docs/export.md`.
//! * [`perfetto`]: a trace for <https://ui.perfetto.dev> and `trace_processor`.
//! * [`folded`]: stacks for flame graphs of who held what.
//! * [`prmon`], [`mprof`]: the tree over time, as these samplers write it.
//!
//! Timelines come through [`Spans`], so that a long recording is never in memory as a whole.
//!
//! ```
//! use memtrace::{export::{Data, Table, csv}, model::{Summary, Timeline}};
//!
//! fn write(summary: &Summary, timeline: &Timeline) -> Result<(), memtrace::export::ExportError> {
//!     let data = Data { summary, spans: timeline, started_boot_ns: None };
//!     csv::write(&data, Table::Images, &mut std::io::stdout().lock())
//! }
//! ```

pub mod csv;
pub mod folded;
pub mod mprof;
pub mod ndjson;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod perfetto;
pub mod prmon;
mod recorded;
mod spans;
mod stream;
pub mod tables;
#[cfg(test)]
mod tests;
mod time;

use std::io;

pub use self::{
    recorded::Recorded,
    spans::{SegmentsFn, Spans},
    tables::Table,
    time::utc_stamp,
};
use crate::{model::Summary, recording::ReadError};

/// What is exported.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// The result.
    pub summary: &'a Summary,
    /// The timeline that belongs to it.
    pub spans: &'a dyn Spans,
    /// The tree's start on `CLOCK_BOOTTIME`, if known.
    pub started_boot_ns: Option<u64>,
}

/// An export was not completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The output could not be written.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
    /// The recording could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The Parquet writer refused.
    #[cfg(feature = "parquet")]
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

impl ExportError {
    /// The reader of a pipe has gone away: nobody is there to complain to.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        match self {
            Self::Write(error) => broken(error),
            Self::Read(_) => false,
            #[cfg(feature = "parquet")]
            Self::Parquet(::parquet::errors::ParquetError::External(source)) => {
                source.downcast_ref().is_some_and(broken)
            }
            #[cfg(feature = "parquet")]
            Self::Parquet(_) => false,
        }
    }
}
