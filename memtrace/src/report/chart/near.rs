//! What was close to the peak: for how long, and which snapshot.

use super::Run;
use crate::model::{PssSnapshot, TreeSpan, TreeSummary};

/// For how long the sum of RSS was at least 99 % of its peak: `(at least, at most)`,
/// nanoseconds; the two differ where windows were recorded. `None` if that is not known:
/// nothing was recorded, records are missing, or the peak was sampled.
pub(in crate::report) fn near_peak(run: &Run<'_>) -> Option<(u64, u64)> {
    let timeline = run.timeline;
    let tree = &run.summary.tree;
    if timeline.tree.is_empty() || !timeline.losses.is_empty() || tree.peak_range.is_some() {
        return None;
    }
    // 99 % rounded up: what is at least that is at least 99 %.
    let near = tree.peak_rss - tree.peak_rss / 100;
    let (mut least, mut most) = (0_u64, 0_u64);
    for (i, span) in timeline.tree.iter().enumerate() {
        let TreeSpan { start_ns, .. } = *span;
        let next = timeline.tree.get(i + 1);
        let next = next
            .map_or(run.end_ns(), |next| next.start_ns)
            .max(start_ns);
        let edge = start_ns.saturating_add(timeline.width_ns).min(next);
        if span.max_rss >= near {
            most = most.saturating_add(edge - start_ns);
        }
        if span.min_rss >= near {
            least = least.saturating_add(edge - start_ns);
        }
        if span.last.rss() >= near {
            most = most.saturating_add(next - edge);
            least = least.saturating_add(next - edge);
        }
    }
    Some((least, most))
}

/// The snapshot of PSS that says something about the peak, if there is one: when it was taken, at least
/// half of the peak was there. Short peaks have none.
pub(in crate::report) fn near_snapshot(tree: &TreeSummary) -> Option<&PssSnapshot> {
    let snapshot = tree.snapshot_at_peak()?;
    (snapshot.rss >= tree.peak_rss / 2).then_some(snapshot)
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{MS, jobs_scene},
        *,
    };
    use crate::model::{Loss, Timeline};

    /// One of another time is none of the peak, even if there is no other.
    #[test]
    fn a_snapshot_of_little_is_not_near() {
        let (mut summary, _) = jobs_scene().build(0);
        let tree = &mut summary.tree;
        let of = |part: u64| {
            tree.snapshots = vec![PssSnapshot {
                at_ns: 7,
                pss: 1,
                uss: 1,
                rss: tree.peak_rss / part,
            }];
            near_snapshot(tree).is_some()
        };
        assert_eq!([1, 2, 3, 50].map(of), [true, true, false, false]);
    }

    /// The sum is 311 MiB from 2.2 to 3.1 s, else 221 MiB and less. Windows of 10 ms can have
    /// had it in all of the two in which it came and went.
    #[test]
    fn the_peak_is_held_for_so_long() {
        for (width, expected) in [(0, (900, 900)), (10 * MS, (890, 910))] {
            let (summary, mut timeline) = jobs_scene().build(width);
            let near = |timeline: &Timeline| {
                near_peak(&Run {
                    summary: &summary,
                    timeline,
                    title: "",
                    notes: &[],
                    limit: None,
                })
            };
            let (least, most) = expected;
            assert_eq!(near(&timeline), Some((least * MS, most * MS)));
            timeline.losses.push(Loss {
                from_ns: 0,
                until_ns: 1,
                records: 1,
                reason: String::new(),
            });
            assert_eq!(near(&timeline), None, "what is missing can have been more");
        }
    }
}
