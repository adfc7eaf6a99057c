//! Where the rows of a timeline come from.

use std::fmt::Debug;

use super::ExportError;
use crate::{
    model::{ImageSpan, Loss, Summary, Timeline, TreeSpan},
    recording::{CallRecord, HeldSegments},
};

/// A timeline, span by span. Formats read it as often as they need to.
pub trait Spans: Debug {
    /// Width of a span, nanoseconds; 0: one span per change.
    fn width_ns(&self) -> u64;

    /// Until when it reaches, nanoseconds since the tree's start.
    fn end_ns(&self) -> u64;

    /// Where records are missing.
    fn losses(&self) -> &[Loss];

    /// Gives each span of the tree, by time.
    ///
    /// # Errors
    ///
    /// The first error of `each`, or the source cannot be read.
    fn tree(
        &self,
        each: &mut dyn FnMut(&TreeSpan) -> Result<(), ExportError>,
    ) -> Result<(), ExportError>;

    /// Gives each span of each image, with the image's index in
    /// [`Summary::images`](crate::model::Summary::images). Those of one image are ordered
    /// by time.
    ///
    /// # Errors
    ///
    /// The first error of `each`, or the source cannot be read.
    fn images(
        &self,
        each: &mut dyn FnMut(usize, &ImageSpan) -> Result<(), ExportError>,
    ) -> Result<(), ExportError>;

    /// Gives what segments hold after each change, or at the end of each window, where that is
    /// known; those of one image are ordered by time, and the last is 0 when it has ended.
    ///
    /// # Errors
    ///
    /// The first error of `each`, or the source cannot be read.
    fn segments(&self, each: &mut SegmentsFn<'_>) -> Result<(), ExportError> {
        let _ = each;
        Ok(())
    }

    /// Gives each call that changes mappings, and each major page fault, where they are known.
    ///
    /// # Errors
    ///
    /// The first error of `each`, or the source cannot be read.
    fn calls(
        &self,
        summary: &Summary,
        each: &mut dyn FnMut(&CallRecord) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let _ = (summary, each);
        Ok(())
    }
}

/// Takes what segments of an image hold: index in
/// [`Summary::images`](crate::model::Summary::images), nanoseconds since the tree's start, bytes.
pub type SegmentsFn<'a> = dyn FnMut(usize, u64, &HeldSegments) -> Result<(), ExportError> + 'a;

impl Spans for Timeline {
    fn width_ns(&self) -> u64 {
        self.width_ns
    }

    fn end_ns(&self) -> u64 {
        self.end_ns
    }

    fn losses(&self) -> &[Loss] {
        &self.losses
    }

    fn tree(
        &self,
        each: &mut dyn FnMut(&TreeSpan) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        self.tree.iter().try_for_each(each)
    }

    fn images(
        &self,
        each: &mut dyn FnMut(usize, &ImageSpan) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for (index, spans) in self.images.iter().enumerate() {
            for span in spans {
                each(index, span)?;
            }
        }
        Ok(())
    }
}
