//! The clock of all timestamps, and how it relates to the time of day.

use nix::time::{ClockId, clock_gettime};

use super::KernelError;

/// `CLOCK_BOOTTIME` now, in nanoseconds: time since boot, suspended time included
/// (`clock_gettime(2)`). The programs' `bpf_ktime_get_boot_ns()` reads the same clock.
///
/// # Errors
/// If the clock cannot be read (a sandbox that forbids it).
pub fn boottime() -> Result<u64, KernelError> {
    read(ClockId::CLOCK_BOOTTIME, "CLOCK_BOOTTIME").map(|ns| u64::try_from(ns).unwrap_or(0))
}

/// The processor time of the calling thread so far; zero where it cannot be read.
pub(crate) fn thread_cpu() -> std::time::Duration {
    let ns = read(ClockId::CLOCK_THREAD_CPUTIME_ID, "CLOCK_THREAD_CPUTIME_ID").unwrap_or(0);
    std::time::Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}

/// What to add to `CLOCK_BOOTTIME` to get the time of day (`CLOCK_REALTIME`, since
/// 1970), in nanoseconds, as of now: it changes when the clock is set or slewed.
///
/// # Errors
/// If one of the clocks cannot be read.
pub fn realtime_offset() -> Result<i64, KernelError> {
    // The time between two readings is an error of the offset: take the mean of the
    // readings around, of the closest of a few attempts.
    let mut best: Option<(i64, i64)> = None;
    for _ in 0..5 {
        let before = read(ClockId::CLOCK_BOOTTIME, "CLOCK_BOOTTIME")?;
        let real = read(ClockId::CLOCK_REALTIME, "CLOCK_REALTIME")?;
        let after = read(ClockId::CLOCK_BOOTTIME, "CLOCK_BOOTTIME")?;
        let width = after.saturating_sub(before);
        let offset = real.saturating_sub(before.saturating_add(width / 2));
        if best.is_none_or(|(narrowest, _)| width < narrowest) {
            best = Some((width, offset));
        }
    }
    Ok(best.map_or(0, |(_, offset)| offset))
}

fn read(clock: ClockId, name: &'static str) -> Result<i64, KernelError> {
    let time = clock_gettime(clock).map_err(|errno| KernelError::Clock {
        clock: name,
        source: errno.into(),
    })?;
    // Nanoseconds since 1970 fit into 63 bits until the year 2262.
    Ok(time
        .tv_sec()
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::{fs, time::SystemTime};

    use super::*;

    #[test]
    fn boottime_is_the_kernels_uptime() {
        let uptime = || {
            let text = fs::read_to_string("/proc/uptime").unwrap();
            text.split(' ').next().unwrap().parse::<f64>().unwrap()
        };
        let (before, now, after) = (uptime(), boottime().unwrap() as f64 / 1e9, uptime());
        // Its resolution is 10 ms.
        assert!(
            before - 0.01 <= now && now <= after + 0.02,
            "{before} <= {now} <= {after}"
        );
    }

    #[test]
    fn offset_leads_to_the_time_of_day() {
        let nanoseconds = || {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap();
            i64::try_from(now.as_nanos()).unwrap()
        };
        let before = nanoseconds();
        let now = i64::try_from(boottime().unwrap()).unwrap() + realtime_offset().unwrap();
        let after = nanoseconds();
        // An offset is good to about a microsecond; a millisecond allows for clock slewing.
        assert!(
            before - 1_000_000 <= now && now <= after + 1_000_000,
            "{before} <= {now} <= {after}"
        );
    }
}
