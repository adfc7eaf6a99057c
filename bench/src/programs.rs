//! Run times of BPF programs, as the kernel counts them while somebody asks for it.

use std::{collections::BTreeMap, fs, os::fd::OwnedFd};

use anyhow::{Context as _, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};

use crate::{empty::Empty, results::ProgramCost, statistics::ratio};

/// The tracepoint on which a change of a counter is told.
const COUNTER_CHANGE: &str = "rss_stat";

/// What the kernel has counted for a program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    /// Its name, of which the kernel keeps 15 characters.
    pub(crate) name: String,
    /// What it is attached to, as far as the kernel tells.
    pub(crate) on: String,
    /// Runs since the counting began.
    pub(crate) runs: u64,
    /// Their time, ns.
    pub(crate) time_ns: u64,
    /// Instructions that the verifier looked at.
    pub(crate) verified: Option<u32>,
    /// Bytes of machine code.
    pub(crate) jited_bytes: u32,
}

/// The kernel counts while this exists, and an empty program is there for comparison. The
/// setting is bound to a file descriptor, so it is as it was when this is gone, however this
/// process ends.
#[derive(Debug)]
pub(crate) struct Counting {
    empty: Empty,
    _enabled: OwnedFd,
}

impl Counting {
    /// Begins.
    pub(crate) fn start() -> Result<Self> {
        let empty = Empty::on(c"rss_stat")?;
        let enabled = enable_stats(Stats::RunTime)
            .context("BPF_ENABLE_STATS (Linux 5.8 or later, CAP_SYS_ADMIN)")?;
        Ok(Self {
            empty,
            _enabled: enabled,
        })
    }

    /// What is counted for these programs and the empty one.
    pub(crate) fn read(&self, programs: &BTreeMap<u32, String>) -> Reading {
        let mut reading = Reading::default();
        // A program that vanishes during the walk ends with an error of its own.
        for info in loaded_programs().flatten() {
            let counted = Counted {
                on: programs.get(&info.id()).cloned().unwrap_or_default(),
                name: String::from_utf8_lossy(info.name()).into_owned(),
                runs: info.run_count(),
                time_ns: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
                verified: info.verified_instruction_count(),
                jited_bytes: info.size_jitted(),
            };
            if info.id() == self.empty.id() {
                reading.empty = counted;
            } else if programs.contains_key(&info.id()) {
                reading.programs.insert(info.id(), counted);
            }
        }
        reading
    }
}

/// Programs that a process holds and that are attached, by id, with what they are attached to.
pub(crate) fn attached(pid: u32) -> BTreeMap<u32, String> {
    let directory = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let entries = directory.into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.filter_map(|text| link(&text)).collect()
}

/// The program of a link and its place, from the link's `/proc/PID/fdinfo`. Links to functions have
/// no name there.
fn link(fdinfo: &str) -> Option<(u32, String)> {
    let value = |name: &str| {
        let mut lines = fdinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(key, value)| (key == name).then(|| value.trim()))
    };
    value("link_id")?;
    let program = value("prog_id")?.parse().ok()?;
    let place = value("tp_name").or_else(|| value("link_type"));
    Some((program, place.unwrap_or_default().to_owned()))
}

/// Counters at one moment, or what happened between two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// The empty program's.
    pub(crate) empty: Counted,
    /// By program id.
    pub(crate) programs: BTreeMap<u32, Counted>,
}

impl Reading {
    /// What was counted since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let minus = |late: &Counted, early: Option<&Counted>| {
            let (runs, time) = early.map_or((0, 0), |early| (early.runs, early.time_ns));
            Counted {
                runs: late.runs.saturating_sub(runs),
                time_ns: late.time_ns.saturating_sub(time),
                ..late.clone()
            }
        };
        Self {
            empty: minus(&self.empty, Some(&earlier.empty)),
            programs: self
                .programs
                .iter()
                .map(|(&id, late)| (id, minus(late, earlier.programs.get(&id))))
                .collect(),
        }
    }

    /// Time of one run of the empty program, ns.
    pub(crate) fn empty_ns(&self) -> Option<f64> {
        ratio(self.empty.time_ns as f64, self.empty.runs as f64)
    }

    /// Time per counter change of all programs on that event together, beyond what as many
    /// empty programs would need, ns.
    pub(crate) fn handler_ns(&self) -> Option<f64> {
        let empty = self.empty_ns()?;
        let on_the_event = self
            .programs
            .values()
            .filter(|program| program.on == COUNTER_CHANGE && program.runs > 0);
        let mut net = 0.0;
        let mut count = 0;
        for program in on_the_event {
            net += program.time_ns as f64 - program.runs as f64 * empty;
            count += 1;
        }
        if count == 0 {
            return None;
        }
        ratio(net, self.empty.runs as f64)
    }

    /// A line for each program that ran, and for the empty one.
    pub(crate) fn costs(&self, situation: &str) -> Vec<ProgramCost> {
        let empty = self.empty_ns();
        let cost = |counted: &Counted| {
            let gross = ratio(counted.time_ns as f64, counted.runs as f64);
            ProgramCost {
                situation: situation.to_owned(),
                program: counted.name.clone(),
                on: counted.on.clone(),
                runs: counted.runs,
                gross_ns: gross,
                net_ns: gross.zip(empty).map(|(gross, empty)| gross - empty),
                verified: counted.verified,
                jited_bytes: counted.jited_bytes,
            }
        };
        let mut costs = vec![cost(&self.empty)];
        costs.extend(self.programs.values().filter(|one| one.runs > 0).map(cost));
        costs
    }
}

