//! Tables of text: numbers to the right, the last column to the left and cut.

use std::io;

use super::{escape::clip, fit};

/// Writes a table whose columns are as wide as they need to be, and its last one as wide as
/// `width` has room for. Where that is little, columns are left out in the order of `least`.
pub(super) fn write<const N: usize>(
    headings: [&str; N],
    least: &[usize],
    last: &str,
    rows: &[([String; N], String)],
    width: usize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut widths = headings.map(|heading| heading.chars().count());
    for (cells, _) in rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let shown = fit::shown(widths, least, width);
    let used: usize = widths
        .iter()
        .zip(shown)
        .filter(|(_, shown)| *shown)
        .map(|(width, _)| width + 2)
        .sum();
    let room = width.saturating_sub(used).max(fit::COMMAND);
    let mut line = |cells: &[String], text: &str| -> io::Result<()> {
        for ((cell, width), _) in cells
            .iter()
            .zip(widths)
            .zip(shown)
            .filter(|(_, shown)| *shown)
        {
            write!(out, "{cell:>width$}  ")?;
        }
        writeln!(out, "{}", clip(text, room))
    };
    line(&headings.map(str::to_owned), last)?;
    rows.iter()
        .try_for_each(|(cells, text)| line(cells, text))?;
    let missing = fit::left_out(headings, shown);
    if missing.is_empty() {
        return Ok(());
    }
    writeln!(out, "(no room for {missing})")
}
