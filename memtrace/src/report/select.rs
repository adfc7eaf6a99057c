//! Which processes a table shows, and in which order.

use crate::model::{ImageSummary, ProcessSummary, Summary};

/// The order of a table's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Resident memory, largest first: which one depends on the table.
    Rss,
    /// Peak of resident memory, largest first.
    Peak,
    /// Start, earliest first.
    #[default]
    Start,
    /// Process id.
    Pid,
    /// Name.
    Name,
}

/// Text to look for in names and command lines, in which `*` stands for anything and `?` for
/// one byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// A pattern; without `*` and `?` it matches what has it inside.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self(text.to_vec())
    }

    /// Whether a name or a command line matches.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let Self(pattern) = self;
        if pattern.iter().any(|b| matches!(b, b'*' | b'?')) {
            return is_like(text, pattern);
        }
        pattern.is_empty() || text.windows(pattern.len()).any(|part| part == &pattern[..])
    }

    /// Whether the name of a process, or the name or the command line of one of its programs,
    /// matches.
    #[must_use]
    pub fn matches_process(&self, summary: &Summary, process: &ProcessSummary) -> bool {
        let images = process.images.iter();
        self.matches(&process.comm)
            || images
                .filter_map(|used| summary.images.get(used.image))
                .any(|image| self.matches_image(image))
    }

    /// The same for the program of one image.
    #[must_use]
    pub fn matches_image(&self, image: &ImageSummary) -> bool {
        let program = &image.program;
        self.matches(program.name())
            || self.matches(&program.comm)
            || self.matches(&program.args.join(&b' '))
    }
}

/// In time proportional to the product of the lengths, however many stars there are: where
/// the rest does not match, only the last star has to take more.
fn is_like(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut want) = (0, 0);
    let mut star = None;
    while let Some(byte) = text.get(at) {
        match pattern.get(want) {
            Some(b'*') => {
                star = Some((want, at));
                want += 1;
            }
            Some(b'?') => {
                at += 1;
                want += 1;
            }
            Some(wanted) if wanted == byte => {
                at += 1;
                want += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                (want, at) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern
        .get(want..)
        .is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}

/// Which lines and in which order.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The order.
    pub sort: Sort,
    /// Only these; all without one.
    pub filter: Option<Pattern>,
}

impl Selection {
    /// The processes of a summary to show. Resident memory is that at the tree's peak.
    #[must_use]
    pub fn processes<'a>(&self, summary: &'a Summary) -> Vec<&'a ProcessSummary> {
        let mut processes: Vec<&ProcessSummary> = summary
            .processes
            .iter()
            .filter(|process| {
                self.filter
                    .as_ref()
                    .is_none_or(|filter| filter.matches_process(summary, process))
            })
            .collect();
        let most = |process: &ProcessSummary, value: fn(&ImageSummary) -> u64| {
            let images = process.images.iter();
            images
                .filter_map(|used| summary.images.get(used.image))
                .map(value)
                .max()
        };
        match self.sort {
            Sort::Start => {}
            Sort::Pid => processes.sort_by_key(|process| process.pid),
            Sort::Rss => processes.sort_by_key(|process| {
                std::cmp::Reverse(most(process, |image| image.at_tree_peak.rss()))
            }),
            Sort::Peak => processes
                .sort_by_key(|process| std::cmp::Reverse(most(process, |image| image.peak_rss))),
            Sort::Name => processes.sort_by(|a, b| name(summary, a).cmp(name(summary, b))),
        }
        processes
    }
}

/// What a process ran last, or its own name.
pub(super) fn name<'a>(summary: &'a Summary, process: &'a ProcessSummary) -> &'a [u8] {
    summary
        .last_image(process)
        .map_or(&process.comm[..], |image| image.program.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inside without stars, the whole with them.
    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("cc1", "/usr/lib/cc1plus -O2", true),
            ("cc2", "cc1plus", false),
            ("", "anything", true),
            ("cc*", "cc1plus", true),
            ("cc*", "xcc1plus", false),
            ("*plus", "cc1plus", true),
            ("*1*s", "cc1plus", true),
            ("c?1plus", "cc1plus", true),
            ("c?plus", "cc1plus", false),
            ("*", "", true),
            ("?", "", false),
            ("**a", "bbba", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
        ] {
            let pattern_is = Pattern::new(pattern.as_bytes());
            assert_eq!(
                pattern_is.matches(text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    /// Many stars take no time.
    #[test]
    fn stars_do_not_explode() {
        let pattern = Pattern::new(&b"*a".repeat(200));
        assert!(!pattern.matches(&[b'a'; 199]));
        assert!(pattern.matches(&[b'a'; 2000]));
    }
}
