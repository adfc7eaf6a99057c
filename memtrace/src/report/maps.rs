//! The segments of one process at one moment.

use std::io;

use memtrace_ebpf::{SEGMENTS, Segment};
use serde::Serialize;

use super::{
    escape::{clip, command_line},
    times::Times,
    units::{grouped, human},
};

/// What one segment has, bytes. Amounts of [`Segment::Unknown`] can be below 0, see there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub segment: Segment,
    /// Size of its mappings; `None` if that is not known.
    pub mapped: Option<u64>,
    /// Resident.
    pub resident: i64,
    /// Swapped out.
    pub swapped: i64,
}

/// Where the numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `/proc/PID/smaps`, now.
    Smaps,
    /// A recording, so many nanoseconds after the tree's start.
    Recording {
        /// When.
        at_ns: u64,
        /// Width of its windows; 0 if each change was recorded.
        width_ns: u64,
    },
}

/// All segments of a process.
#[derive(Clone, Debug)]
pub struct Maps {
    /// Its id.
    pub pid: u32,
    /// What it runs.
    pub command: Vec<Vec<u8>>,
    /// Where the numbers come from.
    pub source: Source,
    /// One each.
    pub rows: [Row; SEGMENTS],
}

impl Maps {
    /// Sum of what is resident.
    #[must_use]
    pub fn resident(&self) -> i64 {
        self.rows
            .iter()
            .fold(0, |sum, row| sum.saturating_add(row.resident))
    }

    /// Sum of what is swapped out.
    #[must_use]
    pub fn swapped(&self) -> i64 {
        self.rows
            .iter()
            .fold(0, |sum, row| sum.saturating_add(row.swapped))
    }
}

/// Writes a table for people.
///
/// # Errors
///
/// Those of the writer.
pub fn write(maps: &Maps, width: usize, out: &mut dyn io::Write) -> io::Result<()> {
    let when = match maps.source {
        Source::Smaps => "now".to_owned(),
        Source::Recording { at_ns, .. } => format!("at +{}", Times::lasting(at_ns).show(at_ns)),
    };
    let title = format!(
        "memtrace: pid {} {when}: {} of RSS, {} swapped: {}",
        maps.pid,
        amount(maps.resident()),
        amount(maps.swapped()),
        command_line(&maps.command)
    );
    writeln!(out, "{}", clip(&title, width))?;
    if let Source::Recording { width_ns, .. } = maps.source
        && width_ns > 0
    {
        writeln!(
            out,
            "          recorded in windows of {}: a value can be that old",
            super::units::duration(width_ns)
        )?;
    }
    writeln!(out)?;
    writeln!(
        out,
        "{:<20}{:>19}{:>19}{:>19}",
        "segment, bytes", "virtual", "resident", "swapped"
    )?;
    for row in maps.rows.iter().filter(|row| row.has_anything()) {
        let mapped = row.mapped.map_or_else(|| "-".to_owned(), grouped);
        writeln!(
            out,
            "{:<20}{mapped:>19}{:>19}{:>19}",
            super::text::title(row.segment),
            signed(row.resident),
            signed(row.swapped)
        )?;
    }
    Ok(())
}

impl Row {
    fn has_anything(&self) -> bool {
        self.mapped.is_some_and(|bytes| bytes > 0) || self.resident != 0 || self.swapped != 0
    }
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(bytes.unsigned_abs()))
}

fn amount(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", human(bytes.unsigned_abs()))
}

#[derive(Serialize)]
struct Doc {
    schema: &'static str,
    pid: u32,
    command: Vec<String>,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ns: Option<u64>,
    rss_bytes: i64,
    swap_bytes: i64,
    segments: Vec<RowDoc>,
}

#[derive(Serialize)]
struct RowDoc {
    segment: &'static str,
    virtual_bytes: Option<u64>,
    resident_bytes: i64,
    swapped_bytes: i64,
}

/// Writes the same as JSON, `memtrace.maps/1`.
///
/// # Errors
///
/// Those of the writer.
pub fn write_json(maps: &Maps, out: &mut dyn io::Write) -> io::Result<()> {
    let (source, at_ns) = match maps.source {
        Source::Smaps => ("smaps", None),
        Source::Recording { at_ns, .. } => ("recording", Some(at_ns)),
    };
    let doc = Doc {
        schema: "memtrace.maps/1",
        pid: maps.pid,
        command: maps
            .command
            .iter()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect(),
        source,
        at_ns,
        rss_bytes: maps.resident(),
        swap_bytes: maps.swapped(),
        segments: maps
            .rows
            .iter()
            .map(|row| RowDoc {
                segment: row.segment.name(),
                virtual_bytes: row.mapped,
                resident_bytes: row.resident,
                swapped_bytes: row.swapped,
            })
            .collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &doc)?;
    writeln!(out)
}
