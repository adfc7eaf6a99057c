//! A line of steps in the dots of braille characters, two columns and four rows in each.

use crate::screen::history::Column;

/// Dots of a character, by column and row from above.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// The first braille character, without dots.
const EMPTY: u32 = 0x2800;

/// Columns of dots in a character.
pub(super) const ACROSS: usize = 2;

/// Rows of dots in a character.
const DOWN: u64 = 4;

/// The lines of a chart of `height` lines, whose top is `most`, as wide as `columns` are. Each
/// column is drawn from its smallest to its largest value: what changes within it goes straight
/// up or down.
pub(super) fn braille(columns: &[Option<Column>], most: u64, height: u16) -> Vec<String> {
    let rows = u64::from(height) * DOWN;
    let width = columns.len().div_ceil(ACROSS);
    let mut cells = vec![vec![0_u8; width]; usize::from(height)];
    for (x, column) in columns.iter().enumerate() {
        let Some(column) = column else {
            continue;
        };
        let (low, high) = (row(column.low, most, rows), row(column.high, most, rows));
        for row in low..=high {
            // Rows are counted from below.
            let from_above = rows.saturating_sub(row + 1);
            let line = usize::try_from(from_above / DOWN).unwrap_or(usize::MAX);
            let dot = usize::try_from(from_above % DOWN).unwrap_or(usize::MAX);
            let cell = cells
                .get_mut(line)
                .and_then(|line| line.get_mut(x / ACROSS));
            let bit = DOTS.get(x % ACROSS).and_then(|dots| dots.get(dot));
            if let (Some(cell), Some(bit)) = (cell, bit) {
                *cell |= bit;
            }
        }
    }
    cells
        .into_iter()
        .map(|line| line.into_iter().map(character).collect())
        .collect()
}

/// The same with one `#` for each character of which the line goes through.
pub(super) fn ascii(columns: &[Option<Column>], most: u64, height: u16) -> Vec<String> {
    braille(columns, most, height)
        .into_iter()
        .map(|line| {
            line.chars()
                .map(|c| if is_empty(c) { ' ' } else { '#' })
                .collect()
        })
        .collect()
}

/// Whether nothing is drawn in a character.
pub(super) fn is_empty(c: char) -> bool {
    u32::from(c) == EMPTY || c == ' '
}

fn character(dots: u8) -> char {
    if dots == 0 {
        return ' ';
    }
    char::from_u32(EMPTY + u32::from(dots)).unwrap_or(' ')
}

/// The row of a value, from below: zero in the first, `most` in the last.
fn row(value: u64, most: u64, rows: u64) -> u64 {
    let last = rows.saturating_sub(1);
    let row =
        (u128::from(value) * u128::from(last) + u128::from(most) / 2) / u128::from(most.max(1));
    u64::try_from(row).unwrap_or(last).min(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(value: u64) -> Option<Column> {
        Some(Column {
            low: value,
            high: value,
        })
    }

    /// A step goes straight up, in the column where it happens.
    #[test]
    fn steps_are_upright() {
        let columns = [
            level(0),
            level(0),
            Some(Column { low: 0, high: 7 }),
            level(7),
            None,
            level(3),
        ];
        let [above, below] = &braille(&columns, 7, 2)[..] else {
            panic!("two lines");
        };
        assert_eq!(above, " ⡏ ");
        assert_eq!(below, "⣀⡇⠈");
        assert_eq!(ascii(&columns, 7, 2), [" # ", "###"]);
    }

    /// Zero is on the ground, the most at the top, and what is more stays inside.
    #[test]
    fn rows_are_inside() {
        assert_eq!(row(0, 100, 8), 0);
        assert_eq!(row(100, 100, 8), 7);
        assert_eq!(row(50, 100, 9), 4);
        assert_eq!(row(u64::MAX, 1, 8), 7);
        assert_eq!(row(0, 0, 8), 0);
        assert_eq!(row(u64::MAX, u64::MAX, 8), 7);
        assert!(braille(&[level(1)], 1, 0).is_empty());
    }
}
