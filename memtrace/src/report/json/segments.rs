//! What an image's pages were for.

use serde::Serialize;

use crate::model::{SegmentUse, Segments};

#[derive(Serialize)]
pub(super) struct SegmentDoc {
    segment: &'static str,
    /// When the image's RSS was at its peak.
    at_peak: AtPeakDoc,
    peak_resident_bytes: u64,
    peak_swapped_bytes: u64,
    /// The same.
    peak_virtual_bytes: Option<u64>,
}

/// Below 0 for `unknown`, where pages left that belonged to other segments.
#[derive(Serialize)]
struct AtPeakDoc {
    /// Null where it is not known.
    virtual_bytes: Option<u64>,
    resident_bytes: i64,
    anon_bytes: i64,
    swapped_bytes: i64,
}

impl SegmentDoc {
    pub(super) fn all(segments: &Segments) -> Vec<Self> {
        segments.table.iter().map(Self::new).collect()
    }

    fn new(one: &SegmentUse) -> Self {
        Self {
            segment: one.segment.name(),
            at_peak: AtPeakDoc {
                virtual_bytes: one.mapped_at_peak,
                resident_bytes: one.resident_at_peak,
                anon_bytes: one.anon_at_peak,
                swapped_bytes: one.swapped_at_peak,
            },
            peak_resident_bytes: one.peak_resident,
            peak_swapped_bytes: one.peak_swapped,
            peak_virtual_bytes: one.peak_mapped,
        }
    }
}
