//! Counters of what a process's pages are for.

use std::collections::BTreeSet;

use memtrace_ebpf::{SEGMENTS, Segment};

use super::{
    Data, ExportError, Trace,
    lives::Lives,
    proto::{COUNTER, CounterDescriptor, SIZE_BYTES, TrackDescriptor, TrackEvent},
    stories::{PROCESSES, SEGMENTS_OF},
};

/// Each segment of each process, where the recording has them.
pub(super) fn segments(
    data: &Data<'_>,
    lives: &Lives,
    trace: &mut Trace<'_>,
) -> Result<(), ExportError> {
    let mut known: BTreeSet<u64> = BTreeSet::new();
    let mut shown = vec![[None; SEGMENTS]; data.summary.processes.len()];
    data.spans.segments(&mut |index, at_ns, held| {
        let Some(turn) = lives.of_image(index) else {
            return Ok(());
        };
        let Some(shown) = shown.get_mut(turn.process) else {
            return Ok(());
        };
        if at_ns < turn.from_ns || at_ns >= turn.until_ns {
            return Ok(());
        }
        let process = turn.process as u64;
        for (segment, shown) in Segment::ALL.into_iter().zip(shown) {
            let bytes = held.resident[segment as usize];
            // A segment that never held anything has no counter.
            if shown.unwrap_or(0) == bytes {
                continue;
            }
            *shown = Some(bytes);
            let track = SEGMENTS_OF
                .saturating_add(process.saturating_mul(SEGMENTS as u64))
                .saturating_add(segment as u64);
            if known.insert(track) {
                trace.track(at_ns, descriptor(segment, track, process))?;
            }
            trace.event(
                at_ns,
                TrackEvent {
                    kind: Some(COUNTER),
                    track_uuid: Some(track),
                    counter_value: Some(bytes),
                    ..TrackEvent::default()
                },
            )?;
        }
        Ok(())
    })
}

fn descriptor(segment: Segment, track: u64, process: u64) -> TrackDescriptor {
    TrackDescriptor {
        uuid: Some(track),
        name: Some(format!("segment {}", segment.name())),
        parent_uuid: Some(PROCESSES.saturating_add(process)),
        counter: Some(CounterDescriptor {
            unit: Some(SIZE_BYTES),
            y_axis_share_key: Some("memtrace segments".to_owned()),
        }),
        sibling_order_rank: Some(segment as i32),
        description: Some("Resident memory by what it is for; the sum is the RSS.".to_owned()),
        ..TrackDescriptor::default()
    }
}
