//! Amounts, times and names in the room that a screen has.

use ratatui::text::Span;

use crate::{report::escape::escape, units};

/// The most that is kept of a name or a command, bytes.
const KEPT: usize = 512;

const SECOND: u64 = 1_000_000_000;

/// The start of a text, so that texts cannot fill the memory.
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > KEPT {
        let end = (0..=KEPT).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
        text.shrink_to_fit();
    }
    text
}

/// A name or a command that a program chose, without anything that acts on a terminal.
pub(super) fn harmless(text: &str) -> String {
    escape(text.as_bytes())
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Cuts `text` to `room` columns, with dots in the last of them if something is lost.
pub(super) fn clip(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let keep = room.saturating_sub(3);
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used > keep {
            break;
        }
        out.push(c);
    }
    out.push_str(&"..."[..room.min(3)]);
    out
}

/// `text` in at most `lines` lines of `room` columns, cut where they end.
pub(super) fn wrap(text: &str, room: usize, lines: usize) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut used = 0;
    for (at, c) in text.char_indices() {
        let columns = width(c.encode_utf8(&mut [0; 4]));
        if used + columns > room && used > 0 {
            if out.len() >= lines {
                // What is left has no room: the last line says so.
                if let Some(last) = out.last_mut() {
                    last.push_str(text.get(at..).unwrap_or_default());
                    *last = clip(last, room);
                }
                return out;
            }
            out.push(String::new());
            used = 0;
        }
        used += columns;
        if let Some(last) = out.last_mut() {
            last.push(c);
        }
    }
    out
}

/// An amount in at most 8 columns, as `free -h` writes it: `812.4Mi`.
pub(super) fn amount(bytes: u64) -> String {
    units::human(bytes).replace("iB", "i").replace(' ', "")
}

/// What an amount grows by in a second, or shrinks; empty if it does not change.
pub(super) fn growth(bytes: i64) -> String {
    let sign = match bytes {
        0 => return String::new(),
        1.. => '+',
        _ => '-',
    };
    format!("{sign}{}", amount(bytes.unsigned_abs()))
}

/// An age in at most 6 columns.
pub(super) fn age(ns: u64) -> String {
    let seconds = ns / SECOND;
    match seconds {
        0 if ns < SECOND / 10 => format!("{}ms", ns / 1_000_000),
        0..60 => format!("{seconds}.{}s", ns % SECOND / (SECOND / 10)),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        86_400..8_640_000 => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A time as in a sentence, to a tenth of a second: it is read while it changes.
pub(super) fn time(ns: u64) -> String {
    if ns < 60 * SECOND {
        format!("{}.{} s", ns / SECOND, ns % SECOND / (SECOND / 10))
    } else {
        units::duration(ns)
    }
}

/// The share of a whole in per cent, rounded down.
pub(super) fn per_cent(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wide characters take two columns, and are not cut in half.
    #[test]
    fn texts_are_cut_by_columns() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdefg", 6), "abc...");
        assert_eq!(clip("日本語日本", 10), "日本語日本");
        assert_eq!(clip("日本語日本語", 10), "日本語...");
        assert_eq!(clip("日本語", 4), "...");
        assert_eq!(clip("abc", 2), "..");
        assert_eq!(clip("abc", 0), "");
    }

    /// Nothing is left out while there are lines, and then it is said.
    #[test]
    fn texts_are_wrapped() {
        assert_eq!(wrap("abcdefgh", 4, 3), ["abcd", "efgh"]);
        assert_eq!(wrap("日本語", 5, 3), ["日本", "語"]);
        assert_eq!(wrap("abcdefghijkl", 5, 2), ["abcde", "fg..."]);
        assert_eq!(wrap("", 5, 2), [""]);
        assert_eq!(wrap("ab", 0, 9), ["a", "b"]);
    }

    /// Nothing is wider than its column.
    #[test]
    fn amounts_and_ages_fit() {
        for bytes in [0, 1023, 1024, (1 << 20) - 52_429, 1 << 30, u64::MAX] {
            assert!(amount(bytes).len() <= 8, "{}", amount(bytes));
        }
        assert_eq!(amount(1_546_188_226), "1.4Gi");
        assert_eq!(amount(17), "17B");
        assert_eq!(growth(-2048), "-2.0Ki");
        assert_eq!(growth(2048), "+2.0Ki");
        assert_eq!(growth(0), "");
        assert!(growth(i64::MIN).len() <= 9);
        let second = SECOND;
        for (ns, text) in [
            (99_999_999, "99ms"),
            (100_000_000, "0.1s"),
            (59 * second, "59.0s"),
            (60 * second, "1m00s"),
            (3_599 * second, "59m59s"),
            (3_600 * second, "1h00m"),
            (90_000 * second, "1d01h"),
        ] {
            assert_eq!(age(ns), text);
        }
        assert!(age(999 * 86_400 * second).len() <= 6);
    }

    /// Shares do not overflow.
    #[test]
    fn shares() {
        assert_eq!(per_cent(1, 3), 33);
        assert_eq!(per_cent(u64::MAX, u64::MAX), 100);
        assert_eq!(per_cent(5, 0), 500);
    }

    /// What is kept of a text ends between characters.
    #[test]
    fn long_texts_are_shortened() {
        assert_eq!(bounded("short".to_owned()), "short");
        let long = bounded("ä".repeat(400));
        assert!(long.len() <= KEPT + 3 && long.ends_with("ä..."), "{long}");
    }
}
