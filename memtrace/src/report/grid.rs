//! Tables of text: numbers to the right, the last column to the left and cut.

use std::io;

use super::escape::clip;

/// Writes a table whose columns are as wide as they need to be, and its last one as wide as
/// `width` has room for, but for at least 20 characters.
pub(super) fn write<const N: usize>(
    headings: [&str; N],
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
    let used: usize = widths.iter().map(|width| width + 2).sum();
    let room = width.saturating_sub(used).max(20);
    let mut line = |cells: &[String], text: &str| -> io::Result<()> {
        for (cell, width) in cells.iter().zip(widths) {
            write!(out, "{cell:>width$}  ")?;
        }
        writeln!(out, "{}", clip(text, room))
    };
    line(&headings.map(str::to_owned), last)?;
    rows.iter().try_for_each(|(cells, text)| line(cells, text))
}
