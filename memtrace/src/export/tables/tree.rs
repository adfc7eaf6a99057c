//! The tree over time.

use super::{Column, Data, ExportError, Kind, RowFn, Value, columns_of, give, wall};
use crate::model::TreeSpan;

struct Source<'a> {
    span: &'a TreeSpan,
    started: Option<u64>,
}

type Get = for<'r> fn(&'r Source<'_>) -> Value<'r>;
type Field = super::Field<Get>;

const fn bytes(name: &'static str, meaning: &'static str, value: Get) -> Field {
    Field::new(name, Kind::Bytes, meaning, value)
}

const FIELDS: &[Field] = &[
    Field::new(
        "time_ns",
        Kind::Nanoseconds,
        "Start of the span, since the tree's start.",
        |s| s.span.start_ns.into(),
    ),
    Field::new("time", Kind::Time, "The same.", |s| {
        wall(s.started, s.span.start_ns)
    })
    .optional(),
    bytes(
        "rss_min_bytes",
        "Least sum of RSS in the span, the value at its start included.",
        |s| s.span.min_rss.into(),
    ),
    bytes(
        "rss_max_bytes",
        "Largest sum of RSS in the span, the value at its start included. The largest of all \
         rows is the tree's peak.",
        |s| s.span.max_rss.into(),
    ),
    Field::new(
        "rss_max_at_ns",
        Kind::Nanoseconds,
        "When that was first reached.",
        |s| s.span.max_at_ns.into(),
    ),
    bytes("anon_at_max_bytes", "Anonymous memory then.", |s| {
        s.span.at_max.anon.into()
    }),
    bytes("file_at_max_bytes", "Pages of file mappings then.", |s| {
        s.span.at_max.file.into()
    }),
    bytes("shmem_at_max_bytes", "Shared memory then.", |s| {
        s.span.at_max.shmem.into()
    }),
    bytes("swap_at_max_bytes", "Swap then; not part of RSS.", |s| {
        s.span.at_max.swap.into()
    }),
    bytes(
        "rss_last_bytes",
        "Sum of RSS after the last change in the span.",
        |s| s.span.last.rss().into(),
    ),
    bytes("anon_last_bytes", "Anonymous memory after it.", |s| {
        s.span.last.anon.into()
    }),
    bytes("file_last_bytes", "Pages of file mappings after it.", |s| {
        s.span.last.file.into()
    }),
    bytes("shmem_last_bytes", "Shared memory after it.", |s| {
        s.span.last.shmem.into()
    }),
    bytes("swap_last_bytes", "Swap after it.", |s| {
        s.span.last.swap.into()
    }),
    bytes(
        "shared_last_bytes",
        "Most of it that counts more than once because of fork.",
        |s| s.span.shared.into(),
    ),
];

pub(super) fn columns() -> Vec<Column> {
    columns_of(FIELDS)
}

pub(super) fn rows(data: &Data<'_>, row: &mut RowFn<'_>) -> Result<(), ExportError> {
    let started = data.summary.started_unix_ns;
    data.spans.tree(&mut |span| {
        let source = Source { span, started };
        give(FIELDS, |get| get(&source), row)
    })
}
