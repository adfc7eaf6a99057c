//! The sum of RSS over time in one line of a terminal, with its peak marked below.
//!
//! ```text
//! timeline  ▁▂▂▃▅▅██▆▆▃▃▃▁
//!                 ^ 1.5 MiB at +0.400 s
//! ```
//!
//! Each character has the largest value of its stretch of time, so that no spike is too short to be seen.
//! Where records are missing it has none to show.

use std::io;

use super::{
    chart::{
        Run,
        columns::columns,
        fold::{Limits, fold},
        layers::Layers,
    },
    times::Times,
    units::human,
};

/// How it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns of the whole; at least 40 are used.
    pub width: usize,
    /// With nothing but ASCII.
    pub ascii: bool,
}

/// As in the summary above it.
const INDENT: usize = 10;
const NARROWEST: usize = 40;
/// Windows that one character stands for, at most.
const FINER: usize = 4;

const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 9] = [' ', '.', ':', '-', '=', '+', '*', '#', '@'];
/// Where it is not known.
const GAP: char = '?';

/// Writes it; nothing if there is no timeline.
///
/// # Errors
///
/// Those of the writer.
pub fn write(run: &Run<'_>, look: Look, out: &mut dyn io::Write) -> io::Result<()> {
    if run.timeline.tree.is_empty() {
        return Ok(());
    }
    let count = look.width.max(NARROWEST) - INDENT;
    let (cells, gaps) = cells(run, count, if look.ascii { ASCII } else { BLOCKS });
    let line: String = cells.iter().collect();
    writeln!(out, "{:<INDENT$}{}", "timeline", line.trim_end())?;
    let mark = mark(run, count);
    writeln!(out, "{:INDENT$}{mark}", "")?;
    if gaps {
        writeln!(out, "{:INDENT$}{GAP} records are missing there", "")?;
    }
    Ok(())
}

/// The characters, and whether any stands for a gap.
fn cells(run: &Run<'_>, count: usize, levels: [char; 9]) -> (Vec<char>, bool) {
    let layers = Layers::new(run.summary);
    let limits = Limits {
        windows: count * FINER,
        entries: usize::MAX,
        rows: 0,
    };
    let columns = columns(&fold(run, &layers, limits), &[], run.end_ns(), count);
    let most = columns.iter().map(|column| column.max).max();
    let most = most.unwrap_or(0).max(run.summary.tree.peak_rss).max(1);
    let top = levels.len() as u64 - 1;
    let mut cells: Vec<char> = columns
        .iter()
        .map(|column| {
            // Rounded up: what is there is seen, and only the largest is full.
            let level = (u128::from(column.max) * u128::from(top)).div_ceil(u128::from(most));
            let level = usize::try_from(level).unwrap_or(0);
            levels.get(level).copied().unwrap_or(GAP)
        })
        .collect();
    let mut gaps = false;
    for loss in &run.timeline.losses {
        let from = place(run, loss.from_ns, count);
        let until = place(run, loss.until_ns, count).max(from);
        for cell in cells.get_mut(from..=until).unwrap_or_default() {
            (*cell, gaps) = (GAP, true);
        }
    }
    (cells, gaps)
}

/// Which character has a moment.
fn place(run: &Run<'_>, ns: u64, count: usize) -> usize {
    let along = u128::from(ns) * count as u128 / u128::from(run.end_ns());
    usize::try_from(along).unwrap_or(count).min(count - 1)
}

/// What is written below the line: on the side of the peak that has room.
fn mark(run: &Run<'_>, count: usize) -> String {
    let tree = &run.summary.tree;
    let text = format!(
        "{} at +{}",
        human(tree.peak_rss),
        Times::of(run.summary).show(tree.peak_at_ns)
    );
    let at = place(run, tree.peak_at_ns, count);
    let len = text.len() + 1;
    if at + len < count {
        format!("{:at$}^ {text}", "")
    } else if at >= len {
        let before = at - len;
        format!("{:before$}{text} ^", "")
    } else {
        // The headline has it.
        format!("{:at$}^", "")
    }
}

