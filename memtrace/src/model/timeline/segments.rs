//! What segments of images held, moment by moment.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use memtrace_ebpf::{SEGMENTS, SegmentsChange};

use super::{merge, units::Units};
use crate::model::{Final, ImageSummary, Segments, Summary, segments};

/// What the segments of an image held from a moment on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentsMoment {
    /// When: a change, the last one of a window, the image's peak, or its end.
    pub at_ns: u64,
    /// Resident bytes, by [`Segment`](memtrace_ebpf::Segment). That of
    /// [`Segment::Unknown`](memtrace_ebpf::Segment::Unknown) is below 0 where pages left that belong to other
    /// segments.
    pub resident: [i64; SEGMENTS],
}

impl SegmentsMoment {
    /// The sum over all segments, which is the image's RSS.
    #[must_use]
    pub fn rss(&self) -> i64 {
        let resident = self.resident.iter();
        resident.fold(0, |sum: i64, bytes| sum.saturating_add(*bytes))
    }
}

/// Keeps, of each stretch of that width, the first moment of the largest sum and the last one: no peak is lost,
/// and what holds after the stretch is right.
pub(crate) fn thin(moments: &mut Vec<SegmentsMoment>, width_ns: u64) {
    let cell = |moment: &SegmentsMoment| merge::cell(moment.at_ns, width_ns);
    let mut kept = Vec::new();
    for together in moments.chunk_by(|a, b| cell(a) == cell(b)) {
        let largest = together
            .iter()
            .enumerate()
            .max_by_key(|(i, moment)| (moment.rss(), Reverse(*i)));
        let last = together.len() - 1;
        kept.extend(largest.filter(|(i, _)| *i < last).map(|(_, moment)| moment));
        kept.extend(together.last());
    }
    *moments = kept;
}

/// Moments as they were recorded, in boot time and pages, in bounded memory.
#[derive(Debug)]
pub(super) struct Moments {
    images: HashMap<u64, Vec<SegmentsMoment>>,
    count: usize,
    most: usize,
    /// The limit for now: half as many again as were left the last time, so that thinning stays rare.
    limit: usize,
    /// Width of the stretches that have been thinned; 0: none was.
    width_ns: u64,
}

/// Where widths begin.
const NARROWEST_NS: u64 = 1024;
/// So many moments per image are not worth saving.
const FEW: usize = 4;

/// No run takes as long.
const WIDEST_NS: u64 = 1 << 60;

impl Moments {
    pub(super) fn new(most: usize) -> Self {
        Self {
            images: HashMap::new(),
            count: 0,
            most,
            limit: most,
            width_ns: 0,
        }
    }

