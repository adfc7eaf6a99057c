//! Slices of calls that change mappings, and of major page faults.

use std::collections::BTreeMap;

use super::{
    Data, ExportError, Trace,
    lives::Lives,
    proto::{SLICE_BEGIN, SLICE_END, TrackDescriptor, TrackEvent},
    signed,
    stories::{CALLS_OF, PROCESSES},
    text,
};
use crate::{recording::CallRecord, report::calls::text as in_words};

/// The calls of each thread of each process, where the recording has them.
pub(super) fn calls(
    data: &Data<'_>,
    lives: &Lives,
    trace: &mut Trace<'_>,
) -> Result<(), ExportError> {
    let mut tracks: BTreeMap<(usize, u32), u64> = BTreeMap::new();
    data.spans.calls(data.summary, &mut |call| {
        let Some(turn) = lives.of_image(call.image) else {
            return Ok(());
        };
        let end = call.at_ns.saturating_add(call.duration_ns);
        if call.at_ns < turn.from_ns || end >= turn.until_ns {
            // Of a process that is not there any more, as the trace has it.
            return Ok(());
        }
        let next = CALLS_OF.saturating_add(tracks.len() as u64);
        let mut is_new = false;
        let track = *tracks.entry((turn.process, call.tid)).or_insert_with(|| {
            is_new = true;
            next
        });
        if is_new {
            trace.track(call.at_ns, descriptor(track, turn.process, call.tid))?;
        }
        trace.event(call.at_ns, begin(track, call))?;
        trace.event(
            end,
            TrackEvent {
                kind: Some(SLICE_END),
                track_uuid: Some(track),
                ..TrackEvent::default()
            },
        )?;
        Ok(())
    })
}

fn begin(track: u64, call: &CallRecord) -> TrackEvent {
    TrackEvent {
        kind: Some(SLICE_BEGIN),
        track_uuid: Some(track),
        categories: vec!["call".to_owned()],
        // The same for all of a kind, so that they can be grouped.
        name: Some(call.kind.name().to_owned()),
        debug_annotations: vec![
            text("call", in_words(call)),
            signed("rss_change_bytes", call.rss_change),
        ],
        ..TrackEvent::default()
    }
}

fn descriptor(track: u64, process: usize, tid: u32) -> TrackDescriptor {
    TrackDescriptor {
        uuid: Some(track),
        name: Some(format!("calls of thread {tid}")),
        parent_uuid: Some(PROCESSES.saturating_add(process as u64)),
        description: Some(
            "brk, mmap, munmap, mremap, mprotect, madvise, and major page faults.".to_owned(),
        ),
        ..TrackDescriptor::default()
    }
}
