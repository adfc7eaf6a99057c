//! The words of reasons: how much of what happened, and what to do about it.

use memtrace_ebpf::Stat;

pub(crate) use crate::units::counted;

/// What whoever wants an exact result can do. Every reason ends with one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    RaiseRing,
    RaiseImages,
    RaiseProcesses,
    RaiseTimeline,
    MoreMemory,
    OtherTools,
    NewKernel,
    LimitCpus,
    UseBpf,
    KeepPrivileges,
    RecordAgain,
    NewMemtrace,
    AttachToOwner,
    Again,
}

impl Remedy {
    /// All of them.
    const ALL: [Self; 14] = [
        Self::RaiseRing,
        Self::RaiseImages,
        Self::RaiseProcesses,
        Self::RaiseTimeline,
        Self::MoreMemory,
        Self::OtherTools,
        Self::NewKernel,
        Self::LimitCpus,
        Self::UseBpf,
        Self::KeepPrivileges,
        Self::RecordAgain,
        Self::NewMemtrace,
        Self::AttachToOwner,
        Self::Again,
    ];

    /// In the imperative.
    const fn text(self) -> &'static str {
        match self {
            Self::RaiseRing => "raise --ring-size",
            Self::RaiseImages => "raise --max-images",
            Self::RaiseProcesses => "raise --max-processes",
            Self::RaiseTimeline => "raise --timeline-ring-size or choose a wider --resolution",
            Self::MoreMemory => "free memory, or raise the limit of memtrace's cgroup",
            Self::OtherTools => "run it again without other tracing tools on this machine",
            Self::NewKernel => "use Linux 6.2 or later for exact numbers",
            Self::LimitCpus => "boot with nr_cpus= of what the machine has",
            Self::UseBpf => "`memtrace check` says what exact numbers need",
            Self::KeepPrivileges => "run memtrace as root so that it keeps them",
            Self::RecordAgain => "record it again",
            Self::NewMemtrace => "read it with that version",
            Self::AttachToOwner => "attach to that process too",
            Self::Again => "run it again, and if it stays, report it with `memtrace check`",
        }
    }

    /// What helps against a loss of this kind.
    pub(super) const fn of(stat: Stat) -> Self {
        match stat {
            Stat::RingFull => Self::RaiseRing,
            Stat::ImagesFull | Stat::SegmentsFull => Self::RaiseImages,
            Stat::ProcessesFull => Self::RaiseProcesses,
            Stat::TimelineFull => Self::RaiseTimeline,
            Stat::NoMemory => Self::MoreMemory,
            Stat::Borrowed => Self::AttachToOwner,
            Stat::CachesFull | Stat::CacheOverlap => Self::NewKernel,
            Stat::MapBusy
            | Stat::ReadFailed
            | Stat::Negative
            | Stat::Torn
            | Stat::Unverified
            | Stat::Healed
            | Stat::ProcessHealed
            | Stat::Residual
            | Stat::Unlocked
            | Stat::Outlived
            | Stat::SegmentsCaughtUp
            | Stat::NotContinued => Self::Again,
        }
    }

    /// Adds it to a reason that may have one from where it comes from.
    pub(crate) fn end(self, reason: &str) -> String {
        if has_remedy(reason) {
            reason.to_owned()
        } else {
            format!("{reason}: {}", self.text())
        }
    }
}

/// Whether a reason says what to do.
pub(crate) fn has_remedy(reason: &str) -> bool {
    Remedy::ALL
        .iter()
        .any(|remedy| reason.ends_with(remedy.text()))
}

/// What a statistic of the kernel side has counted.
pub(super) fn statistic(stat: Stat, count: u64) -> String {
    counted(count, one(stat), stat.text())
}

/// The words for a single one; those for several are the statistic's own.
const fn one(stat: Stat) -> &'static str {
    match stat {
        Stat::RingFull => "record lost, ring buffer full",
        Stat::ImagesFull => "image lost, image map full",
        Stat::ProcessesFull => "process lost, process map full",
        Stat::MapBusy => "map update refused by the kernel",
        Stat::ReadFailed => "read of kernel memory that failed",
        Stat::Negative => "sum below zero, taken for zero",
        Stat::Torn => "sum read again",
        Stat::Unverified => "sum that could not be verified",
        Stat::Healed => "image found late",
        Stat::ProcessHealed => "process found late",
        Stat::Residual => "image that ended with a residual",
        Stat::CachesFull => "thread cache lost, cache map full",
        Stat::CacheOverlap => "flush of a thread cache that overlapped",
        Stat::Unlocked => "update without the tree's lock",
        Stat::TimelineFull => "timeline record lost, ring buffer full",
        Stat::NotContinued => "program that could not go on",
        Stat::SegmentsFull => "image without segments, segment map full",
        Stat::Outlived => "update that came after the end of its image",
        Stat::NoMemory => "image or process lost, the kernel had no memory for it",
        Stat::SegmentsCaughtUp => {
            "change of a counter that a further program caught up on: what its segment is is not certain"
        }
        Stat::Borrowed => {
            "process that has the memory of one that does not belong to the tree, which is not counted"
        }
    }
}

#[cfg(test)]
mod tests {
    use memtrace_ebpf::Stat;

    use super::{Remedy, has_remedy, one, statistic};

    /// One of a thing is not several.
    #[test]
    fn one_is_not_many() {
        for stat in Stat::ALL {
            assert_ne!(one(stat), stat.text(), "{stat:?}");
            assert_eq!(statistic(stat, 1), format!("1 {}", one(stat)));
            assert_eq!(statistic(stat, 2), format!("2 {}", stat.text()));
        }
        assert_eq!(
            statistic(Stat::RingFull, 1),
            "1 record lost, ring buffer full"
        );
    }

    /// A reason that says what to do is not told what to do.
    #[test]
    fn a_remedy_is_added_once() {
        let reason = Remedy::RaiseRing.end("3 records lost");
        assert_eq!(reason, "3 records lost: raise --ring-size");
        assert!(has_remedy(&reason));
        assert_eq!(Remedy::Again.end(&reason), reason);
    }
}
