//! Arguments of `memtrace export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub(crate) const NOTES: &str = "\
Tables, columns and units are documented in docs/export.md, and in each Parquet file's metadata.

Examples:
  memtrace export run.memtrace --format perfetto -o run.pftrace    open it in ui.perfetto.dev
  memtrace export run.memtrace --format parquet -o tables          a directory with all tables
  memtrace export run.memtrace --format csv --table tree           one table to standard output

Exit status: 0, also if the recording is cut or damaged: what is whole is exported, and what is
missing is said on standard error. 1 if it cannot be read or written, 125 for wrong
arguments.";

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// A recording, as `memtrace run -o FILE` writes it
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What to write
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: FormatArg,
    /// The file to write; `-` is standard output [default: -]. For tables without --table: the
    /// directory to write them to, made if it is not there
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// The table to write (parquet, csv, ndjson)
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<TableArg>,
    /// What the numbers are (folded) [default: peak]
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) weight: Option<WeightArg>,
    /// Replace files that have contents
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// A trace for ui.perfetto.dev and its query engine
    Perfetto,
    /// Tables for SQL engines and data frames
    Parquet,
    /// Tables as comma-separated values, RFC 4180
    Csv,
    /// Tables as one JSON object per line
    Ndjson,
    /// Stacks of processes for flame graph tools
    Folded,
    /// The tree by the second, for prmon's tools
    Prmon,
    /// The tree over time, for Python's `mprof plot`
    Mprof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableArg {
    /// One row per process
    Processes,
    /// One row per address space
    Images,
    /// The tree over time
    Tree,
    /// Each address space over time
    Timeline,
    /// Where records of the timeline are missing
    Losses,
    /// What pages of each address space were for (recorded with --segments)
    Segments,
    /// The same over time
    SegmentTimes,
    /// Calls that change mappings, and major page faults (recorded with --events)
    Events,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightArg {
    /// Bytes held at the tree's peak
    #[default]
    Peak,
    /// Bytes times the seconds they were held
    ByteSeconds,
}
