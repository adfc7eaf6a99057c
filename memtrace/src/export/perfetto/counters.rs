//! Memory over time.

use std::collections::BTreeMap;

use super::{
    Data, ExportError, Trace,
    lives::{Lives, Turn},
    pid,
    proto::{COUNTER, Memory, Packet, ProcessStats, TrackEvent},
    stories::{Counter, has_footprint},
};
use crate::model::{Amounts, ImageSpan, ImageSummary, Sizes, TreeSpan};

const KIB: u64 = 1024;

/// How many processes were alive.
pub(super) fn processes_alive(data: &Data<'_>, trace: &mut Trace<'_>) -> Result<(), ExportError> {
    let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
    for process in &data.summary.processes {
        *changes.entry(process.start_ns).or_default() += 1;
        if let Some(end) = process.end_ns {
            *changes.entry(end).or_default() -= 1;
        }
    }
    let mut alive = 0;
    for (at, change) in changes {
        alive += change;
        count(Counter::Processes, at, alive, trace)?;
    }
    Ok(())
}

/// The tree's counters.
pub(super) fn tree(data: &Data<'_>, trace: &mut Trace<'_>) -> Result<(), ExportError> {
    let footprint = has_footprint(data.summary);
    let width = data.spans.width_ns();
    let mut shown = TreeValues::default();
    data.spans.tree(&mut |span| {
        let TreeSpan {
            start_ns,
            min_rss: _,
            max_rss: _,
            max_at_ns,
            at_max,
            last,
            shared,
        } = span;
        if width > 0 {
            shown.show(*max_at_ns, at_max, trace)?;
        }
        let end = span_end(*start_ns, width, data.spans.end_ns()).max(*max_at_ns);
        shown.show(end, last, trace)?;
        if footprint {
            let low = last.rss().saturating_sub(*shared);
            shown.set(Counter::Footprint, end, low, trace)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// The last moment of a span.
const fn span_end(start_ns: u64, width_ns: u64, end_ns: u64) -> u64 {
    if width_ns == 0 {
        return start_ns;
    }
    let end = start_ns.saturating_add(width_ns - 1);
    if end < end_ns || end_ns < start_ns {
        end
    } else {
        end_ns
    }
}

fn value(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count(counter: Counter, at: u64, value: i64, trace: &mut Trace<'_>) -> Result<(), ExportError> {
    trace.event(
        at,
        TrackEvent {
            kind: Some(COUNTER),
            track_uuid: Some(counter.track()),
            counter_value: Some(value),
            ..TrackEvent::default()
        },
    )?;
    Ok(())
}

/// What the tree's counters show, so that only changes are written.
#[derive(Default)]
struct TreeValues([Option<u64>; 7]);

impl TreeValues {
    fn show(
        &mut self,
        at: u64,
        amounts: &Amounts,
        trace: &mut Trace<'_>,
    ) -> Result<(), ExportError> {
        let Amounts {
            anon,
            file,
            shmem,
            swap,
        } = *amounts;
        self.set(Counter::Rss, at, amounts.rss(), trace)?;
        self.set(Counter::Anon, at, anon, trace)?;
        self.set(Counter::File, at, file, trace)?;
        self.set(Counter::Shmem, at, shmem, trace)?;
        self.set(Counter::Swap, at, swap, trace)
    }

    fn set(
        &mut self,
        counter: Counter,
        at: u64,
        new: u64,
        trace: &mut Trace<'_>,
    ) -> Result<(), ExportError> {
        if let Some(shown) = self.0.get_mut(counter as usize)
            && shown.replace(new) != Some(new)
        {
            count(counter, at, value(new), trace)?;
        }
        Ok(())
    }
}

/// The counters of processes.
pub(super) fn images(
    data: &Data<'_>,
    lives: &Lives,
    trace: &mut Trace<'_>,
) -> Result<(), ExportError> {
    let width = data.spans.width_ns();
    // The tree's maximum in each span, by the span's start.
    let mut tree_max: Vec<(u64, u64)> = Vec::new();
    if width > 0 {
        data.spans.tree(&mut |span| {
            tree_max.push((span.start_ns, span.max_at_ns));
            Ok(())
        })?;
    }
    let mut shown: Vec<Shown> = Vec::new();
    shown.resize_with(data.summary.images.len(), Shown::default);
    data.spans.images(&mut |index, span| {
        let (Some(image), Some(shown), Some(turn)) = (
            data.summary.images.get(index),
            shown.get_mut(index),
            lives.of_image(index),
        ) else {
            return Ok(());
        };
        let end_ns = image.end_ns.unwrap_or(data.spans.end_ns());
        let end = span_end(span.start_ns, width, end_ns);
        let tree_max_at = tree_max
            .binary_search_by_key(&span.start_ns, |&(start, _)| start)
            .ok()
            .and_then(|found| tree_max.get(found))
            .map(|&(_, at)| at);
        let mut process = ProcessCounters {
            pid: image.pid,
            turn,
            shown,
            trace: &mut *trace,
        };
        for sample in samples(image, span, width, end, tree_max_at)
            .into_iter()
            .flatten()
        {
            process.show(&sample)?;
        }
        Ok(())
    })
}

/// What is known of an image at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    at: u64,
    rss: u64,
    amounts: Option<Amounts>,
    sizes: Option<Sizes>,
}

/// What a span says, by time.
fn samples(
    image: &ImageSummary,
    span: &ImageSpan,
    width: u64,
    end: u64,
    tree_max_at: Option<u64>,
) -> [Option<Sample>; 3] {
    let last = Sample {
        at: end.max(span.max_at_ns),
        rss: span.last.rss(),
        amounts: Some(span.last),
        sizes: Some(span.sizes),
    };
    if width == 0 {
        return [Some(last), None, None];
    }
    // What the maximum consisted of is known where it is the image's peak. Perfetto's
    // library of queries takes the sum of kinds for the RSS.
    let is_peak = span.max_rss == image.peak_rss && span.max_at_ns == image.peak_at_ns;
    let max = Sample {
        at: span.max_at_ns,
        rss: span.max_rss,
        amounts: (is_peak && image.own_peak.rss() == span.max_rss).then_some(image.own_peak),
        sizes: None,
    };
    let at_tree_max = tree_max_at.map(|at| Sample {
        at,
        rss: span.at_tree_max.rss(),
        amounts: Some(span.at_tree_max),
        sizes: None,
    });
    match at_tree_max {
        Some(other) if other.at < max.at => [at_tree_max, Some(max), Some(last)],
        // At the same moment the one that knows more.
        Some(other) if other.at == max.at && other.rss == max.rss => {
            [at_tree_max, Some(last), None]
        }
        Some(other) if other.at <= last.at => [Some(max), at_tree_max, Some(last)],
        _ => [Some(max), Some(last), None],
    }
}

/// What an image's counters show, so that only changes are written.
#[derive(Debug, Default)]
struct Shown {
    rss: Option<u64>,
    anon: Option<u64>,
    file: Option<u64>,
    shmem: Option<u64>,
    swap: Option<u64>,
    watermark: Option<u64>,
    size: Option<u64>,
    locked: Option<u64>,
}

struct ProcessCounters<'a, 'o> {
    pid: u32,
    turn: Turn,
    shown: &'a mut Shown,
    trace: &'a mut Trace<'o>,
}

impl ProcessCounters<'_, '_> {
    fn show(&mut self, sample: &Sample) -> Result<(), ExportError> {
        let at = sample.at.max(self.turn.from_ns);
        let shown = &mut *self.shown;
        // Before its turn nothing is shown, unless it was the most that it ever held.
        let early = sample.at < at && sample.rss <= shown.rss.unwrap_or(0);
        if early || at >= self.turn.until_ns {
            return Ok(());
        }
        let watermark = shown
            .watermark
            .unwrap_or(self.turn.peak_before)
            .max(sample.rss);
        let amounts = sample.amounts;
        let sizes = sample.sizes;
        let memory = Memory {
            pid: None,
            vm_size_kb: changed(&mut shown.size, sizes.map(|sizes| sizes.total)),
            vm_rss_kb: changed(&mut shown.rss, Some(sample.rss)),
            rss_anon_kb: changed(&mut shown.anon, amounts.map(|amounts| amounts.anon)),
            rss_file_kb: changed(&mut shown.file, amounts.map(|amounts| amounts.file)),
            rss_shmem_kb: changed(&mut shown.shmem, amounts.map(|amounts| amounts.shmem)),
            vm_swap_kb: changed(&mut shown.swap, amounts.map(|amounts| amounts.swap)),
            vm_locked_kb: changed(&mut shown.locked, sizes.map(|sizes| sizes.locked)),
            vm_hwm_kb: changed(&mut shown.watermark, Some(watermark)),
        };
        if memory == Memory::default() {
            return Ok(());
        }
        let memory = Memory {
            pid: Some(pid(self.pid)),
            ..memory
        };
        self.trace.packet(
            at,
            Packet {
                process_stats: Some(ProcessStats {
                    processes: vec![memory],
                }),
                ..Packet::default()
            },
        )?;
        Ok(())
    }
}

/// The new value in KiB if it is one. Pages are larger than that, so nothing is rounded.
fn changed(shown: &mut Option<u64>, new: Option<u64>) -> Option<u64> {
    let new = new?;
    (shown.replace(new) != Some(new)).then_some(new / KIB)
}
