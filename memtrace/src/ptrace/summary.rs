//! The result of a run without BPF, in the same form as that of one with it.
//!
//! The model proper works on exact counters and proves that they fit together. Here is
//! nothing to prove: this writes down what was read, within which bounds it holds, and
//! leaves at 0 what /proc does not tell.

use std::sync::Arc;

use super::{
    bounds::{self, CounterError, Range},
    image::Image,
    tree::{Process, Tree},
    unseen::{self, Unseen},
};
use crate::{
    launch::Finished,
    model::{
        Amounts, Certificate, Counts, CrossChecks, Fate, Footprint, Holder, ImageSummary, ImageUse,
        Lost, Outcome, PeakRange, ProcessSummary, Quantities, SizesSeen, Stats, Summary,
        TreeSummary, Verdict, VmMeans,
        reasons::{Remedy, counted},
    },
    units::{duration, human},
};

/// The name of this tier.
const TIER: &str = "P";

/// What is known apart from the tree.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) command: Vec<Vec<u8>>,
    pub(super) finished: Finished,
    /// Added to boot time gives the time of day.
    pub(super) realtime_offset: i64,
    pub(super) page_size: u64,
    pub(super) ended_at: u64,
    /// Every process was followed from its creation to its end.
    pub(super) followed: bool,
    /// Why not, or what went wrong.
    pub(super) failures: Vec<String>,
    pub(super) error: CounterError,
    /// No larger was the command's process before its first exec.
    pub(super) before: u64,
}

/// Boot time to time since the tree's start.
#[derive(Clone, Copy)]
struct Clock {
    zero: u64,
    ended_at: u64,
}

impl Clock {
    const fn ns(self, at: u64) -> u64 {
        at.saturating_sub(self.zero)
    }

    fn lifetime(self, start: u64, end: Option<u64>) -> u64 {
        end.unwrap_or(self.ended_at)
            .saturating_sub(start.max(self.zero))
    }
}

/// What the peak of the tree is taken to be, and where it can be.
struct Peak {
    rss: u64,
    at: u64,
    range: PeakRange,
    /// No number that the verdict speaks of is further from the truth.
    within: Option<u64>,
}

pub(super) fn summarize(tree: &Tree, facts: Facts) -> Summary {
    let clock = Clock {
        zero: tree.zero.unwrap_or(facts.finished.started_ns),
        ended_at: facts.ended_at,
    };
    let ranges = bounds::of_images(tree, facts.followed, &facts.error);
    let unseen = unseen::find(tree, &ranges, facts.before, &facts.error);
    let peak = peak(tree, &ranges, &unseen, &facts);
    // Images are numbered without those that turned out to be others.
    let mut numbers = vec![None; tree.images.len()];
    let kept = tree.images.iter().enumerate().filter(|(_, i)| !i.void);
    for (number, (index, _)) in kept.enumerate() {
        if let Some(slot) = numbers.get_mut(index) {
            *slot = Some(number);
        }
    }
    let number = |index: usize| numbers.get(index).copied().flatten();
    let held = |index: usize| {
        let part = tree.best.parts.iter().find(|(image, _)| *image == index);
        part.map_or_else(Amounts::default, |(_, held)| *held)
    };
    let images: Vec<ImageSummary> = tree
        .images
        .iter()
        .enumerate()
        .filter_map(|(index, image)| {
            let range = ranges.get(index)?;
            let mut summary = image_summary(tree, image, range, clock);
            summary.id = number(index)? as u64 + 1;
            summary.parent = image.parent.and_then(number).map(|n| n as u64 + 1);
            summary.at_tree_peak = held(index);
            Some(summary)
        })
        .collect();
    let processes = tree
        .processes
        .iter()
        .map(|process| process_summary(process, clock, number))
        .collect();
    let mut at_peak: Vec<Holder> = tree
        .best
        .parts
        .iter()
        .filter(|(_, held)| held.rss() > 0)
        .filter_map(|&(image, held)| {
            Some(Holder {
                image: number(image)?,
                held,
                shared: 0,
            })
        })
        .collect();
    at_peak.sort_by_key(|holder| (std::cmp::Reverse(holder.held.rss()), holder.image));
    let certificate = certificate(tree, &ranges, &peak, unseen, &facts);
    let started = i64::try_from(clock.zero).unwrap_or(0);
    let finished = facts.finished;
    Summary {
        outcome: Some(outcome(finished.status)),
        command: facts.command,
        wall_ns: u64::try_from(finished.elapsed().as_nanos()).unwrap_or(u64::MAX),
        user_ns: nanoseconds(finished.rusage.ru_utime),
        system_ns: nanoseconds(finished.rusage.ru_stime),
        kernel_maxrss: kernel_maxrss(&finished),
        started_unix_ns: u64::try_from(started.saturating_add(facts.realtime_offset)).ok(),
        page_size: facts.page_size,
        ended_by_limit: None,
        tree: tree_summary(tree, &images, &peak, clock, at_peak),
        certificate,
        processes,
        images,
        only_counted: Counts::default(),
    }
}

const fn outcome(status: i32) -> Outcome {
    Outcome::from_wait_status(status.cast_unsigned())
}

