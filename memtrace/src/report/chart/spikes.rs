//! Spikes: memory that was not held long enough for a sampler to be sure to see it.
//!
//! The sum of RSS over time is a function of steps, `f`. What *lasted* an interval at a moment
//! is the largest amount that `f` did not fall below during some stretch of that length around
//! the moment (the morphological opening of `f`). Whoever reads `f` once per interval is sure to
//! see no more than the largest amount that lasted; everything above can lie between two readings.
//!
//! A *spike* is a stretch in which `f` is above what lasted. It is shorter than the interval:
//! else its least value would have lasted. So two moments in spikes that are more than an interval
//! apart are in different spikes.
//!
//! Where windows were recorded, `f` is known at the instant of each window's maximum, and at most
//! that maximum elsewhere in it. So what is computed as "lasted" is at least what did last, and
//! what is claimed holds for `f`: at least so many spikes, at least so high, for at most so long.
//! Where records are missing, and outside of what was traced, anything may have been held, so
//! that nothing is claimed beside it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Run, moments::Moments};
use crate::model::{Fate, Origin};

/// A spike is told from this part of the peak on: a hundredth.
pub(in crate::report) const LEAST_PART: u64 = 100;

/// One spike. What is known of it is certain, not all that there is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report) struct Spike {
    /// A moment in it: the highest, as far as that is known. Where that is what a window began
    /// with, it is right after the moment.
    pub(in crate::report) at_ns: u64,
    /// The sum of RSS then, bytes.
    pub(in crate::report) top: u64,
    /// The most that can have lasted around it, bytes. The spike is at least `top - lasted` high.
    pub(in crate::report) lasted: u64,
    /// Not before this was the sum above `lasted`,
    pub(in crate::report) from_ns: u64,
    /// and not after this.
    pub(in crate::report) until_ns: u64,
    /// The image whose program held most more at `at_ns` than right before `from_ns`, and how
    /// many bytes more; of the listed ones, where one held more.
    pub(in crate::report) by: Option<(usize, u64)>,
}

impl Spike {
    /// How high it is at least.
    pub(in crate::report) const fn height(&self) -> u64 {
        self.top.saturating_sub(self.lasted)
    }
}

/// The spikes of a run that are shorter than an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report) struct Spikes {
    /// How many there are at least.
    pub(in crate::report) count: usize,
    /// The highest, highest first.
    pub(in crate::report) listed: Vec<Spike>,
    /// Whoever reads the sum once per interval is sure to see no more than this; `None`:
    /// records are missing, so that it is not known.
    pub(in crate::report) sure: Option<u64>,
}

/// A stretch of time in which the sum is at most `most`, and is `most` at `at`.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: u64,
    until: u64,
    at: u64,
    /// `None`: unknown.
    most: Option<u64>,
    /// The span it belongs to; `None`: before the first, or outside.
    span: Option<usize>,
    /// The value is that after the span, not that of its maximum.
    after: bool,
}

