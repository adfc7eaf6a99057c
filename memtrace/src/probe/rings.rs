//! The rings: what the kernel side tells while it goes on.

use std::os::fd::{AsFd, BorrowedFd};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};

use super::{Options, Probe, ProbeError};
use crate::event::{DecodeError, Event};

/// The ring of the timeline.
pub(super) struct Timeline {
    ring: RingBuf<MapData>,
    /// As many records as can be in it at a time.
    at_once: usize,
}

impl Timeline {
    /// `None` if there is to be none.
    pub(super) fn open(ebpf: &mut Ebpf, options: &Options) -> Result<Option<Self>, ProbeError> {
        if options.timeline.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            ring: ring(ebpf, "TIMELINE")?,
            at_once: options.timeline_bytes() as usize / SMALLEST_RECORD,
        }))
    }
}

/// What a record of the timeline takes at least, with the ring's own header.
const SMALLEST_RECORD: usize = size_of::<memtrace_ebpf::Change>() + 8;

/// The ring of CPU times, if they are asked for.
pub(super) fn freed(
    ebpf: &mut Ebpf,
    options: &Options,
) -> Result<Option<RingBuf<MapData>>, ProbeError> {
    let wanted = options.cpu_times.then(|| ring(ebpf, "FREED"));
    wanted.transpose()
}

/// A ring of the object.
pub(super) fn ring(ebpf: &mut Ebpf, name: &'static str) -> Result<RingBuf<MapData>, ProbeError> {
    let map = ebpf
        .take_map(name)
        .ok_or(ProbeError::Missing { kind: "map", name })?;
    RingBuf::try_from(map).map_err(|source| ProbeError::Map {
        operation: "open",
        map: name,
        source,
    })
}

/// Hands up to `limit` waiting records to `take`, oldest first. Returns how many could not
/// be decoded.
fn decode_all(ring: &mut RingBuf<MapData>, limit: usize, mut take: impl FnMut(Event)) -> u64 {
    let mut undecodable = 0;
    for _ in 0..limit {
        let Some(record) = ring.next() else {
            break;
        };
        match Event::decode(&record) {
            Ok(event) => take(event),
            Err(error) => {
                let error: DecodeError = error;
                log::debug!("undecodable record: {error}");
                undecodable += 1;
            }
        }
    }
    undecodable
}

impl Probe {
    /// Hands every waiting record to `take`: those of the timeline in the order of the
    /// changes, and what an image had in it before the image's end; CPU times last.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.drain_lives(&mut take);
        if let Some(freed) = &mut self.freed {
            self.undecodable += decode_all(freed, usize::MAX, take);
        }
    }

    fn drain_lives(&mut self, mut take: impl FnMut(Event)) {
        let Some(timeline) = &mut self.timeline else {
            self.undecodable += decode_all(&mut self.ring, usize::MAX, take);
            return;
        };
        // What of the timeline was sent before any of these will be there afterwards.
        let mut lives = Vec::new();
        self.undecodable += decode_all(&mut self.ring, usize::MAX, |event| lives.push(event));
        // At full speed the kernel can send as fast as this takes: not without end.
        self.undecodable += decode_all(&mut timeline.ring, timeline.at_once, &mut take);
        lives.into_iter().for_each(take);
    }

    /// Readable when much of the timeline waits; the rest is to be [drained](Self::drain)
    /// now and then. `None` without a timeline.
    #[must_use]
    pub fn timeline(&self) -> Option<BorrowedFd<'_>> {
        self.timeline.as_ref().map(|timeline| timeline.ring.as_fd())
    }

    /// How many records could not be decoded.
    #[must_use]
    pub const fn undecodable(&self) -> u64 {
        self.undecodable
    }
}

impl AsFd for Probe {
    /// Readable when records wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
