//! What processes' pages were for, over time and as a table. Nothing, where segments were not told apart.
//!
//! Amounts are whole pages, times are in ticks. A process's story is one text of integers (see [`vlq`]), change by
//! change: how much later than the one before, which segments changed (bit `i`: segment `i`), and by how many pages
//! each of these.

use std::cmp::Reverse;

use memtrace_ebpf::SEGMENTS;
use serde::Serialize;

use super::{
    numbers::EXACT,
    processes::{Figures, own},
    vlq,
};
use crate::{
    model::{ProcessSummary, SegmentUse, SegmentsMoment, Summary, Timeline, timeline::thin},
    report::chart::Run,
};

/// Processes that have a story, those with the largest peaks.
const PROCESSES: usize = 1_000;

/// Moments of one process, about: as many as a drawing has columns.
const MOMENTS: u64 = 1_000;

/// Moments of all of them, about.
const ALL_MOMENTS: u64 = 20_000;

/// A process with fewer moments than that has lost its story.
const FEWEST_MOMENTS: u64 = 8;

/// So many pages that their bytes are a number that JavaScript holds exactly.
const MOST_PAGES: i64 = 1 << 40;

/// The segments of a run.
#[derive(Serialize)]
pub(super) struct SegmentsData {
    page_bytes: u64,
    tick_ns: u64,
    /// Index among the processes that are listed.
    process: Vec<usize>,
    /// No segment of it is wrong by more bytes; -1: there is no bound.
    within: Vec<i64>,
    /// Of its largest image the segments that held anything, seven numbers each: which; resident, swapped out,
    /// mapped (-1: not known) when the image was largest; and by how much more each of these three was at its own
    /// largest (-1: not known).
    table: Vec<String>,
    story: Vec<String>,
    /// How many moments there were, of which the story may have fewer.
    moments: Vec<usize>,
    left_out: usize,
}

/// Whether segments were told apart.
pub(super) fn tells_segments(summary: &Summary) -> bool {
    summary.images.iter().any(|image| image.segments.is_some())
}

struct Told {
    process: usize,
    peak: u64,
    within: i64,
    table: String,
    moments: Vec<SegmentsMoment>,
    recorded: usize,
}

impl SegmentsData {
    /// `None` if segments were not told apart.
    pub(super) fn new(run: &Run<'_>, listed: &[Figures<'_>]) -> Option<Self> {
        let page = run.summary.page_size.max(1);
        let tick = tick(run.timeline.recorded_width_ns);
        let mut told: Vec<Told> = listed
            .iter()
            .enumerate()
            .filter(|(_, of)| !of.borrowed)
            .filter_map(|(i, of)| {
                let image = of.image?;
                let segments = image.segments.as_deref()?;
                let moments = story(run.timeline, of.process);
                let within = segments.within.map_or(-1, |bytes| {
                    i64::try_from(bytes.min(EXACT)).unwrap_or(i64::MAX)
                });
                Some(Told {
                    process: i,
                    peak: image.peak_rss,
                    within,
                    table: table(&segments.table, page),
                    recorded: moments.len(),
                    moments,
                })
            })
            .collect();
        if told.is_empty() {
            return None;
        }
        told.sort_by_key(|told| (Reverse(told.peak), told.process));
        let left_out = told.len().saturating_sub(PROCESSES);
        told.truncate(PROCESSES);
        told.sort_by_key(|told| told.process);
        limit(&mut told);
        Some(Self {
            page_bytes: page,
            tick_ns: tick,
            process: told.iter().map(|told| told.process).collect(),
            within: told.iter().map(|told| told.within).collect(),
            story: told
                .iter()
                .map(|told| encode(&told.moments, page, tick))
                .collect(),
            moments: told.iter().map(|told| told.recorded).collect(),
            table: told.into_iter().map(|told| told.table).collect(),
            left_out,
        })
    }
}

