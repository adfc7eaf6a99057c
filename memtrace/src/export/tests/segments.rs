//! A history in which segments were told apart and calls were recorded.

use memtrace_ebpf::{CallKind, Segment};

use crate::{
    export::{ExportError, SegmentsFn, Spans},
    model::{Amounts, ImageSpan, Loss, SegmentUse, Segments, Summary, Timeline, TreeSpan},
    recording::{CallRecord, HeldSegments},
};

/// Anonymous memory is the heap's, files are libraries; of shared memory is only one kind.
fn held(amounts: &Amounts) -> HeldSegments {
    let mut held = HeldSegments::default();
    for (segment, bytes) in [
        (Segment::Heap, amounts.anon),
        (Segment::Lib, amounts.file),
        (Segment::Shmem, amounts.shmem),
    ] {
        held.resident[segment as usize] = bytes.cast_signed();
    }
    held.swapped[Segment::Heap as usize] = amounts.swap.cast_signed();
    held
}

/// Gives every image its segments.
pub(super) fn tell(summary: &mut Summary) {
    for image in &mut summary.images {
        let at_peak = held(&image.own_peak);
        image.segments = Some(Box::new(Segments {
            table: Segment::ALL.map(|segment| SegmentUse {
                segment,
                resident_at_peak: at_peak.resident[segment as usize],
                anon_at_peak: 0,
                swapped_at_peak: at_peak.swapped[segment as usize],
                peak_resident: at_peak.resident[segment as usize].cast_unsigned(),
                peak_swapped: 0,
                mapped_at_peak: None,
                peak_mapped: Some(4096),
            }),
            within: Some(0),
            left: 0,
        }));
    }
}

/// How many rows of [`tell`] hold anything.
#[cfg(feature = "parquet")]
pub(super) fn parts(summary: &Summary) -> usize {
    let segments = summary
        .images
        .iter()
        .filter_map(|image| image.segments.as_deref());
    let parts = segments.flat_map(|segments| &segments.table);
    parts.filter(|part| part.held_anything()).count()
}

/// A call for each image, whenever it lived.
pub(super) fn calls(summary: &Summary) -> Vec<CallRecord> {
    let calls = (0..summary.images.len()).zip(1000..);
    calls
        .map(|(image, at_ns)| CallRecord {
            image,
            tid: 7,
            kind: CallKind::Madvise,
            at_ns,
            duration_ns: 1,
            address: 0x7fff_ffff_f000,
            len: 4096,
            argument: 4,
            flags: 0,
            result: -22,
            rss_change: -4096,
        })
        .collect()
}

/// The timeline with these calls, and with what segments held at the end of each span.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) timeline: &'a Timeline,
    pub(super) calls: Vec<CallRecord>,
}

impl Spans for Told<'_> {
    fn width_ns(&self) -> u64 {
        self.timeline.width_ns
    }

    fn end_ns(&self) -> u64 {
        self.timeline.end_ns
    }

    fn losses(&self) -> &[Loss] {
        &self.timeline.losses
    }

    fn tree(
        &self,
        each: &mut dyn FnMut(&TreeSpan) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        self.timeline.tree(each)
    }

    fn images(
        &self,
        each: &mut dyn FnMut(usize, &ImageSpan) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        self.timeline.images(each)
    }

    fn calls(
        &self,
        _: &Summary,
        each: &mut dyn FnMut(&CallRecord) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        self.calls.iter().try_for_each(each)
    }

    fn segments(&self, each: &mut SegmentsFn<'_>) -> Result<(), ExportError> {
        self.timeline
            .images(&mut |image, span| each(image, span.start_ns, &held(&span.last)))
    }
}
