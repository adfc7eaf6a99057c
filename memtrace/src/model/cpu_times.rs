//! CPU times of processes that ended.

use memtrace_ebpf::event::{Exit, Freed};

/// CPU times of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuTimes {
    pub(super) user_ns: u64,
    pub(super) system_ns: u64,
    /// The sum is all that it ran.
    pub(super) is_exact: bool,
}

impl CpuTimes {
    /// Of a process that ended; by the scheduler's clock if the kernel told when it let go of it. `alone` if it
    /// never had a further thread: one that ended before the process lacks what it ran since the last clock tick
    /// (`__exit_signal()`, kernel/exit.c, adds up what is known by then).
    pub(super) fn of(exit: &Exit, freed: Option<&Freed>, alone: bool) -> Self {
        match freed {
            Some(freed) if freed.runtime > 0 => Self {
                is_exact: alone,
                ..Self::divided(freed)
            },
            _ => Self {
                user_ns: exit.utime,
                system_ns: exit.stime,
                is_exact: false,
            },
        }
    }

    /// `cputime_adjust()` (kernel/sched/cputime.c, 6.18), for who asks the first time: what ticks found tells how the
    /// sum is divided. A process that no tick found in the kernel was in user mode.
    fn divided(freed: &Freed) -> Self {
        let Freed {
            runtime,
            utime,
            stime,
            ..
        } = *freed;
        let ticks = u128::from(utime) + u128::from(stime);
        let system_ns = if stime == 0 {
            0
        } else {
            // At most the runtime, for it is no more than that times one.
            u64::try_from(u128::from(runtime) * u128::from(stime) / ticks).unwrap_or(runtime)
        };
        Self {
            user_ns: runtime - system_ns,
            system_ns,
            is_exact: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use memtrace_ebpf::event::{Exit, Freed};

    use super::CpuTimes;
    use crate::blank;

    fn of(runtime: u64, utime: u64, stime: u64) -> (u64, u64, bool) {
        let freed = Freed {
            runtime,
            utime,
            stime,
            ..blank::FREED
        };
        let exit = Exit {
            utime: 4_000_000,
            stime: 8_000_000,
            ..blank::EXIT
        };
        let cpu = CpuTimes::of(&exit, Some(&freed), true);
        let with_threads = CpuTimes::of(&exit, Some(&freed), false);
        let expected = CpuTimes {
            is_exact: false,
            ..cpu
        };
        assert_eq!(with_threads, expected);
        (cpu.user_ns, cpu.system_ns, cpu.is_exact)
    }

    #[test]
    fn ticks_divide_the_schedulers_sum() {
        assert_eq!(of(1_620_000, 0, 0), (1_620_000, 0, true));
        assert_eq!(of(1_620_000, 4_000_000, 0), (1_620_000, 0, true));
        assert_eq!(of(1_620_000, 0, 4_000_000), (0, 1_620_000, true));
        assert_eq!(
            of(9_000_000, 4_000_000, 8_000_000),
            (3_000_000, 6_000_000, true)
        );
        let most = u64::MAX;
        assert_eq!(of(most, most, most), (most / 2 + 1, most / 2, true));
    }

    #[test]
    fn without_it_ticks_are_all_that_is_known() {
        assert_eq!(of(0, 4, 4), (4_000_000, 8_000_000, false));
        let told = CpuTimes::of(&blank::EXIT, None, true);
        assert!(!told.is_exact && told.user_ns == 0);
    }
}
