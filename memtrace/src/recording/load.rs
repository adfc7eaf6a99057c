//! From a recording to what reports are made of: the same model as while it was recorded.

use std::path::Path;

use super::{Entry, Head, ReadError, Reader, tail::Tail};
use crate::model::{
    Final, Limit, Limited, Model, Summary, Timeline,
    reasons::{Remedy, counted},
    timeline::{self, Builder},
};

/// How much of the timeline to load.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// At most about this many spans; if there are more, neighbours are merged, and no
    /// spike is lost.
    pub max_spans: usize,
    /// Width of a span in nanoseconds, if it shall be wider than what was recorded.
    pub width_ns: Option<u64>,
}

impl Default for LoadOptions {
    /// Up to 200,000 spans of the width that was recorded.
    fn default() -> Self {
        Self {
            max_spans: 200_000,
            width_ns: None,
        }
    }
}

/// A recording as a whole.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The same as when it was recorded.
    pub summary: Summary,
    /// What memory was at every moment.
    pub timeline: Timeline,
    /// What is wrong with the file: one sentence each; nothing if it is whole.
    pub notes: Vec<String>,
    /// What was known before the run.
    pub head: Head,
}

/// Loads a recording with its timeline.
///
/// # Errors
///
/// If the file cannot be read or is no recording of a version that is known. Damage and a
/// missing end are told in [`Loaded::notes`].
pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Loaded, ReadError> {
    let mut reader = Reader::open(path)?;
    load_from(&mut reader, options)
}

/// The same from a reader that has given nothing yet.
///
/// # Errors
///
/// If the file cannot be read.
pub fn load_from(reader: &mut Reader, options: &LoadOptions) -> Result<Loaded, ReadError> {
    let mut builder = Builder::new(timeline::Options {
        recorded_width_ns: reader.head().width_ns,
        width_ns: options.width_ns,
        max_spans: options.max_spans,
    });
    let Passed { summary, last } = pass(reader, |entry| match entry {
        Entry::Event(event) => builder.apply(event),
        Entry::Loss(loss) => builder.loss(loss.from, loss.until, loss.records, &loss.reason),
        Entry::Checkpoint(_) | Entry::End(_) => {}
    })?;
    for (from, until) in reader.damage() {
        builder.loss(from, until, 0, "the recording is damaged there");
    }
    Ok(Loaded {
        timeline: builder.finish(&last, &summary),
        summary,
        notes: reader.notes(),
        head: reader.head().clone(),
    })
}

/// A recording without its timeline.
#[derive(Clone, Debug)]
pub struct Summarized {
    /// The same as when it was recorded.
    pub summary: Summary,
    /// What is wrong with the file: one sentence each; nothing if it is whole.
    pub notes: Vec<String>,
    /// What was known before the run.
    pub head: Head,
}

/// Loads the summary of a recording. The timeline is looked at only if the end is missing.
///
/// # Errors
///
/// As [`load`].
pub fn summarize(path: impl AsRef<Path>) -> Result<Summarized, ReadError> {
    let path = path.as_ref();
    let mut reader = Reader::open(path)?.without_timeline();
    let mut result = pass(&mut reader, |_| {})?;
    if !reader.has_ended() {
        reader = Reader::open(path)?;
        result = pass(&mut reader, |_| {})?;
    }
    Ok(Summarized {
        summary: result.summary,
        notes: reader.notes(),
        head: reader.head().clone(),
    })
}

/// What a recording amounts to.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) summary: Summary,
    pub(super) last: Final,
}

/// Feeds all entries to the model, and shows each to `see`.
pub(super) fn pass(reader: &mut Reader, mut see: impl FnMut(&Entry)) -> Result<Passed, ReadError> {
    let mut model = Model::new();
    let mut tail = Tail::default();
    let mut last = None;
    while let Some(entry) = reader.next_entry()? {
        see(&entry);
        match entry {
            Entry::Event(event) => {
                model.apply(&event);
                tail.apply(&event);
            }
            Entry::Checkpoint(state) => tail.checkpoint(&state),
            Entry::Loss(_) => {}
            Entry::End(end) => last = Some(*end),
        }
    }
    let mut last = match last {
        Some(last) => last,
        None => {
            // So that notes and summary count from the same moment.
            reader.begin_at(tail.started_at());
            let notes = reader.notes();
            let why = notes
                .iter()
                .rev()
                .find(|note| note.starts_with("cut"))
                .map_or("without an end", String::as_str);
            let why = Remedy::RecordAgain.end(&format!("the recording is {why}"));
            tail.into_final(reader.head(), reader.until(), why)
        }
    };
    if reader.lacks_life() {
        last.limits.push(Limit {
            reason: Remedy::RecordAgain
                .end("the recording is damaged where processes or images are told"),
            bound_bytes: None,
            of: Limited::Rss,
        });
    }
    // What was lost before is in the end's statistics.
    let lost_life = reader.unwritten();
    if lost_life > 0 {
        last.limits.push(Limit {
            reason: Remedy::RecordAgain.end(&format!(
                "{}, those of processes among them, not in the recording",
                counted(lost_life, "record is", "records are")
            )),
            bound_bytes: None,
            of: Limited::Rss,
        });
    }
    let summary = model.finish(last.clone());
    Ok(Passed { summary, last })
}
