//! How finely the timeline is recorded.

use std::{fmt, num::NonZeroU64, str::FromStr};

/// What of the timeline is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Each change of each counter.
    EveryChange,
    /// Envelopes of windows this many nanoseconds wide. No spike is lost, whatever the
    /// width: each window has its largest value.
    Window(NonZeroU64),
}

/// Ten milliseconds: hardly noticed by the command, and finer than a screen has pixels.
const DEFAULT_NS: NonZeroU64 = NonZeroU64::new(10_000_000).unwrap();

/// Windows beyond this say little; and their bounds must stay within the machine's uptime.
const WIDEST_NS: u64 = 60_000_000_000;

/// Below this every change has a window of its own, which costs more than the change.
const NARROWEST_NS: u64 = 1_000;

/// A text is no [`Resolution`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolutionError {
    /// Not a number with a unit.
    #[error("it must be a number with a unit, like 10ms, 250us or 1s, or 0 for every change")]
    Syntax,
    /// Too wide or too narrow.
    #[error("it must be from 1us to 60s, or 0 for every change")]
    Range,
}

impl Resolution {
    /// Width of a window in nanoseconds; 0: every change.
    #[must_use]
    pub const fn width_ns(self) -> u64 {
        match self {
            Self::EveryChange => 0,
            Self::Window(width) => width.get(),
        }
    }
}

impl Default for Resolution {
    fn default() -> Self {
        Self::Window(DEFAULT_NS)
    }
}

impl FromStr for Resolution {
    type Err = ResolutionError;

    /// `0`, or a decimal number with one of the units `ns`, `us`, `ms` and `s`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| ResolutionError::Syntax)?;
        let scale = match unit.trim() {
            "ns" => 1.0,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "" if number == 0.0 => 1.0,
            _ => return Err(ResolutionError::Syntax),
        };
        let ns = (number * scale).round();
        if ns == 0.0 && number == 0.0 {
            return Ok(Self::EveryChange);
        }
        if !(NARROWEST_NS as f64..=WIDEST_NS as f64).contains(&ns) {
            return Err(ResolutionError::Range);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number within the bounds above"
        )]
        let ns = ns as u64;
        NonZeroU64::new(ns)
            .map(Self::Window)
            .ok_or(ResolutionError::Range)
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.width_ns() {
            0 => f.write_str("every change"),
            ns if ns.is_multiple_of(1_000_000_000) => write!(f, "{}s", ns / 1_000_000_000),
            ns if ns.is_multiple_of(1_000_000) => write!(f, "{}ms", ns / 1_000_000),
            ns if ns.is_multiple_of(1_000) => write!(f, "{}us", ns / 1_000),
            ns => write!(f, "{ns}ns"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Resolution, ResolutionError};

    /// What users write, and what they should not.
    #[test]
    fn numbers_with_units() {
        let parse = |text: &str| text.parse::<Resolution>().map(Resolution::width_ns);
        for (text, ns) in [
            ("0", 0),
            ("0ms", 0),
            ("10ms", 10_000_000),
            ("1 ms", 1_000_000),
            ("250us", 250_000),
            ("250\u{b5}s", 250_000),
            ("0.5ms", 500_000),
            ("1s", 1_000_000_000),
            ("60s", 60_000_000_000),
            ("1500ns", 1_500),
        ] {
            assert_eq!(parse(text), Ok(ns), "{text}");
        }
        for text in [
            "",
            "ms",
            "10",
            "10 parsecs",
            "-1ms",
            "1e3ms",
            "..1ms",
            "0x10ms",
        ] {
            assert_eq!(parse(text), Err(ResolutionError::Syntax), "{text}");
        }
        for text in ["1ns", "0.4ns", "61s", "99999999999999999999s"] {
            assert_eq!(parse(text), Err(ResolutionError::Range), "{text}");
        }
    }
}
