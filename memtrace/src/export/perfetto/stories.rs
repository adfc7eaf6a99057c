//! Everything but counters: who ran what from when to when, and what happened.

use super::{
    Data, ExportError, Trace,
    lives::{Life, Lives},
    number, pid,
    proto::{
        COUNT, CounterDescriptor, EXPLICIT, FtraceEvent, FtraceEventBundle, INSTANT, Packet,
        Process, ProcessDescriptor, ProcessTree, SIZE_BYTES, SLICE_BEGIN, SLICE_END,
        SchedProcessFree, TrackDescriptor, TrackEvent,
    },
    text,
};
use crate::{
    model::{ImageSummary, ImageUse, Outcome, ProcessSummary, Summary, UseKind},
    report::{
        escape::{clip, command_line, escape},
        subject::subject,
        units::{grouped, human},
    },
};

/// Track of the tree's group.
const TREE: u64 = 1;
/// Track of what happened to the tree.
const EVENTS: u64 = 2;
/// Tracks of the tree's counters begin here.
const COUNTERS: u64 = 16;
/// Tracks of processes begin here.
pub(super) const PROCESSES: u64 = 1 << 32;
/// Name of the track with the programs of a process, after that of the tree's group.
const PROGRAMS: &str = "programs";
/// Tracks of what their memory is for begin here.
pub(super) const SEGMENTS_OF: u64 = 1 << 48;
/// Tracks of the calls of threads begin here.
pub(super) const CALLS_OF: u64 = 1 << 52;

/// A counter of the tree; its number says its place in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    Rss = 0,
    Footprint = 1,
    Anon = 2,
    File = 3,
    Shmem = 4,
    Swap = 5,
    Processes = 6,
}

impl Counter {
    const ALL: [Self; 7] = [
        Self::Rss,
        Self::Footprint,
        Self::Anon,
        Self::File,
        Self::Shmem,
        Self::Swap,
        Self::Processes,
    ];

    /// Its track.
    pub(super) const fn track(self) -> u64 {
        COUNTERS + self as u64
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Rss => "tree RSS",
            Self::Footprint => "tree RSS, fork-shared once",
            Self::Anon => "tree anonymous",
            Self::File => "tree file",
            Self::Shmem => "tree shared memory",
            Self::Swap => "tree swap",
            Self::Processes => "processes",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Rss => "Sum of RSS over the process tree, each address space once.",
            Self::Footprint => "The same with pages still shared after a fork counted once.",
            Self::Anon => "Sum of anonymous memory.",
            Self::File => "Sum of resident pages of file mappings.",
            Self::Shmem => "Sum of resident shared memory.",
            Self::Swap => "Sum of swapped-out memory; not part of RSS.",
            Self::Processes => "Processes alive.",
        }
    }
}

/// Whether anything was shared after a fork.
pub(super) fn has_footprint(summary: &Summary) -> bool {
    summary.images.iter().any(|image| image.inherited > 0)
}

