//! Processes that run already, as `/proc` shows them now and then. Nobody of them is traced: they would notice.

use std::{
    io,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    bounds::CounterError,
    course::{Course, Over},
    follow::{lock, now},
    last::{Ending, Facts, last},
    machine,
    poll::Poller,
    sample::INTERVAL,
    teller::{Listener, Teller},
    tree::Tree,
};
use crate::{
    attend::Attendant,
    kernel::{clock, cpus},
    launch::Signals,
    model::{Final, Model},
};

/// Who is looked at, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Processes, with the times of their creation in clock ticks since boot.
    pub(crate) roots: Vec<(i32, u64)>,
    /// What the only one runs, or what was asked for.
    pub(crate) command: Vec<Vec<u8>>,
    pub(crate) duration: Option<Duration>,
    pub(crate) wait_tree: bool,
    /// Whoever comes is meant too, whoever created them.
    pub(crate) everybody: bool,
    /// Nobody wants a result at the end.
    pub(crate) only_shown: bool,
}

/// What was seen of them.
pub(crate) struct Seen {
    /// All that happened.
    pub(crate) model: Model,
    /// What remains to be said at the end.
    pub(crate) last: Final,
    pub(crate) over: Over,
}

/// Processes that are looked at.
pub(crate) struct Attachment<'l> {
    asked: Asked,
    tree: Mutex<Tree>,
    poller: Poller,
    teller: Teller<'l>,
    error: CounterError,
    began: Instant,
    started_ns: u64,
    first: i32,
}

impl<'l> Attachment<'l> {
    /// Takes in what is there; `None` if nobody is left of it.
    pub(crate) fn begin(
        asked: Asked,
        listener: Option<&'l mut (dyn Listener + 'l)>,
    ) -> Option<Self> {
        let page_size = cpus::page_size();
        let mut teller = Teller::new(page_size, listener);
        if asked.only_shown {
            teller = teller.without_result();
        }
        let error = CounterError::new(machine::layout(), machine::online_cpus(), page_size);
        let tree = Mutex::new(Tree::new(teller.is_heard()));
        let (began, started_ns) = (Instant::now(), now());
        let poller = Poller::of_living(&asked.roots, asked.everybody, &tree);
        let mut pids = asked.roots.iter().map(|(pid, _)| *pid);
        let first = pids.find(|pid| lock(&tree).find(*pid).is_some())?;
        Some(Self {
            asked,
            tree,
            poller,
            teller,
            error,
            began,
            started_ns,
            first,
        })
    }

    /// Looks at them until that is over.
    ///
    /// # Errors
    ///
    /// When signals cannot be waited for.
    pub(crate) fn follow(self, signals: &Signals, mut attendant: Attendant) -> io::Result<Seen> {
        let Self {
            asked,
            tree,
            mut poller,
            mut teller,
            error,
            began,
            started_ns,
            first,
        } = self;
        attendant.begin(first);
        let course = Course {
            signals,
            tree: &tree,
            attendant: &mut attendant,
            teller: &mut teller,
        };
        let deadline = asked.duration.map(|duration| began + duration);
        let over = course.with_living(&mut poller, deadline, asked.wait_tree)?;
        // What they hold now is the last that is known of them.
        poller.look(&tree);
        let facts = Facts {
            command: asked.command,
            ending: Ending {
                status: None,
                wall_ns: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
                user_ns: 0,
                system_ns: 0,
                maxrss_bytes: None,
                started_ns,
            },
            realtime_offset: clock::realtime_offset().unwrap_or(0),
            page_size: cpus::page_size(),
            ended_at: now(),
            followed: false,
            failures: vec![
                format!(
                    "/proc was looked at every {} ms or more: processes that live shorter, and what is larger between two looks, can be missed",
                    INTERVAL.as_millis()
                ),
                "of a program that ran before, the peak since is the largest that was seen, as long as the kernel's VmHWM stays what it was".to_owned(),
            ],
            before: 0,
            error,
            ended_by_limit: attendant.finish(),
        };
        let mut tree = lock(&tree);
        let model = teller.finish(&mut tree);
        Ok(Seen {
            model,
            last: last(&tree, facts),
            over,
        })
    }
}
