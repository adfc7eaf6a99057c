//! The result in a few words, as the summary for people has it.

use crate::{
    model::{Outcome, Summary, Verdict},
    report::{
        needs::Needs,
        truth::truth,
        units::{grouped, human, seconds},
    },
};

/// The words.
#[derive(Clone, Debug)]
pub(in crate::report) struct Headline {
    /// The amount: `1.4 GiB`, or `100.0 MiB to 120.0 MiB`.
    pub(in crate::report) figure: String,
    /// What it is.
    pub(in crate::report) label: &'static str,
    /// In bytes, and when.
    pub(in crate::report) exactly: String,
    /// Where fork makes pages count twice, or the peak is sampled: how that belongs together.
    pub(in crate::report) relation: Option<String>,
}

impl Headline {
    pub(in crate::report) fn new(summary: &Summary) -> Self {
        let tree = &summary.tree;
        let footprint = tree.footprint;
        let when = |ns| format!("at +{}", seconds(ns));
        let rss = format!("{} bytes {}", grouped(tree.peak_rss), when(tree.peak_at_ns));
        if let Some(range) = tree.peak_range {
            return Self {
                figure: human(tree.peak_rss),
                label: "sampled peak of memory",
                exactly: rss,
                relation: Some(format!(
                    "The true peak is {}.",
                    truth(range.low, range.high, human)
                )),
            };
        }
        let Some(needs) = Needs::of(summary) else {
            return Self {
                figure: human(tree.peak_rss),
                label: "peak of memory",
                exactly: rss,
                relation: None,
            };
        };
        let low = format!("{} bytes", grouped(footprint.low));
        let exactly = if footprint.low == footprint.high {
            format!("{low} {}", when(footprint.low_at_ns))
        } else {
            format!(
                "between {low} {} and {} bytes {}",
                when(footprint.low_at_ns),
                grouped(footprint.high),
                when(footprint.high_at_ns)
            )
        };
        let about = needs.about().map_or_else(String::new, |about| {
            format!(
                " A snapshot of PSS near the peak says about {}.",
                human(about)
            )
        });
        let parts = needs.parts.join("; ");
        Self {
            figure: needs.figure(),
            label: "of memory needed",
            exactly,
            relation: Some(format!(
                "The sum of RSS peaked at {} ({rss}): {parts}. What is shared counts once here.{about}",
                human(tree.peak_rss)
            )),
        }
    }
}

/// How exact the result is: a word for the reader's eye, and a class for its colour.
pub(in crate::report) fn verdict(summary: &Summary) -> (String, &'static str) {
    match summary.certificate.verdict {
        Verdict::Exact => ("exact".to_owned(), "good"),
        Verdict::Within(bytes) => (format!("within {}", human(bytes)), "fair"),
        Verdict::Incomplete => ("incomplete".to_owned(), "bad"),
    }
}

/// `exit 0`, `signal 9`, `still running`.
pub(in crate::report) fn ending(outcome: Option<Outcome>) -> String {
    match outcome {
        None => "still running".to_owned(),
        Some(outcome) => match (outcome.exit_status, outcome.signal) {
            (Some(status), _) => format!("exit {status}"),
            (None, Some(signal)) if outcome.core_dumped => {
                format!("signal {signal}, core dumped")
            }
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
    }
}

/// `1 process`, `1,204 processes`.
pub(in crate::report) fn counted(count: usize, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{} {noun}", grouped(count as u64))
}

/// What the images' own peaks sum to, which need not coincide; of those that ran.
pub(in crate::report) fn sum_of_peaks(summary: &Summary) -> u64 {
    let ran = summary.images.iter().filter(|image| image.ran());
    ran.fold(0, |sum: u64, image| sum.saturating_add(image.peak_rss))
}