/// The tree's tracks, its peak and its losses.
pub(super) fn tree(data: &Data<'_>, trace: &mut Trace<'_>) -> Result<(), ExportError> {
    let summary = data.summary;
    let command = clip(&subject(summary), 80);
    trace.track(
        0,
        TrackDescriptor {
            uuid: Some(TREE),
            name: Some(format!("memtrace: {command}")),
            child_ordering: Some(EXPLICIT),
            description: Some(format!(
                "Process tree of {command}; numbers are {}.",
                summary.certificate.verdict.name()
            )),
            ..TrackDescriptor::default()
        },
    )?;
    trace.track(
        0,
        TrackDescriptor {
            uuid: Some(EVENTS),
            name: Some("tree events".to_owned()),
            parent_uuid: Some(TREE),
            sibling_order_rank: Some(-1),
            ..TrackDescriptor::default()
        },
    )?;
    for counter in Counter::ALL {
        if counter == Counter::Footprint && !has_footprint(summary) {
            continue;
        }
        let bytes = counter != Counter::Processes;
        trace.track(
            0,
            TrackDescriptor {
                uuid: Some(counter.track()),
                name: Some(counter.name().to_owned()),
                parent_uuid: Some(TREE),
                counter: Some(CounterDescriptor {
                    unit: Some(if bytes { SIZE_BYTES } else { COUNT }),
                    y_axis_share_key: bytes.then(|| "memtrace tree".to_owned()),
                }),
                sibling_order_rank: Some(counter as i32),
                description: Some(counter.meaning().to_owned()),
                ..TrackDescriptor::default()
            },
        )?;
    }
    let peak = summary.tree.peak_rss;
    let mut annotations = vec![
        number("peak_rss_bytes", peak),
        text("exact", summary.certificate.verdict.name().to_owned()),
    ];
    annotations.extend(holders(summary));
    trace.event(
        summary.tree.peak_at_ns,
        TrackEvent {
            debug_annotations: annotations,
            ..instant(EVENTS, "peak", format!("peak {}", human(peak)))
        },
    )?;
    for loss in data.spans.losses() {
        trace.event(
            loss.from_ns,
            TrackEvent {
                debug_annotations: vec![
                    number("records", loss.records),
                    number("until_ns", loss.until_ns),
                    text("reason", escape(loss.reason.as_bytes())),
                ],
                ..instant(
                    EVENTS,
                    "loss",
                    format!("{} records lost", grouped(loss.records)),
                )
            },
        )?;
    }
    Ok(())
}

/// The largest holders at the peak.
fn holders(summary: &Summary) -> impl Iterator<Item = super::DebugAnnotation> {
    const SHOWN: usize = 10;
    summary
        .tree
        .at_peak
        .iter()
        .take(SHOWN)
        .filter_map(|holder| {
            let image = summary.images.get(holder.image)?;
            let name = escape(image.program.name());
            Some(number(
                &format!("{name} [{}]", image.pid),
                holder.held.rss(),
            ))
        })
}

/// Each process with what it ran and how it ended.
pub(super) fn processes(
    data: &Data<'_>,
    lives: &Lives,
    trace: &mut Trace<'_>,
) -> Result<(), ExportError> {
    for (index, process) in data.summary.processes.iter().enumerate() {
        // Perfetto takes pid 0 for the idle task.
        if let Some(life) = lives.of_process(index)
            && process.pid != 0
        {
            let track = PROCESSES.saturating_add(index as u64);
            begin(data.summary, process, track, trace)?;
            slices(data, process, life, track, trace)?;
            end(process, life, trace)?;
        }
    }
    Ok(())
}

fn begin(
    summary: &Summary,
    process: &ProcessSummary,
    track: u64,
    trace: &mut Trace<'_>,
) -> Result<(), ExportError> {
    let image = summary.last_image(process);
    let mut cmdline: Vec<String> = image.map_or_else(Vec::new, |image| {
        image.program.args.iter().map(|arg| escape(arg)).collect()
    });
    if cmdline.is_empty() {
        // Without one the process would be left out.
        cmdline.push(escape(&process.comm));
    }
    let tree = ProcessTree {
        processes: vec![Process {
            pid: Some(pid(process.pid)),
            ppid: Some(pid(process.ppid)),
            cmdline,
            process_start_from_boot: Some(trace.time(process.start_ns)),
        }],
    };
    trace.packet(
        process.start_ns,
        Packet {
            process_tree: Some(tree),
            ..Packet::default()
        },
    )?;
    trace.track(
        process.start_ns,
        TrackDescriptor {
            uuid: Some(track),
            // Perfetto's UI sorts by name, and what has none first: the tree would come last.
            name: Some(PROGRAMS.to_owned()),
            process: Some(ProcessDescriptor {
                pid: Some(pid(process.pid)),
                process_name: image.map(|image| escape(image.program.name())),
            }),
            ..TrackDescriptor::default()
        },
    )?;
    Ok(())
}

