//! A tree that is followed to its end: the programs, and all that is made of what they tell.

use std::{
    io,
    ops::ControlFlow,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use super::{
    TraceError, Tracer, bases,
    cross_check::CrossChecker,
    limits,
    looking::{self, Looking, Onlooker},
    programs,
    record::{self, Feed},
    setup::{Loaded, tier},
    snapshots::Snapshots,
    so_far::{self, Checked, Known},
    system,
    wait::{self, Teardown, ended, much, wake},
    watch::{Watched, watch},
};
use crate::{
    attend::{Attendant, View},
    event::Event,
    kernel::{self, Features},
    launch::Signals,
    model::{self, CrossChecks, Model, OwnCgroup, Summary},
    overview::Overview,
    probe::{Options, Probe, Resolution},
    recording::Head,
};

/// How often a tree without news is looked at again under `--wait-tree`.
const TREE_POLL: Duration = Duration::from_millis(20);

/// The process whose end is waited for.
pub(super) trait Root {
    /// How it came to its end.
    type End: Copy;

    /// Its id here.
    fn pid(&self) -> i32;

    /// A descriptor that is readable once it has ended.
    fn pidfd(&self) -> Option<BorrowedFd<'_>>;

    /// How it ended, if it has.
    fn end(&mut self) -> io::Result<Option<Self::End>>;

    /// Does what signals that this process got ask for; `stops` is called with true before it stops, and with false when
    /// it goes on.
    fn take_signals(&mut self, signals: &Signals, stops: &mut dyn FnMut(bool));

    /// For how long it has been followed, nanoseconds.
    fn wall_ns(&self) -> u64;

    /// What is to be told if whoever looked on has enough; `None`: the end is waited for without.
    fn left(&self) -> Option<Self::End> {
        None
    }

    /// When that is enough, whether it has ended or not, and what is to be told then.
    fn deadline(&self) -> Option<(Instant, Self::End)> {
        None
    }

    /// What is to be told if nobody waits for the end any more.
    fn enough(&self) -> Option<Self::End> {
        None
    }
}

/// What is waited for while a tree is followed.
pub(super) struct Watching<'a> {
    pub(super) ring: Watched,
    timeline: Option<Watched>,
    pub(super) signal: Watched,
    pub(super) signals: &'a Signals,
}

impl<'a> Watching<'a> {
    /// With the event loop that it belongs to.
    pub(super) fn begin(
        probe: &Probe,
        signals: &'a Signals,
    ) -> Result<(tokio::runtime::Runtime, Self), TraceError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(system("start the event loop"))?;
        let watching = {
            let _context = runtime.enter();
            Self::new(probe, signals)?
        };
        Ok((runtime, watching))
    }

    /// Call it in the event loop's context.
    fn new(probe: &Probe, signals: &'a Signals) -> Result<Self, TraceError> {
        let timeline = probe.timeline().map(watch).transpose();
        Ok(Self {
            ring: watch(probe).map_err(system("wait for records"))?,
            timeline: timeline.map_err(system("wait for the timeline"))?,
            signal: watch(signals).map_err(system("wait for signals"))?,
            signals,
        })
    }
}

/// How it ended, as far as whoever started it knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ending {
    pub(super) wait_status: Option<i32>,
    pub(super) wall_ns: u64,
    pub(super) user_ns: u64,
    pub(super) system_ns: u64,
    pub(super) maxrss_bytes: Option<u64>,
}

/// Why nothing could be read at the end.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A tree that is followed.
pub(super) struct Session<'a> {
    tracer: &'a Tracer,
    features: Features,
    options: Options,
    pub(super) probe: Probe,
    view: View,
    model: Model,
    feed: Feed<'a>,
    checker: CrossChecker,
    snapshots: Snapshots,
    teardown: Teardown,
    attendant: Attendant,
    looking: Option<Looking<'a>>,
    command: Vec<Vec<u8>>,
    limits: Vec<model::Limit>,
    realtime_offset: i64,
}