/// Finds the spikes shorter than `interval_ns`, and lists up to `list` of them. `None`: the
/// timeline is too coarse, or there is none, or its peak was sampled itself.
pub(in crate::report) fn spikes(run: &Run<'_>, interval_ns: u64, list: usize) -> Option<Spikes> {
    let timeline = run.timeline;
    let sampled = run.summary.tree.peak_range.is_some();
    if timeline.tree.is_empty() || sampled || timeline.width_ns >= interval_ns {
        return None;
    }
    // Outside of the run: a stretch as long as the interval on either side. Positions there
    // are not used, lengths are.
    let outside = |open: bool| (interval_ns, if open { u64::MAX } else { 0 });
    let images = &run.summary.images;
    let found = images.iter().any(|image| image.origin == Origin::Found);
    let alive = images.iter().any(|image| image.fate == Fate::Alive);
    let stretches = stretches(run, found);
    let inside = stretches
        .iter()
        .map(|s| (s.until - s.from, s.most.unwrap_or(u64::MAX)));
    let padded: Vec<(u64, u64)> = std::iter::once(outside(found))
        .chain(inside)
        .chain([outside(alive)])
        .collect();
    let mut lasted = lasted(&padded, interval_ns);
    lasted.pop();
    lasted.remove(0);
    let known = || {
        let both = stretches.iter().zip(&lasted);
        both.enumerate()
            .filter_map(|(i, (s, &lasted))| Some((i, s, s.most?, lasted)))
    };
    let sure = known().map(|(_, _, _, lasted)| lasted).max();
    let least = (run.summary.tree.peak_rss / LEAST_PART).max(1);
    let mut candidates: Vec<(u64, usize)> = known()
        .map(|(i, _, most, lasted)| (most.saturating_sub(lasted), i))
        .filter(|&(height, _)| height >= least)
        .collect();
    candidates.sort_unstable_by_key(|&(height, i)| (std::cmp::Reverse(height), i));
    let mut taken: BTreeSet<u64> = BTreeSet::new();
    let mut tops: Vec<usize> = Vec::new();
    for (_, i) in candidates {
        let Some(at) = stretches.get(i).map(|s| s.at) else {
            continue;
        };
        let before = taken.range(..=at).next_back();
        let after = taken.range(at..).next();
        let apart = |other: Option<&u64>| other.is_none_or(|o| o.abs_diff(at) > interval_ns);
        if apart(before) && apart(after) {
            taken.insert(at);
            tops.push(i);
        }
    }
    let count = tops.len();
    tops.truncate(list);
    let listed = name(run, &stretches, &lasted, &tops);
    Some(Spikes {
        count,
        listed,
        sure: sure.filter(|_| timeline.losses.is_empty()),
    })
}

/// The timeline as stretches without gaps, from 0 to its end. Of what was `found`, it is not
/// known what it held before its first change.
fn stretches(run: &Run<'_>, found: bool) -> Vec<Stretch> {
    let timeline = run.timeline;
    let width = timeline.width_ns;
    let end = run.end_ns();
    let mut out: Vec<Stretch> = Vec::with_capacity(timeline.tree.len() * 2 + 1);
    let mut put = |from: u64, until: u64, at: u64, most: u64, span: Option<usize>, after: bool| {
        let from = out
            .last()
            .map_or(0, |before: &Stretch| before.until)
            .max(from);
        if until > from {
            let stretch = Stretch {
                from,
                until,
                at: at.clamp(from, until),
                most: Some(most),
                span,
                after,
            };
            out.push(stretch);
        }
    };
    let first = timeline.tree.first().map_or(end, |span| span.start_ns);
    put(0, first.min(end), 0, 0, None, true);
    for (i, span) in timeline.tree.iter().enumerate() {
        let next = timeline.tree.get(i + 1).map_or(end, |next| next.start_ns);
        let edge = span.start_ns.saturating_add(width).min(next);
        put(
            span.start_ns,
            edge,
            span.max_at_ns,
            span.max_rss,
            Some(i),
            false,
        );
        put(edge, next, edge, span.last.rss(), Some(i), true);
    }
    if let Some(before) = out
        .first_mut()
        .filter(|before| found && before.span.is_none())
    {
        before.most = None;
    }
    for loss in &timeline.losses {
        let first = out.partition_point(|stretch| stretch.until <= loss.from_ns);
        for stretch in out.iter_mut().skip(first) {
            if stretch.from > loss.until_ns {
                break;
            }
            stretch.most = None;
        }
    }
    out
}

/// Of each of the stretches (length, amount), the largest amount that lasted `interval`.
fn lasted(stretches: &[(u64, u64)], interval: u64) -> Vec<u64> {
    let count = stretches.len();
    let mut sums: Vec<u128> = vec![0];
    let mut sum = 0_u128;
    for (length, _) in stretches {
        sum += u128::from(*length);
        sums.push(sum);
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(stretches[i].1));
    // Stretches are added from the largest amount down. Neighbours that are there already form
    // a block; at its ends is noted where the other end is.
    let mut other_end: Vec<Option<usize>> = vec![None; count];
    let mut out: Vec<Option<u64>> = vec![None; count];
    for i in order {
        let amount = stretches[i].1;
        let below = i.checked_sub(1).and_then(|left| other_end[left]);
        let above = other_end.get(i + 1).copied().flatten();
        let (low, high) = (below.unwrap_or(i), above.unwrap_or(i));
        other_end[i] = Some(i);
        other_end[low] = Some(high);
        other_end[high] = Some(low);
        if sums[high + 1] - sums[low] < u128::from(interval) {
            continue;
        }
        out[i] = Some(amount);
        // A block that was long enough before has its amounts already, all of it.
        for block in [low..i, i + 1..high + 1] {
            for slot in &mut out[block] {
                if slot.is_some() {
                    break;
                }
                *slot = Some(amount);
            }
        }
    }
    out.into_iter().map(|amount| amount.unwrap_or(0)).collect()
}

