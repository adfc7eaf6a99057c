//! One of the two results, reduced to what is compared.

use crate::model::{ImageSummary, Origin, PeakRange, Summary, Verdict};

/// What is compared of an image, a program or a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Peak of RSS, bytes; of a program, the largest of its images.
    pub peak: u64,
    /// Time-weighted mean of RSS, bytes; of a program, over the lives of all its images.
    pub average: u64,
    /// What was held at the tree's peak, bytes; of a tree, its peak.
    pub at_tree_peak: u64,
    /// Images; of a tree, processes.
    pub count: u64,
    /// Lifetime, nanoseconds; of a program, of all its images together.
    pub time_ns: u64,
}

/// One image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What it is matched by.
    pub name: String,
    /// Its command line.
    pub command: Vec<String>,
    /// When it began, nanoseconds since the tree's start.
    pub start_ns: u64,
    /// Its numbers.
    pub numbers: Numbers,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Of the tree.
    pub total: Numbers,
    /// Between what the tree's peak truly is: at least, and at most, if that is known.
    pub peak_bounds: (u64, Option<u64>),
    /// How exact it is.
    pub verdict: Verdict,
    /// Images that ran.
    pub parts: Vec<Part>,
}

/// The bounds of a peak.
pub(super) fn bounds(peak: u64, range: Option<PeakRange>, verdict: Verdict) -> (u64, Option<u64>) {
    match (range, verdict) {
        (Some(range), _) => (range.low, range.high),
        (None, Verdict::Exact) => (peak, Some(peak)),
        (None, Verdict::Within(error)) => {
            (peak.saturating_sub(error), Some(peak.saturating_add(error)))
        }
        (None, Verdict::Incomplete) => (0, None),
    }
}

/// The name that an image is matched by.
pub(super) fn name(program: &str, fork: bool) -> String {
    if fork {
        format!("{program} (fork)")
    } else {
        program.to_owned()
    }
}

impl From<&Summary> for Side {
    fn from(summary: &Summary) -> Self {
        let tree = &summary.tree;
        let verdict = summary.certificate.verdict;
        let words = |args: &[Vec<u8>]| {
            args.iter()
                .map(|arg| String::from_utf8_lossy(arg).into_owned())
                .collect()
        };
        let part = |image: &ImageSummary| Part {
            name: name(
                &String::from_utf8_lossy(image.program.name()),
                image.origin == Origin::Fork,
            ),
            command: words(&image.program.args),
            start_ns: image.start_ns,
            numbers: Numbers {
                peak: image.peak_rss,
                average: image.average_rss,
                at_tree_peak: image.at_tree_peak.rss(),
                count: 1,
                time_ns: image.lifetime_ns,
            },
        };
        Self {
            command: words(&summary.command),
            total: Numbers {
                peak: tree.peak_rss,
                average: tree.average_rss,
                at_tree_peak: tree.peak_rss,
                count: summary.processes.len() as u64,
                time_ns: summary.wall_ns,
            },
            peak_bounds: bounds(tree.peak_rss, tree.peak_range, verdict),
            verdict,
            parts: summary
                .images
                .iter()
                .filter(|image| image.ran())
                .map(part)
                .collect(),
        }
    }
}

/// All images of a program; `None` if there are none.
pub(super) fn together(parts: &[&Part]) -> Option<Numbers> {
    if parts.is_empty() {
        return None;
    }
    let mut sum = Numbers::default();
    let (mut area, mut lifetime) = (0_u128, 0_u128);
    for Part { numbers, .. } in parts {
        sum.peak = sum.peak.max(numbers.peak);
        sum.at_tree_peak = sum.at_tree_peak.saturating_add(numbers.at_tree_peak);
        sum.count = sum.count.saturating_add(numbers.count);
        sum.time_ns = sum.time_ns.saturating_add(numbers.time_ns);
        let time = u128::from(numbers.time_ns);
        area = area.saturating_add(u128::from(numbers.average).saturating_mul(time));
        lifetime = lifetime.saturating_add(time);
    }
    let average = area.checked_div(lifetime).unwrap_or(0);
    sum.average = u64::try_from(average).unwrap_or(u64::MAX);
    Some(sum)
}
