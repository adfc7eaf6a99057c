//! The stretch of time that is being collected: its timeline and its processes.

use std::time::{Duration, Instant};

use super::{
    super::{
        columns::{Timeline, is_timeline},
        format::{BLOCK_LEN, flag, kind},
        life::Life,
    },
    queue::{Block, Queue},
};
use crate::event::Event;

/// How many records there are, and from when to when.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    count: u32,
    first_at: u64,
    last_at: u64,
}

impl Extent {
    fn add(&mut self, at: u64) {
        self.first_at = if self.count == 0 {
            at
        } else {
            self.first_at.min(at)
        };
        self.last_at = self.last_at.max(at);
        self.count = self.count.saturating_add(1);
    }
}

/// Two blocks that are being filled.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    timeline: Timeline,
    timeline_extent: Extent,
    life: Life,
    life_extent: Extent,
    opened: Option<Instant>,
}

impl Stretch {
    pub(super) fn push(&mut self, event: &Event) {
        if self.opened.is_none() {
            self.opened = Some(Instant::now());
        }
        if is_timeline(event) {
            self.timeline.push(event);
            self.timeline_extent.add(event.at());
        } else {
            self.life.push(event, self.timeline_extent.count);
            self.life_extent.add(event.at());
        }
    }

    pub(super) const fn timeline_len(&self) -> usize {
        self.timeline.len()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.timeline.len() >= BLOCK_LEN || self.life.len() >= BLOCK_LEN
    }

    /// For how long it has been open; nothing if it is empty.
    pub(super) fn age(&self) -> Duration {
        self.opened.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Puts both blocks into the queue, those that are not empty.
    pub(super) fn close(&mut self, queue: &mut Queue) {
        let (timeline, life) = (self.timeline_extent, self.life_extent);
        let flags = if timeline.count > 0 && life.count > 0 {
            flag::JOINED
        } else {
            0
        };
        let mut put = |kind, extent: Extent, raw: Vec<u8>| {
            if extent.count > 0 {
                queue.push(Block {
                    kind,
                    flags,
                    count: extent.count,
                    first_at: extent.first_at,
                    last_at: extent.last_at,
                    raw,
                });
            }
        };
        put(kind::PROCS, life, self.life.take());
        put(kind::EVENTS, timeline, self.timeline.take());
        self.timeline_extent = Extent::default();
        self.life_extent = Extent::default();
        self.opened = None;
    }
}