/// Describes the spikes with these tops, and finds whose they are.
fn name(run: &Run<'_>, stretches: &[Stretch], lasted: &[u64], tops: &[usize]) -> Vec<Spike> {
    let mut spikes: Vec<(Spike, Wanted)> = Vec::new();
    for &top in tops {
        let (Some(stretch), Some(&base)) = (stretches.get(top), lasted.get(top)) else {
            continue;
        };
        let over = |s: &&Stretch| s.most.is_none_or(|most| most > base);
        let before = stretches[..top].iter().rev().take_while(over).last();
        let after = stretches[top..].iter().take_while(over).last();
        let first = before.unwrap_or(stretch);
        spikes.push((
            Spike {
                at_ns: stretch.at,
                top: stretch.most.unwrap_or(0),
                lasted: base,
                from_ns: first.from,
                until_ns: after.unwrap_or(stretch).until,
                by: None,
            },
            Wanted {
                first: first.span.unwrap_or(0),
                top: stretch.span.unwrap_or(0),
                after: stretch.after,
                before_sums: Vec::new(),
            },
        ));
    }
    // Where records are missing, what single images held can be out of date.
    if !spikes.is_empty() && run.timeline.losses.is_empty() {
        find_programs(run, &mut spikes);
    }
    spikes.into_iter().map(|(spike, _)| spike).collect()
}

/// Which moments tell whose a spike is.
struct Wanted {
    /// The first span of the spike: what was held before it.
    first: usize,
    /// The span with its top, at its maximum or after it.
    top: usize,
    after: bool,
    /// Of each program, what it held before.
    before_sums: Vec<u64>,
}

fn find_programs(run: &Run<'_>, spikes: &mut [(Spike, Wanted)]) {
    let mut names: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut example: Vec<usize> = Vec::new();
    let mut program_of: Vec<usize> = Vec::new();
    for (i, image) in run.summary.images.iter().enumerate() {
        let program = *names.entry(image.program.name()).or_insert_with(|| {
            example.push(i);
            example.len() - 1
        });
        program_of.push(program);
    }
    let program = |image: usize| program_of.get(image).copied();
    let mut sums = vec![0_u64; example.len()];
    let moved = |sums: &mut [u64], image: usize, from: u64, to: u64| {
        if let Some(sum) = program(image).and_then(|program| sums.get_mut(program)) {
            *sum = sum.saturating_add(to).saturating_sub(from);
        }
    };
    Moments::new(run.timeline).walk(|index, _, steps| {
        for (_, wanted) in spikes
            .iter_mut()
            .filter(|(_, wanted)| wanted.first == index)
        {
            wanted.before_sums.clone_from(&sums);
        }
        for (spike, wanted) in spikes.iter_mut().filter(|(_, wanted)| wanted.top == index) {
            let mut at_top = sums.clone();
            for step in steps {
                let to = if wanted.after {
                    step.after
                } else {
                    step.at_max
                };
                moved(&mut at_top, step.image, step.before, to);
            }
            let rises = at_top.iter().zip(&wanted.before_sums);
            let rises = rises.map(|(top, before)| top.saturating_sub(*before));
            let most = rises
                .enumerate()
                .max_by_key(|&(i, rise)| (rise, std::cmp::Reverse(i)));
            spike.by = most
                .filter(|&(_, rise)| rise > 0)
                .and_then(|(i, rise)| Some((*example.get(i)?, rise)));
        }
        for step in steps {
            moved(&mut sums, step.image, step.before, step.after);
        }
    });
}

#[cfg(test)]
#[path = "spikes_tests.rs"]
mod tests;
