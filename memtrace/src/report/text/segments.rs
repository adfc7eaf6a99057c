//! What pages were for.

use std::io;

use memtrace_ebpf::{Segment, SegmentHooks};

use super::{
    super::units::{grouped, human},
    counted, line,
    page::Page,
};
use crate::model::{ImageSummary, SegmentUse, Segments, SegmentsSeen, Summary};

/// How a segment is called where there is room.
pub(crate) const fn title(segment: Segment) -> &'static str {
    match segment {
        Segment::Text => "text",
        Segment::Data => "data + bss",
        Segment::Heap => "heap",
        Segment::Stack => "stack",
        Segment::Anon => "anonymous mappings",
        Segment::Lib => "libraries",
        Segment::File => "other files",
        Segment::Shmem => "shared memory",
        Segment::Unknown => "unknown",
    }
}

/// What the largest image consisted of at its peak, the largest part first.
pub(super) fn of_biggest(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let biggest = summary.tree.biggest.and_then(|i| summary.images.get(i));
    let Some(segments) = biggest.and_then(|image| image.segments.as_deref()) else {
        return Ok(());
    };
    let mut parts = segments.table;
    parts.sort_by_key(|part| std::cmp::Reverse(part.resident_at_peak));
    let shown: Vec<String> = parts
        .iter()
        .filter(|part| part.resident_at_peak != 0)
        .map(|part| format!("{} {}", part.segment.name(), amount(part.resident_at_peak)))
        .collect();
    line(out, "of it", &shown.join(", "))?;
    match segments.within {
        Some(0) => Ok(()),
        Some(bytes) => line(
            out,
            "",
            &format!("(none of these is wrong by more than {})", human(bytes)),
        ),
        None => line(out, "", &format!("({})", without_bound(segments))),
    }
}

/// What is said of segments that may be wrong.
pub(super) fn without_bound(segments: &Segments) -> String {
    match segments.left {
        // Where hints tell, what is left is not known.
        0 => "these have no bound".to_owned(),
        bytes => format!(
            "these have no bound; {} was in the wrong one at the end",
            human(bytes)
        ),
    }
}

/// An amount that can be below 0.
fn amount(bytes: i64) -> String {
    let size = human(bytes.unsigned_abs());
    if bytes < 0 { format!("-{size}") } else { size }
}

/// The rows of an image's table: label and numbers, of those segments that held anything.
pub(in crate::report) fn rows(
    image: &ImageSummary,
) -> impl Iterator<Item = (&'static str, [String; 5])> {
    let table = image.segments.iter().flat_map(|segments| segments.table);
    table.filter(SegmentUse::held_anything).map(|part| {
        let numbers = [
            grouped(part.peak_resident),
            signed(part.resident_at_peak),
            signed(part.anon_at_peak),
            signed(part.swapped_at_peak),
            part.mapped_at_peak.map_or_else(|| "-".to_owned(), grouped),
        ];
        (title(part.segment), numbers)
    })
}

fn signed(bytes: i64) -> String {
    let digits = grouped(bytes.unsigned_abs());
    if bytes < 0 {
        format!("-{digits}")
    } else {
        digits
    }
}

/// What they are worth.
pub(super) fn worth(seen: &SegmentsSeen) -> String {
    let by = match seen.by {
        SegmentHooks::Hints => "told apart by page faults and system calls",
        _ => "told apart by the kernel's own functions",
    };
    let by = match seen.compared {
        0 => by.to_owned(),
        1 => format!("{by}, compared with smaps once"),
        count => format!("{by}, compared with smaps {} times", grouped(count)),
    };
    match seen.within {
        Some(0) => format!("segments: exact, {by}"),
        Some(bytes) => format!(
            "segments: exact in {} of {}, {by}; the others within {} ({} bytes)",
            grouped(seen.exact as u64),
            counted(seen.images, "image", "images"),
            human(bytes),
            grouped(bytes)
        ),
        None => format!(
            "segments: exact in {} of {}, {by}; the others without a bound",
            grouped(seen.exact as u64),
            counted(seen.images, "image", "images"),
        ),
    }
}
