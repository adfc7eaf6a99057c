//! Calls that change mappings, and major page faults.

use super::{Column, Data, ExportError, Kind, RowFn, Value, columns_of, give, wall};
use crate::{model::ImageSummary, recording::CallRecord};

struct Source<'a> {
    image: &'a ImageSummary,
    call: &'a CallRecord,
    started: Option<u64>,
}

type Get = for<'r> fn(&'r Source<'_>) -> Value<'r>;
type Field = super::Field<Get>;

const FIELDS: &[Field] = &[
    Field::new("at_ns", Kind::Nanoseconds, "When it began.", |s| {
        s.call.at_ns.into()
    }),
    Field::new("at_time", Kind::Time, "The same.", |s| {
        wall(s.started, s.call.at_ns)
    })
    .optional(),
    Field::new(
        "duration_ns",
        Kind::Nanoseconds,
        "How long it took; of a fault, until its thread was next seen.",
        |s| s.call.duration_ns.into(),
    ),
    Field::new("image", Kind::Number, "Key in `images`.", |s| {
        s.image.id.into()
    }),
    Field::new(
        "pid",
        Kind::Number,
        "Pid of the process it was made for.",
        |s| s.image.pid.into(),
    ),
    Field::new("tid", Kind::Number, "The thread.", |s| s.call.tid.into()),
    Field::new(
        "call",
        Kind::Text,
        "`brk`, `mmap`, `munmap`, `mremap`, `mprotect`, `madvise` or `major-fault`.",
        |s| s.call.kind.name().into(),
    ),
    Field::new(
        "address",
        Kind::Number,
        "First argument; of `brk` the end that is asked for; of a fault where it was.",
        |s| s.call.address.into(),
    ),
    Field::new(
        "len",
        Kind::Number,
        "Second argument, bytes; of `brk` the end before.",
        |s| s.call.len.into(),
    ),
    Field::new(
        "argument",
        Kind::Number,
        "Third argument: protection (mmap, mprotect), advice (madvise), new length (mremap).",
        |s| s.call.argument.into(),
    ),
    Field::new(
        "flags",
        Kind::Number,
        "Fourth argument: flags (mmap, mremap).",
        |s| s.call.flags.into(),
    ),
    Field::new(
        "result",
        Kind::Number,
        "What it returned; an error is below 0, as the kernel has it.",
        |s| s.call.result.into(),
    ),
    Field::new(
        "rss_change_bytes",
        Kind::Bytes,
        "By how much the image's RSS changed meanwhile; other threads have a share in it.",
        |s| s.call.rss_change.into(),
    ),
];

pub(super) fn columns() -> Vec<Column> {
    columns_of(FIELDS)
}

pub(super) fn rows(data: &Data<'_>, row: &mut RowFn<'_>) -> Result<(), ExportError> {
    let started = data.summary.started_unix_ns;
    data.spans.calls(data.summary, &mut |call| {
        let Some(image) = data.summary.images.get(call.image) else {
            return Ok(());
        };
        let source = Source {
            image,
            call,
            started,
        };
        give(FIELDS, |get| get(&source), row)
    })
}
