//! What the result of a run without BPF is worth: where the true peaks lie, and why.

use super::{
    bounds::{self, Range},
    image::Image,
    last::Facts,
    records,
    tree::Tree,
    unseen::{self, Unseen},
};
use crate::{
    model::{
        PeakRange, Sampled, Verdict,
        reasons::{Remedy, counted},
    },
    units::{duration, human},
};

/// What the peak of the tree is taken to be, and where it can be.
pub(super) struct Peak {
    pub(super) rss: u64,
    pub(super) at: u64,
    range: PeakRange,
    /// No number that the verdict speaks of is further from the truth.
    within: Option<u64>,
}

/// What was found out, and what it is worth.
pub(super) struct Found {
    pub(super) peak: Peak,
    pub(super) sampled: Sampled,
}

pub(super) fn judge(tree: &Tree, facts: &Facts) -> Found {
    let ranges = bounds::of_images(tree, facts.followed, &facts.error);
    let unseen = unseen::find(tree, &ranges, facts.before, &facts.error);
    let peak = peak(tree, &ranges, &unseen, facts);
    let sampled = sampled(tree, &ranges, &peak, unseen, facts);
    Found { peak, sampled }
}

fn peak(tree: &Tree, ranges: &[Range], unseen: &Unseen, facts: &Facts) -> Peak {
    let images = || tree.images.iter().zip(ranges).filter(|(i, _)| !i.void);
    let single = images().max_by_key(|(image, _)| image.hwm);
    let (mut rss, mut at) = (tree.best.rss, tree.best.at);
    if let Some((image, _)) = single.filter(|(image, _)| image.hwm > rss) {
        (rss, at) = (image.hwm, image.largest.0);
    }
    // A sum of values that were read one after another proves no lower bound.
    let mut low = images().map(|(_, range)| range.low).max().unwrap_or(0);
    if let Some((maxrss, end)) = unseen.largest {
        // Some process of the tree was that large, whether it was looked at then or not.
        let threads = images().map(|(image, _)| image.threads).max();
        let least = maxrss.saturating_sub(facts.error.of(threads.unwrap_or(1)));
        low = low.max(least);
        if least > rss {
            (rss, at) = (maxrss, end);
        }
    }
    let high = (facts.followed && unseen.proofs.is_empty())
        .then(|| bounds::of_tree(tree, ranges))
        .flatten()
        // Whatever else is printed beside it: what ru_maxrss is of may have been the
        // command's process before its exec, but need not.
        .map(|high| high.max(rss).max(facts.ending.maxrss_bytes.unwrap_or(0)));
    let own = images()
        .filter(|(image, _)| image.read_at_end || image.end.is_none())
        .filter_map(|(image, range)| Some(range.high?.saturating_sub(image.hwm)))
        .max()
        .unwrap_or(0);
    Peak {
        rss,
        at,
        within: high.map(|high| (high - rss).max(rss.saturating_sub(low)).max(own)),
        range: PeakRange { low, high },
    }
}

fn sampled(tree: &Tree, ranges: &[Range], peak: &Peak, unseen: Unseen, facts: &Facts) -> Sampled {
    let mut reasons = facts.failures.clone();
    reasons.extend(unseen.proofs);
    let images: Vec<(&Image, &Range)> = tree
        .images
        .iter()
        .zip(ranges)
        .filter(|(image, _)| !image.void)
        .collect();
    let widest = images
        .iter()
        .map(|(image, _)| facts.error.of(image.threads))
        .max()
        .unwrap_or_else(|| facts.error.of(1));
    reasons.push(format!(
        "the peak of a process is the kernel's VmHWM{}, which can be off by {}: {}",
        if facts.followed {
            " at its end"
        } else {
            " when it was last looked at"
        },
        human(widest),
        facts.error.reason
    ));
    if images.len() > 1 {
        let range = match peak.range.high {
            Some(high) => format!("between {} and {}", human(peak.range.low), human(high)),
            None => format!("at least {}", human(peak.range.low)),
        };
        reasons.push(format!(
            "the tree's peak is the largest of {}, each read one process after another within {}, or the largest process; the true one is {range}",
            counted(tree.samples, "sample", "samples"),
            duration(tree.longest_sample)
        ));
    }
    let reset = images
        .iter()
        .filter(|(image, _)| image.fallen > facts.error.of(image.threads))
        .count();
    if reset > 0 {
        reasons.push(format!(
            "{reset} {} (/proc/PID/clear_refs): the bound is what was mapped",
            if reset == 1 {
                "program reset its VmHWM"
            } else {
                "programs reset their VmHWM"
            }
        ));
    }
    if peak.within.is_some() {
        reasons.push(
            "the bounds assume that no program resets its VmHWM (a 5 written to /proc/PID/clear_refs) unnoticed, and that none creates a process with CLONE_UNTRACED, which is not followed"
                .to_owned(),
        );
    }
    let before_exec = images
        .iter()
        .filter(|(image, _)| image.replaced_by.is_some())
        .count();
    if before_exec > 0 {
        reasons.push(format!(
            "what {} before their exec was only sampled",
            counted(before_exec as u64, "process was", "processes were")
        ));
    }
    let unread = images
        .iter()
        .filter(|(image, _)| {
            image.end.is_some() && !image.read_at_end && image.replaced_by.is_none()
        })
        .count();
    if unread > 0 && facts.followed {
        reasons.push(format!(
            "{} ended without a last look at their memory",
            counted(unread as u64, "process", "processes")
        ));
    }
    reasons.push(
        "who held what, amounts per kind, times of peaks and averages are sampled and have no bound"
            .to_owned(),
    );
    let parts = tree.best.parts.iter();
    let sum = parts.fold(0_u64, |sum, (_, held)| sum.saturating_add(held.rss()));
    let breakdown = peak.rss.saturating_sub(sum);
    if breakdown > 0 {
        reasons.push(format!(
            "who held what is that of the largest sample, which is {} below the peak",
            human(breakdown)
        ));
    }
    for program in &tree.unprivileged {
        reasons.push(Remedy::KeepPrivileges.end(&format!(
            "{} ran without the privileges of its file, because it was traced",
            String::from_utf8_lossy(program)
        )));
    }
    let reasons = reasons.iter().map(|reason| Remedy::UseBpf.end(reason));
    let remarks = [
        "heap sizes, means of data and stack, pages of hugetlbfs and OOM kills are not known in this tier and given as 0 or false",
        "what is shared after fork is not known: the footprint is given as between the largest process and the sum of RSS",
    ];
    let verdict = match peak.within {
        Some(bytes) if facts.followed && facts.failures.is_empty() => Verdict::Within(bytes),
        _ => Verdict::Incomplete,
    };
    let of_images = tree.images.with_places().zip(ranges);
    Sampled {
        verdict,
        range: Some(peak.range),
        images: of_images
            .filter(|((_, image), _)| !image.void)
            .map(|((place, _), &Range { low, high })| (records::id(place), PeakRange { low, high }))
            .collect(),
        reasons: reasons.collect(),
        remarks: remarks.map(str::to_owned).to_vec(),
    }
}
