//! Several commands over several runs: who needs less, and how sure that is.

mod csv;
mod hyperfine;
mod json;
mod markdown;
pub mod parameters;
mod statistics;
mod text;

pub use csv::write as write_csv;
pub use json::{SCHEMA, write as write_json};
pub use markdown::write as write_markdown;
pub use statistics::Statistics;
pub use text::write as write_text;

use crate::{
    model::{Summary, Verdict},
    report::units::{counted, human},
};

/// What one run used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Peak of the sum of RSS over the tree, bytes.
    pub peak_rss: u64,
    /// Time-weighted mean of that sum, bytes.
    pub average_rss: u64,
    /// Wall-clock time, nanoseconds.
    pub wall_ns: u64,
    /// CPU time in user mode, nanoseconds.
    pub user_ns: u64,
    /// CPU time in kernel mode, nanoseconds.
    pub system_ns: u64,
    /// Processes of the tree.
    pub processes: usize,
    /// Exit status; `None` if a signal ended it.
    pub exit_status: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<u8>,
    /// How exact it is.
    pub verdict: Verdict,
}

impl From<&Summary> for Run {
    fn from(summary: &Summary) -> Self {
        Self {
            peak_rss: summary.tree.peak_rss,
            average_rss: summary.tree.average_rss,
            wall_ns: summary.wall_ns,
            user_ns: summary.user_ns,
            system_ns: summary.system_ns,
            processes: summary.processes.len(),
            exit_status: summary.outcome.and_then(|outcome| outcome.exit_status),
            signal: summary.outcome.and_then(|outcome| outcome.signal),
            verdict: summary.certificate.verdict,
        }
    }
}

/// A quantity that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// [`Run::peak_rss`].
    Peak,
    /// [`Run::average_rss`].
    Average,
    /// [`Run::wall_ns`].
    Time,
}

impl Quantity {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Peak, Self::Average, Self::Time];

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peak => "peak",
            Self::Average => "average",
            Self::Time => "time",
        }
    }

    const fn of(self, run: &Run) -> u64 {
        match self {
            Self::Peak => run.peak_rss,
            Self::Average => run.average_rss,
            Self::Time => run.wall_ns,
        }
    }
}

/// A command and its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// As it was given.
    pub text: String,
    /// What was executed.
    pub argv: Vec<String>,
    /// Names and values of the parameters that stand in it.
    pub parameters: Vec<(String, String)>,
    /// In the order in which they were made.
    pub runs: Vec<Run>,
}

/// All commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// In the order in which they were given.
    pub commands: Vec<Command>,
    /// Runs before those that count, of each command.
    pub warmup: u32,
    /// Runs of different commands took turns.
    pub interleaved: bool,
    /// Bytes per page.
    pub page_size: u64,
}

impl Command {
    /// The least exact of all runs.
    #[must_use]
    pub fn worst(&self) -> Verdict {
        self.runs
            .iter()
            .map(|run| run.verdict)
            .max_by_key(|verdict| match verdict {
                Verdict::Exact => (0, 0),
                Verdict::Within(bytes) => (1, *bytes),
                Verdict::Incomplete => (2, 0),
            })
            .unwrap_or(Verdict::Incomplete)
    }

    /// Runs that did not end with status 0.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.runs
            .iter()
            .filter(|run| run.exit_status != Some(0))
            .count()
    }
}

impl Comparison {
    /// Statistics of one quantity of a command; `None` if it has no runs.
    #[must_use]
    pub fn statistics(&self, command: &Command, quantity: Quantity) -> Option<Statistics> {
        let values: Vec<u64> = command.runs.iter().map(|run| quantity.of(run)).collect();
        let quantum = match quantity {
            Quantity::Peak | Quantity::Average => self.page_size,
            // Below a tenth of a millisecond, times are of the clock and the scheduler.
            Quantity::Time => 100_000,
        };
        Statistics::of(&values, quantum)
    }

    /// Of every command, in order, with the index of the one with the least mean.
    fn all(&self, quantity: Quantity) -> (Vec<Option<Statistics>>, Option<usize>) {
        let all: Vec<Option<Statistics>> = self
            .commands
            .iter()
            .map(|command| self.statistics(command, quantity))
            .collect();
        let best = all
            .iter()
            .enumerate()
            .filter_map(|(index, statistics)| Some((index, statistics.as_ref()?.mean)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(index, _)| index);
        (all, best)
    }
}

/// What the least exact run of a command says.
fn certificate(command: &Command) -> String {
    let number = command.runs.len();
    let runs = counted(number as u64, "run", "runs");
    match command.worst() {
        Verdict::Exact => match number {
            1 => "yes, in the only run".to_owned(),
            _ => format!("yes, in all {runs}"),
        },
        Verdict::Within(bytes) => {
            format!("NO, within {} in the worst of {runs}", human(bytes))
        }
        Verdict::Incomplete => format!("NO, incomplete in the worst of {runs}"),
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::{Command, Comparison, Run};
    use crate::model::Verdict;

    pub(crate) fn run(peak: u64, average: u64, wall_ms: u64) -> Run {
        Run {
            peak_rss: peak << 20,
            average_rss: average << 20,
            wall_ns: wall_ms * 1_000_000,
            user_ns: 0,
            system_ns: 0,
            processes: 1,
            exit_status: Some(0),
            signal: None,
            verdict: Verdict::Exact,
        }
    }

    /// 10 and 20 MiB, with one percent and none of deviation.
    pub(crate) fn comparison() -> Comparison {
        let command = |text: &str, runs: &[Run]| Command {
            text: text.to_owned(),
            argv: vec![text.to_owned()],
            parameters: Vec::new(),
            runs: runs.to_vec(),
        };
        let mut inexact = run(20, 6, 90);
        inexact.verdict = Verdict::Within(4096);
        Comparison {
            commands: vec![
                command(
                    "a|b\u{1b}",
                    &[run(9, 5, 100), run(11, 5, 100), run(10, 5, 100)],
                ),
                command("c", &[run(20, 6, 90), inexact, run(20, 6, 90)]),
            ],
            warmup: 1,
            interleaved: true,
            page_size: 4096,
        }
    }
}
