//! The tables, defined once for all formats that have rows and columns.
//!
//! Bytes and nanoseconds are integers. A moment is given twice: in nanoseconds since the
//! tree's start and, where the wall clock at the start is known, as a time in UTC.
//!
//! Text is what [`escape`](crate::report::escape::escape) makes of the kernel's bytes, in
//! every format: a backslash is `\\`, a newline `\n`, other characters that act on a
//! terminal `\u{1b}`, bytes that are not UTF-8 `\xff`. It is one line and nothing is lost.

mod events;
mod images;
mod losses;
mod processes;
mod segment_times;
mod segments;
mod timeline;
mod tree;

use std::borrow::Cow;

use super::{Data, ExportError};

/// Name and version of the tables; columns are only added within a version.
pub const SCHEMA: &str = "memtrace.tables/1";

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// One row per process.
    Processes,
    /// One row per address space.
    Images,
    /// The tree over time.
    Tree,
    /// Each address space over time.
    Timeline,
    /// Where records of the timeline are missing.
    Losses,
    /// What pages of each address space were for.
    Segments,
    /// The same over time.
    SegmentTimes,
    /// Calls that change mappings, and major page faults.
    Events,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Processes,
        Self::Images,
        Self::Tree,
        Self::Timeline,
        Self::Losses,
        Self::Segments,
        Self::SegmentTimes,
        Self::Events,
    ];

    /// Its name, also that of its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Images => "images",
            Self::Tree => "tree",
            Self::Timeline => "timeline",
            Self::Losses => "losses",
            Self::Segments => "segments",
            Self::SegmentTimes => "segment_times",
            Self::Events => "events",
        }
    }

    /// What a row is.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Processes => "One row per process, in order of creation.",
            Self::Images => {
                "One row per image (address space), in order of birth. A process has one per \
                 exec, and the copy that fork made before that."
            }
            Self::Tree => {
                "The tree over time: one row per span in which something changed. Between two \
                 rows everything stays as the first says `last`."
            }
            Self::Timeline => {
                "Each image over time: one row per span in which it changed, those of one image \
                 in order. Between two rows everything stays as the first says `last`; what \
                 ended has a last row of 0."
            }
            Self::Losses => {
                "Stretches of time in which records of the timeline were lost; the peaks in \
                 `processes` and `images` do not depend on them."
            }
            Self::Segments => {
                "One row per segment of each image that held anything, where `--segments` told \
                 them apart: what its pages were for."
            }
            Self::SegmentTimes => {
                "Segments over time, where `--segments` recorded them: one row per window in \
                 which the image changed (but its last, of which only the end is known), or per \
                 change; what ended has a last row of 0."
            }
            Self::Events => {
                "Calls that change mappings, and major page faults, where `--events` recorded \
                 them: one row each, in the order of their ends."
            }
        }
    }

    /// Its columns, in order.
    #[must_use]
    pub fn columns(self) -> Vec<Column> {
        match self {
            Self::Processes => processes::columns(),
            Self::Images => images::columns(),
            Self::Tree => tree::columns(),
            Self::Timeline => timeline::columns(),
            Self::Losses => losses::columns(),
            Self::Segments => segments::columns(),
            Self::SegmentTimes => segment_times::columns(),
            Self::Events => events::columns(),
        }
    }

    /// Gives every row, with one value per column.
    ///
    /// # Errors
    ///
    /// The first error of `row`, or the timeline cannot be read.
    pub fn rows(self, data: &Data<'_>, row: &mut RowFn<'_>) -> Result<(), ExportError> {
        match self {
            Self::Processes => processes::rows(data, row),
            Self::Images => images::rows(data, row),
            Self::Tree => tree::rows(data, row),
            Self::Timeline => timeline::rows(data, row),
            Self::Losses => losses::rows(data, row),
            Self::Segments => segments::rows(data, row),
            Self::SegmentTimes => segment_times::rows(data, row),
            Self::Events => events::rows(data, row),
        }
    }
}

/// Takes a row.
pub type RowFn<'a> = dyn FnMut(&[Value<'_>]) -> Result<(), ExportError> + 'a;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, with the unit at the end.
    pub name: &'static str,
    /// Type and unit.
    pub kind: Kind,
    /// What it says, as a sentence or two.
    pub meaning: &'static str,
    /// The value can be missing.
    pub optional: bool,
}

/// Type and unit of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    Bytes,
    /// Nanoseconds: since the tree's start, or a duration.
    Nanoseconds,
    /// A time in UTC, in nanoseconds since 1970.
    Time,
    /// A number without a unit.
    Number,
    /// Yes or no.
    Flag,
    /// Text, escaped.
    Text,
}

impl Kind {
    /// As documents say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Nanoseconds => "ns",
            Self::Time => "UTC",
            Self::Number => "number",
            Self::Flag => "flag",
            Self::Text => "text",
        }
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Not known, or there is none.
    Missing,
    /// Of [`Kind::Bytes`], [`Kind::Nanoseconds`], [`Kind::Time`] or [`Kind::Number`].
    Integer(i64),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Text`].
    Text(Cow<'a, str>),
}

/// Larger numbers than 63 bits do not occur; if one does, it is shown as the largest.
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u8> for Value<'_> {
    fn from(number: u8) -> Self {
        Self::Integer(number.into())
    }
}

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<T: Into<Self>> From<Option<T>> for Value<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

/// A column and how to get its value from a row's source (`G`, a function): both in one
/// place, so that they cannot come apart.
struct Field<G> {
    column: Column,
    value: G,
}

impl<G> Field<G> {
    const fn new(name: &'static str, kind: Kind, meaning: &'static str, value: G) -> Self
    where
        G: Copy,
    {
        Self {
            column: Column {
                name,
                kind,
                meaning,
                optional: false,
            },
            value,
        }
    }

    const fn optional(mut self) -> Self
    where
        G: Copy,
    {
        self.column.optional = true;
        self
    }
}

fn columns_of<G>(fields: &[Field<G>]) -> Vec<Column> {
    fields.iter().map(|field| field.column).collect()
}

/// Gives a row of which `get` takes each value from the source.
fn give<'r, G: Copy>(
    fields: &[Field<G>],
    get: impl Fn(G) -> Value<'r>,
    row: &mut RowFn<'_>,
) -> Result<(), ExportError> {
    let values: Vec<Value<'r>> = fields.iter().map(|field| get(field.value)).collect();
    row(&values)
}

/// The wall-clock time of a moment, where that of the start is known.
fn wall(started_unix_ns: Option<u64>, ns: u64) -> Value<'static> {
    started_unix_ns
        .and_then(|start| start.checked_add(ns))
        .into()
}
