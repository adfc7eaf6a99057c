//! What pages were for, over time.

use memtrace_ebpf::Segment;

use super::{Column, Data, ExportError, Kind, RowFn, Value, columns_of, give, wall};
use crate::{model::ImageSummary, recording::HeldSegments};

struct Source<'a> {
    image: &'a ImageSummary,
    at_ns: u64,
    held: &'a HeldSegments,
    started: Option<u64>,
}

type Get = for<'r> fn(&'r Source<'_>) -> Value<'r>;
type Field = super::Field<Get>;

/// A column of what is resident of a segment, or swapped out.
macro_rules! held {
    ($name:literal, $field:ident, $segment:ident, $meaning:literal) => {
        Field::new($name, Kind::Bytes, $meaning, |s| {
            s.held.$field[Segment::$segment as usize].into()
        })
    };
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
    Field::new(
        "at_ns",
        Kind::Nanoseconds,
        "When the last change of the window was, or the change.",
        |s| s.at_ns.into(),
    ),
    Field::new("at_time", Kind::Time, "The same.", |s| {
        wall(s.started, s.at_ns)
    })
    .optional(),
    held!(
        "text_bytes",
        resident,
        Text,
        "Resident: the program's own file where it never was writable."
    ),
    held!(
        "data_bytes",
        resident,
        Data,
        "Resident: where it is or was, and the bss."
    ),
    held!("heap_bytes", resident, Heap, "Resident: by brk(2)."),
    held!(
        "stack_bytes",
        resident,
        Stack,
        "Resident: the first thread's stack."
    ),
    held!(
        "anon_bytes",
        resident,
        Anon,
        "Resident: anonymous mappings."
    ),
    held!(
        "lib_bytes",
        resident,
        Lib,
        "Resident: files named `*.so` or `*.so.*`."
    ),
    held!("file_bytes", resident, File, "Resident: other files."),
    held!("shmem_bytes", resident, Shmem, "Resident: shared memory."),
    held!(
        "unknown_bytes",
        resident,
        Unknown,
        "Resident: what could not be told; below 0 where pages left that belong to other segments."
    ),
    held!("text_swap_bytes", swapped, Text, "Swapped out, likewise."),
    held!("data_swap_bytes", swapped, Data, "Swapped out."),
    held!("heap_swap_bytes", swapped, Heap, "Swapped out."),
    held!("stack_swap_bytes", swapped, Stack, "Swapped out."),
    held!("anon_swap_bytes", swapped, Anon, "Swapped out."),
    held!("lib_swap_bytes", swapped, Lib, "Swapped out."),
    held!("file_swap_bytes", swapped, File, "Swapped out."),
    held!(
        "shmem_swap_bytes",
        swapped,
        Shmem,
        "Swapped out; always 0: the kernel counts pages of shared memory files by the file."
    ),
    held!(
        "unknown_swap_bytes",
        swapped,
        Unknown,
        "Swapped out, not told."
    ),
];

pub(super) fn columns() -> Vec<Column> {
    columns_of(FIELDS)
}

pub(super) fn rows(data: &Data<'_>, row: &mut RowFn<'_>) -> Result<(), ExportError> {
    let started = data.summary.started_unix_ns;
    data.spans.segments(&mut |index, at_ns, held| {
        let Some(image) = data.summary.images.get(index) else {
            return Ok(());
        };
        let source = Source {
            image,
            at_ns,
            held,
            started,
        };
        give(FIELDS, |get| get(&source), row)
    })
}
