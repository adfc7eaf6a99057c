//! The largest processes of the latest looks, to go back to.

use std::{cmp::Reverse, collections::VecDeque, sync::Arc};

use super::{look::Process, text::bounded};

/// Looks whose processes are kept.
pub(super) const LOOKS: usize = 120;

/// Processes kept of each.
pub(super) const ROWS: usize = 50;

/// The processes of a look.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) at_ns: u64,
    /// How many there were, of which `largest` are the largest.
    pub(super) alive: usize,
    pub(super) largest: Arc<[Process]>,
}

/// The latest looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    moments: VecDeque<Moment>,
}

impl Past {
    /// Takes in all processes of a look.
    pub(super) fn push(&mut self, at_ns: u64, mut all: Vec<&Process>) {
        let alive = all.len();
        if alive > ROWS {
            all.select_nth_unstable_by_key(ROWS, |process| (Reverse(process.res), process.id));
            all.truncate(ROWS);
        }
        let largest = all
            .into_iter()
            .map(|process| Process {
                name: bounded(process.name.clone()),
                command: bounded(process.command.clone()),
                ..process.clone()
            })
            .collect();
        self.moments.push_back(Moment {
            at_ns,
            alive,
            largest,
        });
        if self.moments.len() > LOOKS {
            self.moments.pop_front();
        }
    }

    /// The last look until a moment, if its processes are kept.
    pub(super) fn at(&self, at_ns: u64) -> Option<&Moment> {
        self.moments
            .iter()
            .rev()
            .find(|moment| moment.at_ns <= at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest of the latest looks are kept, and no others.
    #[test]
    fn the_largest_are_kept() {
        let mut past = Past::default();
        let processes: Vec<Process> = (0..80)
            .map(|id| Process {
                id,
                res: id,
                ..Process::default()
            })
            .collect();
        for look in 1..=200 {
            past.push(look * 10, processes.iter().collect());
        }
        assert_eq!(past.moments.len(), LOOKS);
        assert!(past.at(809).is_none());
        let moment = past.at(815).expect("kept");
        assert_eq!((moment.at_ns, moment.alive), (810, 80));
        assert_eq!(moment.largest.len(), ROWS);
        assert!(moment.largest.iter().all(|process| process.res >= 30));
    }
}
