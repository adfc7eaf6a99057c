//! Names made harmless for terminals.
//!
//! Names, arguments and paths are chosen by the traced programs. Printed as they
//! are they could move the cursor, set the window title, forge lines of our
//! report or reorder it.

use std::fmt::Write as _;

/// Whether a character must not reach a terminal as it is: C0 and C1 controls,
/// line and paragraph separators, characters without width, and those that
/// change the direction of text (Unicode bidirectional controls).
pub(crate) const fn is_hostile(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// `bytes` as one line of text without anything that acts on a terminal.
///
/// Hostile characters and the backslash are written as Rust would (`\n`,
/// `\u{1b}`, `\\`), bytes that are not UTF-8 as `\xff`: the result is
/// unambiguous.
///
/// ```
/// use memtrace::report::escape::escape;
/// assert_eq!(escape(b"evil\x1b[2Jname"), r"evil\u{1b}[2Jname");
/// ```
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_hostile(c) {
                out.extend(c.escape_default());
            } else if c == '\\' {
                out.push_str(r"\\");
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// `text`, which is ours but has names in it, as one line without anything that acts on a
/// terminal. Backslashes stay as they are.
///
/// ```
/// use memtrace::report::escape::one_line;
/// assert_eq!(one_line("cannot run a\\b\x1b[2J"), r"cannot run a\b\u{1b}[2J");
/// ```
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Arguments as one line, with those quoted that a shell would split or expand.
#[must_use]
pub fn command_line(args: &[Vec<u8>]) -> String {
    let mut line = String::new();
    for arg in args {
        if !line.is_empty() {
            line.push(' ');
        }
        let escaped = escape(arg);
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"%+,-./:=@_^\\".contains(b) || *b > 127;
        if !arg.is_empty() && arg.iter().all(plain) {
            line.push_str(&escaped);
        } else {
            line.push('\'');
            line.push_str(&escaped.replace('\'', r"'\''"));
            line.push('\'');
        }
    }
    line
}

/// Cuts `text` to `width` characters, the last of them an ellipsis if any are lost.
#[must_use]
pub fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let keep = width.saturating_sub(3);
    let mut out: String = text.chars().take(keep).collect();
    out.push_str(&"..."[..width.min(3)]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Ordinary text in any script stays as it is.
    #[test]
    fn harmless_text_is_kept() {
        for text in [
            "cc1plus",
            "parser.cc --std=c++20",
            "größe",
            "日本語",
            "emoji 🦀",
            "a b",
        ] {
            assert_eq!(escape(text.as_bytes()), text);
        }
    }

    /// Everything that acts on a terminal becomes visible.
    #[test]
    fn hostile_text_becomes_visible() {
        for (bytes, text) in [
            (&b"a\nb\tc\rd"[..], r"a\nb\tc\rd"),
            (b"\x1b]0;title\x07", r"\u{1b}]0;title\u{7}"),
            (b"\x7f\x00", r"\u{7f}\u{0}"),
            (b"bad\xff\xfeutf8", r"bad\xff\xfeutf8"),
            ("\u{202e}gpj.exe".as_bytes(), r"\u{202e}gpj.exe"),
            ("\u{2066}x\u{2069}".as_bytes(), r"\u{2066}x\u{2069}"),
            ("c1\u{9b}2J".as_bytes(), r"c1\u{9b}2J"),
            (
                "zero\u{200b}width\u{feff}".as_bytes(),
                r"zero\u{200b}width\u{feff}",
            ),
            (br"back\slash", r"back\\slash"),
        ] {
            assert_eq!(escape(bytes), text);
        }
    }

    /// Arguments keep their boundaries.
    #[test]
    fn command_lines_are_quoted() {
        let args = |list: &[&str]| {
            list.iter()
                .map(|s| s.as_bytes().to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(command_line(&args(&["cc", "-c", "a.c"])), "cc -c a.c");
        assert_eq!(
            command_line(&args(&["sh", "-c", "echo $x; true"])),
            "sh -c 'echo $x; true'"
        );
        assert_eq!(
            command_line(&args(&["echo", "", "it's"])),
            r"echo '' 'it'\''s'"
        );
        assert_eq!(command_line(&args(&["a\nb"])), r"'a\nb'");
        assert_eq!(command_line(&[]), "");
    }

    /// Clipping counts characters, never splits one, and says that it cut.
    #[test]
    fn long_text_is_clipped() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdefg", 6), "abc...");
        assert_eq!(clip("ääääää", 5), "ää...");
        assert_eq!(clip("abc", 2), "..");
        assert_eq!(clip("abc", 0), "");
    }

    proptest! {
        /// Whatever a program is called, its name is one line without controls,
        /// and different names stay different.
        #[test]
        fn nothing_hostile_passes(a in vec(any::<u8>(), 0..40), b in vec(any::<u8>(), 0..40)) {
            let escaped = escape(&a);
            prop_assert!(!escaped.chars().any(is_hostile));
            prop_assert_eq!(a == b, escaped == escape(&b));
            let line = one_line(&String::from_utf8_lossy(&a));
            prop_assert!(!line.chars().any(is_hostile));
        }
    }
}