/// What the images of a process held while it used them, one after the other.
fn story(timeline: &Timeline, process: &ProcessSummary) -> Vec<SegmentsMoment> {
    let mut all: Vec<SegmentsMoment> = Vec::new();
    for used in own(process) {
        let Some(moments) = timeline.segments.get(used.image) else {
            continue;
        };
        let until = used.end_ns.unwrap_or(u64::MAX);
        let begun = moments.partition_point(|moment| moment.at_ns <= used.start_ns);
        let ended = moments.partition_point(|moment| moment.at_ns < until);
        // What it held when the process came to it; of a program that is executed, its arguments.
        let opening = begun.checked_sub(1).and_then(|i| moments.get(i));
        all.extend(opening.map(|moment| SegmentsMoment {
            at_ns: used.start_ns,
            ..*moment
        }));
        all.extend(moments.get(begun..ended).unwrap_or_default());
        // Nothing is its own any more, also if somebody else uses the image on.
        if used.end_ns.is_some() && !moments.is_empty() {
            all.push(SegmentsMoment {
                at_ns: until,
                resident: [0; SEGMENTS],
            });
        }
    }
    all.sort_by_key(|moment| moment.at_ns);
    // What ended by execve goes on at the same moment.
    all.dedup_by(|later, first| {
        let goes_on = later.at_ns == first.at_ns && first.resident == [0; SEGMENTS];
        if goes_on {
            *first = *later;
        }
        goes_on
    });
    // Before its first page it held nothing, too.
    let first = all
        .iter()
        .position(|moment| moment.resident != [0; SEGMENTS]);
    all.drain(..first.unwrap_or(all.len()));
    all.dedup_by_key(|moment| moment.resident);
    all
}

/// Thins stories until they fit.
fn limit(told: &mut [Told]) {
    let mut most = MOMENTS;
    let all = |told: &[Told]| {
        told.iter()
            .map(|told| told.moments.len() as u64)
            .sum::<u64>()
    };
    loop {
        for told in &mut *told {
            fit(&mut told.moments, most);
        }
        if all(told) <= ALL_MOMENTS || most <= FEWEST_MOMENTS {
            return;
        }
        most /= 2;
    }
}

/// Leaves about `most` moments.
fn fit(moments: &mut Vec<SegmentsMoment>, most: u64) {
    if moments.len() as u64 <= most {
        return;
    }
    let end = moments.last().map_or(0, |moment| moment.at_ns);
    let start = moments.first().map_or(0, |moment| moment.at_ns);
    // Each stretch keeps up to two.
    let stretches = (most / 2).max(1);
    thin(
        moments,
        (end.saturating_sub(start) / stretches).saturating_add(1),
    );
}

/// A moment need not be told more exactly than windows tell it. Rounded down, nothing comes too late.
const fn tick(recorded_width_ns: u64) -> u64 {
    if recorded_width_ns >= 1_000_000 {
        1_000
    } else {
        1
    }
}

fn pages(bytes: i64, page: u64) -> i64 {
    let page = i64::try_from(page).unwrap_or(i64::MAX);
    (bytes / page).clamp(-MOST_PAGES, MOST_PAGES)
}

fn unsigned_pages(bytes: u64, page: u64) -> i64 {
    i64::try_from(bytes / page).map_or(MOST_PAGES, |pages| pages.min(MOST_PAGES))
}

fn table(parts: &[SegmentUse], page: u64) -> String {
    let held = parts.iter().filter(|part| part.held_anything());
    let row = |part: &SegmentUse| {
        let resident = pages(part.resident_at_peak, page);
        let swapped = pages(part.swapped_at_peak, page);
        let mapped = part.mapped_at_peak.map(|bytes| unsigned_pages(bytes, page));
        let more = |most: u64, than: i64| unsigned_pages(most, page) - than;
        [
            part.segment as i64,
            resident,
            swapped,
            mapped.unwrap_or(-1),
            more(part.peak_resident, resident),
            more(part.peak_swapped, swapped),
            part.peak_mapped
                .map_or(-1, |most| more(most, mapped.unwrap_or(0))),
        ]
    };
    text(held.flat_map(row))
}

fn encode(moments: &[SegmentsMoment], page: u64, tick: u64) -> String {
    let mut out = Vec::new();
    let mut held = [0; SEGMENTS];
    let mut before = 0;
    for moment in moments {
        let at = moment.at_ns.min(EXACT) / tick;
        let now = moment.resident.map(|bytes| pages(bytes, page));
        let mut changed = 0;
        let mut by = Vec::new();
        for (i, (now, held)) in now.iter().zip(held).enumerate() {
            if *now != held {
                changed |= 1 << i;
                by.push(now - held);
            }
        }
        // Of moments in which nothing changes, the one before says all.
        if changed == 0 {
            continue;
        }
        // Below 2^53.
        out.push(i64::try_from(at.saturating_sub(before)).unwrap_or(0));
        out.push(changed);
        out.append(&mut by);
        before = at;
        held = now;
    }
    text(out)
}

fn text(numbers: impl IntoIterator<Item = i64>) -> String {
    let mut out = String::new();
    for number in numbers {
        vlq::put(&mut out, number);
    }
    out
}

#[cfg(test)]
#[path = "segments_tests.rs"]
mod tests;
