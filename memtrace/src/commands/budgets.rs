//! Budgets of a run: collected before it, judged after it.

use std::{
    fs::File,
    io::{self, BufWriter, Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use memtrace::{
    PeakLimit,
    budget::{
        BUDGET_MISSED, Budget, BudgetFile, Doubt, FileError, Finding, Judgement, Quantity, Scope,
        judge,
    },
    launch::{IfExists, OutputError, open_output},
    model::Summary,
    report::{annotations, junit},
};

use super::failure::say;
use crate::cli::{AnnotationsArg, BudgetArgs, UndecidedArg};

/// A budget file is written by people.
const LARGEST: u64 = 1 << 20;

/// What is asked of a run.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    budgets: Vec<Budget>,
    doubt: Doubt,
    annotations: Option<AnnotationsArg>,
    junit: Option<File>,
    limit: Option<PeakLimit>,
}

/// Why the budgets cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BudgetError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than {LARGEST} bytes, which is no budget file", .0.display())]
    TooLarge(PathBuf),
    #[error("{} is not UTF-8 text", .0.display())]
    NoText(PathBuf),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "--kill needs a limit on the peak: give --max-peak, or max-peak for this command in the file of --budgets"
    )]
    NothingToKillAt,
    #[error("{0} reports on budgets: give --max-peak or another limit, or --budgets FILE")]
    NoBudgets(&'static str),
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The least limit on the tree's peak.
fn least_peak(budgets: &[Budget]) -> Option<u64> {
    budgets
        .iter()
        .filter(|budget| budget.quantity == Quantity::Peak && budget.scope == Scope::Tree)
        .map(|budget| budget.limit.bytes())
        .min()
}

impl Budgets {
    /// Whether nothing is asked of the run.
    pub(super) const fn are_none(&self) -> bool {
        self.budgets.is_empty()
    }

    /// Collects what the options ask for, and opens the files to write to. What a file has is for a command, or for
    /// several if it is for each of them.
    pub(super) fn prepare(
        args: &BudgetArgs,
        commands: &[Vec<Vec<u8>>],
        program: &str,
    ) -> Result<Self, BudgetError> {
        let BudgetArgs {
            max_peak,
            max_process_peak,
            max_average,
            budgets: file,
            undecided,
            kill,
            kill_after,
            annotations,
            junit,
        } = args;
        let mut budgets: Vec<Budget> = [
            (Quantity::Peak, max_peak),
            (Quantity::ProcessPeak, max_process_peak),
            (Quantity::Average, max_average),
        ]
        .into_iter()
        .filter_map(|(quantity, limit)| Some((quantity, (*limit)?)))
        .map(|(quantity, limit)| Budget::tree(format!("--{}", quantity.key()), quantity, limit))
        .collect();
        if let Some(path) = file {
            let file = read(path)?;
            let mut of_file = match commands.first() {
                Some(first) => file.budgets_for(first),
                None => file.budgets_for(&[]),
            };
            for command in commands.iter().skip(1) {
                let also = file.budgets_for(command);
                of_file.retain(|budget| also.contains(budget));
            }
            if of_file.is_empty() {
                let whom = match commands {
                    [_] => "this command",
                    _ => "each of these processes",
                };
                say(
                    program,
                    format_args!("no budget in {} is for {whom}", path.display()),
                );
            }
            budgets.extend(of_file);
        } else if budgets.is_empty() {
            match (annotations, junit) {
                (Some(_), _) => return Err(BudgetError::NoBudgets("--annotations")),
                (None, Some(_)) => return Err(BudgetError::NoBudgets("--junit")),
                (None, None) => {}
            }
        }
        let limit = match (kill, least_peak(&budgets)) {
            (false, _) => None,
            (true, None) => return Err(BudgetError::NothingToKillAt),
            (true, Some(peak_rss)) => Some(PeakLimit {
                peak_rss,
                kill_after: *kill_after,
            }),
        };
        Ok(Self {
            budgets,
            doubt: match undecided {
                UndecidedArg::Measured => Doubt::Measured,
                UndecidedArg::Kept => Doubt::Kept,
                UndecidedArg::Missed => Doubt::Missed,
            },
            annotations: *annotations,
            junit: junit
                .as_ref()
                .map(|path| open_output(path, IfExists::Overwrite))
                .transpose()?,
            limit,
        })
    }

    /// For a command that is run.
    pub(super) fn of_command<S: AsRef<std::ffi::OsStr>>(
        args: &BudgetArgs,
        command: &[S],
        program: &str,
    ) -> Result<Self, BudgetError> {
        let words = command.iter().map(|word| word.as_ref().as_bytes().to_vec());
        Self::prepare(args, &[words.collect()], program)
    }

    /// The least limit on the tree's peak.
    pub(super) fn peak_limit(&self) -> Option<u64> {
        least_peak(&self.budgets)
    }

    /// When the tree is to be ended.
    pub(super) const fn limit(&self) -> Option<PeakLimit> {
        self.limit
    }

    /// Says what was missed; the exit status that this calls for, if any: the command's own
    /// failure comes first, unless it failed because memtrace ended it.
    pub(super) fn report(self, program: &str, summary: &Summary, status: i32) -> Option<i32> {
        let findings: Vec<Finding<'_>> = self
            .budgets
            .iter()
            .map(|budget| judge(summary, budget))
            .collect();
        for finding in &findings {
            if finding.judgement != Judgement::Kept {
                say(program, finding.message(summary, self.doubt));
            }
        }
        if let Some(AnnotationsArg::Github) = self.annotations {
            let mut out = BufWriter::new(io::stderr().lock());
            // Whoever closed standard error does not want it.
            let _ = annotations::write_github(summary, &findings, self.doubt, &mut out)
                .and_then(|()| out.flush());
        }
        let mut unwritten = false;
        if let Some(file) = &self.junit {
            let mut out = BufWriter::new(file);
            if let Err(error) =
                junit::write(summary, &findings, self.doubt, &mut out).and_then(|()| out.flush())
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                say(
                    program,
                    format_args!("cannot write the JUnit report: {error}"),
                );
                unwritten = true;
            }
        }
        let missed = findings.iter().any(|finding| finding.is_missed(self.doubt));
        let ended = summary.ended_by_limit.as_ref();
        if ended.is_some_and(|ended| !ended.command_had_ended)
            || (status == 0 && (missed || ended.is_some()))
        {
            Some(BUDGET_MISSED)
        } else if status == 0 && unwritten {
            Some(memtrace::launch::OWN_FAILURE)
        } else {
            None
        }
    }
}

fn read(path: &Path) -> Result<BudgetFile, BudgetError> {
    let failed = |source| BudgetError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let length = file
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if length as u64 > LARGEST {
        return Err(BudgetError::TooLarge(path.to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| BudgetError::NoText(path.to_owned()))?;
    Ok(BudgetFile::parse(&text, &path.display().to_string())?)
}
