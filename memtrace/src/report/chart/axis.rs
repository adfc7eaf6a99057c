//! Round numbers for axes.

/// Amounts from 0 to at least `most`, at most `count` + 1 of them, in steps that are round in
/// the unit that they are shown in, or a quarter or half of it.
///
/// ```text
/// bytes(770 MiB, 5) = 0, 200 MiB, 400 MiB, 600 MiB, 800 MiB
/// ```
pub(in crate::report) fn bytes(most: u64, count: u64) -> Vec<u64> {
    let least_step = most.div_ceil(count.max(1)).max(1);
    let mut unit = 1_u64;
    let step = loop {
        // 1,000 of a unit is not round in the next one.
        let steps: &[u64] = if most / unit < 1000 {
            &[1, 2, 5, 10, 20, 50, 100, 200, 500]
        } else {
            &[1, 2, 5, 10, 20, 50, 256, 512]
        };
        let steps = steps.iter().filter_map(|n| unit.checked_mul(*n));
        match steps.into_iter().find(|&step| step >= least_step) {
            Some(step) => break step,
            None => match unit.checked_mul(1024) {
                Some(larger) => unit = larger,
                None => break least_step,
            },
        }
    };
    let steps = most.div_ceil(step).max(1);
    (0..=steps).map(|i| i.saturating_mul(step)).collect()
}

/// An amount on an axis, with up to two decimals.
pub(in crate::report) fn bytes_label(bytes: u64) -> String {
    let mut scale = (1_u64, "B");
    for name in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if bytes / 1024 < scale.0 {
            break;
        }
        scale = (scale.0.saturating_mul(1024), name);
    }
    let (unit, name) = scale;
    let hundredths = (u128::from(bytes % unit) * 200 + u128::from(unit)) / (u128::from(unit) * 2);
    let whole = bytes / unit + u64::from(hundredths == 100);
    let decimals = format!("{:02}", hundredths % 100);
    let decimals = decimals.trim_end_matches('0');
    let point = if decimals.is_empty() { "" } else { "." };
    format!("{whole}{point}{decimals} {name}")
}

/// Moments in `0..=end`, about `count` of them, in steps of 1, 2 or 5 times a power of ten up
/// to a second, then of round numbers of seconds, minutes and hours. Nanoseconds.
pub(in crate::report) fn times(end: u64, count: u64) -> Vec<u64> {
    let step = time_step(end.div_ceil(count.max(1)).max(1));
    (0..=end / step).map(|i| i.saturating_mul(step)).collect()
}

/// The smallest round step that is not below `least`.
fn time_step(least: u64) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    let mut power = 1_u64;
    while power < SECOND {
        for n in [1, 2, 5] {
            if power * n >= least {
                return power * n;
            }
        }
        power *= 10;
    }
    for seconds in [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200,
    ] {
        if seconds * SECOND >= least {
            return seconds * SECOND;
        }
    }
    let day = 86_400 * SECOND;
    least.div_ceil(day).saturating_mul(day)
}

/// A moment on an axis whose steps are `step` apart: `12 s`, `1.5 s`, `250 ms`, `1:30`, `2:05:00`.
pub(in crate::report) fn time_label(ns: u64, step: u64) -> String {
    let (us, ms, s) = (1_000, 1_000_000, 1_000_000_000);
    if ns == 0 {
        return "0".to_owned();
    }
    if ns >= 60 * s {
        let (hours, minutes, seconds) = (ns / s / 3600, ns / s / 60 % 60, ns / s % 60);
        let fraction = if step < s {
            format!(".{:03}", ns % s / ms)
        } else {
            String::new()
        };
        return if hours > 0 {
            format!("{hours}:{minutes:02}:{seconds:02}{fraction}")
        } else {
            format!("{minutes}:{seconds:02}{fraction}")
        };
    }
    let (unit, name) = match ns.max(step) {
        n if n >= s => (s, "s"),
        n if n >= ms => (ms, "ms"),
        n if n >= us => (us, "us"),
        _ => (1, "ns"),
    };
    let mut digits = String::new();
    let mut rest = ns % unit;
    let mut place = unit;
    while rest > 0 && place > 1 && digits.len() < 6 {
        place /= 10;
        digits.push(char::from_digit((rest / place) as u32, 10).unwrap_or('0'));
        rest %= place;
    }
    let point = if digits.is_empty() { "" } else { "." };
    format!("{}{point}{digits} {name}", ns / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps are round in their unit, and reach the largest amount.
    #[test]
    fn steps_of_bytes_are_round() {
        let mib = 1 << 20;
        let shown = |most, count| -> Vec<String> {
            bytes(most, count).into_iter().map(bytes_label).collect()
        };
        assert_eq!(
            shown(770 * mib, 5),
            ["0 B", "200 MiB", "400 MiB", "600 MiB", "800 MiB"]
        );
        assert_eq!(shown(3 << 30, 5), ["0 B", "1 GiB", "2 GiB", "3 GiB"]);
        assert_eq!(
            shown(1300 * mib, 6),
            [
                "0 B", "256 MiB", "512 MiB", "768 MiB", "1 GiB", "1.25 GiB", "1.5 GiB"
            ]
        );
        assert_eq!(shown(0, 5), ["0 B", "1 B"]);
        for most in [1, 1023, 1024, 4096, 700_000, u64::MAX / 2, u64::MAX] {
            let ticks = bytes(most, 4);
            assert!(ticks.len() <= 6, "{most}: {ticks:?}");
            assert!(ticks.last().is_some_and(|&last| last >= most), "{most}");
        }
    }

    /// Steps of time are round, none lies after the end, and each has a label of its own.
    #[test]
    fn steps_of_time_are_round() {
        let shown = |end| -> Vec<String> {
            let ticks = times(end, 6);
            let step = ticks.get(1).copied().unwrap_or(1);
            ticks.into_iter().map(|t| time_label(t, step)).collect()
        };
        let s = 1_000_000_000;
        assert_eq!(
            shown(14 * s),
            ["0", "5 s", "10 s"],
            "a step of 2 s would be seven"
        );
        assert_eq!(
            shown(s),
            ["0", "200 ms", "400 ms", "600 ms", "800 ms", "1 s"]
        );
        assert_eq!(shown(200 * s), ["0", "1:00", "2:00", "3:00"]);
        for end in [
            1,
            7,
            999,
            1_500_000,
            2_500 * 1_000_000,
            90 * s,
            4000 * s,
            u64::MAX,
        ] {
            let ticks = times(end, 6);
            assert!(ticks.len() <= 8 && ticks.iter().all(|&t| t <= end), "{end}");
            let labels = shown(end);
            let mut unique = labels.clone();
            unique.dedup();
            assert_eq!(labels, unique, "{end}");
        }
    }
}
