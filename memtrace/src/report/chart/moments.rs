//! A timeline gone through span by span, with what each image held at its moments.

use crate::model::{ImageSpan, Timeline, TreeSpan};

/// One image in one span of the tree, bytes of RSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Index of the image.
    pub(super) image: usize,
    /// What it held before the span.
    pub(super) before: u64,
    /// What it counted for at the instant of the tree's maximum in the span.
    pub(super) at_max: u64,
    /// What it held after the span, and until its next step.
    pub(super) after: u64,
}

/// The spans of all images, in the order of the tree's.
#[derive(Debug)]
pub(super) struct Moments<'a> {
    timeline: &'a Timeline,
    /// Which span of the tree, which image, which of its spans.
    order: Vec<(usize, usize, usize)>,
}

impl<'a> Moments<'a> {
    /// Puts the spans in order.
    pub(super) fn new(timeline: &'a Timeline) -> Self {
        let mut order: Vec<(usize, usize, usize)> = Vec::new();
        for (image, spans) in timeline.images.iter().enumerate() {
            for (i, span) in spans.iter().enumerate() {
                // An image that does not count yet can have a span where the tree has none.
                let begun = timeline
                    .tree
                    .partition_point(|tree| tree.start_ns <= span.start_ns);
                order.push((begun.saturating_sub(1), image, i));
            }
        }
        order.sort_unstable();
        Self { timeline, order }
    }

    fn span(&self, image: usize, i: usize) -> Option<&'a ImageSpan> {
        self.timeline.images.get(image)?.get(i)
    }

    /// Calls `visit` with each span of the tree and the images that changed in it. Images
    /// without a step hold what they held. Of several spans at the same time (where each change
    /// was recorded), only after the last one it is known who holds what: the others are left out.
    pub(super) fn walk(&self, mut visit: impl FnMut(usize, &TreeSpan, &[Step])) {
        let mut held = vec![0_u64; self.timeline.images.len()];
        let mut steps: Vec<Step> = Vec::new();
        let mut next = self.order.iter().peekable();
        for (index, tree) in self.timeline.tree.iter().enumerate() {
            let next_tree = self.timeline.tree.get(index + 1);
            if next_tree.is_some_and(|next| next.start_ns == tree.start_ns) {
                continue;
            }
            steps.clear();
            while let Some(&(_, image, i)) = next.next_if(|at| at.0 <= index) {
                let (Some(span), Some(held)) = (self.span(image, i), held.get_mut(image)) else {
                    continue;
                };
                if steps.last().is_none_or(|step| step.image != image) {
                    steps.push(Step {
                        image,
                        before: *held,
                        at_max: *held,
                        after: *held,
                    });
                }
                *held = span.last.rss();
                if let Some(step) = steps.last_mut() {
                    step.after = *held;
                    if span.start_ns == tree.start_ns {
                        step.at_max = span.at_tree_max.rss();
                    } else if span.start_ns < tree.start_ns {
                        step.at_max = *held;
                    }
                }
            }
            visit(index, tree, &steps);
        }
    }
}
