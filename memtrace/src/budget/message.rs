//! What a finding says to people: one line, with every name escaped.

use std::collections::BTreeMap;

use super::{Doubt, Finding, Judgement, Measured, Scope};
use crate::{
    model::{ImageSummary, Origin, Summary},
    report::{
        escape::{clip, command_line, escape},
        times::Times,
        truth::truth,
        units::{grouped, human},
    },
};

/// Programs that are named as holders of a tree's peak.
const HOLDERS: usize = 3;
/// Characters of a program's name and arguments.
const NAME: usize = 60;

impl Finding<'_> {
    /// One line for people: the budget, the number, who and when.
    #[must_use]
    pub fn message(&self, summary: &Summary, doubt: Doubt) -> String {
        let name = escape(self.budget.name.as_bytes());
        let limit = amount(self.budget.limit.bytes());
        let Some(measured) = &self.measured else {
            return format!("budget {name}: {}", self.nobody());
        };
        let what = self.what(summary, measured);
        match self.judgement {
            Judgement::Missed => {
                let over = human(measured.bytes.saturating_sub(self.budget.limit.bytes()));
                format!(
                    "budget {name} missed: {what} is {over} over the limit of {limit}{}{}",
                    self.where_from(summary, measured),
                    self.others()
                )
            }
            Judgement::Undecided => {
                let counted = if self.is_missed(doubt) {
                    "missed"
                } else {
                    "kept"
                };
                format!(
                    "budget {name} cannot be decided and counts as {counted}: {what}, truly {}, limit {limit}{}{}",
                    truth(measured.low, measured.high, amount),
                    self.where_from(summary, measured),
                    self.others()
                )
            }
            Judgement::Kept | Judgement::NothingToJudge => {
                format!("budget {name} kept: {what}, limit {limit}")
            }
        }
    }

    /// Where no program matched.
    fn nobody(&self) -> String {
        match &self.budget.scope {
            Scope::Program(pattern) => format!("no program matched '{}'", pattern.shown()),
            Scope::Tree => "nothing was measured".to_owned(),
        }
    }

    /// The quantity, its value and whose it is.
    fn what(&self, summary: &Summary, measured: &Measured) -> String {
        let mut text = format!("{} {}", self.budget.quantity.name(), amount(measured.bytes));
        if let Some(image) = image(summary, measured) {
            text.push_str(" of ");
            text.push_str(&who(image));
        }
        text
    }

    /// The moment and, for the tree, who held it.
    fn where_from(&self, summary: &Summary, measured: &Measured) -> String {
        let mut text = measured
            .at_ns
            .map(|at| format!(", at +{}", Times::of(summary).show(at)))
            .unwrap_or_default();
        if measured.image.is_none() && measured.at_ns.is_some() {
            let holders = holders(summary);
            if !holders.is_empty() {
                text.push_str(", held by ");
                text.push_str(&holders);
            }
        }
        text
    }

    /// How many more.
    fn others(&self) -> String {
        let more = self.alike.saturating_sub(1);
        let what = match (self.judgement, more) {
            (_, 0) => return String::new(),
            (Judgement::Missed, 1) => "process is over it",
            (Judgement::Missed, _) => "processes are over it",
            (_, 1) => "process cannot be decided",
            (_, _) => "processes cannot be decided",
        };
        format!("; {} more {what}", grouped(more as u64))
    }
}

fn image<'a>(summary: &'a Summary, measured: &Measured) -> Option<&'a ImageSummary> {
    measured.image.and_then(|index| summary.images.get(index))
}

/// `2.0 GiB (2,147,483,648 bytes)`.
fn amount(bytes: u64) -> String {
    format!("{} ({} bytes)", human(bytes), grouped(bytes))
}

/// `cc1plus [4242] -quiet parser.cc`.
fn who(image: &ImageSummary) -> String {
    let name = escape(image.program.name());
    let fork = if image.origin == Origin::Fork {
        " (fork)"
    } else {
        ""
    };
    let args = command_line(image.program.args.get(1..).unwrap_or_default());
    let space = if args.is_empty() { "" } else { " " };
    clip(&format!("{name} [{}]{fork}{space}{args}", image.pid), NAME)
}

/// Who held the tree's peak, like programs together, largest first.
fn holders(summary: &Summary) -> String {
    let mut groups: BTreeMap<&[u8], (u64, u64, u32)> = BTreeMap::new();
    for holder in &summary.tree.at_peak {
        if let Some(image) = summary.images.get(holder.image) {
            let (bytes, count, pid) = groups.entry(image.program.name()).or_default();
            *bytes = bytes.saturating_add(holder.held.rss());
            *count += 1;
            *pid = image.pid;
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (bytes, _, _))| std::cmp::Reverse(*bytes));
    let others = groups.len().saturating_sub(HOLDERS);
    let mut parts: Vec<String> = groups
        .iter()
        .take(HOLDERS)
        .map(|(name, (bytes, count, pid))| {
            let name = clip(&escape(name), NAME);
            let which = if *count == 1 {
                format!("[{pid}]")
            } else {
                format!("x{}", grouped(*count))
            };
            format!("{name} {which} ({})", human(*bytes))
        })
        .collect();
    if others > 0 {
        parts.push(format!("{others} other programs"));
    }
    parts.join(", ")
}