impl<'a> Session<'a> {
    /// The process with this id here is the root, known to the programs as `root_tgid`. Tells whoever takes
    /// in what happens that it begins.
    pub(super) fn begin(
        tracer: &'a Tracer,
        loaded: Loaded,
        (pid, root_tgid): (i32, u32),
        command: Vec<Vec<u8>>,
        (mut feed, onlooker): (Feed<'a>, Option<Onlooker<'a>>),
    ) -> Result<Self, TraceError> {
        let Loaded {
            features,
            options,
            probe,
            limits: own,
        } = loaded;
        let realtime_offset = kernel::clock::realtime_offset()?;
        let created_at = kernel::clock::boottime()?;
        let limits: Vec<model::Limit> = features
            .limits
            .iter()
            .map(limits::of_kernel)
            .chain(limits::of_machine(options.cpus))
            .chain(own)
            .collect();
        feed.begin(&Head {
            page_size: options.page_size,
            width_ns: options.timeline.map_or(0, Resolution::width_ns),
            created_at,
            realtime_offset_ns: realtime_offset,
            command: command.clone(),
            kernel: record::kernel_release(),
            memtrace: env!("CARGO_PKG_VERSION").to_owned(),
            tier: tier(&probe, options.vm_events),
            limits: limits.clone(),
            record_sizes: Head::own_record_sizes(),
        })?;
        let view = View::new(&probe, options.page_size, pid, root_tgid);
        let looking = onlooker.map(|onlooker| {
            let overview = Overview::new(options.page_size, created_at, view.has_same_ids());
            let limit = tracer.limit.map(|limit| limit.peak_rss);
            Looking::new(onlooker, overview, limit)
        });
        Ok(Self {
            view,
            looking,
            checker: CrossChecker::new(options.page_size, options.cpus),
            snapshots: Snapshots::new(tracer.snapshots, options.page_size),
            attendant: Attendant::new(tracer.limit, tracer.live.as_ref()),
            teardown: Teardown::default(),
            model: if tracer.totals && !tracer.segments {
                Model::of_totals()
            } else {
                Model::new()
            },
            tracer,
            features,
            options,
            probe,
            feed,
            command,
            limits,
            realtime_offset,
        })
    }

    /// Takes in what waits in the rings.
    pub(super) fn drain(&mut self) {
        let Self {
            probe,
            model,
            feed,
            looking,
            view,
            ..
        } = self;
        probe.drain(|event| take(model, feed, looking.as_mut(), *view, &event));
    }

    /// Finds out what pages of those that were taken in are for, where that is told apart.
    pub(super) fn find_bases(&mut self) {
        let Self {
            probe,
            model,
            feed,
            looking,
            view,
            options,
            ..
        } = self;
        let found = bases::find(probe, *view, options.page_size, |probe| {
            probe.drain(|event| take(model, feed, looking.as_mut(), *view, &event));
        });
        if let Err(error) = found {
            // What is unknown is said to be.
            log::warn!("what pages were for before stays unknown: {error}");
        }
    }

    /// Has whoever looks on look, if it is time; a break if that was enough.
    fn look_on(&mut self, wall_ns: u64) -> ControlFlow<()> {
        let Some(looking) = &mut self.looking else {
            return ControlFlow::Continue(());
        };
        if looking.observer.wants_result() {
            self.tell_so_far(wall_ns);
        }
        let Some(looking) = &mut self.looking else {
            return ControlFlow::Continue(());
        };
        if looking.has_enough() {
            return ControlFlow::Break(());
        }
        if !looking.is_due() {
            return ControlFlow::Continue(());
        }
        self.drain();
        if let Some(looking) = &mut self.looking {
            looking.begin_reading();
        }
        let read = looking::read(&self.probe, &self.features, &self.options, &self.limits);
        self.drain();
        match (&mut self.looking, read) {
            (Some(looking), Ok((reading, at))) => looking.show(&reading, at),
            (_, Err(error)) => {
                // The result does not depend on it.
                log::warn!("nothing can be shown: {error}");
                ControlFlow::Break(())
            }
            (None, Ok(_)) => ControlFlow::Continue(()),
        }
    }

    /// Tells whoever looks on the result so far.
    fn tell_so_far(&mut self, wall_ns: u64) {
        let Self {
            tracer,
            features,
            options,
            probe,
            view,
            model,
            feed,
            checker,
            snapshots,
            looking,
            command,
            limits,
            realtime_offset,
            ..
        } = self;
        let read = so_far::read(probe, |probe| {
            probe.drain(|event| take(model, feed, looking.as_mut(), *view, &event));
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
            let checked = Checked {
                cross_checks: if tracer.no_cross_checks {
                    CrossChecks::default()
                } else {
                    checker.result()
                },
                snapshots: snapshots.taken().to_vec(),
                ..Checked::default()
            };
            reading.result(model.clone(), &known, wall_ns, checked)
        });
        if let Some(looking) = looking {
            looking.observer.take_result(so_far);
        }
    }

