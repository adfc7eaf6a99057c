//! Processes that have ended, in bounded memory.
//!
//! The latest are kept one by one, and so are those with the largest peaks. All others are counted
//! under their names, with the largest peak of each name.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::{look::Process, text::bounded};

/// The latest that are kept one by one.
pub(super) const LATEST: usize = 1_000;

/// Those with the largest peaks that are kept beside them.
pub(super) const LARGEST: usize = 1_000;

/// Names under which others are counted; what is called differently is counted without a name.
pub(super) const NAMES: usize = 500;

/// Processes that are only counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) count: u64,
    /// The largest of their peaks, bytes, and when that was.
    pub(super) peak: u64,
    pub(super) peak_at_ns: u64,
}

impl Counted {
    /// Takes in some with this largest peak.
    pub(super) const fn add(&mut self, count: u64, peak: u64, peak_at_ns: u64) {
        if self.count == 0 || peak > self.peak {
            (self.peak, self.peak_at_ns) = (peak, peak_at_ns);
        }
        self.count = self.count.saturating_add(count);
    }
}

/// All that have ended, as far as they are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    latest: VecDeque<Process>,
    /// By peak and [`Process::id`].
    largest: BTreeMap<(u64, u64), Process>,
    counted: HashMap<String, Counted>,
    unnamed: Counted,
}

impl Ended {
    pub(super) fn push(&mut self, mut process: Process) {
        process.name = bounded(process.name);
        process.command = bounded(process.command);
        self.latest.push_back(process);
        if self.latest.len() > LATEST
            && let Some(oldest) = self.latest.pop_front()
        {
            // Should an id be told twice after all, nobody is dropped uncounted.
            if let Some(same) = self.largest.insert((oldest.peak, oldest.id), oldest) {
                self.count(same);
            }
        }
        if self.largest.len() > LARGEST
            && let Some((_, smallest)) = self.largest.pop_first()
        {
            self.count(smallest);
        }
    }

    fn count(&mut self, process: Process) {
        let Process {
            name,
            peak,
            peak_at_ns,
            ..
        } = process;
        let is_room = self.counted.len() < NAMES;
        let counted = match self.counted.get_mut(&name) {
            Some(counted) => counted,
            None if is_room => self.counted.entry(name).or_default(),
            None => &mut self.unnamed,
        };
        counted.add(1, peak, peak_at_ns);
    }

    /// Those that are kept one by one.
    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.latest.iter().chain(self.largest.values())
    }

    /// Those that are only counted, by name; without a name if there were too many names.
    pub(super) fn counted(&self) -> impl Iterator<Item = (Option<&str>, &Counted)> {
        self.counted
            .iter()
            .map(|(name, counted)| (Some(name.as_str()), counted))
            .chain((self.unnamed.count > 0).then_some((None, &self.unnamed)))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: u64, name: &str, peak: u64) -> Process {
        Process {
            id,
            name: name.to_owned(),
            peak,
            peak_at_ns: id,
            ..Process::default()
        }
    }

    fn total(ended: &Ended) -> u64 {
        ended.processes().count() as u64 + ended.counted().map(|(_, c)| c.count).sum::<u64>()
    }

    /// The latest and the largest stay; the others are counted, none is lost, and the largest
    /// peak of a name stays known.
    #[test]
    fn all_are_counted() {
        let mut ended = Ended::default();
        ended.push(process(0, "huge", u64::MAX));
        for id in 1..=20_000 {
            ended.push(process(id, "cc1plus", id % 7_000));
        }
        assert_eq!(total(&ended), 20_001);
        assert_eq!(ended.processes().count(), LATEST + LARGEST);
        assert!(ended.processes().any(|p| p.name == "huge"));
        assert!(ended.processes().any(|p| p.id == 20_000));
        let counted: Vec<_> = ended.counted().collect();
        assert_eq!(counted.len(), 1);
        let (name, counted) = counted[0];
        assert_eq!((name, counted.count), (Some("cc1plus"), 18_001));
        let smallest_kept = ended.largest.keys().next().expect("some").0;
        assert!(counted.peak <= smallest_kept && counted.peak > 5_000);
        ended.clear();
        assert_eq!(total(&ended), 0);
    }

    /// Names are no way to fill the memory, and neither are commands.
    #[test]
    fn names_are_bounded() {
        let mut ended = Ended::default();
        for id in 0..5_000 {
            let mut process = process(id, &format!("name {id}"), 1);
            process.command = "x".repeat(5_000);
            ended.push(process);
        }
        assert_eq!(ended.counted().count(), NAMES + 1);
        assert_eq!(total(&ended), 5_000);
        assert!(ended.processes().all(|p| p.command.len() < 1_000));
    }
}
