//! The data that the page's script works with: columns of integers, bytes and nanoseconds.

use serde::Serialize;

use super::{
    numbers::{AmountColumns, Column, EXACT},
    processes::{Listed, ProcessesData, name},
    segments::SegmentsData,
};
use crate::{
    model::{Amounts, Fate, Origin, PssSnapshot},
    report::{
        chart::{
            Run,
            fold::{Entry, Folded, Limits, Row, Window, fold},
            headline::{Headline, sum_of_peaks},
            layers::Layers,
        },
        escape::one_line,
    },
};

/// What a page holds of one run.
pub(super) const LIMITS: Limits = Limits {
    windows: 2_000,
    entries: 30_000,
    rows: 4_000,
};

#[derive(Serialize)]
pub(super) struct PageData {
    schema: &'static str,
    runs: Vec<RunData>,
}

impl PageData {
    pub(super) fn new(runs: &[Run<'_>], layers: &[Layers]) -> Self {
        let runs = runs.iter().zip(layers);
        Self {
            schema: "memtrace.page/1",
            runs: runs
                .map(|(run, layers)| RunData::new(run, layers))
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct RunData {
    title: String,
    figure: String,
    label: &'static str,
    limit: Option<u64>,
    end_ns: u64,
    width_ns: u64,
    recorded_width_ns: u64,
    recorded_spans: usize,
    peak: PeakData,
    layers: Vec<LayerData>,
    windows: WindowsData,
    rows: RowsData,
    processes: ProcessesData,
    losses: Vec<LossData>,
    snapshots: SnapshotsData,
    images: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<SegmentsData>,
}

#[derive(Serialize)]
struct PeakData {
    rss_bytes: u64,
    at_ns: u64,
    average_rss_bytes: u64,
    sum_of_peaks_bytes: u64,
    /// The rows that held something, summed up by row.
    row: Vec<usize>,
    count: Vec<usize>,
    #[serde(flatten)]
    held: AmountColumns,
    shared: Column,
}

#[derive(Serialize)]
struct LayerData {
    name: String,
    images: usize,
}

#[derive(Serialize)]
struct LossData {
    from_ns: u64,
    until_ns: u64,
    records: u64,
    reason: String,
}

/// What the kernel said about the tree's share of memory now and then.
#[derive(Serialize)]
struct SnapshotsData {
    count: usize,
    at: Column,
    pss: Column,
    uss: Column,
    rss: Column,
}

impl SnapshotsData {
    fn new(snapshots: &[PssSnapshot]) -> Self {
        let of = |value: fn(&PssSnapshot) -> u64| snapshots.iter().map(value).collect();
        Self {
            count: snapshots.len(),
            at: of(|s| s.at_ns),
            pss: of(|s| s.pss),
            uss: of(|s| s.uss),
            rss: of(|s| s.rss),
        }
    }
}

#[derive(Serialize)]
struct WindowsData {
    count: usize,
    start: Column,
    min: Column,
    max: Column,
    max_at: Column,
    at_max: AmountColumns,
    last: AmountColumns,
    shared: Column,
}

impl WindowsData {
    fn new(windows: &[Window]) -> Self {
        let of = |value: fn(&Window) -> u64| windows.iter().map(value).collect();
        let parts = |value: fn(&Window) -> Amounts| windows.iter().map(value).collect();
        Self {
            count: windows.len(),
            start: of(|w| w.span.start_ns),
            min: of(|w| w.span.min_rss),
            max: of(|w| w.span.max_rss),
            max_at: of(|w| w.span.max_at_ns),
            at_max: parts(|w| w.span.at_max),
            last: parts(|w| w.span.last),
            shared: of(|w| w.span.shared),
        }
    }
}

/// Images, and what stands for several of them (`count` > 1 or pid 0).
#[derive(Serialize)]
struct RowsData {
    name: Vec<String>,
    pid: Column,
    layer: Column,
    count: Column,
    /// Forked and not executed since.
    fork: Vec<u8>,
    start: Column,
    end: Column,
    /// Where its entries begin in the columns below; one more than there are rows.
    first: Vec<usize>,
    window: Column,
    max: Column,
    at_max: AmountColumns,
    last: AmountColumns,
}

impl RowsData {
    fn new(run: &Run<'_>, layers: &Layers, folded: &Folded) -> Self {
        let image = |row: &Row| row.image.and_then(|i| run.summary.images.get(i));
        let rows = || folded.rows.iter();
        let mut first = vec![0];
        let mut total = 0;
        for row in rows() {
            total += row.entries.len();
            first.push(total);
        }
        let entries: Vec<&Entry> = rows().flat_map(|row| &row.entries).collect();
        let of = |value: fn(&Entry) -> u64| entries.iter().map(|&e| value(e)).collect();
        Self {
            name: rows()
                .map(|row| match image(row) {
                    Some(image) => name(image),
                    None => {
                        let layer = layers.layers.get(row.layer);
                        layer.map_or_else(String::new, |layer| layer.name.clone())
                    }
                })
                .collect(),
            pid: rows()
                .map(|row| image(row).map_or(0, |image| u64::from(image.pid)))
                .collect(),
            layer: rows().map(|row| row.layer as u64).collect(),
            count: rows().map(|row| row.count as u64).collect(),
            fork: rows()
                .map(|row| u8::from(image(row).is_some_and(|i| i.origin == Origin::Fork)))
                .collect(),
            start: rows()
                .map(|row| image(row).map_or(0, |image| image.start_ns))
                .collect(),
            end: rows()
                .map(|row| {
                    image(row)
                        .and_then(|image| image.end_ns)
                        .unwrap_or(run.end_ns())
                })
                .collect(),
            first,
            window: of(|e| e.window as u64),
            max: of(|e| e.max_rss),
            at_max: entries.iter().map(|e| e.at_max).collect(),
            last: entries.iter().map(|e| e.last).collect(),
        }
    }
}

impl RunData {
    fn new(run: &Run<'_>, layers: &Layers) -> Self {
        let summary = run.summary;
        let folded = fold(run, layers, LIMITS);
        let headline = Headline::new(summary);
        let timeline = run.timeline;
        let listed = Listed::new(summary);
        Self {
            title: one_line(run.title),
            figure: headline.figure,
            label: headline.label,
            limit: run.limit.map(|limit| limit.min(EXACT)),
            end_ns: run.end_ns(),
            width_ns: folded.width_ns,
            recorded_width_ns: timeline.recorded_width_ns,
            recorded_spans: timeline.tree.len(),
            peak: PeakData::new(run, layers, &folded),
            layers: layers
                .layers
                .iter()
                .map(|layer| LayerData {
                    name: layer.name.clone(),
                    images: layer.images,
                })
                .collect(),
            windows: WindowsData::new(&folded.windows),
            rows: RowsData::new(run, layers, &folded),
            processes: ProcessesData::new(run, &folded, &listed),
            losses: timeline
                .losses
                .iter()
                .map(|loss| LossData {
                    from_ns: loss.from_ns,
                    until_ns: loss.until_ns,
                    records: loss.records,
                    reason: one_line(&loss.reason),
                })
                .collect(),
            snapshots: SnapshotsData::new(&summary.tree.snapshots),
            images: summary
                .images
                .iter()
                .filter(|image| matches!(image.fate, Fate::Alive | Fate::Ended))
                .count(),
            segments: SegmentsData::new(run, &listed.processes),
        }
    }
}

impl PeakData {
    fn new(run: &Run<'_>, layers: &Layers, folded: &Folded) -> Self {
        let tree = &run.summary.tree;
        let mut row_of = vec![None; run.summary.images.len()];
        let mut rest_of = Vec::new();
        for (r, row) in folded.rows.iter().enumerate() {
            match row.image {
                Some(image) => {
                    if let Some(slot) = row_of.get_mut(image) {
                        *slot = Some(r);
                    }
                }
                None => rest_of.push((row.layer, r)),
            }
        }
        // By row; those that stand for several sum up.
        let mut sums: std::collections::BTreeMap<usize, (usize, Amounts, u64)> =
            std::collections::BTreeMap::new();
        for holder in &tree.at_peak {
            let own = row_of.get(holder.image).copied().flatten();
            let layer = layers.of_image(holder.image);
            let rest = || {
                rest_of
                    .iter()
                    .find(|rest| rest.0 == layer)
                    .map(|rest| rest.1)
            };
            let Some(row) = own.or_else(rest) else {
                continue;
            };
            let (count, held, shared) = sums.entry(row).or_default();
            *count += 1;
            *held = held.plus(&holder.held);
            *shared = shared.saturating_add(holder.shared);
        }
        Self {
            rss_bytes: tree.peak_rss.min(EXACT),
            at_ns: tree.peak_at_ns,
            average_rss_bytes: tree.average_rss.min(EXACT),
            sum_of_peaks_bytes: sum_of_peaks(run.summary).min(EXACT),
            row: sums.keys().copied().collect(),
            count: sums.values().map(|sum| sum.0).collect(),
            held: sums.values().map(|sum| sum.1).collect(),
            shared: sums.values().map(|sum| sum.2).collect(),
        }
    }
}
