//! Each image over time.

use super::{Column, Data, ExportError, Kind, RowFn, Value, columns_of, give, wall};
use crate::{
    model::{ImageSpan, ImageSummary},
    report::escape::escape,
};

struct Source<'a> {
    image: &'a ImageSummary,
    name: &'a str,
    span: &'a ImageSpan,
    started: Option<u64>,
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
    Field::new("pid", Kind::Number, "Its process's pid.", |s| {
        s.image.pid.into()
    }),
    Field::new("name", Kind::Text, "Its program's short name.", |s| {
        s.name.into()
    }),
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
        "Least RSS in the span, the value at its start included.",
        |s| s.span.min_rss.into(),
    ),
    bytes(
        "rss_max_bytes",
        "Largest RSS in the span, the value at its start included. The largest of an image's \
         rows is its peak.",
        |s| s.span.max_rss.into(),
    ),
    Field::new(
        "rss_max_at_ns",
        Kind::Nanoseconds,
        "When that was first reached.",
        |s| s.span.max_at_ns.into(),
    ),
    bytes(
        "anon_max_bytes",
        "Most anonymous memory in the span. Unlike the members of `tree`, each kind has its \
         maximum at its own time.",
        |s| s.span.max.anon.into(),
    ),
    bytes("file_max_bytes", "Most pages of file mappings.", |s| {
        s.span.max.file.into()
    }),
    bytes("shmem_max_bytes", "Most shared memory.", |s| {
        s.span.max.shmem.into()
    }),
    bytes("swap_max_bytes", "Most swap; not part of RSS.", |s| {
        s.span.max.swap.into()
    }),
    bytes(
        "rss_last_bytes",
        "RSS after the last change in the span.",
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
        "rss_at_tree_max_bytes",
        "What it counted for at `rss_max_at_ns` of the row of `tree` with the same `time_ns`. \
         Over all images (those without a row then: `rss_last_bytes` of their latest) these \
         sum to `rss_max_bytes` of the tree.",
        |s| s.span.at_tree_max.rss().into(),
    ),
    bytes("anon_at_tree_max_bytes", "Anonymous memory then.", |s| {
        s.span.at_tree_max.anon.into()
    }),
    bytes(
        "file_at_tree_max_bytes",
        "Pages of file mappings then.",
        |s| s.span.at_tree_max.file.into(),
    ),
    bytes("shmem_at_tree_max_bytes", "Shared memory then.", |s| {
        s.span.at_tree_max.shmem.into()
    }),
    bytes("swap_at_tree_max_bytes", "Swap then.", |s| {
        s.span.at_tree_max.swap.into()
    }),
    bytes(
        "vm_bytes",
        "`VmSize` at the last change, as the following.",
        |s| s.span.sizes.total.into(),
    ),
    bytes("vm_data_bytes", "`VmData`.", |s| s.span.sizes.data.into()),
    bytes("vm_stack_bytes", "`VmStk`.", |s| s.span.sizes.stack.into()),
    bytes("vm_exec_bytes", "`VmExe` + `VmLib`.", |s| {
        s.span.sizes.exec.into()
    }),
    bytes("vm_heap_bytes", "The heap, by brk(2).", |s| {
        s.span.sizes.heap.into()
    }),
    bytes("vm_page_tables_bytes", "`VmPTE`.", |s| {
        s.span.sizes.page_tables.into()
    }),
    bytes("vm_locked_bytes", "`VmLck`.", |s| {
        s.span.sizes.locked.into()
    }),
];

pub(super) fn columns() -> Vec<Column> {
    columns_of(FIELDS)
}

pub(super) fn rows(data: &Data<'_>, row: &mut RowFn<'_>) -> Result<(), ExportError> {
    let images = &data.summary.images;
    let names: Vec<String> = images
        .iter()
        .map(|image| escape(image.program.name()))
        .collect();
    let started = data.summary.started_unix_ns;
    data.spans.images(&mut |index, span| {
        // Spans of an image that the summary does not know have nothing to belong to.
        let (Some(image), Some(name)) = (images.get(index), names.get(index)) else {
            return Ok(());
        };
        let source = Source {
            image,
            name,
            span,
            started,
        };
        give(FIELDS, |get| get(&source), row)
    })
}
