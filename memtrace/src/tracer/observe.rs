//! The course of looking on: load, take in, and tell what is, again and again.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use memtrace_ebpf::Stat;

use super::{
    TraceError, Tracer,
    attach::Stop,
    limits, programs,
    roots::Living,
    session::Watching,
    setup::{Loaded, unseen_faults},
    system,
    taken_over::{TakenOver, Use, take_over},
    wait::wake,
};
use crate::{
    attend::View,
    kernel::{self, Features},
    launch::Signals,
    model::{Limit, is_loss},
    overview::{Overview, Reading},
    phases::Phases,
    probe::{Options, Probe, ProbeError, Remains},
    screen::Look,
    targets::Target,
};

/// Whoever looks on.
pub trait Observer {
    /// Called about as often as was asked for. It must return at once: while it does not, records of the
    /// kernel are not taken in.
    fn look(&mut self, look: Look) -> ControlFlow<()>;

    /// Whether that is enough. Asked for more often.
    fn has_enough(&mut self) -> bool;

    /// Called with true before this process stops (SIGTSTP), and with false when it goes on.
    fn stops(&mut self, stops: bool);

    /// Called once, after the look that has their ends: all that was asked for has ended.
    fn all_ended(&mut self) -> ControlFlow<()>;
}

/// How often it is asked whether that is enough.
const ASK: Duration = Duration::from_millis(50);

/// With so many looks the end of whoever has ended is told.
const ENDS_SHOWN: u32 = 2;

/// Whether all have ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    No,
    /// That was seen so many looks ago.
    Told(u32),
    /// Whoever looks on knows.
    Over,
}

pub(super) fn observe(
    tracer: &Tracer,
    targets: &[Target],
    every: Duration,
    observer: &mut dyn Observer,
) -> Result<Stop, TraceError> {
    let mut phases = Phases::begin(tracer.checkpoints.clone());
    let mut signals = Signals::take_over_interrupts().map_err(system("take over signals"))?;
    // Only the sum is shown.
    let wanted_for = Use {
        recorded: false,
        each: false,
    };
    let TakenOver {
        loaded,
        runtime,
        watching,
        living,
        first_tgid,
        command: _,
        began: _,
        began_at,
        kept: _kept,
    } = take_over(tracer, targets, wanted_for, &signals, &mut phases)?;
    let page_size = loaded.options.page_size;
    let view = View::new(&loaded.probe, page_size, living.pid(), first_tgid);
    let Loaded {
        features,
        options,
        probe,
        limits: own_limits,
    } = loaded;
    let limits = features.limits.iter().map(limits::of_kernel);
    let mut observed = Observed {
        limits: limits
            .chain(limits::of_machine(options.cpus))
            .chain(own_limits)
            .collect(),
        features,
        options,
        overview: Overview::new(page_size, began_at, view.has_same_ids()),
        probe,
        view,
        living,
        observer,
    };
    let stop = runtime.block_on(observed.follow(&watching, every))?;
    drop(watching);
    signals.restore();
    Ok(stop)
}

struct Observed<'a> {
    features: Features,
    options: Options,
    limits: Vec<Limit>,
    probe: Probe,
    overview: Overview,
    view: View,
    living: Living,
    observer: &'a mut dyn Observer,
}

impl Observed<'_> {
    fn drain(&mut self) {
        let Self {
            probe,
            overview,
            view,
            ..
        } = self;
        probe.drain(|event| {
            overview.apply(&event);
            if let Some(program) = programs::of_attached(*view, &event) {
                overview.apply(&program);
            }
        });
    }

    async fn follow(
        &mut self,
        watched: &Watching<'_>,
        every: Duration,
    ) -> Result<Stop, TraceError> {
        let mut next = Instant::now();
        let mut ask = next + ASK;
        let mut ended = Ended::No;
        loop {
            tokio::select! {
                ready = watched.ring.readable() => {
                    let mut ready = ready.map_err(system("wait for records"))?;
                    ready.clear_ready();
                    self.drain();
                }
                ready = watched.signal.readable() => {
                    let mut ready = ready.map_err(system("wait for signals"))?;
                    ready.clear_ready();
                    let observer = &mut self.observer;
                    let fatal = watched.signals.take_fatal_around(|stops| observer.stops(stops));
                    if let Some(signal) = fatal.map_err(system("read signals"))? {
                        return Ok(Stop::Signal(signal));
                    }
                }
                () = wake(Some(next)) => {
                    let is_over = self.living.have_ended();
                    if self.look()?.is_break() {
                        return Ok(Stop::Enough);
                    }
                    ended = match ended {
                        Ended::No if is_over => Ended::Told(1),
                        // Who ends is told of with the look after.
                        Ended::Told(looks) if looks < ENDS_SHOWN => Ended::Told(looks + 1),
                        Ended::Told(_) => {
                            if self.observer.all_ended().is_break() {
                                return Ok(Stop::Ended);
                            }
                            Ended::Over
                        }
                        same => same,
                    };
                    // After a delay (a stopped memtrace) one look instead of all that were missed.
                    next = (next + every).max(Instant::now());
                }
                () = wake(Some(ask)) => {
                    if self.observer.has_enough() {
                        return Ok(Stop::Enough);
                    }
                    ask = Instant::now() + ASK;
                }
            }
        }
    }

    fn look(&mut self) -> Result<ControlFlow<()>, TraceError> {
        self.drain();
        self.overview.begin_reading();
        let reading = self.read().map_err(TraceError::refused)?;
        let at = kernel::clock::boottime()?;
        // What was removed before is told by now.
        self.drain();
        Ok(self.observer.look(self.overview.look(&reading, at)))
    }

    /// By how much sums can be wrong: what a certificate would say.
    fn off(&self, now: &Remains) -> u64 {
        let Options {
            page_size, cpus, ..
        } = self.options;
        let found = [
            limits::of_overlaps(
                now.stats.get(Stat::CacheOverlap),
                now.tree.peak_threads,
                page_size,
            ),
            limits::of_unverified(now.stats.get(Stat::Unverified), cpus, page_size),
            unseen_faults(&self.features, &self.probe, &now.tree, &self.options),
        ];
        self.limits
            .iter()
            .chain(found.iter().flatten())
            .fold(0, |sum: u64, limit| {
                sum.saturating_add(limit.bound_bytes.unwrap_or(u64::MAX))
            })
    }

    fn read(&self) -> Result<Reading, ProbeError> {
        let now = self.probe.now()?;
        let lost = now.stats.iter().filter(|(stat, _)| is_loss(*stat));
        let lost = lost.fold(self.probe.undecodable(), |sum, (_, count)| {
            sum.saturating_add(count)
        });
        Ok(Reading {
            lost,
            off: self.off(&now),
            tree: now.tree,
            images: now.images,
            processes: now.processes,
        })
    }
}
