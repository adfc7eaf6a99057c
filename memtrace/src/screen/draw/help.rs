//! What the keys do.

use super::pen::Pen;
use crate::screen::appearance::Appearance;

/// Keys and what they do.
const KEYS: [(&str, &str); 18] = [
    ("q, Ctrl-C", "quit"),
    ("space", "pause: the screen stays, measuring goes on"),
    ("left, right", "back in time and forth (pauses)"),
    ("1 2 3 4", "the last 10 s, 1 min, 10 min, all"),
    ("s", "sort by the next of RES, PEAK, growth, AGE, PID, name"),
    ("r", "the other way round"),
    ("t", "as a tree, or not"),
    ("g", "processes of the same name as one row, or not"),
    ("/", "only what has this in name, command or PID"),
    ("Esc", "all again; leave details"),
    ("e", "show those that have ended, or not"),
    ("C", "forget those that have ended"),
    ("up, down, j, k", "select; also PgUp, PgDn, End"),
    ("Home", "select the first, whichever it is"),
    ("Enter", "details of the one selected"),
    ("w", "write the result so far to a file, as --json has it"),
    ("?", "this"),
    ("any key", "back"),
];

/// Columns of the keys.
const WIDTH: u16 = 17;

/// Columns of what they do.
const WORDS: u16 = 56;

/// What the amounts mean; it stands below if there is room.
const WORDS_BELOW: [&str; 5] = [
    "RES is the resident memory of a process (RSS), SHR what of it is files and",
    "shared memory, PEAK the largest RES it ever had: it is exact, also of those",
    "that live for moments. Pages that several processes share count for each.",
    "The chart has the sum of all; each column goes from its least to its most.",
    "Earlier moments have the 50 largest processes, for the last 120 looks.",
];

pub(super) fn draw(look: Appearance, pen: &mut Pen<'_>) {
    pen.clear();
    let both = WIDTH + WORDS + 2;
    // In two halves side by side if they do not fit below each other.
    let lines = pen.height().saturating_sub(1);
    pen.line(0, look.chosen());
    pen.text(1, 0, "Keys", look.chosen());
    for (i, (keys, what)) in (0..).zip(KEYS) {
        let (column, y) = (i / lines.max(1), i % lines.max(1));
        let x = 1 + column * both;
        pen.text(x, 1 + y, keys, look.strong());
        pen.text(x + WIDTH, 1 + y, what, ratatui::style::Style::new());
    }
    let below = u16::try_from(KEYS.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    for (y, text) in (below..).zip(WORDS_BELOW) {
        pen.text(1, y, text, look.faint());
    }
}
