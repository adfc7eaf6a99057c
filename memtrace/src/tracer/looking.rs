//! Whoever looks on while everything is followed.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use memtrace_ebpf::Stat;

use super::{
    limits,
    setup::unseen_faults,
    so_far::{NoResult, SoFar},
};
use crate::{
    event::Event,
    kernel::{Features, KernelError, clock},
    model::{Limit, is_loss},
    overview::{Overview, Reading},
    probe::{Options, Probe, ProbeError, Remains},
    screen::Look,
};

/// Whoever looks on.
pub trait Observer {
    /// Called about as often as was asked for. It must return at once: while it does not, records of the
    /// kernel are not taken in.
    fn look(&mut self, look: Look) -> ControlFlow<()>;

    /// Whether that is enough. Asked for more often.
    fn has_enough(&mut self) -> bool;

    /// Whether it may ever want the result so far. Asked once, before anything happens:
    /// [`Tracer::observe`](super::Tracer::observe) keeps nothing of who has ended for one that never will.
    fn may_want_result(&self) -> bool {
        false
    }

    /// Whether it wants the result so far now. Asked as often as [`has_enough`](Self::has_enough); after each yes
    /// [`take_result`](Self::take_result) is called.
    fn wants_result(&mut self) -> bool {
        false
    }

    /// What it wanted, or why there is none. It must return at once, as from a [look](Self::look).
    fn take_result(&mut self, _so_far: Result<SoFar, NoResult>) {}

    /// Called with true before this process stops (SIGTSTP), and with false when it goes on.
    fn stops(&mut self, stops: bool);

    /// Called once by [`Tracer::observe`](super::Tracer::observe), after the look that has their ends: all that was
    /// asked for has ended.
    fn all_ended(&mut self) -> ControlFlow<()>;
}

/// Somebody who looks on while a result comes about, and how often.
pub struct Onlooker<'a> {
    every: Duration,
    observer: &'a mut (dyn Observer + 'a),
}

impl<'a> Onlooker<'a> {
    /// Has `observer` look about every so often.
    pub fn new(every: Duration, observer: &'a mut (dyn Observer + 'a)) -> Self {
        Self { every, observer }
    }
}

impl std::fmt::Debug for Onlooker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Onlooker")
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// How often it is asked whether that is enough.
const ASK: Duration = Duration::from_millis(50);

/// What is shown, and when it is next.
pub(super) struct Looking<'a> {
    pub(super) observer: &'a mut (dyn Observer + 'a),
    every: Duration,
    next: Instant,
    ask: Instant,
    overview: Overview,
    limit: Option<u64>,
}

impl<'a> Looking<'a> {
    pub(super) fn new(onlooker: Onlooker<'a>, overview: Overview, limit: Option<u64>) -> Self {
        let Onlooker { every, observer } = onlooker;
        let next = Instant::now();
        Self {
            observer,
            every,
            next,
            ask: next + ASK,
            overview,
            limit,
        }
    }

    /// Takes in what happens.
    pub(super) fn apply(&mut self, event: &Event) {
        self.overview.apply(event);
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Instant {
        self.next.min(self.ask)
    }

    /// Whether a look is due.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// Whether that is enough, if it is time to ask.
    pub(super) fn has_enough(&mut self) -> bool {
        let now = Instant::now();
        if now < self.ask {
            return false;
        }
        self.ask = now + ASK;
        self.observer.has_enough()
    }

    /// What is read from now on is for the next look; all that was sent before must have been taken in.
    pub(super) fn begin_reading(&mut self) {
        self.overview.begin_reading();
    }

    /// Shows what was read. What was sent meanwhile must have been taken in.
    pub(super) fn show(&mut self, reading: &Reading, at: u64) -> ControlFlow<()> {
        let look = Look {
            limit: self.limit,
            ..self.overview.look(reading, at)
        };
        // After a delay (a stopped memtrace) one look instead of all that were missed.
        self.next = (self.next + self.every).max(Instant::now());
        self.observer.look(look)
    }
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Clock(#[from] KernelError),
}

/// What the maps hold now, and when that is. `limits` are those that are known without looking.
pub(super) fn read(
    probe: &Probe,
    features: &Features,
    options: &Options,
    limits: &[Limit],
) -> Result<(Reading, u64), Unread> {
    let now = probe.now()?;
    let lost = now.stats.iter().filter(|(stat, _)| is_loss(*stat));
    let lost = lost.fold(probe.undecodable(), |sum, (_, count)| {
        sum.saturating_add(count)
    });
    let reading = Reading {
        lost,
        off: off(&now, probe, features, options, limits),
        sampled: false,
        tree: now.tree,
        images: now.images,
        processes: now.processes,
    };
    Ok((reading, clock::boottime()?))
}

/// By how much sums can be wrong: what a certificate would say.
fn off(
    now: &Remains,
    probe: &Probe,
    features: &Features,
    options: &Options,
    limits: &[Limit],
) -> u64 {
    let Options {
        page_size, cpus, ..
    } = *options;
    let found = [
        limits::of_overlaps(
            now.stats.get(Stat::CacheOverlap),
            now.tree.peak_threads,
            page_size,
        ),
        limits::of_unverified(now.stats.get(Stat::Unverified), cpus, page_size),
        unseen_faults(features, probe, &now.tree, options),
    ];
    limits
        .iter()
        .chain(found.iter().flatten())
        .fold(0, |sum: u64, limit| {
            sum.saturating_add(limit.bound_bytes.unwrap_or(u64::MAX))
        })
}
