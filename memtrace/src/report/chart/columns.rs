//! A timeline cut into the columns of a drawing, so that nothing is too narrow to be seen.

use super::{
    fold::{Folded, Stack},
    layers::LAYERS,
};

/// What is drawn in one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::report) struct Column {
    /// Least sum of RSS in it.
    pub(in crate::report) min: u64,
    /// Largest sum of RSS in it.
    pub(in crate::report) max: u64,
    /// What the layers held at the instant of the largest; sums to it.
    pub(in crate::report) layers: [u64; LAYERS],
    /// The largest sum up to the column's end.
    pub(in crate::report) high_water: u64,
}

/// A stretch of time in which the drawing shows one value.
#[derive(Clone, Copy)]
struct Stretch {
    from: u64,
    until: u64,
    min: u64,
    max: u64,
}

/// Cuts `0..end_ns` into `count` columns.
pub(in crate::report) fn columns(
    folded: &Folded,
    stacks: &[Stack],
    end_ns: u64,
    count: usize,
) -> Vec<Column> {
    let mut columns = vec![Column::default(); count];
    let mut seen = vec![false; count];
    let scale = |ns: u64| u128::from(ns) * count as u128 / u128::from(end_ns.max(1));
    let index = |column: u128| usize::try_from(column).unwrap_or(count).min(count);
    let mut draw = |stretch: Stretch, held: &dyn Fn(&Stack) -> u64| {
        let first = index(scale(stretch.from)).min(count.saturating_sub(1));
        // A stretch that ends where a column begins is not in that column.
        let last = index(scale(stretch.until.saturating_sub(1))).max(first);
        let range = first..last.saturating_add(1).min(count);
        let drawn = columns.get_mut(range.clone()).unwrap_or_default();
        let seen = seen.get_mut(range).unwrap_or_default();
        for (column, seen) in drawn.iter_mut().zip(seen) {
            if !*seen || stretch.max > column.max {
                column.max = stretch.max;
                for (layer, stack) in column.layers.iter_mut().zip(stacks) {
                    *layer = held(stack);
                }
            }
            column.min = if *seen {
                column.min.min(stretch.min)
            } else {
                stretch.min
            };
            *seen = true;
        }
    };
    for (w, window) in folded.windows.iter().enumerate() {
        let span = &window.span;
        let from = span.start_ns;
        let next = folded.windows.get(w + 1);
        let next = next.map_or(end_ns, |next| next.span.start_ns);
        let until = from.saturating_add(folded.width_ns).min(next).max(from);
        let (min, max) = (span.min_rss, span.max_rss);
        let stretch = Stretch {
            from,
            until: until.max(from.saturating_add(1)),
            min,
            max,
        };
        draw(stretch, &|stack| stack.at_max.get(w).copied().unwrap_or(0));
        if next > until {
            let last = span.last.rss();
            let stretch = Stretch {
                from: until,
                until: next,
                min: last,
                max: last,
            };
            draw(stretch, &|stack| stack.last.get(w).copied().unwrap_or(0));
        }
    }
    let mut high_water = 0;
    for column in &mut columns {
        high_water = column.max.max(high_water);
        column.high_water = high_water;
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::{
        Run,
        fold::{Limits, fold},
        layers::Layers,
        testing::{MIB, MS, S, Scene, amounts},
    };

    /// A spike of a millisecond in an hour is in its column with its full height, and the
    /// layers of each column sum to its top.
    #[test]
    fn a_spike_is_seen_at_any_scale() {
        let mut scene = Scene::new(&[b"daemon"]);
        scene.set(0, 1001 * S, amounts(700 * MIB, 0));
        scene.set(0, 1001 * S + MS, amounts(10 * MIB, 0));
        scene.exit(0, 3600 * S, 0);
        for width in [0, 10 * MS] {
            let (summary, timeline) = scene.build(width);
            let run = Run {
                summary: &summary,
                timeline: &timeline,
                title: "",
                notes: &[],
                limit: None,
            };
            let limits = Limits {
                windows: 2000,
                entries: 2000,
                rows: 0,
            };
            let folded = fold(&run, &Layers::new(&summary), limits);
            for count in [1, 7, 360, 5000] {
                let columns = columns(&folded, &folded.stacks(), run.end_ns(), count);
                let most = columns.iter().map(|column| column.max).max();
                assert_eq!(most, Some(summary.tree.peak_rss), "{count} columns");
                let high = columns.iter().filter(|c| c.max > 600 * MIB).count();
                assert_eq!(high, 1, "{count} columns");
                for column in &columns {
                    assert_eq!(column.layers.iter().sum::<u64>(), column.max);
                    assert!(column.min <= column.max && column.max <= column.high_water);
                }
            }
        }
    }
}