/// Net cost of a change that the workload caused, when some of all changes came from processes
/// that are not followed, whose cost is known.
pub(crate) fn without_foreign(all_ns: f64, events: u64, known: u64, untracked_ns: f64) -> f64 {
    let own = known.min(events);
    if own == 0 {
        return all_ns;
    }
    let foreign = (events - own) as f64;
    (all_ns * events as f64 - foreign * untracked_ns) / own as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Counted, Reading, link, without_foreign};

    fn counted(name: &str, on: &str, runs: u64, time_ns: u64) -> Counted {
        Counted {
            name: name.to_owned(),
            on: on.to_owned(),
            runs,
            time_ns,
            ..Counted::default()
        }
    }

    /// Two programs on the event, one elsewhere.
    fn reading(runs: u64, times: [u64; 4]) -> Reading {
        let [empty, first, second, exec] = times;
        Reading {
            empty: counted("empty", "", runs, empty),
            programs: BTreeMap::from([
                (1, counted("rss_stat", "rss_stat", runs, first)),
                (2, counted("rss_stat_cached", "rss_stat", runs, second)),
                (3, counted("sched_process_e", "sched_process_exec", 7, exec)),
            ]),
        }
    }

    #[test]
    fn the_empty_program_is_taken_off_once_for_each_program() {
        let earlier = reading(1_000, [30_000, 100_000, 50_000, 900]);
        let later = reading(3_000, [90_000, 340_000, 190_000, 900]);
        let between = later.since(&earlier);
        assert_eq!(between.empty.runs, 2_000);
        assert_eq!(between.empty_ns(), Some(30.0));
        // 120 - 30 and 70 - 30 per change.
        assert_eq!(between.handler_ns(), Some(130.0));
        let costs = between.costs("here");
        let names: Vec<&str> = costs.iter().map(|cost| cost.program.as_str()).collect();
        assert_eq!(names, ["empty", "rss_stat", "rss_stat_cached"]);
        let net: Vec<_> = costs.iter().map(|cost| cost.net_ns).collect();
        assert_eq!(net, [Some(0.0), Some(90.0), Some(40.0)]);
    }

    #[test]
    fn links_tell_their_program_and_place() {
        let text = "pos:\t0\nlink_type:\traw_tracepoint\nlink_id:\t12\nprog_tag:\tab\n\
                    prog_id:\t345\ntp_name:\tsched_process_exec\n";
        assert_eq!(link(text), Some((345, "sched_process_exec".to_owned())));
        let function = "link_type:\ttracing\nlink_id:\t13\nprog_id:\t346\nattach_type:\t25\n";
        assert_eq!(link(function), Some((346, "tracing".to_owned())));
        assert_eq!(link("prog_type:\t26\nprog_id:\t345\n"), None);
    }

    #[test]
    fn nothing_that_ran_gives_no_cost() {
        assert_eq!(Reading::default().handler_ns(), None);
        assert_eq!(reading(0, [0; 4]).handler_ns(), None);
    }

    #[test]
    fn changes_of_others_are_taken_off() {
        // 80 of 100 changes at 110 ns, 20 at 10 ns: 90 ns on average.
        assert!((without_foreign(90.0, 100, 80, 10.0) - 110.0).abs() < 1e-9);
        assert!((without_foreign(90.0, 100, 100, 10.0) - 90.0).abs() < 1e-9);
        assert!((without_foreign(90.0, 100, 120, 10.0) - 90.0).abs() < 1e-9);
        assert!((without_foreign(90.0, 100, 0, 10.0) - 90.0).abs() < 1e-9);
    }
}