#[cfg(test)]
mod tests {
    use super::{Look, write};
    use crate::{
        model::{Loss, Timeline},
        report::chart::{
            Run,
            testing::{MIB, MS, S, Scene, amounts, build_scene},
        },
    };

    fn drawn(scene: &Scene, look: Look, losses: &[(u64, u64)]) -> Vec<String> {
        let (summary, mut timeline) = scene.build(10 * MS);
        let loss = |&(from_ns, until_ns): &(u64, u64)| Loss {
            from_ns,
            until_ns,
            records: 3,
            reason: "the buffer was full".to_owned(),
        };
        timeline.losses = losses.iter().map(loss).collect();
        let run = Run {
            summary: &summary,
            timeline: &timeline,
            title: "",
            notes: &[],
            limit: None,
        };
        let mut out = Vec::new();
        assert!(write(&run, look, &mut out).is_ok());
        let text = String::from_utf8(out).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn ascii(width: usize) -> Look {
        Look { width, ascii: true }
    }

    /// 8 MiB for 4 of 10 s, 16 MiB for the next, 4 MiB after that.
    fn steps() -> Scene {
        let mut scene = Scene::new(&[b"job"]);
        for (at, mib) in [(0, 8), (4050, 16), (5050, 4)] {
            scene.set(0, at * MS, amounts(mib * MIB, 0));
        }
        scene.exit(0, 10 * S, 0);
        scene
    }

    /// Three characters per second: by hand. A window has the value at its start, too. The peak is the largest, and marked.
    #[test]
    fn a_line_has_the_values_and_the_mark_is_at_the_peak() {
        let lines = drawn(&steps(), ascii(40), &[]);
        assert_eq!(
            lines,
            [
                "timeline  ============@@@@::::::::::::::",
                "                      ^"
            ]
        );
        let wide = drawn(&steps(), ascii(70), &[]);
        assert!(wide[1].ends_with("^ 16.0 MiB at +4.050 s"), "{wide:?}");
        assert_eq!(wide[1].find('^'), wide[0].find('@'), "{wide:?}");
        let look = Look {
            width: 70,
            ascii: false,
        };
        let blocks = drawn(&steps(), look, &[]);
        let translated = blocks[0].replace('▄', "=").replace('█', "@");
        assert_eq!(translated.replace('▂', ":"), wide[0]);
    }

    /// A spike of a microsecond has a character of full height, whatever the width, and nothing is
    /// wider than the terminal.
    #[test]
    fn a_spike_is_seen_and_all_fits() {
        let mut scene = steps();
        scene.set(0, 9 * S, amounts(99 * MIB, 0));
        scene.set(0, 9 * S + 1000, amounts(4 * MIB, 0));
        for scene in [scene, build_scene(40), steps()] {
            for width in [0, 40, 47, 80, 100, 300] {
                let lines = drawn(&scene, ascii(width), &[]);
                let at = lines[1].find('^');
                let mut full = lines[0].match_indices('@').map(|(at, _)| at);
                assert!(full.any(|full| Some(full) == at), "{width}: {lines:?}");
                let fits = |line: &String| line.chars().count() <= width.max(40);
                assert!(lines.iter().all(fits), "{width}: {lines:?}");
            }
        }
    }

    /// What was lost is no value.
    #[test]
    fn a_gap_is_drawn_as_a_gap() {
        let lines = drawn(&steps(), ascii(110), &[(6050 * MS, 6950 * MS)]);
        let gap = lines[0].find('?').zip(lines[0].rfind('?'));
        assert_eq!(gap, Some((10 + 60, 10 + 69)), "{lines:?}");
        assert!(lines[2].contains("? records are missing there"));
        assert_eq!(drawn(&steps(), ascii(110), &[]).len(), 2);
    }

    /// Without a timeline there is nothing to draw.
    #[test]
    fn nothing_without_a_timeline() {
        let (summary, _) = steps().build(10 * MS);
        let run = Run {
            summary: &summary,
            timeline: &Timeline::default(),
            title: "",
            notes: &[],
            limit: None,
        };
        let mut out = Vec::new();
        assert!(write(&run, ascii(80), &mut out).is_ok());
        assert_eq!(out, b"");
    }
}
