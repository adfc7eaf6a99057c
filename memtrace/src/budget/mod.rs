//! Budgets: limits on the memory of a run, and whether it kept them.
//!
//! A [`Budget`] limits one [`Quantity`] of the whole tree or of each program that matches a
//! pattern. [`judge`] holds it against a [`Summary`](crate::model::Summary). Where the certificate does not say
//! `exact`, the result is a range, and a budget is surely kept, surely missed, or cannot be
//! decided ([`Judgement`]); [`Doubt`] says what the last of these counts as.
//!
//! ```no_run
//! use memtrace::{Tracer, budget::{Budget, Doubt, Quantity, judge}};
//!
//! let traced = Tracer::run(["make", "-j8"])?;
//! let budget = Budget::tree("--max-peak", Quantity::Peak, "2GiB".parse().unwrap());
//! let finding = judge(traced.summary(), &budget);
//! assert!(!finding.is_missed(Doubt::Measured), "{}", finding.message(traced.summary(), Doubt::Measured));
//! # Ok::<(), memtrace::TraceError>(())
//! ```

mod file;
mod judge;
mod message;
mod pattern;
mod size;

pub use file::{BudgetFile, FileError};
pub use judge::judge;
pub use pattern::{Pattern, PatternError};
pub use size::{Size, SizeError};

/// Exit status when a budget was missed and the command itself succeeded: what timeout(1)
/// ends with when its limit was hit.
pub const BUDGET_MISSED: i32 = 124;

/// What a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// The peak of RSS: of a tree, the largest simultaneous sum over it; of a program, of
    /// each of its images.
    Peak,
    /// The largest peak of RSS that any single image of the tree had.
    ProcessPeak,
    /// The time-weighted mean of RSS.
    Average,
}

impl Quantity {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peak => "peak",
            Self::ProcessPeak => "process peak",
            Self::Average => "average",
        }
    }

    /// The key in a budget file, and the option without its dashes.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Peak => "max-peak",
            Self::ProcessPeak => "max-process-peak",
            Self::Average => "max-average",
        }
    }
}

/// Whose memory a budget limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole process tree.
    Tree,
    /// Each image, on its own, of a program that the pattern matches.
    Program(Pattern),
}

/// Where a budget is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What people call it: an option, or the name in the budget file.
    pub name: String,
    /// What it limits.
    pub quantity: Quantity,
    /// Whose.
    pub scope: Scope,
    /// The largest value that keeps it.
    pub limit: Size,
    /// Where it is written down, if it came from a file.
    pub place: Option<Place>,
}

impl Budget {
    /// A limit on the whole tree.
    #[must_use]
    pub fn tree(name: impl Into<String>, quantity: Quantity, limit: Size) -> Self {
        Self {
            name: name.into(),
            quantity,
            scope: Scope::Tree,
            limit,
            place: None,
        }
    }
}

/// What a budget that cannot be decided counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doubt {
    /// What the measured number says, as if it were exact.
    #[default]
    Measured,
    /// Kept.
    Kept,
    /// Missed.
    Missed,
}

/// Whether a run kept a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Surely: no value that is possible is over the limit.
    Kept,
    /// Surely: every value that is possible is over the limit.
    Missed,
    /// The limit is between the least and the largest value that is possible.
    Undecided,
    /// No program of the run matched.
    NothingToJudge,
}

/// What was measured, and where the truth is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The number that the result gives, bytes.
    pub bytes: u64,
    /// The truth is not below this.
    pub low: u64,
    /// Nor above this; `None` if nothing is known.
    pub high: Option<u64>,
    /// When it was, nanoseconds since the tree's start; an average has no moment.
    pub at_ns: Option<u64>,
    /// Whose it is, as an index in [`Summary::images`](crate::model::Summary::images);
    /// `None`: the whole tree's.
    pub image: Option<usize>,
}

/// A budget held against a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// The budget.
    pub budget: &'a Budget,
    /// Whether it was kept.
    pub judgement: Judgement,
    /// The value that decided; `None` if no program matched.
    pub measured: Option<Measured>,
    /// How many of the images that the budget is about are judged like this; 1 for the tree.
    pub alike: usize,
}

impl Finding<'_> {
    /// Whether it counts as missed.
    #[must_use]
    pub fn is_missed(&self, doubt: Doubt) -> bool {
        match (self.judgement, doubt) {
            (Judgement::Missed, _) | (Judgement::Undecided, Doubt::Missed) => true,
            (Judgement::Kept | Judgement::NothingToJudge, _)
            | (Judgement::Undecided, Doubt::Kept) => false,
            (Judgement::Undecided, Doubt::Measured) => self
                .measured
                .is_some_and(|measured| measured.bytes > self.budget.limit.bytes()),
        }
    }
}
