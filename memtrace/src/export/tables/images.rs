//! One row per address space.

use super::{Column, Data, ExportError, Kind, RowFn, Value, columns_of, give, wall};
use crate::{
    model::{Fate, ImageSummary, Origin},
    report::escape::{command_line, escape},
};

struct Source<'a> {
    image: &'a ImageSummary,
    started: Option<u64>,
}

type Get = for<'r> fn(&'r Source<'_>) -> Value<'r>;
type Field = super::Field<Get>;

const fn number(name: &'static str, meaning: &'static str, value: Get) -> Field {
    Field::new(name, Kind::Number, meaning, value)
}

const fn nanoseconds(name: &'static str, meaning: &'static str, value: Get) -> Field {
    Field::new(name, Kind::Nanoseconds, meaning, value)
}

const fn bytes(name: &'static str, meaning: &'static str, value: Get) -> Field {
    Field::new(name, Kind::Bytes, meaning, value)
}

const FIELDS: &[Field] = &[
    number("image", "Key: a number from 1, in order of birth.", |s| {
        s.image.id.into()
    }),
    number(
        "process",
        "Key in `processes` of the process it was made for, or that tried.",
        |s| s.image.owner.into(),
    )
    .optional(),
    number("pid", "That process's pid.", |s| s.image.pid.into()),
    number("parent_image", "The image it was forked from.", |s| {
        s.image.parent.into()
    })
    .optional(),
    Field::new(
        "origin",
        Kind::Text,
        "How it came to be: `fork` (a copy of its parent's), `exec`, or `found` (there before tracing began, or its birth was missed).",
        |s| origin(s.image.origin).into(),
    ),
    Field::new(
        "fate",
        Kind::Text,
        "What became of it: `ended`, `alive` when tracing ended, `failed-fork` or `failed-exec` (no process ran in it), `unfinished`.",
        |s| fate(s.image.fate).into(),
    ),
    Field::new(
        "name",
        Kind::Text,
        "Short name of its program; a fork image has its parent's.",
        |s| escape(s.image.program.name()).into(),
    ),
    Field::new(
        "command",
        Kind::Text,
        "Its program's arguments, quoted as for a shell.",
        |s| command_line(&s.image.program.args).into(),
    ),
    Field::new(
        "command_truncated",
        Kind::Flag,
        "There were more or longer arguments than a record holds.",
        |s| s.image.program.truncated.into(),
    ),
    Field::new(
        "exe",
        Kind::Text,
        "The path as given to execve(2); empty if unknown.",
        |s| escape(&s.image.program.path).into(),
    ),
    Field::new(
        "comm",
        Kind::Text,
        "The kernel's name for the process then.",
        |s| escape(&s.image.program.comm).into(),
    ),
    nanoseconds("start_ns", "When it was first seen.", |s| {
        s.image.start_ns.into()
    }),
    Field::new("start_time", Kind::Time, "The same.", |s| {
        wall(s.started, s.image.start_ns)
    })
    .optional(),
    nanoseconds("end_ns", "When it ended; none if it lives.", |s| {
        s.image.end_ns.into()
    })
    .optional(),
    Field::new("end_time", Kind::Time, "The same.", |s| {
        s.image
            .end_ns
            .map_or(Value::Missing, |end| wall(s.started, end))
    })
    .optional(),
    nanoseconds(
        "lifetime_ns",
        "From start to end, or to the end of tracing.",
        |s| s.image.lifetime_ns.into(),
    ),
    number("events", "Counter updates seen.", |s| s.image.events.into()),
    bytes("peak_rss_bytes", "Peak of RSS.", |s| {
        s.image.peak_rss.into()
    }),
    nanoseconds("peak_at_ns", "When that was.", |s| {
        s.image.peak_at_ns.into()
    }),
    bytes(
        "peak_rss_low_bytes",
        "The true peak is not below this; only in tier P, where peaks are sampled.",
        |s| s.image.peak_range.map(|range| range.low).into(),
    )
    .optional(),
    bytes(
        "peak_rss_high_bytes",
        "The true peak is not above this; only in tier P, and there if known.",
        |s| s.image.peak_range.and_then(|range| range.high).into(),
    )
    .optional(),
    bytes(
        "anon_at_peak_bytes",
        "Anonymous memory at the peak of RSS.",
        |s| s.image.own_peak.anon.into(),
    ),
    bytes("file_at_peak_bytes", "Pages of file mappings then.", |s| {
        s.image.own_peak.file.into()
    }),
    bytes("shmem_at_peak_bytes", "Shared memory then.", |s| {
        s.image.own_peak.shmem.into()
    }),
    bytes("swap_at_peak_bytes", "Swap then; not part of RSS.", |s| {
        s.image.own_peak.swap.into()
    }),
    bytes(
        "peak_anon_bytes",
        "Most anonymous memory; this and the following each at its own time.",
        |s| s.image.peak.anon.into(),
    ),
    bytes("peak_file_bytes", "Most pages of file mappings.", |s| {
        s.image.peak.file.into()
    }),
    bytes("peak_shmem_bytes", "Most shared memory.", |s| {
        s.image.peak.shmem.into()
    }),
    bytes("peak_swap_bytes", "Most swap.", |s| {
        s.image.peak.swap.into()
    }),
    bytes("peak_rss_swap_bytes", "Peak of RSS + swap.", |s| {
        s.image.peak_rss_swap.into()
    }),
    bytes(
        "average_rss_bytes",
        "Time-weighted mean of RSS over the lifetime.",
        |s| s.image.average_rss.into(),
    ),
    bytes("average_anon_bytes", "The same of anonymous memory.", |s| {
        s.image.average.anon.into()
    }),
    bytes("average_file_bytes", "Of pages of file mappings.", |s| {
        s.image.average.file.into()
    }),
    bytes("average_shmem_bytes", "Of shared memory.", |s| {
        s.image.average.shmem.into()
    }),
    bytes("average_swap_bytes", "Of swap.", |s| {
        s.image.average.swap.into()
    }),
    bytes(
        "rss_at_tree_peak_bytes",
        "What it held when the tree was at its peak; over all images these sum to that peak.",
        |s| s.image.at_tree_peak.rss().into(),
    ),
    bytes("anon_at_tree_peak_bytes", "Anonymous memory then.", |s| {
        s.image.at_tree_peak.anon.into()
    }),
    bytes(
        "file_at_tree_peak_bytes",
        "Pages of file mappings then.",
        |s| s.image.at_tree_peak.file.into(),
    ),
    bytes("shmem_at_tree_peak_bytes", "Shared memory then.", |s| {
        s.image.at_tree_peak.shmem.into()
    }),
    bytes("swap_at_tree_peak_bytes", "Swap then.", |s| {
        s.image.at_tree_peak.swap.into()
    }),
    bytes(
        "inherited_bytes",
        "RSS that it got from its parent by fork.",
        |s| s.image.inherited.into(),
    ),
    bytes("peak_vm_bytes", "Peak of `VmSize`.", |s| {
        s.image.vm.size.into()
    }),
    bytes(
        "peak_vm_data_bytes",
        "Peak of `VmData`, as seen at page faults (and system calls with `--vm-events`), like the following.",
        |s| s.image.vm.data.into(),
    ),
    bytes("peak_vm_stack_bytes", "Of `VmStk`.", |s| {
        s.image.vm.stack.into()
    }),
    bytes("peak_vm_exec_bytes", "Of `VmExe` + `VmLib`.", |s| {
        s.image.vm.exec.into()
    }),
    bytes("peak_vm_text_bytes", "Of `VmExe`.", |s| {
        s.image.vm.text.into()
    }),
    bytes("peak_vm_lib_bytes", "Of `VmLib`.", |s| {
        s.image.vm.lib.into()
    }),
    bytes("peak_vm_heap_bytes", "Of the heap, by brk(2).", |s| {
        s.image.vm.heap.into()
    }),
    bytes("peak_vm_page_tables_bytes", "Of `VmPTE`.", |s| {
        s.image.vm.page_tables.into()
    }),
    bytes("peak_vm_locked_bytes", "Of `VmLck`.", |s| {
        s.image.vm.locked.into()
    }),
    bytes(
        "average_vm_bytes",
        "Time-weighted mean of `VmSize`, as seen at page faults (and system calls with `--vm-events`).",
        |s| s.image.vm_average.size.into(),
    ),
    bytes("average_vm_data_bytes", "Of `VmData`.", |s| {
        s.image.vm_average.data.into()
    }),
    bytes("average_vm_stack_bytes", "Of `VmStk`.", |s| {
        s.image.vm_average.stack.into()
    }),
    bytes(
        "kernel_hiwater_rss_bytes",
        "The kernel's own approximation of the peak, `VmHWM`; none while it lives.",
        |s| s.image.end_ns.map(|_| s.image.kernel_hiwater_rss).into(),
    )
    .optional(),
    bytes(
        "residual_bytes",
        "Sum of its counters when it ended; 0 unless something was lost.",
        |s| s.image.residual.into(),
    ),
];

pub(super) fn columns() -> Vec<Column> {
    columns_of(FIELDS)
}

pub(super) fn rows(data: &Data<'_>, row: &mut RowFn<'_>) -> Result<(), ExportError> {
    let started = data.summary.started_unix_ns;
    for image in &data.summary.images {
        let source = Source { image, started };
        give(FIELDS, |get| get(&source), row)?;
    }
    Ok(())
}

const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Fork => "fork",
        Origin::Exec => "exec",
        Origin::Found => "found",
    }
}

const fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Alive => "alive",
        Fate::Ended => "ended",
        Fate::FailedFork => "failed-fork",
        Fate::FailedExec => "failed-exec",
        Fate::Unfinished => "unfinished",
    }
}
