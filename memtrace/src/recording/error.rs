//! Why a recording cannot be written or read.

use std::{io, path::PathBuf};

use super::format::VERSION;
use crate::units::counted;

/// A recording is not whole.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It could not be begun.
    #[error("cannot begin the recording: {0}")]
    Begin(#[source] io::Error),
    /// Blocks could not be written.
    #[error(
        "the recording is not whole, {} missing: {source}{}", counted(*records, "record is", "records are"),
        if *ended { "" } else { " (its end is missing, too: `memtrace report` shows what is there)" }
    )]
    Write {
        /// The first failure.
        source: io::Error,
        /// How many records are not in the file.
        records: u64,
        /// Whether the end, from which the summary is printed again, could be written.
        ended: bool,
    },
    /// The disk was slower than the run.
    #[error(
        "the recording is not whole, {} missing: the disk was slower than they came (record with a larger --resolution, or to another disk)", counted(*records, "record is", "records are")
    )]
    Slow {
        /// How many records are not in the file.
        records: u64,
    },
}

/// A file cannot be read as a recording. Damage and a missing end are no errors: they are
/// [noted](super::Reader::notes).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The kernel refused.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The path as given.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is no regular file.
    #[error(
        "{} is {what}: give the file that `memtrace run -o FILE` has written", path.display()
    )]
    NotAFile {
        /// The path as given.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// Nothing is in it.
    #[error(
        "{} is empty: memtrace was killed before it began, or the disk was full", .0.display()
    )]
    Empty(PathBuf),
    /// It holds something else.
    #[error(
        "{} is not a recording of memtrace: give a file that `memtrace run -o FILE` has written", .0.display()
    )]
    NotARecording(PathBuf),
    /// It begins like a recording and ends before anything was recorded.
    #[error(
        "{} is cut within its first bytes: memtrace was killed as it began, or the disk was full", .0.display()
    )]
    NothingRecorded(PathBuf),
    /// The version is not known here.
    #[error(
        "{} has format version {version}, and this memtrace reads versions up to {VERSION}: use the memtrace that recorded it, or a newer one", path.display()
    )]
    Newer {
        /// The path as given.
        path: PathBuf,
        /// The file's version.
        version: u16,
    },
    /// It could not be read to its end.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The path as given.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}