fn slices(
    data: &Data<'_>,
    process: &ProcessSummary,
    life: &Life,
    track: u64,
    trace: &mut Trace<'_>,
) -> Result<(), ExportError> {
    let last = life.gone_ns.map_or(u64::MAX, |gone| gone.saturating_sub(1));
    let end = process
        .end_ns
        .unwrap_or_else(|| data.spans.end_ns().max(data.summary.tree.duration_ns))
        .min(last);
    let mut from = life.start_ns;
    let mut uses = process
        .images
        .iter()
        .filter(|used| used.kind != UseKind::Failed)
        .peekable();
    while let Some(used) = uses.next() {
        let Some(image) = data.summary.images.get(used.image) else {
            continue;
        };
        from = used.start_ns.clamp(from, end.max(from));
        let until = uses
            .peek()
            .map_or(end, |next| next.start_ns)
            .clamp(from, end.max(from));
        let begin = TrackEvent {
            kind: Some(SLICE_BEGIN),
            track_uuid: Some(track),
            categories: vec!["image".to_owned()],
            name: Some(slice_name(used, image)),
            debug_annotations: annotations(image),
            ..TrackEvent::default()
        };
        trace.event(from, begin)?;
        if used.kind == UseKind::Exec {
            let name = format!("exec {}", escape(image.program.name()));
            trace.event(from, instant(track, "exec", name))?;
        }
        if uses.peek().is_none() && process.end_ns.is_some() {
            ends(process, track, until, trace)?;
        }
        let finish = TrackEvent {
            kind: Some(SLICE_END),
            track_uuid: Some(track),
            ..TrackEvent::default()
        };
        trace.event(until, finish)?;
        from = until;
    }
    Ok(())
}

fn slice_name(used: &ImageUse, image: &ImageSummary) -> String {
    let name = escape(image.program.name());
    match used.kind {
        UseKind::Fork => format!("{name} (fork)"),
        UseKind::Shared => format!("{name} (memory of {})", image.pid),
        UseKind::Exec | UseKind::Found | UseKind::Failed => name,
    }
}

fn annotations(image: &ImageSummary) -> Vec<super::DebugAnnotation> {
    vec![
        number("image", image.id),
        text("command", command_line(&image.program.args)),
        text("exe", escape(&image.program.path)),
        number("peak_rss_bytes", image.peak_rss),
        number("rss_at_tree_peak_bytes", image.at_tree_peak.rss()),
        number("average_rss_bytes", image.average_rss),
    ]
}

/// The instants of a process's end.
fn ends(
    process: &ProcessSummary,
    track: u64,
    at: u64,
    trace: &mut Trace<'_>,
) -> Result<(), ExportError> {
    if process.oom_killed {
        trace.event(at, instant(track, "oom", "OOM kill".to_owned()))?;
    }
    let name = match process.outcome {
        Some(Outcome {
            exit_status: Some(status),
            ..
        }) => format!("exit {status}"),
        Some(Outcome {
            signal: Some(signal),
            ..
        }) => format!("exit by signal {signal}"),
        _ => "exit".to_owned(),
    };
    trace.event(at, instant(track, "exit", name))?;
    Ok(())
}

fn end(process: &ProcessSummary, life: &Life, trace: &mut Trace<'_>) -> Result<(), ExportError> {
    let Some(gone) = life.gone_ns else {
        return Ok(());
    };
    // The only record by which the pid becomes free for another process.
    let free = FtraceEvent {
        timestamp: Some(trace.time(gone)),
        pid: Some(process.pid),
        sched_process_free: Some(SchedProcessFree {
            comm: Some(escape(&process.comm)),
            pid: Some(pid(process.pid)),
        }),
    };
    trace.packet(
        gone,
        Packet {
            ftrace_events: Some(FtraceEventBundle {
                cpu: Some(0),
                event: vec![free],
            }),
            ..Packet::default()
        },
    )?;
    Ok(())
}

fn instant(track: u64, category: &str, name: String) -> TrackEvent {
    TrackEvent {
        kind: Some(INSTANT),
        track_uuid: Some(track),
        categories: vec![category.to_owned()],
        name: Some(name),
        ..TrackEvent::default()
    }
}
