//! The certificate: how exact a result is, and why.
//!
//! Its rule: in doubt, not exact. Every way in which a number could be wrong
//! without this module noticing is a defect of this module.

use memtrace_ebpf::Stat;

use super::{
    final_state::{CrossChecks, Final, Limited, Stats},
    quantities::{Grounds, Quantities},
    reasons::{Remedy, counted, statistic},
    segments::{Segments, SegmentsSeen},
};
use crate::units::human;

/// How exact a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every number equals the sum that the kernel itself would have returned.
    Exact,
    /// Numbers may be wrong by up to this many bytes.
    Within(u64),
    /// Something is missing; there is no bound.
    Incomplete,
}

impl Verdict {
    /// `exact`, `within` or `incomplete`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Within(_) => "within",
            Self::Incomplete => "incomplete",
        }
    }
}

/// Everything that was lost, by where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records that found the ring buffer full.
    pub ring: u64,
    /// Images and processes that found their map full.
    pub maps_full: u64,
    /// Runs of a program that the kernel skipped.
    pub recursion: u64,
    /// Map updates that the kernel refused.
    pub map_busy: u64,
    /// Reads of kernel memory that failed.
    pub read_failed: u64,
    /// Records that userspace dropped or could not decode.
    pub undecodable: u64,
}

/// The statement, printed with every result, of how exact it is.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The statement in one word.
    pub verdict: Verdict,
    /// Why it is not exact; empty if it is.
    pub reasons: Vec<String>,
    /// Facts that change no number.
    pub remarks: Vec<String>,
    /// The tier in use.
    pub tier: String,
    /// Counter updates booked.
    pub events: u64,
    /// What was lost.
    pub lost: Lost,
    /// Bytes left over where nothing must be left: counters of ended images, and
    /// the tree's sums against those of its living images.
    pub residual_bytes: u64,
    /// Difference between the tree's peak and the sum of who held what, bytes.
    pub breakdown_difference_bytes: u64,
    /// Comparisons with `/proc`.
    pub cross_checks: CrossChecks,
    /// When sizes of virtual memory were looked at, which decides what can have been missed.
    pub sizes_seen: SizesSeen,
    /// What each kind of number is worth.
    pub quantities: Quantities,
    /// What segments are worth, where they were told apart.
    pub segments: Option<SegmentsSeen>,
    /// All statistics counters.
    pub stats: Stats,
}

/// When sizes of virtual memory were looked at.
///
/// Page tables are never known to be exact: reading what was never written maps the zero page,
/// which takes tables and changes no counter, and unmapping gives them back before the system
/// call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizesSeen {
    /// When a page came or went and at the end of each system call, and no process had a second
    /// thread: no size is missed. (Processes that share an address space without waiting for each
    /// other, as no C library makes them, count as threads would, and are not looked for.)
    AtSystemCalls,
    /// The same, but a thread can have taken back what another had just mapped.
    AtThreadsSystemCalls,
    /// When a page came or went. The largest `VmSize` is the kernel's own, and the stack grows at
    /// page faults and stays; other sizes may have been larger while no page came.
    AtPageFaults,
    /// At samples.
    NowAndThen,
}

impl SizesSeen {
    /// The tier's `V` stands for the ends of system calls.
    fn of(tier: &str, several_threads: bool) -> Self {
        let at_system_calls = tier.split('+').any(|part| part == "V");
        match (at_system_calls, several_threads) {
            (true, false) => Self::AtSystemCalls,
            (true, true) => Self::AtThreadsSystemCalls,
            (false, _) => Self::AtPageFaults,
        }
    }
}

/// Whether this is one of the programs that see the ends of system calls. No counter depends on
/// them.
pub(super) fn sees_system_calls(program: &str) -> bool {
    program.starts_with("sys_exit")
}

/// Whether this is one of the programs that tell of mappings. No counter depends on them.
pub(super) fn tells_segments(program: &str) -> bool {
    program.starts_with("segment_")
}

/// The same of the programs that record calls.
pub(super) fn records_calls(program: &str) -> bool {
    program.starts_with("call_")
}

/// What the model found while it put the result together.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// Contradictions and gaps, each with how often and an example.
    gaps: Vec<Gap>,
    pub(super) breakdown_difference_bytes: u64,
    /// Largest difference between an image's peak and its members at that moment.
    pub(super) own_peak_difference_bytes: u64,
    pub(super) residual_bytes: u64,
    /// The footprint's bounds are as wide as they can be.
    pub(super) footprint_unknown: bool,
    /// A process had more than one thread, or lives and may have.
    pub(super) several_threads: bool,
    /// Some processes ran before.
    pub(super) attached: bool,
}

#[derive(Clone, Debug)]
struct Gap {
    what: &'static str,
    count: u64,
    example: String,
}

