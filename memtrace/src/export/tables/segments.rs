//! What pages were for: one row per segment of an address space.

use super::{Column, Data, ExportError, Kind, RowFn, Value, columns_of, give};
use crate::{
    model::{ImageSummary, SegmentUse},
    report::escape::escape,
};

struct Source<'a> {
    image: &'a ImageSummary,
    part: &'a SegmentUse,
    within: Option<u64>,
}

type Get = for<'r> fn(&'r Source<'_>) -> Value<'r>;
type Field = super::Field<Get>;

const fn bytes(name: &'static str, meaning: &'static str, value: Get) -> Field {
    Field::new(name, Kind::Bytes, meaning, value)
}

const FIELDS: &[Field] = &[
    Field::new("image", Kind::Number, "Key in `images`.", |s| {
        s.image.id.into()
    }),
    Field::new(
        "pid",
        Kind::Number,
        "Pid of the process it was made for.",
        |s| s.image.pid.into(),
    ),
    Field::new("name", Kind::Text, "Short name of its program.", |s| {
        escape(s.image.program.name()).into()
    }),
    Field::new(
        "segment",
        Kind::Text,
        "`text`, `data`, `heap`, `stack`, `anon`, `lib`, `file`, `shmem` or `unknown`.",
        |s| s.part.segment.name().into(),
    ),
    bytes(
        "at_peak_bytes",
        "Resident when the image's RSS was at its peak; below 0 for `unknown`, where pages left that belong to other segments. Their sum is the peak.",
        |s| s.part.resident_at_peak.into(),
    ),
    bytes("at_peak_anon_bytes", "Of that, anonymous.", |s| {
        s.part.anon_at_peak.into()
    }),
    bytes("at_peak_swap_bytes", "Swapped out then.", |s| {
        s.part.swapped_at_peak.into()
    }),
    bytes("peak_bytes", "Largest resident size.", |s| {
        s.part.peak_resident.into()
    }),
    bytes("peak_swap_bytes", "Largest swapped-out size.", |s| {
        s.part.peak_swapped.into()
    }),
    bytes(
        "at_peak_virtual_bytes",
        "Size of its mappings when the image's RSS was at its peak, where it is known.",
        |s| s.part.mapped_at_peak.into(),
    )
    .optional(),
    bytes(
        "peak_virtual_bytes",
        "Largest size of its mappings, as seen at page faults, where it is known.",
        |s| s.part.peak_mapped.into(),
    )
    .optional(),
    bytes(
        "within_bytes",
        "None of the image's segments is wrong by more; 0: exact; nothing without a bound.",
        |s| s.within.into(),
    )
    .optional(),
];

pub(super) fn columns() -> Vec<Column> {
    columns_of(FIELDS)
}

pub(super) fn rows(data: &Data<'_>, row: &mut RowFn<'_>) -> Result<(), ExportError> {
    for image in &data.summary.images {
        let Some(segments) = &image.segments else {
            continue;
        };
        for part in segments.table.iter().filter(|part| part.held_anything()) {
            let source = Source {
                image,
                part,
                within: segments.within,
            };
            give(FIELDS, |get| get(&source), row)?;
        }
    }
    Ok(())
}
