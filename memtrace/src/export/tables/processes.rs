//! One row per process.

use super::{Column, Data, ExportError, Kind, RowFn, Value, columns_of, give, wall};
use crate::{
    model::{ImageSummary, ProcessSummary, Summary},
    report::escape::{command_line, escape},
};

struct Source<'a> {
    index: usize,
    process: &'a ProcessSummary,
    /// The image it used last.
    last: Option<&'a ImageSummary>,
    own: Own,
    started: Option<u64>,
}

/// What a process's own images add up to.
#[derive(Clone, Copy, Default)]
struct Own {
    images: u64,
    peak_rss: u64,
    peak_at_ns: u64,
    at_tree_peak: u64,
}

type Get = for<'r> fn(&'r Source<'_>) -> Value<'r>;
type Field = super::Field<Get>;

const fn number(name: &'static str, meaning: &'static str, value: Get) -> Field {
    Field::new(name, Kind::Number, meaning, value)
}

const fn nanoseconds(name: &'static str, meaning: &'static str, value: Get) -> Field {
    Field::new(name, Kind::Nanoseconds, meaning, value)
}

const FIELDS: &[Field] = &[
    number(
        "process",
        "Key: its place in order of creation, from 0. The kernel reuses pids.",
        |s| s.index.into(),
    ),
    number(
        "parent_process",
        "Key of the process that created it (which reparenting does not change); none for the \
         command itself.",
        |s| s.process.parent.into(),
    )
    .optional(),
    number("pid", "In the initial PID namespace.", |s| {
        s.process.pid.into()
    }),
    number("ns_pid", "In its own PID namespace.", |s| {
        s.process.ns_pid.into()
    }),
    number("ppid", "pid of the process that created it.", |s| {
        s.process.ppid.into()
    }),
    Field::new("root", Kind::Flag, "It is the command itself.", |s| {
        s.process.root.into()
    }),
    Field::new(
        "name",
        Kind::Text,
        "Short name of the program it ran last.",
        |s| s.last.map(|image| escape(image.program.name())).into(),
    )
    .optional(),
    Field::new(
        "command",
        Kind::Text,
        "That program's arguments, quoted as for a shell.",
        |s| s.last.map(|image| command_line(&image.program.args)).into(),
    )
    .optional(),
    Field::new(
        "comm",
        Kind::Text,
        "The kernel's name for it when it was last seen.",
        |s| escape(&s.process.comm).into(),
    ),
    nanoseconds("start_ns", "When it was created.", |s| {
        s.process.start_ns.into()
    }),
    Field::new("start_time", Kind::Time, "The same.", |s| {
        wall(s.started, s.process.start_ns)
    })
    .optional(),
    nanoseconds(
        "end_ns",
        "When its last thread began to exit; none if it was alive at the end.",
        |s| s.process.end_ns.into(),
    )
    .optional(),
    Field::new("end_time", Kind::Time, "The same.", |s| {
        s.process
            .end_ns
            .map_or(Value::Missing, |end| wall(s.started, end))
    })
    .optional(),
    nanoseconds(
        "lifetime_ns",
        "From start to end, or to the end of tracing.",
        |s| s.process.lifetime_ns.into(),
    ),
    number("exit_status", "If it exited.", |s| {
        s.process
            .outcome
            .and_then(|outcome| outcome.exit_status)
            .into()
    })
    .optional(),
    number("signal", "The signal that ended it, if one did.", |s| {
        s.process.outcome.and_then(|outcome| outcome.signal).into()
    })
    .optional(),
    Field::new("core_dumped", Kind::Flag, "It dumped core.", |s| {
        s.process
            .outcome
            .is_some_and(|outcome| outcome.core_dumped)
            .into()
    }),
    Field::new("oom_killed", Kind::Flag, "The OOM killer chose it.", |s| {
        s.process.oom_killed.into()
    }),
    Field::new(
        "survivor",
        Kind::Flag,
        "It was alive when tracing ended.",
        |s| s.process.survivor.into(),
    ),
    nanoseconds(
        "user_ns",
        "CPU time in user mode; this and the following once it has ended.",
        |s| s.process.usage.map(|usage| usage.user_ns).into(),
    )
    .optional(),
    nanoseconds("system_ns", "CPU time in kernel mode.", |s| {
        s.process.usage.map(|usage| usage.system_ns).into()
    })
    .optional(),
    Field::new(
        "cpu_exact",
        Kind::Flag,
        "The sum of both is all that it ran; else it can be a clock tick off for each thread.",
        |s| s.process.usage.map(|usage| usage.cpu_exact).into(),
    )
    .optional(),
    number("minor_faults", "Minor faults.", |s| {
        s.process.usage.map(|usage| usage.minor_faults).into()
    })
    .optional(),
    number("major_faults", "Major faults.", |s| {
        s.process.usage.map(|usage| usage.major_faults).into()
    })
    .optional(),
    number("threads", "Threads ever created.", |s| {
        s.process.usage.map(|usage| usage.threads).into()
    })
    .optional(),
    number(
        "images",
        "Images made for it: rows of `images` with this `process`.",
        |s| s.own.images.into(),
    ),
    Field::new(
        "peak_rss_bytes",
        Kind::Bytes,
        "The largest peak of those in which it ran.",
        |s| s.own.peak_rss.into(),
    ),
    nanoseconds("peak_at_ns", "When that was.", |s| s.own.peak_at_ns.into()),
    Field::new(
        "rss_at_tree_peak_bytes",
        Kind::Bytes,
        "What all its images held at the tree's peak; over all processes (and images without \
         one) these sum to it.",
        |s| s.own.at_tree_peak.into(),
    ),
];

pub(super) fn columns() -> Vec<Column> {
    columns_of(FIELDS)
}

pub(super) fn rows(data: &Data<'_>, row: &mut RowFn<'_>) -> Result<(), ExportError> {
    let summary = data.summary;
    let own = own_images(summary);
    for (index, process) in summary.processes.iter().enumerate() {
        let source = Source {
            index,
            process,
            last: summary.last_image(process),
            own: own.get(index).copied().unwrap_or_default(),
            started: summary.started_unix_ns,
        };
        give(FIELDS, |get| get(&source), row)?;
    }
    Ok(())
}

fn own_images(summary: &Summary) -> Vec<Own> {
    let mut all = vec![Own::default(); summary.processes.len()];
    for image in &summary.images {
        let Some(own) = image.owner.and_then(|owner| all.get_mut(owner)) else {
            continue;
        };
        own.images += 1;
        own.at_tree_peak = own.at_tree_peak.saturating_add(image.at_tree_peak.rss());
        if image.ran() && image.peak_rss > own.peak_rss {
            own.peak_rss = image.peak_rss;
            own.peak_at_ns = image.peak_at_ns;
        }
    }
    all
}
