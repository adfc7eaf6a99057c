//! Moments of a run, in units that say something: seconds, or, where the whole run was shorter
//! than one, milliseconds and microseconds.

use super::units::seconds;
use crate::model::Summary;

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// How the times of one run are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    short: bool,
}

impl Times {
    /// Those of a run.
    #[must_use]
    pub fn of(summary: &Summary) -> Self {
        Self::lasting(total_ns(summary))
    }

    /// Those of something that took so long.
    #[must_use]
    pub const fn lasting(total_ns: u64) -> Self {
        Self {
            short: total_ns < S,
        }
    }

    /// A time, cut, not rounded, so that none is after the end: `12.304 s`, `1.4 ms`, `512 us`.
    ///
    /// ```
    /// use memtrace::report::times::Times;
    /// let times = Times::lasting(1_460_000);
    /// assert_eq!(times.show(512_345), "512 us");
    /// assert_eq!(times.show(1_460_000), "1.4 ms");
    /// assert_eq!(Times::lasting(20_000_000_000).show(512_345), "0.000 s");
    /// ```
    #[must_use]
    pub fn show(self, ns: u64) -> String {
        if !self.short || ns >= S {
            seconds(ns)
        } else if ns >= MS {
            format!("{}.{} ms", ns / MS, ns % MS / (MS / 10))
        } else {
            format!("{} us", ns / US)
        }
    }
}

/// The duration that times are "of".
pub(super) fn total_ns(summary: &Summary) -> u64 {
    summary.wall_ns.max(summary.tree.duration_ns)
}

#[cfg(test)]
mod tests {
    use super::Times;
    use crate::{model::testing::golden::make, report::text};

    /// The headline, the biggest, the table and the details of a short run say when something was.
    #[test]
    fn a_short_run_is_told_in_short_units() {
        let mut summary = make();
        summary.wall_ns = 1_460_000;
        summary.tree.duration_ns = 1_450_000;
        summary.tree.peak_at_ns = 512_345;
        for image in &mut summary.images {
            (image.start_ns, image.peak_at_ns) = (9_000, 1_230_000);
        }
        let options = text::Options {
            verbose: true,
            per_process: true,
            ..text::Options::default()
        };
        let mut out = Vec::new();
        text::write(&summary, options, &mut out).expect("memory does not fail");
        let text = String::from_utf8(out).expect("reports are UTF-8");
        for part in [
            " at +512 us of 1.4 ms\n",
            " at +1.2 ms (",
            "  +1.2 ms  ",
            "  wall 1.4 ms, user ",
            "  from +9 us to ",
            " RSS peak at +1.2 ms\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    /// The run decides, so that times of one report can be compared; only what is as long as a
    /// second is never in smaller units.
    #[test]
    fn short_runs_have_small_units() {
        let short = Times::lasting(999_999_999);
        for (ns, text) in [
            (0, "0 us"),
            (999, "0 us"),
            (1_000, "1 us"),
            (999_999, "999 us"),
            (1_000_000, "1.0 ms"),
            (999_999_999, "999.9 ms"),
            (1_000_000_000, "1.000 s"),
        ] {
            assert_eq!(short.show(ns), text);
        }
        let long = Times::lasting(1_000_000_000);
        assert_eq!(long.show(512_000), "0.000 s");
        assert_eq!(long.show(999_999_999), "0.999 s");
    }
}
