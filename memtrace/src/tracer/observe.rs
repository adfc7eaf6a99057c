//! The course of looking on: load, take in, and tell what is, again and again.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use super::{
    TraceError, Tracer,
    attach::{Stop, nanoseconds},
    limits,
    looking::{self, Looking, Observer, Onlooker, Unread},
    programs,
    roots::Living,
    session::Watching,
    setup::Loaded,
    so_far::{self, Checked, Known},
    system,
    taken_over::{TakenOver, Use, take_over},
    wait::wake,
    without_bpf,
};
use crate::{
    attend::View,
    event::Event,
    kernel::{Features, clock},
    launch::Signals,
    model::{Limit, Model},
    overview::Overview,
    phases::Phases,
    probe::{Options, Probe},
    targets::Target,
};

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
        result: false,
    };
    let taken = || take_over(tracer, targets, wanted_for, &signals, &mut phases);
    let taken = match without_bpf::instead(tracer, taken)? {
        Ok(taken) => taken,
        Err(why) => {
            let onlooker = Onlooker::new(every, observer);
            let stop = without_bpf::observe(tracer, targets, onlooker, &signals, why.as_deref());
            signals.restore();
            return stop;
        }
    };
    let TakenOver {
        loaded,
        runtime,
        watching,
        living,
        first_tgid,
        command,
        began,
        began_at,
        kept: _kept,
    } = taken;
    let page_size = loaded.options.page_size;
    let view = View::new(&loaded.probe, page_size, living.pid(), first_tgid);
    let Loaded {
        features,
        options,
        probe,
        limits: own_limits,
    } = loaded;
    let limits = features.limits.iter().map(limits::of_kernel);
    let overview = Overview::new(page_size, began_at, view.has_same_ids());
    // Whoever ends without mattering for a peak is only counted: it can go on for as long as one likes.
    let model = observer.may_want_result().then(Model::of_totals);
    let mut observed = Observed {
        model,
        command,
        began,
        realtime_offset: clock::realtime_offset()?,
        limits: limits
            .chain(limits::of_machine(options.cpus))
            .chain(own_limits)
            .collect(),
        features,
        options,
        looking: Looking::new(Onlooker::new(every, observer), overview, None),
        probe,
        view,
        living,
    };
    let stop = runtime.block_on(observed.follow(&watching))?;
    drop(watching);
    signals.restore();
    Ok(stop)
}

struct Observed<'a> {
    features: Features,
    options: Options,
    limits: Vec<Limit>,
    probe: Probe,
    looking: Looking<'a>,
    view: View,
    living: Living,
    /// For whoever may want a result.
    model: Option<Model>,
    command: Vec<Vec<u8>>,
    began: Instant,
    realtime_offset: i64,
}

impl Observed<'_> {
    fn drain(&mut self) {
        let Self {
            probe,
            looking,
            view,
            model,
            ..
        } = self;
        probe.drain(|event| take(model, looking, *view, &event));
    }

    /// Tells whoever looks on the result so far.
    fn tell_so_far(&mut self) {
        let Self {
            features,
            options,
            limits,
            probe,
            looking,
            view,
            model,
            command,
            began,
            realtime_offset,
            ..
        } = self;
        let read = so_far::read(probe, |probe| {
            probe.drain(|event| take(model, looking, *view, &event));
        });
        let so_far = read.map(|reading| {
            let known = Known {
                features,
                options,
                probe,
                limits,
                command,
                realtime_offset: *realtime_offset,
            };
            let model = model.clone().unwrap_or_default();
            let wall_ns = nanoseconds(began.elapsed());
            reading.result(model, &known, wall_ns, Checked::default())
        });
        looking.observer.take_result(so_far);
    }

    async fn follow(&mut self, watched: &Watching<'_>) -> Result<Stop, TraceError> {
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
                    let observer = &mut self.looking.observer;
                    let fatal = watched.signals.take_fatal_around(|stops| observer.stops(stops));
                    if let Some(signal) = fatal.map_err(system("read signals"))? {
                        return Ok(Stop::Signal(signal));
                    }
                }
                () = wake(Some(self.looking.next())) => {
                    if self.model.is_some() && self.looking.observer.wants_result() {
                        self.tell_so_far();
                    }
                    if self.looking.has_enough() {
                        return Ok(Stop::Enough);
                    }
                    if !self.looking.is_due() {
                        continue;
                    }
                    let is_over = self.living.have_ended();
                    if self.look()?.is_break() {
                        return Ok(Stop::Enough);
                    }
                    ended = match ended {
                        Ended::No if is_over => Ended::Told(1),
                        // Who ends is told of with the look after.
                        Ended::Told(looks) if looks < ENDS_SHOWN => Ended::Told(looks + 1),
                        Ended::Told(_) => {
                            if self.looking.observer.all_ended().is_break() {
                                return Ok(Stop::Ended);
                            }
                            Ended::Over
                        }
                        same => same,
                    };
                }
            }
        }
    }

    fn look(&mut self) -> Result<ControlFlow<()>, TraceError> {
        self.drain();
        self.looking.begin_reading();
        let read = looking::read(&self.probe, &self.features, &self.options, &self.limits);
        let (reading, at) = read.map_err(|error| match error {
            Unread::Probe(error) => TraceError::refused(error),
            Unread::Clock(error) => error.into(),
        })?;
        // What was removed before is told by now.
        self.drain();
        Ok(self.looking.show(&reading, at))
    }
}

/// Passes an event on, with what /proc has to add.
fn take(model: &mut Option<Model>, looking: &mut Looking<'_>, view: View, event: &Event) {
    let more = programs::of_attached(view, event);
    for event in std::iter::once(event).chain(&more) {
        if let Some(model) = model {
            model.apply(event);
        }
        looking.apply(event);
    }
}
