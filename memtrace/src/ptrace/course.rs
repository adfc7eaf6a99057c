//! The course of following a tree: samples, signals, and whatever else is due, until it is over.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Mutex,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    follow::Follower,
    poll::Poller,
    sample,
    subject::{Proof, Sampled},
    teller::Teller,
    tree::Tree,
};
use crate::{
    attend::Attendant,
    launch::{Running, Signals, rusage::maxrss_bytes},
};

/// What goes on beside it.
pub(super) struct Course<'c, 'l> {
    pub(super) signals: &'c Signals,
    pub(super) tree: &'c Mutex<Tree>,
    pub(super) attendant: &'c mut Attendant,
    pub(super) teller: &'c mut Teller<'l>,
}

/// Why processes that run already are not looked at any more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    /// They have ended.
    Ended,
    /// This process got a signal of this number.
    Signal(i32),
    /// The time was over.
    Time,
    /// Whoever listens has enough.
    Enough,
}

impl Course<'_, '_> {
    /// Samples and passes signals on until the tracer has ended.
    pub(super) fn with_tracer(mut self, follower: &Follower, running: &Running) -> io::Result<()> {
        let mut next = Instant::now();
        loop {
            let (signal, done) = self.wait(Some(follower.done.as_fd()), next)?;
            if signal {
                self.pass_on(running);
            }
            if done {
                return Ok(());
            }
            if Instant::now() >= next {
                let pause = sample::all(self.tree);
                next = Instant::now() + pause;
            }
            self.teller.tell(self.tree);
            // The command goes on, whoever looks on.
            self.teller.has_enough();
            let subject = Sampled {
                tree: self.tree,
                proof: Proof::Traced(&follower.hold),
            };
            self.attendant.look(&subject, false);
        }
    }

    /// The same where nothing tells of the end but the command's own.
    pub(super) fn with_poller(
        mut self,
        poller: &mut Poller,
        running: &mut Running,
        wait_tree: bool,
    ) -> io::Result<()> {
        let mut next = Instant::now();
        let mut ended = false;
        loop {
            if !ended && let Some(finished) = running.try_wait()? {
                ended = true;
                let maxrss = maxrss_bytes(&finished.rusage);
                poller.root_ended(self.tree, finished.status, maxrss);
            }
            let subject = Sampled {
                tree: self.tree,
                proof: Proof::Started(poller),
            };
            if ended && (!wait_tree || poller.is_empty()) && self.attendant.is_over(&subject) {
                // Who ended in the meantime is no survivor.
                poller.look(self.tree);
                return Ok(());
            }
            self.attendant.look(&subject, ended);
            let pidfd = running.pidfd().filter(|_| !ended);
            let (signal, _) = self.wait(pidfd, next)?;
            if signal {
                self.pass_on(running);
            }
            if Instant::now() >= next {
                let pause = poller.look(self.tree);
                next = Instant::now() + pause;
            }
            self.teller.tell(self.tree);
            self.teller.has_enough();
        }
    }

    /// The same of processes that run already. This process's own signals end it.
    pub(super) fn with_living(
        self,
        poller: &mut Poller,
        deadline: Option<Instant>,
        wait_tree: bool,
    ) -> io::Result<Over> {
        let mut next = Instant::now();
        let mut over = None;
        loop {
            let ended = poller.has_no_root();
            let subject = Sampled {
                tree: self.tree,
                proof: Proof::Started(poller),
            };
            // Whoever is to be ended is waited for.
            let is_ending = self.attendant.is_ending();
            if let Some(over) = over.filter(|_| !is_ending) {
                return Ok(over);
            }
            if ended
                && (!wait_tree || poller.is_empty())
                && self.attendant.is_over(&subject)
                && self.teller.all_ended()
            {
                return Ok(Over::Ended);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) && !is_ending {
                self.attendant.look_once_more(&subject);
                over = over.or(Some(Over::Time));
                continue;
            }
            self.attendant.look(&subject, ended);
            let until = deadline
                .filter(|_| !is_ending)
                .map_or(next, |at| at.min(next));
            let (signal, _) = self.wait(None, until)?;
            if signal {
                let teller = &mut *self.teller;
                let fatal = self
                    .signals
                    .take_fatal_around(|stops| teller.stops(stops))?;
                over = over.or(fatal.map(Over::Signal));
            }
            if Instant::now() >= next {
                let pause = poller.look(self.tree);
                next = Instant::now() + pause;
            }
            self.teller.tell(self.tree);
            if self.teller.has_enough() {
                over = over.or(Some(Over::Enough));
            }
        }
    }

    fn pass_on(&mut self, running: &Running) {
        let teller = &mut *self.teller;
        let passed = self
            .signals
            .forward_pending_around(running, |stops| teller.stops(stops));
        if let Err(error) = passed {
            log::warn!("cannot pass a signal on to the command: {error}");
        }
    }

    /// Waits for a signal, the other descriptor, or until something is due; tells which of the two is readable.
    fn wait(&self, other: Option<BorrowedFd<'_>>, next: Instant) -> io::Result<(bool, bool)> {
        let due = [self.attendant.next(), self.teller.next()];
        let next = due.into_iter().flatten().fold(next, Instant::min);
        // Rounded up, so that it does not spin below a millisecond.
        let timeout = next.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(other.map(|other| PollFd::new(other, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
        Ok((ready(0), ready(1)))
    }
}
