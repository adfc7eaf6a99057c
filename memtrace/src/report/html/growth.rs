//! What grew from one run to the other, program by program.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{numbers::EXACT, processes::name};
use crate::model::Summary;

/// Programs in the list; the rest is summed up in one line.
const PROGRAMS: usize = 500;

/// One program in both runs. `[a, b]`.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Growth {
    pub(super) name: String,
    /// Images that ran.
    pub(super) images: [u64; 2],
    /// What they held at the tree's peak; sums to the peaks.
    pub(super) at_peak: [u64; 2],
    /// The largest peak of a single image.
    pub(super) largest: [u64; 2],
}

impl Growth {
    /// Bytes that it contributes more to the second peak than to the first.
    pub(super) fn grown(&self) -> i128 {
        let [a, b] = self.at_peak.map(i128::from);
        b - a
    }
}

/// All programs, by how much their part of the peak changed.
pub(super) fn growth(a: &Summary, b: &Summary) -> Vec<Growth> {
    let mut programs: BTreeMap<&[u8], Growth> = BTreeMap::new();
    for (run, summary) in [a, b].into_iter().enumerate() {
        for image in &summary.images {
            let growth = programs.entry(image.program.name()).or_default();
            if growth.name.is_empty() {
                growth.name = name(image);
            }
            let parts = [&mut growth.images, &mut growth.at_peak, &mut growth.largest];
            let [images, at_peak, largest] = parts.map(|pair| pair.get_mut(run));
            if let (Some(images), Some(at_peak), Some(largest)) = (images, at_peak, largest) {
                *images += u64::from(image.ran());
                *at_peak = at_peak.saturating_add(image.at_tree_peak.rss()).min(EXACT);
                *largest = (*largest).max(image.peak_rss.min(EXACT));
            }
        }
    }
    let mut list: Vec<Growth> = programs.into_values().collect();
    list.sort_by(|x, y| {
        let by = |growth: &Growth| (growth.grown().unsigned_abs(), growth.largest);
        by(y).cmp(&by(x)).then_with(|| x.name.cmp(&y.name))
    });
    if list.len() > PROGRAMS {
        let rest = list.split_off(PROGRAMS);
        let mut sum = Growth {
            name: format!("{} other programs", rest.len()),
            ..Growth::default()
        };
        for growth in rest {
            for run in 0..2 {
                sum.images[run] = sum.images[run].saturating_add(growth.images[run]);
                sum.at_peak[run] = sum.at_peak[run].saturating_add(growth.at_peak[run]);
                sum.largest[run] = sum.largest[run].max(growth.largest[run]);
            }
        }
        list.push(sum);
    }
    list
}