impl Findings {
    /// Notes that something does not fit. The same `what` is counted, and the
    /// first example kept.
    pub(super) fn gap(&mut self, what: &'static str, example: impl FnOnce() -> String) {
        if let Some(gap) = self.gaps.iter_mut().find(|gap| gap.what == what) {
            gap.count += 1;
        } else {
            self.gaps.push(Gap {
                what,
                count: 1,
                example: example(),
            });
        }
    }
}

/// Collects reasons and their weight.
#[derive(Default)]
struct Judge {
    reasons: Vec<String>,
    remarks: Vec<String>,
    incomplete: bool,
    within: u64,
}

impl Judge {
    fn incomplete(&mut self, reason: String) {
        self.incomplete = true;
        self.reasons.push(reason);
    }

    /// A reason with a bound. Independent errors add up.
    fn within(&mut self, bytes: u64, reason: String) {
        self.within = self.within.saturating_add(bytes);
        self.reasons.push(reason);
    }

    fn verdict(&self) -> Verdict {
        if self.incomplete {
            Verdict::Incomplete
        } else if self.within > 0 {
            Verdict::Within(self.within)
        } else {
            Verdict::Exact
        }
    }
}

/// What a counter of the kernel side means for the result.
enum Meaning {
    /// Numbers may be wrong without bound.
    Loss,
    /// Worth a line under `-v`.
    Remark,
    /// Says nothing about exactness, or is judged elsewhere.
    Nothing,
}

const fn meaning(stat: Stat) -> Meaning {
    match stat {
        Stat::RingFull
        | Stat::ImagesFull
        | Stat::ProcessesFull
        | Stat::MapBusy
        | Stat::NoMemory
        | Stat::ReadFailed
        // Two updates at once can overwrite a peak with a lower one.
        | Stat::Unlocked
        | Stat::CachesFull
        | Stat::NotContinued
        // The sum of RSS lacks it.
        | Stat::Borrowed
        // What was found late has no history before.
        | Stat::Healed => Meaning::Loss,
        // The second of the two hooks on process creation comes before the child's
        // first instruction, too.
        // Each is corrected by the next update of the same counter, which the
        // change that was in flight delivers itself.
        Stat::Negative
        | Stat::Torn
        | Stat::Outlived
        | Stat::ProcessHealed
        // The timeline has gaps; peaks are kept in the kernel.
        | Stat::TimelineFull
        // So are counters; what segments are worth is said by itself.
        | Stat::SegmentsFull
        | Stat::SegmentsCaughtUp => Meaning::Remark,
        // The tracer knows the bounds of these, and states them as limits.
        Stat::CacheOverlap | Stat::Unverified | Stat::Residual => Meaning::Nothing,
    }
}

/// Whether numbers may be wrong without bound once that was counted.
pub(crate) const fn is_loss(stat: Stat) -> bool {
    matches!(meaning(stat), Meaning::Loss)
}

/// Whether the user can avoid it in the next run.
const fn can_be_avoided(stat: Stat) -> bool {
    !matches!(Remedy::of(stat), Remedy::Again)
}

