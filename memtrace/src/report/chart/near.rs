//! How long the sum was close to its peak.

use super::Run;
use crate::model::TreeSpan;

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

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{MS, jobs_scene},
        *,
    };
    use crate::model::{Loss, Timeline};

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
