//! Ending a tree that needs too much.
//!
//! The crossing is noticed at a look at the tree's peak, which the kernel side keeps: a spike
//! between two looks is noticed too, up to [`INTERVAL`] later. Signals go through descriptors
//! of processes (pidfds) that were found to be of the tree after they were opened, so none
//! reaches a stranger that got a process's id.

use std::{
    collections::HashSet,
    io,
    time::{Duration, Instant},
};

use super::{Member, Subject};
use crate::{launch, model::EndedByLimit};

/// How often the peak is looked at.
const INTERVAL: Duration = Duration::from_millis(10);
/// What SIGKILL did not end after this is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rounds in which those that were created meanwhile are ended too.
const ROUNDS: u32 = 50;
/// Reasons for failures that are kept.
const FAILURES: usize = 4;

/// A limit on the sum of RSS over the tree that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakLimit {
    /// The largest sum that is allowed, bytes.
    pub peak_rss: u64,
    /// How long after SIGTERM what is left gets SIGKILL; zero: at once.
    pub kill_after: Duration,
}

/// Watches for the crossing and sees to the end.
#[derive(Debug)]
pub(super) struct Ending {
    limit: PeakLimit,
    began: Instant,
    next: Instant,
    hit: Option<Hit>,
}

#[derive(Debug)]
struct Hit {
    at: Instant,
    seen: u64,
    command_had_ended: bool,
    terminated: HashSet<Member>,
    killed: HashSet<Member>,
    killing_since: Option<Instant>,
    failures: Vec<String>,
}

impl Ending {
    pub(super) fn new(limit: PeakLimit) -> Self {
        Self {
            limit,
            began: Instant::now(),
            next: Instant::now(),
            hit: None,
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.began = now;
        self.next = now + INTERVAL;
    }

    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn look_now(&mut self, subject: &dyn Subject) {
        let now = Instant::now();
        self.next = now;
        self.look(subject, now, false);
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.hit.is_some()
    }

    pub(super) fn look(&mut self, subject: &dyn Subject, now: Instant, command_ended: bool) {
        if now < self.next && !command_ended {
            return;
        }
        self.next = now + INTERVAL;
        let hit = match &mut self.hit {
            Some(hit) => hit,
            None => {
                let crossed = subject
                    .totals()
                    .filter(|totals| totals.peak_rss > self.limit.peak_rss);
                let Some(totals) = crossed else {
                    return;
                };
                // Whoever signals first must know who is left afterwards.
                subject.hold();
                self.hit.insert(Hit {
                    at: now,
                    seen: totals.peak_rss,
                    command_had_ended: command_ended,
                    terminated: HashSet::new(),
                    killed: HashSet::new(),
                    killing_since: None,
                    failures: Vec::new(),
                })
            }
        };
        if now.duration_since(hit.at) >= self.limit.kill_after {
            hit.killing_since.get_or_insert(now);
            hit.kill(subject);
        } else {
            hit.terminate(subject);
        }
    }

    /// Nothing was to be ended, or nothing is left, or what is left cannot be ended.
    pub(super) fn is_over(&mut self, subject: &dyn Subject) -> bool {
        if self.hit.is_none() {
            // The crossing may not have been noticed yet.
            self.look(subject, Instant::now(), true);
        }
        let Some(hit) = &self.hit else {
            return true;
        };
        let given_up = hit
            .killing_since
            .is_some_and(|since| since.elapsed() > PATIENCE);
        given_up || others(subject).is_empty()
    }

    pub(super) fn finish(self) -> Option<EndedByLimit> {
        let hit = self.hit?;
        // Whatever ended by itself just then was not ended by us.
        if hit.terminated.is_empty() && hit.killed.is_empty() {
            return None;
        }
        Some(EndedByLimit {
            limit: self.limit.peak_rss,
            seen_rss: hit.seen,
            noticed_at_ns: u64::try_from(hit.at.duration_since(self.began).as_nanos())
                .unwrap_or(u64::MAX),
            terminated: hit.terminated.len() as u64,
            killed: hit.killed.len() as u64,
            command_had_ended: hit.command_had_ended,
            failures: hit.failures,
        })
    }
}

/// Everybody but this process, which is in the tree if it attached to the shell that it was started from.
fn others(subject: &dyn Subject) -> Vec<Member> {
    let own = i32::try_from(std::process::id());
    let mut members = subject.members();
    members.retain(|member| own != Ok(member.pid));
    members
}

impl Hit {
    /// Asks everybody once to end.
    fn terminate(&mut self, subject: &dyn Subject) {
        for member in others(subject) {
            // SIGCONT, so that a stopped process sees it, as timeout(1) does.
            if !self.terminated.contains(&member)
                && self.send(subject, &member, &[libc::SIGTERM, libc::SIGCONT])
            {
                self.terminated.insert(member);
            }
        }
    }

    /// Ends everybody, in rounds: whoever has SIGKILL pending creates nobody any more
    /// (`copy_process()`, kernel/fork.c), so each round finds only what was created before.
    ///
    /// Nothing is stopped first: a stopped process can make the kernel hang up a process
    /// group whose parents ended (`kill_orphaned_pgrp()`, kernel/exit.c), and that group can
    /// be the caller's.
    fn kill(&mut self, subject: &dyn Subject) {
        let mut asked = HashSet::new();
        for _ in 0..ROUNDS {
            let fresh: Vec<Member> = others(subject)
                .into_iter()
                .filter(|member| !asked.contains(member))
                .collect();
            if fresh.is_empty() {
                break;
            }
            for member in fresh {
                if self.send(subject, &member, &[libc::SIGKILL]) {
                    self.killed.insert(member);
                }
                asked.insert(member);
            }
        }
    }

    /// Sends signals to a process if it is still that member.
    fn send(&mut self, subject: &dyn Subject, member: &Member, signals: &[i32]) -> bool {
        let pidfd = match launch::open_pidfd(member.pid) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                // Gone is what it shall be.
                if error.raw_os_error() != Some(libc::ESRCH) {
                    self.failed(member, &error);
                }
                return false;
            }
        };
        if !subject.owns(member) {
            return false;
        }
        for &signal in signals {
            if let Err(error) = launch::send_through(&pidfd, signal) {
                self.failed(member, &error);
                return false;
            }
        }
        true
    }

    fn failed(&mut self, member: &Member, error: &io::Error) {
        let text = format!("process {} cannot be ended: {error}", member.pid);
        if self.failures.len() < FAILURES && !self.failures.contains(&text) {
            self.failures.push(text);
        }
    }
}
