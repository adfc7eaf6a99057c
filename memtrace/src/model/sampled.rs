//! What a result is worth whose numbers were read now and then instead of counted.

use std::collections::BTreeMap;

use super::{
    certificate::{Certificate, Lost, SizesSeen, Verdict},
    final_state::{CrossChecks, Final, Stats},
    quantities::Quantities,
    summary::{ImageSummary, PeakRange, TreeSummary},
};

/// What whoever read the numbers knows of how far from the truth they can be. With it the model, which proves of
/// counters that they fit together, proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Of the peaks of RSS.
    pub verdict: Verdict,
    /// Where the tree's true peak lies, if that was found out.
    pub range: Option<PeakRange>,
    /// The same of images, by their ids.
    pub images: BTreeMap<u64, PeakRange>,
    /// Why the numbers are not exact.
    pub reasons: Vec<String>,
    /// Facts that change no number.
    pub remarks: Vec<String>,
}

impl Sampled {
    /// The tier of such results.
    pub const TIER: &str = "P";

    /// Of a recording without an end: nothing is bounded.
    pub(crate) const fn without_end() -> Self {
        Self {
            verdict: Verdict::Incomplete,
            range: None,
            images: BTreeMap::new(),
            reasons: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Says where the true peaks lie.
    pub(super) fn mark(&self, tree: &mut TreeSummary, images: &mut [ImageSummary]) {
        const ANYWHERE: PeakRange = PeakRange { low: 0, high: None };
        tree.peak_range = Some(self.range.unwrap_or(ANYWHERE));
        for image in images {
            let range = self.images.get(&image.id).copied();
            image.peak_range = Some(range.unwrap_or(ANYWHERE));
        }
    }

    /// The statement printed with the result. What is known of it otherwise, as of a damaged recording, is in
    /// [`Final::limits`].
    pub(super) fn certificate(&self, last: &Final, breakdown: u64) -> Certificate {
        let mut verdict = self.verdict;
        if last.limits.iter().any(|limit| limit.bound_bytes.is_none()) {
            verdict = Verdict::Incomplete;
        }
        let limits = last.limits.iter().map(|limit| &limit.reason);
        Certificate {
            verdict,
            quantities: Quantities::of_samples(verdict),
            reasons: self.reasons.iter().chain(limits).cloned().collect(),
            remarks: self.remarks.clone(),
            tier: last.tier.clone(),
            events: 0,
            lost: Lost::default(),
            residual_bytes: 0,
            breakdown_difference_bytes: breakdown,
            cross_checks: CrossChecks::default(),
            sizes_seen: SizesSeen::NowAndThen,
            segments: None,
            stats: Stats::default(),
        }
    }
}