fn kernel_maxrss(finished: &Finished) -> Option<u64> {
    let kib = u64::try_from(finished.rusage.ru_maxrss).ok()?;
    Some(kib.saturating_mul(1024))
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
        .map(|high| {
            high.max(rss)
                .max(kernel_maxrss(&facts.finished).unwrap_or(0))
        });
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

fn image_summary(tree: &Tree, image: &Image, range: &Range, clock: Clock) -> ImageSummary {
    let (average, vm_size) = image.averages();
    let pid = tree.pid(image.owner).unwrap_or(0);
    let (at, own_peak) = image.largest;
    ImageSummary {
        id: 0,
        origin: image.origin,
        fate: if image.end.is_some() {
            Fate::Ended
        } else {
            Fate::Alive
        },
        parent: None,
        owner: Some(image.owner),
        pid: pid.unsigned_abs(),
        program: Arc::clone(&image.program),
        start_ns: clock.ns(image.start),
        end_ns: image.end.map(|end| clock.ns(end)),
        lifetime_ns: clock.lifetime(image.start, image.end),
        events: 0,
        peak_rss: image.hwm,
        peak_at_ns: clock.ns(at),
        peak_range: Some(PeakRange {
            low: range.low,
            high: range.high,
        }),
        peak: image.peak,
        own_peak,
        peak_rss_swap: image.peak_rss_swap.max(image.hwm),
        average,
        average_rss: average.rss(),
        at_tree_peak: Amounts::default(),
        inherited: image.inherited,
        vm: image.vm,
        vm_average: VmMeans {
            size: vm_size,
            ..VmMeans::default()
        },
        segments: None,
        peak_huge: 0,
        kernel_hiwater_rss: image.hwm,
        residual: 0,
    }
}

fn process_summary(
    process: &Process,
    clock: Clock,
    number: impl Fn(usize) -> Option<usize>,
) -> ProcessSummary {
    ProcessSummary {
        pid: process.pid.unsigned_abs(),
        ns_pid: process.ns_pid.unsigned_abs(),
        ppid: process.ppid.unsigned_abs(),
        parent: process.creator,
        root: process.root,
        comm: process.comm.clone(),
        start_ns: clock.ns(process.start),
        end_ns: process.end.map(|end| clock.ns(end)),
        lifetime_ns: clock.lifetime(process.start, process.end),
        outcome: process.status.map(outcome),
        oom_killed: false,
        survivor: process.end.is_none(),
        before: None,
        usage: process.usage,
        images: process
            .uses
            .iter()
            .filter_map(|used| {
                Some(ImageUse {
                    image: number(used.image)?,
                    kind: used.kind,
                    start_ns: clock.ns(used.start),
                    end_ns: used.end.map(|end| clock.ns(end)),
                    kernel_maxrss: None,
                })
            })
            .collect(),
    }
}

fn tree_summary(
    tree: &Tree,
    images: &[ImageSummary],
    peak: &Peak,
    clock: Clock,
    at_peak: Vec<Holder>,
) -> TreeSummary {
    let until = images.iter().map(|image| image.end_ns);
    // Once everything has ended, so has the tree.
    let duration_ns = until
        .collect::<Option<Vec<_>>>()
        .and_then(|ends| ends.into_iter().max())
        .unwrap_or_else(|| clock.ns(clock.ended_at));
    let mut areas = [0_u128; 4];
    for image in tree.images.iter().filter(|image| !image.void) {
        for (sum, area) in areas.iter_mut().zip(image.areas()) {
            *sum += area;
        }
    }
    let mean = |area: u128| {
        let mean = area / u128::from(duration_ns.max(1));
        u64::try_from(mean).unwrap_or(u64::MAX).min(peak.rss)
    };
    let [anon, file, shmem, swap] = areas;
    let average = Amounts {
        anon: mean(anon),
        file: mean(file),
        shmem: mean(shmem),
        swap: mean(swap),
    };
    let kinds = images.iter().fold(tree.peak, |most, image| Amounts {
        anon: most.anon.max(image.peak.anon),
        file: most.file.max(image.peak.file),
        shmem: most.shmem.max(image.peak.shmem),
        swap: most.swap.max(image.peak.swap),
    });
    let ran = images.iter().enumerate();
    let biggest = ran.max_by_key(|(i, image)| (image.peak_rss, std::cmp::Reverse(*i)));
    let one = biggest.map_or(0, |(_, image)| image.peak_rss);
    TreeSummary {
        duration_ns,
        events: 0,
        peak_rss: peak.rss,
        peak_at_ns: clock.ns(peak.at),
        peak_range: Some(peak.range),
        peak: kinds,
        peak_rss_swap: tree.peak_rss_swap.max(peak.rss),
        peak_huge: 0,
        average,
        average_rss: average.rss().min(peak.rss),
        footprint: Footprint {
            // What is shared after fork is unknown: between the largest image and the sum.
            low: one,
            low_at_ns: clock.ns(peak.at),
            high: peak.rss,
            high_at_ns: clock.ns(peak.at),
            average_low: 0,
        },
        at_peak,
        biggest: biggest.map(|(i, _)| i),
        snapshots: Vec::new(),
        branches: Vec::new(),
    }
}

fn certificate(
    tree: &Tree,
    ranges: &[Range],
    peak: &Peak,
    unseen: Unseen,
    facts: &Facts,
) -> Certificate {
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
    Certificate {
        verdict,
        quantities: Quantities::of_samples(verdict),
        reasons: reasons.collect(),
        remarks: remarks.map(str::to_owned).to_vec(),
        tier: TIER.to_owned(),
        events: 0,
        lost: Lost::default(),
        residual_bytes: 0,
        breakdown_difference_bytes: breakdown,
        sizes_seen: SizesSeen::NowAndThen,
        segments: None,
        cross_checks: CrossChecks::default(),
        stats: Stats::default(),
    }
}

fn nanoseconds(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    seconds * 1_000_000_000 + micros * 1_000
}
