//! Which program is drawn in which layer: the largest in one of their own, the rest together.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    model::{Amounts, Summary},
    report::escape::{clip, escape},
};

/// Layers with one program each. People tell no more colours apart.
const NAMED: usize = 7;
/// Layers: the named, and the rest.
pub(in crate::report) const LAYERS: usize = NAMED + 1;
/// Index of the layer of the rest.
pub(in crate::report) const OTHERS: usize = NAMED;
/// Characters of a name that are shown.
const NAME_WIDTH: usize = 40;

/// One layer.
#[derive(Clone, Debug, Default)]
pub(in crate::report) struct Layer {
    /// What to call it, escaped for terminals; for HTML or XML it must be escaped once more.
    pub(in crate::report) name: String,
    /// Images in it.
    pub(in crate::report) images: usize,
    /// Different programs in it.
    pub(in crate::report) programs: usize,
    /// What its images held at the tree's peak.
    pub(in crate::report) at_peak: Amounts,
    /// How many images held something then.
    pub(in crate::report) holders: usize,
    /// The largest of what they held.
    pub(in crate::report) largest_holder: u64,
    /// How much of it, at most, was shared after fork.
    pub(in crate::report) shared: u64,
}

/// All programs, in layers.
#[derive(Clone, Debug)]
pub(in crate::report) struct Layers {
    /// [`LAYERS`] of them; those without images are empty.
    pub(in crate::report) layers: Vec<Layer>,
    /// Of each image, by index.
    of_image: Vec<usize>,
}

/// What decides about a layer of its own.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    at_peak: u64,
    /// Byte-nanoseconds.
    area: u128,
}

impl Layers {
    /// Sorts the programs by their share of the peak, or of the area under the curve of the
    /// whole run, whichever is larger.
    pub(in crate::report) fn new(summary: &Summary) -> Self {
        let mut weights: BTreeMap<&[u8], Weight> = BTreeMap::new();
        for image in &summary.images {
            let weight = weights.entry(image.program.name()).or_default();
            let area = u128::from(image.average_rss) * u128::from(image.lifetime_ns);
            weight.area = weight.area.saturating_add(area);
        }
        for holder in &summary.tree.at_peak {
            if let Some(image) = summary.images.get(holder.image)
                && let Some(weight) = weights.get_mut(image.program.name())
            {
                weight.at_peak = weight.at_peak.saturating_add(holder.held.rss());
            }
        }
        let peak: u64 = weights
            .values()
            .fold(0, |sum, weight| sum.saturating_add(weight.at_peak));
        let area: u128 = weights
            .values()
            .fold(0, |sum, weight| sum.saturating_add(weight.area));
        let share = |weight: &Weight| {
            let of_peak = u128::from(weight.at_peak) * 1_000_000 / u128::from(peak.max(1));
            // Divided first: areas can be too large to be multiplied.
            let of_area = weight.area / (area / 1_000_000).max(1);
            of_peak.max(of_area)
        };
        let mut order: Vec<(&[u8], Weight)> = weights.into_iter().collect();
        order.sort_by_key(|(name, weight)| (Reverse(share(weight)), *name));
        // A layer for a single other program is better named after it.
        let named = if order.len() <= LAYERS { LAYERS } else { NAMED };
        let mut layers = vec![Layer::default(); LAYERS];
        let mut index: BTreeMap<&[u8], usize> = BTreeMap::new();
        for (i, (name, _)) in order.iter().enumerate() {
            let layer = i.min(OTHERS);
            index.insert(name, layer);
            if let Some(layer) = layers.get_mut(layer) {
                layer.programs += 1;
                layer.name = if i < named {
                    clip(&escape(name), NAME_WIDTH)
                } else {
                    String::new()
                };
            }
        }
        if let Some(others) = layers.get_mut(OTHERS)
            && others.programs > 1
        {
            others.name = format!("{} other programs", others.programs);
        }
        let of_image: Vec<usize> = summary
            .images
            .iter()
            .map(|image| index.get(image.program.name()).copied().unwrap_or(OTHERS))
            .collect();
        let mut all = Self { layers, of_image };
        all.count(summary);
        all
    }

    fn count(&mut self, summary: &Summary) {
        for &layer in &self.of_image {
            if let Some(layer) = self.layers.get_mut(layer) {
                layer.images += 1;
            }
        }
        for holder in &summary.tree.at_peak {
            let layer = self.of_image(holder.image);
            if let Some(layer) = self.layers.get_mut(layer) {
                layer.at_peak = layer.at_peak.plus(&holder.held);
                layer.holders += 1;
                layer.largest_holder = layer.largest_holder.max(holder.held.rss());
                layer.shared = layer.shared.saturating_add(holder.shared);
            }
        }
    }

    /// The layer of an image, by its index in the summary.
    pub(in crate::report) fn of_image(&self, image: usize) -> usize {
        self.of_image.get(image).copied().unwrap_or(OTHERS)
    }
}
