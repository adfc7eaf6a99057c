//! A recording as it lies on disk.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use memtrace_ebpf::ImageWindow;

use super::{
    ExportError, SegmentsFn, Spans,
    stream::{Row, Scale, Stream},
};
use crate::{
    event::Event,
    model::{ImageSpan, Loss, Summary, TreeSpan},
    recording::{CallRecord, Entry, HeldSegments, ReadError, Reader, calls::each_call},
};

/// The timeline of a recording, read from the file each time it is asked for: every
/// change or window that was recorded, whatever their number, in little memory.
#[derive(Debug)]
pub struct Recorded {
    path: PathBuf,
    scale: Scale,
    end_ns: u64,
    /// Index in the summary by the image's id.
    images: HashMap<u64, usize>,
    losses: Vec<Loss>,
}

impl Recorded {
    /// The recording at `path`, of which `summary` is the result. Reads it once, without
    /// the timeline.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is no recording.
    pub fn open(path: &Path, summary: &Summary) -> Result<Self, ReadError> {
        let mut reader = Reader::open(path)?.without_timeline();
        let width_ns = reader.head().width_ns;
        let created_at = reader.head().created_at;
        let mut started_at = 0;
        let mut losses = Vec::new();
        let mut end = None;
        for entry in reader.entries() {
            match entry? {
                Entry::Event(_) => {}
                Entry::Checkpoint(state) => started_at = state.tree.started_at,
                Entry::Loss(loss) => losses.push(loss),
                Entry::End(last) => {
                    started_at = last.tree.started_at;
                    end = Some(last.ended_at);
                }
            }
        }
        // A tree in which nothing happened has no start.
        if started_at == 0 {
            started_at = created_at;
        }
        let since_start = |at: u64| at.saturating_sub(started_at);
        let losses = losses.into_iter().map(|loss| Loss {
            from_ns: since_start(loss.from),
            until_ns: since_start(loss.until),
            records: loss.records,
            reason: loss.reason,
        });
        Ok(Self {
            path: path.to_owned(),
            scale: Scale {
                page_size: summary.page_size,
                started_at,
                width_ns,
            },
            end_ns: since_start(end.unwrap_or(reader.until())),
            images: summary
                .images
                .iter()
                .enumerate()
                .map(|(index, image)| (image.id, index))
                .collect(),
            losses: losses.collect(),
        })
    }

    /// The tree's start on `CLOCK_BOOTTIME`.
    #[must_use]
    pub const fn started_boot_ns(&self) -> u64 {
        self.scale.started_at
    }

    /// Gives each row, in the order of records.
    fn replay(
        &self,
        each: &mut dyn FnMut(&Row) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let mut stream = Stream::new(self.scale, &self.images);
        let mut rows = Vec::new();
        let mut open = None;
        let mut reader = Reader::open(&self.path)?;
        for entry in reader.entries() {
            match entry? {
                Entry::Event(event) => stream.apply(&event, &mut rows),
                Entry::Checkpoint(state) => open = Some((state.tree, state.images)),
                Entry::Loss(_) => {}
                Entry::End(last) => open = Some((last.tree, last.images)),
            }
            rows.drain(..).try_for_each(|row| each(&row))?;
        }
        if let Some((tree, images)) = open {
            let images: Vec<ImageWindow> = images.iter().map(|image| image.window).collect();
            stream.finish(&tree.window, &images, &mut rows);
        }
        rows.iter().try_for_each(each)
    }
}

impl Spans for Recorded {
    fn width_ns(&self) -> u64 {
        self.scale.width_ns
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
        self.replay(&mut |row| match row {
            Row::Tree(span) => each(span),
            Row::Image(..) => Ok(()),
        })
    }

    fn images(
        &self,
        each: &mut dyn FnMut(usize, &ImageSpan) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        self.replay(&mut |row| match row {
            Row::Image(index, span) => each(*index, span),
            Row::Tree(_) => Ok(()),
        })
    }

    fn calls(
        &self,
        summary: &Summary,
        each: &mut dyn FnMut(&CallRecord) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        each_call(&self.path, summary, self.scale.started_at, |call| {
            each(&call)
        })
    }

    fn segments(&self, each: &mut SegmentsFn<'_>) -> Result<(), ExportError> {
        let page = self.scale.page_size;
        let mut seen = BTreeSet::new();
        let mut give = |image: u64, at: u64, held: &HeldSegments| {
            let Some(index) = self.images.get(&image) else {
                return Ok(());
            };
            each(*index, at.saturating_sub(self.scale.started_at), held)
        };
        let mut reader = Reader::open(&self.path)?;
        for entry in reader.entries() {
            match entry? {
                Entry::Event(Event::SegmentsChange(change)) => {
                    seen.insert(change.image);
                    let held = HeldSegments::after(&change).in_bytes(page);
                    give(change.image, change.header.at, &held)?;
                }
                Entry::Event(Event::ImageEnd(image)) if seen.remove(&image.id) => {
                    give(image.id, image.header.at, &HeldSegments::default())?;
                }
                Entry::End(last) => {
                    for segments in &last.segments {
                        let held = HeldSegments::of(segments).in_bytes(page);
                        give(segments.image, last.ended_at, &held)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
