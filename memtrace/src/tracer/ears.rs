//! Whoever listens to a run without BPF: the recording, and whoever looks on.

use std::time::{Duration, Instant};

use super::{
    TraceError,
    looking::Looking,
    record::{CHECKPOINT, Feed},
    so_far::NoResult,
};
use crate::{
    event::Event,
    model::{CrossChecks, Stats},
    overview::Reading,
    ptrace::{Listener, SoFar},
    recording::{Head, State},
};

/// With so many looks the end of whoever has ended is told.
const ENDS_SHOWN: u32 = 2;

/// Both of them, if they are there.
pub(super) struct Ears<'a> {
    pub(super) feed: Feed<'a>,
    looking: Option<Looking<'a>>,
    checkpoint: Instant,
    /// Whoever looked on has enough.
    has_enough: bool,
    /// With how many more looks the ends of all are shown before it is over; `None`: with none.
    ends: Option<u32>,
    all_ended: bool,
}

impl<'a> Ears<'a> {
    pub(super) fn new(feed: Feed<'a>, looking: Option<Looking<'a>>) -> Self {
        Self {
            feed,
            looking,
            checkpoint: Instant::now() + CHECKPOINT,
            has_enough: false,
            ends: None,
            all_ended: false,
        }
    }

    /// The ends of all that was asked for are shown, and whoever looks on decides whether that is all.
    pub(super) fn that_show_ends(mut self) -> Self {
        self.ends = Some(ENDS_SHOWN);
        self
    }

    /// Whether anybody listens.
    pub(super) const fn listens(&self) -> bool {
        self.feed.is_wanted() || self.looking.is_some()
    }

    pub(super) fn begin(&mut self, head: &Head) -> Result<(), TraceError> {
        Ok(self.feed.begin(head)?)
    }

    fn look(&mut self, known: &SoFar) {
        let Some(looking) = self.looking.as_mut().filter(|looking| looking.is_due()) else {
            return;
        };
        let reading = Reading {
            tree: known.tree,
            images: known.images.clone(),
            processes: known.processes.clone(),
            lost: 0,
            // Sums of samples have no bound.
            off: u64::MAX,
            sampled: true,
        };
        looking.begin_reading();
        self.has_enough |= looking.show(&reading, known.at).is_break();
        if let Some(left) = self.ends.as_mut().filter(|_| self.all_ended) {
            *left = left.saturating_sub(1);
        }
    }
}

impl Listener for Ears<'_> {
    fn event(&mut self, event: &Event) {
        self.feed.event(event);
        if let Some(looking) = &mut self.looking {
            looking.apply(event);
        }
    }

    fn next(&self) -> Instant {
        let looking = self.looking.as_ref().map(Looking::next);
        let checkpoint = self.feed.is_wanted().then_some(self.checkpoint);
        let next = looking.into_iter().chain(checkpoint).min();
        next.unwrap_or_else(|| Instant::now() + Duration::from_secs(1))
    }

    fn so_far(&mut self, known: &SoFar) {
        if self.feed.is_wanted() && Instant::now() >= self.checkpoint {
            self.checkpoint = Instant::now() + CHECKPOINT;
            self.feed.state(&state(known));
        }
        self.look(known);
    }

    fn has_enough(&mut self) -> bool {
        if let Some(looking) = &mut self.looking
            && looking.observer.wants_result()
        {
            looking.observer.take_result(Err(NoResult::Sampled));
        }
        let asked = self.looking.as_mut().is_some_and(Looking::has_enough);
        if asked || self.has_enough {
            self.looking = None;
            self.has_enough = true;
        }
        self.has_enough
    }

    fn all_ended(&mut self) -> bool {
        self.all_ended = true;
        match (self.ends, &mut self.looking) {
            (Some(0), Some(looking)) => {
                // It is asked once.
                self.ends = Some(u32::MAX);
                looking.observer.all_ended().is_break()
            }
            (Some(_), Some(_)) => false,
            _ => true,
        }
    }

    fn stops(&mut self, stops: bool) {
        if let Some(looking) = &mut self.looking {
            looking.observer.stops(stops);
        }
    }
}

/// What is known, as recordings have it.
fn state(known: &SoFar) -> State {
    State {
        at: known.at,
        tree: known.tree,
        images: known.images.clone(),
        processes: known.processes.clone(),
        stats: Stats::default(),
        undecodable: 0,
        cross_checks: CrossChecks::default(),
        snapshots: Vec::new(),
        segments: Vec::new(),
    }
}
