//! Patterns for commands and programs: `*` stands for any text, `?` for one character,
//! `\` makes the next character stand for itself.

use crate::{model::Program, report::escape::escape};

/// A pattern that a whole name or command line must match.
///
/// Names are bytes of any encoding; `?` stands for one character of valid UTF-8 and for one
/// byte otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    One,
    Any,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It would match nothing.
    #[error("the pattern is empty; `*` matches everything")]
    Empty,
    /// Nothing follows the last backslash.
    #[error("the pattern ends in the middle of `\\`; write `\\\\` for a backslash")]
    Unfinished,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When it is empty or ends with a backslash that escapes nothing.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let mut parts = Vec::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let part = match byte {
                // Two in a row mean the same as one.
                b'*' if parts.last() == Some(&Part::Any) => continue,
                b'*' => Part::Any,
                b'?' => Part::One,
                b'\\' => Part::Byte(bytes.next().ok_or(PatternError::Unfinished)?),
                other => Part::Byte(other),
            };
            parts.push(part);
        }
        if parts.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// As it was written, harmless for a terminal.
    #[must_use]
    pub fn shown(&self) -> String {
        escape(self.text.as_bytes())
    }

    /// Whether it matches all of `text`. Takes at most the product of both lengths.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut at, mut from) = (0, 0);
        // Where to go on when what followed the last `*` did not fit.
        let mut again: Option<(usize, usize)> = None;
        loop {
            let rest = text.get(from..).unwrap_or_default();
            match (self.parts.get(at), rest.first()) {
                (None, None) => return true,
                (Some(Part::Any), _) => {
                    again = Some((at + 1, from));
                    at += 1;
                    continue;
                }
                (Some(Part::One), Some(_)) => {
                    at += 1;
                    from += first_character(rest);
                    continue;
                }
                (Some(Part::Byte(wanted)), Some(byte)) if wanted == byte => {
                    at += 1;
                    from += 1;
                    continue;
                }
                _ => {}
            }
            let Some((next, start)) = again.filter(|(_, start)| *start < text.len()) else {
                return false;
            };
            again = Some((next, start + 1));
            (at, from) = (next, start + 1);
        }
    }

    /// Whether it matches the program's name (the file name of `argv[0]`) or its whole
    /// command line, the arguments joined by spaces, with the program as it was called or by its name.
    #[must_use]
    pub fn matches_program(&self, program: &Program) -> bool {
        self.matches_line(program.name(), &program.args)
    }

    /// The same for a command that was given to memtrace.
    #[must_use]
    pub fn matches_command(&self, command: &[Vec<u8>]) -> bool {
        let name = command.first().map(Vec::as_slice).unwrap_or_default();
        let name = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
        self.matches_line(name, command)
    }

    /// `make *` is meant for `/usr/bin/make all` as well: who calls a program by its whole path means
    /// no other program.
    fn matches_line(&self, name: &[u8], words: &[Vec<u8>]) -> bool {
        let words = words.iter().map(Vec::as_slice);
        let by_name = std::iter::once(name).chain(words.clone().skip(1));
        self.matches(name)
            || self.matches(&words.collect::<Vec<_>>().join(&b' '))
            || self.matches(&by_name.collect::<Vec<_>>().join(&b' '))
    }
}

/// How many bytes the first character has; 1 if it is no UTF-8.
fn first_character(text: &[u8]) -> usize {
    (1..=4)
        .find(|&length| {
            text.get(..length)
                .is_some_and(|start| std::str::from_utf8(start).is_ok())
        })
        .unwrap_or(1)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::{Pattern, PatternError};
    use crate::model::Program;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(text.as_bytes())
    }

    /// The whole text must match; only `*`, `?` and `\` are special.
    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("make", "make", true),
            ("make", "gmake", false),
            ("make", "makefile", false),
            ("*", "", true),
            ("*", "anything at all", true),
            ("?", "", false),
            ("?", "a", true),
            ("?", "ä", true),
            ("??", "ä", false),
            ("cc1*", "cc1plus", true),
            ("cc1*", "cc1", true),
            ("*plus", "cc1plus", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxaxxcxxbxx", false),
            ("a*a*a", "aa", false),
            ("a*a*a", "aaa", true),
            ("a**b", "ab", true),
            ("[ab]", "a", false),
            ("[ab]", "[ab]", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            (r"a\\b", r"a\b", true),
            ("make -j*", "make -j8", true),
            ("make -j*", "make", false),
            ("pytest * -k *", "pytest tests -k slow", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} and {text}");
        }
        assert!(Pattern::new("?").unwrap().matches(b"\xff"));
        assert_eq!(Pattern::new(""), Err(PatternError::Empty));
        assert_eq!(Pattern::new(r"a\"), Err(PatternError::Unfinished));
    }

    /// A program is known by its file name and by its command line.
    #[test]
    fn programs_match_by_name_or_command_line() {
        let program = Program {
            args: vec![
                b"/usr/bin/cc1plus".to_vec(),
                b"-quiet".to_vec(),
                b"a b.cc".to_vec(),
            ],
            ..Program::default()
        };
        let matches = |pattern| Pattern::new(pattern).unwrap().matches_program(&program);
        assert!(matches("cc1plus") && matches("*a b.cc") && matches("/usr/bin/cc1plus -quiet *"));
        assert!(matches("cc1plus -quiet *"));
        assert!(!matches("/usr/bin/cc1plus") && !matches("quiet"));
        assert!(!matches("bin/cc1plus -quiet *") && !matches("plus -quiet *"));
        let command = |pattern| {
            Pattern::new(pattern)
                .unwrap()
                .matches_command(&[b"./job".to_vec(), b"x".to_vec()])
        };
        assert!(command("job") && command("./job x") && !command("./job"));
        assert!(command("job *") && command("job x") && !command("/job x"));
    }

    /// What would take a backtracking matcher forever.
    #[test]
    fn many_stars_take_no_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(4096)));
    }

    proptest! {
        /// A text matches itself, escaped, and every way to shorten it with `*`.
        #[test]
        fn a_text_matches_itself(text in "\\PC{1,20}", cut in 0_usize..20) {
            let quoted: String = text.chars().flat_map(|c| ['\\', c]).collect();
            // A backslash escapes one byte; further bytes of a character stand for themselves.
            prop_assert!(matches(&quoted, &text));
            let kept: String = text.chars().take(cut).flat_map(|c| ['\\', c]).collect();
            let pattern = kept + "*";
            prop_assert!(matches(&pattern, &text));
        }
    }
}