    /// Takes a record in.
    pub(super) fn take(&mut self, change: &SegmentsChange) {
        let moments = self.images.entry(change.image).or_default();
        moments.push(SegmentsMoment {
            at_ns: change.header.at,
            resident: change.resident,
        });
        self.count += 1;
        if self.count > self.limit {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        loop {
            self.width_ns = self
                .width_ns
                .saturating_mul(2)
                .clamp(NARROWEST_NS, WIDEST_NS);
            self.count = 0;
            for moments in self.images.values_mut() {
                thin(moments, self.width_ns);
                self.count += moments.len();
            }
            // With very many images, what little each has is left to it.
            let few = self.count / FEW <= self.images.len();
            if self.count <= self.most || few || self.width_ns == WIDEST_NS {
                break;
            }
        }
        self.limit = self.most.max(self.count.saturating_add(self.count / 2));
    }

    /// Those of each image of the summary, in its order, with its peak, and its end or what it held last. Empty
    /// if nothing is known of any.
    pub(super) fn finish(
        mut self,
        last: &Final,
        summary: &Summary,
        units: Units,
    ) -> Vec<Vec<SegmentsMoment>> {
        let told = |image: &ImageSummary| image.segments.is_some();
        if self.images.is_empty() && !summary.images.iter().any(told) {
            return Vec::new();
        }
        let living: BTreeMap<u64, SegmentsMoment> = last
            .segments
            .iter()
            .map(|record| {
                let resident = record.cur.each_ref().map(segments::resident);
                let at_ns = last.ended_at;
                (record.image, SegmentsMoment { at_ns, resident })
            })
            .collect();
        let images = summary.images.iter();
        images
            .map(|image| {
                let mut recorded = self.images.remove(&image.id).unwrap_or_default();
                if image.end_ns.is_none() {
                    recorded.extend(living.get(&image.id));
                }
                let moments = recorded.iter().map(|moment| units.segments(moment));
                whole(image, moments.collect())
            })
            .collect()
    }
}

/// With the image's peak and its end.
fn whole(image: &ImageSummary, mut moments: Vec<SegmentsMoment>) -> Vec<SegmentsMoment> {
    // Records come in the order of time but for what several processors did at the same moment.
    moments.sort_by_key(|moment| moment.at_ns);
    if let Some(end) = image.end_ns {
        moments.truncate(moments.partition_point(|moment| moment.at_ns < end));
    }
    if let Some(segments) = image.segments.as_deref() {
        let peak = at_peak(image, segments);
        let place = moments.partition_point(|moment| moment.at_ns < peak.at_ns);
        moments.insert(place, peak);
    }
    if let Some(end) = image.end_ns.filter(|_| !moments.is_empty()) {
        moments.push(SegmentsMoment {
            at_ns: end,
            resident: [0; SEGMENTS],
        });
    }
    moments.dedup_by_key(|moment| moment.resident);
    moments
}

fn at_peak(image: &ImageSummary, segments: &Segments) -> SegmentsMoment {
    SegmentsMoment {
        at_ns: image.peak_at_ns,
        resident: segments.table.map(|part| part.resident_at_peak),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blank;

    fn moment(at_ns: u64, heap: i64, unknown: i64) -> SegmentsMoment {
        let mut resident = [0; SEGMENTS];
        resident[2] = heap;
        resident[8] = unknown;
        SegmentsMoment { at_ns, resident }
    }

    /// What is kept of a stretch is its peak and its end; stretches of twice the width hold whole ones.
    #[test]
    fn thinning_keeps_peaks_and_ends() {
        let all = vec![
            moment(1, 5, 0),
            moment(2, 9, -1),
            moment(3, 9, -1),
            moment(9, 1, 0),
            moment(10, 7, 0),
            moment(25, 3, 0),
        ];
        let mut thinned = all.clone();
        thin(&mut thinned, 10);
        let kept = vec![
            moment(2, 9, -1),
            moment(9, 1, 0),
            moment(10, 7, 0),
            moment(25, 3, 0),
        ];
        assert_eq!(thinned, kept);
        let (mut twice, mut once) = (kept, all);
        thin(&mut twice, 20);
        thin(&mut once, 20);
        assert_eq!(twice, once);
    }

    /// However many changes there are, memory is bounded, and the largest sum is there.
    #[test]
    fn memory_is_bounded() {
        let mut moments = Moments::new(100);
        for at in 0..50_000_u64 {
            let mut resident = [0; SEGMENTS];
            resident[4] = if at == 31_111 { 9_999 } else { (at % 7) as i64 };
            let header = memtrace_ebpf::event::Header {
                at: at * 300,
                ..blank::HEADER
            };
            moments.take(&SegmentsChange {
                header,
                image: 1 + at % 3,
                resident,
                swapped: [0; SEGMENTS],
            });
            assert!(moments.count <= 150, "{}", moments.count);
        }
        let all: Vec<&SegmentsMoment> = moments.images.values().flatten().collect();
        assert_eq!(all.len(), moments.count);
        assert!(all.iter().any(|moment| moment.rss() == 9_999));
    }

    /// More images than moments may be kept: each keeps one or two.
    #[test]
    fn many_images_are_no_endless_loop() {
        let mut moments = Moments::new(10);
        for image in 0..1000 {
            moments.take(&SegmentsChange {
                header: blank::HEADER,
                image,
                resident: [1; SEGMENTS],
                swapped: [0; SEGMENTS],
            });
        }
        assert_eq!(moments.count, 1000);
    }
}