/// Gives the verdict.
pub(super) fn judge(last: &Final, findings: &Findings, told: &[&Segments]) -> Certificate {
    let stats = last.stats;
    let lost = Lost {
        ring: stats.get(Stat::RingFull),
        maps_full: stats
            .get(Stat::ImagesFull)
            .saturating_add(stats.get(Stat::ProcessesFull)),
        recursion: last
            .missed
            .iter()
            .filter(|missed| !sees_system_calls(&missed.program))
            .filter(|missed| !tells_segments(&missed.program) && !records_calls(&missed.program))
            .fold(0, |sum: u64, m| sum.saturating_add(m.count)),
        map_busy: stats.get(Stat::MapBusy),
        read_failed: stats.get(Stat::ReadFailed),
        undecodable: last.undecodable,
    };
    let mut judge = Judge::default();
    let mut sizes_seen = SizesSeen::of(&last.tier, findings.several_threads);
    for (stat, count) in stats.iter().filter(|&(_, count)| count > 0) {
        let text = statistic(stat, count);
        match meaning(stat) {
            Meaning::Loss => judge.incomplete(Remedy::of(stat).end(&text)),
            Meaning::Remark if can_be_avoided(stat) => {
                judge.remarks.push(Remedy::of(stat).end(&text));
            }
            Meaning::Remark => judge.remarks.push(text),
            Meaning::Nothing => {}
        }
    }
    for missed in last.missed.iter().filter(|missed| missed.count > 0) {
        let (times, program) = (counted(missed.count, "time", "times"), &missed.program);
        if sees_system_calls(program) {
            judge.remarks.push(format!(
                "the kernel skipped program {program} {times}: sizes of virtual memory are exact as seen at page faults"
            ));
            sizes_seen = SizesSeen::AtPageFaults;
            continue;
        }
        if records_calls(program) {
            judge.remarks.push(format!(
                "the kernel skipped program {program} {times}: some calls are not recorded"
            ));
            continue;
        }
        if tells_segments(program) {
            judge.remarks.push(format!(
                "the kernel skipped program {program} {times}: what segments hold is not exact"
            ));
            continue;
        }
        judge.incomplete(
            Remedy::OtherTools.end(&format!("the kernel skipped program {program} {times}")),
        );
    }
    if last.undecodable > 0 {
        let lost = counted(last.undecodable, "record was", "records were");
        judge.incomplete(Remedy::Again.end(&format!("{lost} lost in userspace")));
    }
    // What found no room is missing further on.
    let full = [
        Stat::RingFull,
        Stat::ImagesFull,
        Stat::ProcessesFull,
        Stat::NoMemory,
    ];
    let cause = full.into_iter().find(|stat| stats.get(*stat) > 0);
    let remedy = cause.map_or(Remedy::Again, Remedy::of);
    for gap in &findings.gaps {
        let Gap {
            what,
            count,
            example,
        } = gap;
        judge.incomplete(remedy.end(&format!("{what}: {count} ({example})")));
    }
    judge_differences(&mut judge, last, findings);
    let mut rss_swap_within = Some(0_u64);
    for limit in &last.limits {
        if limit.of == Limited::RssSwap {
            let bound = limit.bound_bytes;
            rss_swap_within = rss_swap_within.zip(bound).map(|(a, b)| a.saturating_add(b));
            let most = bound.map_or_else(
                || "without a bound".to_owned(),
                |b| format!("within {}", human(b)),
            );
            judge
                .remarks
                .push(format!("RSS + swap is {most}: {}", limit.reason));
            continue;
        }
        match limit.bound_bytes {
            None => judge.incomplete(Remedy::Again.end(&limit.reason)),
            Some(0) => judge.remarks.push(limit.reason.clone()),
            Some(bytes) => {
                let reason = format!("up to {}: {}", human(bytes), limit.reason);
                judge.within(bytes, Remedy::Again.end(&reason));
            }
        }
    }
    let verdict = judge.verdict();
    let apart = last.tree.peak_footprint_high - last.tree.peak_footprint_low;
    let grounds = Grounds {
        sizes_seen,
        attached: findings.attached,
        footprint_width: u64::try_from(apart)
            .unwrap_or(0)
            .saturating_mul(last.page_size),
        rss_swap_within,
    };
    Certificate {
        verdict,
        quantities: Quantities::of(verdict, &grounds),
        reasons: judge.reasons,
        remarks: judge.remarks,
        tier: last.tier.clone(),
        events: last.tree.events,
        lost,
        residual_bytes: findings.residual_bytes,
        breakdown_difference_bytes: findings.breakdown_difference_bytes,
        cross_checks: last.cross_checks,
        sizes_seen,
        segments: SegmentsSeen::of(last, told),
        stats,
    }
}

/// Sums that must agree and by how much they do not.
fn judge_differences(judge: &mut Judge, last: &Final, findings: &Findings) {
    let residual = findings.residual_bytes;
    if residual > 0 {
        judge.within(
            residual,
            Remedy::Again.end(&format!(
                "{} are left over after all images ended",
                human(residual)
            )),
        );
    } else if last.stats.get(Stat::Residual) > 0 {
        let count = last.stats.get(Stat::Residual);
        let images = counted(count, "image", "images");
        judge.incomplete(Remedy::Again.end(&format!(
            "{images} ended with a residual that no record shows"
        )));
    }
    let breakdown = findings.breakdown_difference_bytes;
    if breakdown > 0 {
        judge.within(
            breakdown,
            Remedy::Again.end(&format!(
                "who held what at the peak differs from the peak by {}",
                human(breakdown)
            )),
        );
    }
    let own = findings.own_peak_difference_bytes;
    if own > 0 {
        judge.within(
            own,
            Remedy::Again.end(&format!(
                "an image's parts at its peak differ from it by {}",
                human(own)
            )),
        );
    }
    if findings.footprint_unknown {
        judge.remarks.push(
            "the record of pages shared after fork was not kept; the footprint lies between the largest image and the sum of RSS".to_owned(),
        );
    }
    if last.tree.unlocked > 0 && last.stats.get(Stat::Unlocked) == 0 {
        let unlocked = statistic(Stat::Unlocked, last.tree.unlocked);
        judge.incomplete(Remedy::of(Stat::Unlocked).end(&unlocked));
    }
    let CrossChecks {
        count,
        largest_difference_bytes: largest,
        allowed_bytes,
        // Judged with the segments.
        segments: _,
        segment_difference_bytes: _,
    } = last.cross_checks;
    if largest > allowed_bytes {
        judge.within(
            largest,
            Remedy::Again.end(&format!(
                "the largest difference in {} with /proc was {}",
                counted(count, "comparison", "comparisons"),
                human(largest)
            )),
        );
    }
}
