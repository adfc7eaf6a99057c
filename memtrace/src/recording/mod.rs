//! Recordings: the records of a run in a file that survives anything, and back.
//!
//! ```text
//! Writer::create(file, head) -> event(..), checkpoint(..), loss(..) ... -> finish(final)
//! Reader::open(path) -> entries() -> Entry ...
//! load(path, options) -> Summary + Timeline
//! ```
//!
//! A file is a preamble and blocks, each with a checksum; `docs/format.md` specifies them
//! byte by byte. Whatever happens to the file, what is whole in it can be read: a reader
//! skips damage and says so, and of a file without an end it gives what was known until
//! then, with a certificate that says `incomplete`.

pub mod calls;
mod columns;
mod error;
mod fields;
mod format;
mod head;
pub(crate) mod identities;
mod items;
mod last;
mod life;
mod limit;
mod load;
mod loss;
mod own_cgroup;
mod query;
mod reader;
mod replay;
mod sampled;
mod state;
mod tail;
mod varint;
mod writer;

pub use self::{
    calls::CallRecord,
    error::{ReadError, WriteError},
    head::Head,
    load::{LoadOptions, Loaded, Summarized, load, load_from, summarize},
    loss::Loss,
    query::{ImageRange, Index, Moment, Range},
    reader::{Entries, Entry, Reader},
    replay::{Held, HeldByTree, HeldSegments, Replay},
    state::State,
    writer::Writer,
};

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests;
