//! What a report is written on: a terminal so many columns wide, or a file, in which lines are
//! as long as they need to be.

use std::io;

use super::Options;

/// Columns that every layout may use.
const NARROWEST: usize = 40;

/// Where a wrapped line goes on, below its own beginning.
const DEEPER: usize = 2;

pub(super) struct Page<'a> {
    out: &'a mut dyn io::Write,
    width: usize,
    wrap: bool,
}

impl<'a> Page<'a> {
    pub(super) fn new(options: Options, out: &'a mut dyn io::Write) -> Self {
        Self {
            out,
            width: options.width.max(NARROWEST),
            wrap: options.wrap,
        }
    }

    /// Columns that names in lines are cut to.
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// Columns that tables end at: they have room for whole commands in a file.
    pub(super) const fn table_width(&self) -> usize {
        if self.wrap { self.width } else { usize::MAX }
    }

    /// Too narrow for two forms of one number.
    pub(super) const fn is_narrow(&self) -> bool {
        self.wrap && self.width < 60
    }

    /// Writes a line; what has no room goes below it, `indent` columns deep.
    pub(super) fn text(&mut self, text: &str, indent: usize) -> io::Result<()> {
        if !self.wrap {
            return writeln!(self.out, "{text}");
        }
        let mut rest = text.trim_end();
        let mut before = 0;
        loop {
            let room = self.width.saturating_sub(before);
            let (head, tail) = split(rest, room);
            writeln!(self.out, "{:before$}{}", "", head.trim_end())?;
            rest = tail.trim_start();
            if rest.is_empty() {
                return Ok(());
            }
            before = (indent + DEEPER).min(NARROWEST / 2);
        }
    }
}

impl io::Write for Page<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// At the last space within `room` characters, but not among those that a line begins with;
/// within a word that is longer.
fn split(text: &str, room: usize) -> (&str, &str) {
    let Some((end, _)) = text.char_indices().nth(room) else {
        return (text, "");
    };
    let start = text.len() - text.trim_start().len();
    let within = text.get(start..=end).or_else(|| text.get(start..end));
    let spaces = within.unwrap_or_default().rmatch_indices(' ');
    let mut ends = spaces.map(|(at, _)| start + at).filter(|at| *at > start);
    let last = ends.next();
    let kept = last
        .into_iter()
        .chain(ends)
        .find(|at| !is_amount(text, *at));
    text.split_at(kept.or(last).unwrap_or(end))
}

/// Whether the space there stands between a number and its unit.
fn is_amount(text: &str, space: usize) -> bool {
    let (before, after) = text.split_at(space);
    let unit = after.trim_start();
    let unit = unit
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    let is_unit =
        unit.ends_with("iB") || ["ns", "us", "ms", "s", "min", "h", "B", "bytes"].contains(&unit);
    is_unit && before.ends_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::{Options, Page};
    use crate::{model::testing::golden::make, report::text};

    fn shown(text: &str, width: usize, wrap: bool) -> String {
        let options = Options {
            width,
            wrap,
            ..Options::default()
        };
        let mut out = Vec::new();
        let mut page = Page::new(options, &mut out);
        page.text(text, 10).expect("memory does not fail");
        String::from_utf8(out).expect("text stays text")
    }

    /// Between words, below the text; only a word that is too long by itself is broken.
    #[test]
    fn lines_are_wrapped_between_words() {
        let text = "exact     yes: 309,672 counter updates, none lost, residual 0";
        assert_eq!(
            shown(text, 40, true),
            "exact     yes: 309,672 counter updates,\n            none lost, residual 0\n"
        );
        let text = "memtrace: peak of it all 1.5 MiB at +8.56 s of 14.4 s";
        assert_eq!(
            shown(text, 40, true),
            "memtrace: peak of it all 1.5 MiB at\n            +8.56 s of 14.4 s\n"
        );
        assert_eq!(shown(text, 40, false), format!("{text}\n"));
        assert_eq!(shown(text, 61, true), format!("{text}\n"));
        let long = "x".repeat(90);
        let lines: Vec<usize> = shown(&long, 40, true).lines().map(str::len).collect();
        assert_eq!(lines, [40, 40, 12 + 22]);
    }

    /// Everything that a report has, at every width of a terminal: no line is wider, and the most
    /// important columns stay. In a file, commands are whole.
    #[test]
    fn a_report_fits_its_terminal() {
        let mut summary = make();
        let long = vec![b"--an-option-that-is-long".to_vec(); 20];
        for image in &mut summary.images {
            Arc::make_mut(&mut image.program).args.extend(long.clone());
        }
        let written = |width, wrap| {
            let options = Options {
                verbose: true,
                per_process: true,
                width,
                wrap,
            };
            let mut out = Vec::new();
            text::write(&summary, options, &mut out).expect("memory does not fail");
            String::from_utf8(out).expect("reports are UTF-8")
        };
        for width in 40..200 {
            let text = written(width, true);
            let widest = text.lines().max_by_key(|line| line.chars().count());
            let widest = widest.unwrap_or_default();
            assert!(widest.chars().count() <= width, "{width}: {widest:?}");
            let row = text.lines().find(|line| line.starts_with("102  "));
            let row = row.expect("a line for each process");
            assert!(row.contains("  120.0 KiB  "), "{width}: {row}");
            assert!(text.contains("killed by OOM: cc [102]"), "{text}");
        }
        assert!(written(40, true).contains("\n(no room for PARENT, "));
        assert!(!written(199, true).contains("(no room for "));
        let text = written(100, false);
        let whole = format!("cc b\\xff.c{}", " --an-option-that-is-long".repeat(20));
        assert_eq!(text.matches(&whole).count(), 2, "{text}");
    }

    proptest! {
        /// No line is wider, and no character is lost.
        #[test]
        fn nothing_is_lost(text in "[a-zé1 ]{0,200}", width in 40_usize..120) {
            let shown = shown(&text, width, true);
            prop_assert!(shown.lines().all(|line| line.chars().count() <= width));
            let letters = |text: &str| text.replace([' ', '\n'], "");
            prop_assert_eq!(letters(&shown), letters(&text));
        }
    }
}
