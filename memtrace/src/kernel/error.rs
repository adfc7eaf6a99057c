//! Why memtrace cannot work with this kernel.

use std::{io, path::PathBuf};

use super::BtfError;

/// Why memtrace cannot work with this kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The kernel's type information cannot be read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The kernel lacks a field that nothing can be counted without.
    #[error(
        "this kernel has no field {field} ({meaning}), without which memtrace cannot count; please report it with the output of `memtrace check`"
    )]
    MissingField {
        /// Its path.
        field: &'static str,
        /// What it is.
        meaning: &'static str,
    },
    /// A field has another size than the programs read.
    #[error(
        "kernel field {field} ({meaning}) has {found} bytes instead of {expected}; please report it with the output of `memtrace check`"
    )]
    FieldSize {
        /// Its path.
        field: &'static str,
        /// What it is.
        meaning: &'static str,
        /// Its size in bytes.
        found: u32,
        /// The size that the programs read.
        expected: u32,
    },
    /// The kernel lacks an event that nothing can be counted without.
    #[error(
        "this kernel has no tracepoint {event} ({meaning}), without which memtrace cannot count"
    )]
    MissingTracepoint {
        /// Its name with its group.
        event: &'static str,
        /// What it tells.
        meaning: &'static str,
    },
    /// An event has parameters that the programs do not know.
    #[error(
        "tracepoint {event} of this kernel has unknown parameters ({found}); please report it with the output of `memtrace check`"
    )]
    Parameters {
        /// Its name with its group.
        event: &'static str,
        /// Its parameters' types.
        found: String,
    },
    /// The kernel numbers its counters differently.
    #[error(
        "this kernel numbers the counter {counter} {found} instead of {expected}; please report it with the output of `memtrace check`"
    )]
    CounterNumber {
        /// The enumerator.
        counter: &'static str,
        /// Its value.
        found: i64,
        /// The value that the programs use.
        expected: i64,
    },
    /// tracefs is needed, because the counters' layout is unknown, but not mounted.
    #[error(
        "the counters of this kernel have an unknown layout, and the tracepoint that knows their values needs tracefs: mount it with `mount -t tracefs tracefs /sys/kernel/tracing`"
    )]
    NoTracefs,
    /// The record of `kmem:rss_stat` is not as expected.
    #[error("{}: no field `size` of 8 bytes; please report it with this file", path.display())]
    RecordFormat {
        /// The file that describes it.
        path: PathBuf,
    },
    /// A file of the kernel could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A list of CPUs is not of the form that the kernel documents.
    #[error("cannot understand {text:?} as a list of CPUs")]
    CpuList {
        /// What was read.
        text: String,
    },
    /// A clock cannot be read.
    #[error("cannot read {clock}")]
    Clock {
        /// Its name.
        clock: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