    /// Follows the tree until its end, and does what signals ask for meanwhile.
    pub(super) async fn follow<R: Root>(
        &mut self,
        root: &mut R,
        watched: &Watching<'_>,
    ) -> Result<R::End, TraceError> {
        // Without a descriptor it is looked at now and then.
        let mut pidfd = root.pidfd().and_then(|pidfd| watch(pidfd).ok());
        let pid = root.pid();
        self.attendant.begin(pid);
        let mut end = None;
        let checks = !self.tracer.no_cross_checks;
        let first = if checks {
            self.checker.pause()
        } else {
            TREE_POLL
        };
        let mut next_look = tokio::time::Instant::now() + first;
        let mut next_drain = tokio::time::Instant::now() + record::LOOK;
        loop {
            // Whoever is to be ended is waited for.
            let is_ending = self.attendant.is_ending();
            if let Some(end) = root.enough().filter(|_| !is_ending) {
                return Ok(end);
            }
            let deadline = root.deadline().filter(|_| !is_ending);
            if let Some((deadline, end)) = deadline
                && Instant::now() >= deadline
            {
                self.attendant.look_once_more(&self.view.of(&self.probe));
                if !self.attendant.is_ending() {
                    return Ok(end);
                }
                continue;
            }
            if let Some(end) = end
                && self.is_over()
            {
                return Ok(end);
            }
            tokio::select! {
                ready = watched.ring.readable() => {
                    let mut ready = ready.map_err(system("wait for records"))?;
                    ready.clear_ready();
                    self.drain();
                }
                ready = much(watched.timeline.as_ref()) => {
                    ready.map_err(system("wait for the timeline"))?;
                    self.drain();
                }
                () = tokio::time::sleep_until(next_drain), if self.feed.is_wanted() => {
                    self.drain();
                    let so_far = if checks { self.checker.result() } else { CrossChecks::default() };
                    self.feed.look(&self.probe, so_far, self.snapshots.taken());
                    next_drain = tokio::time::Instant::now() + record::LOOK;
                }
                ready = watched.signal.readable() => {
                    let mut ready = ready.map_err(system("wait for signals"))?;
                    ready.clear_ready();
                    let looking = &mut self.looking;
                    root.take_signals(watched.signals, &mut |stops| {
                        if let Some(looking) = looking {
                            looking.observer.stops(stops);
                        }
                    });
                }
                () = ended(pidfd.as_ref()), if end.is_none() => {
                    end = root.end().map_err(system("wait for the process"))?;
                    if end.is_none() {
                        // Another one, or the same as before.
                        pidfd = root.pidfd().and_then(|pidfd| watch(pidfd).ok());
                    }
                }
                () = wake(deadline.map(|(at, _)| at)) => {}
                () = wake(self.attendant.next()) => {
                    self.attendant.look(&self.view.of(&self.probe), end.is_some());
                }
                () = wake(self.looking.as_ref().map(Looking::next)) => {
                    if self.look_on(root.wall_ns()).is_break() {
                        match root.left() {
                            Some(end) if !self.attendant.is_ending() => return Ok(end),
                            // It is asked again.
                            Some(_) => {}
                            None => self.looking = None,
                        }
                    }
                }
                () = wake(self.snapshots.next()) => self.snapshots.look(&self.probe, self.view),
                () = tokio::time::sleep_until(next_look) => {
                    let mut pause = TREE_POLL;
                    if end.is_none() && checks {
                        pause = self.checker.look(&self.probe, pid, self.view.root_tgid);
                    }
                    next_look = tokio::time::Instant::now() + pause;
                }
            }
        }
    }

    /// Whether nothing is waited for when the root has ended.
    fn is_over(&mut self) -> bool {
        let Self {
            probe,
            view,
            teardown,
            attendant,
            ..
        } = self;
        let tree_is = !self.tracer.wait_tree
            || probe.tree().is_ok_and(|tree| {
                teardown.is_over(&tree, Instant::now(), || view.of(probe).is_deserted())
            });
        tree_is && attendant.is_over(&view.of(probe))
    }

    /// Ends tracing, and puts everything together.
    pub(super) fn finish(
        self,
        ending: Ending,
        own_cgroup: Option<Box<OwnCgroup>>,
    ) -> Result<Summary, Failure> {
        let Self {
            features,
            options,
            mut probe,
            mut model,
            mut feed,
            checker,
            snapshots,
            teardown,
            attendant,
            view,
            command,
            limits,
            realtime_offset,
            ..
        } = self;
        // Before the programs stop: what it holds on to is the tree's.
        let snapshots = snapshots.finish();
        let unsettled = probe.stop()?;
        // Not before the programs have stopped: averages reach up to here.
        let ended_at = kernel::clock::boottime()?;
        let remains = probe.remains()?;
        let mut drain = |model: &mut Model| {
            probe.drain(|event| take(model, &mut feed, None, view, &event));
        };
        drain(&mut model);
        if options.cpu_times {
            wait::for_cpu_times(&mut model, view, drain);
        }
        let known = Known {
            features: &features,
            options: &options,
            probe: &probe,
            limits: &limits,
            command: &command,
            realtime_offset,
        };
        let checked = Checked {
            cross_checks: checker.result(),
            snapshots,
            ended_by_limit: attendant.finish(),
            own_cgroup,
        };
        let more = limits::of_unseen_ends(teardown.is_unseen())
            .into_iter()
            .chain(limits::of_unsettled(unsettled.as_ref()));
        let last = known.last(remains, ended_at, ending, checked, more);
        feed.finish(&last);
        Ok(model.finish(last))
    }
}

/// Passes an event on to the model and to whoever takes it in, with what /proc has to add.
fn take(
    model: &mut Model,
    feed: &mut Feed<'_>,
    mut looking: Option<&mut Looking<'_>>,
    view: View,
    event: &Event,
) {
    let more = programs::of_attached(view, event);
    for event in std::iter::once(event).chain(&more) {
        model.apply(event);
        feed.event(event);
        if let Some(looking) = &mut looking {
            looking.apply(event);
        }
    }
}
