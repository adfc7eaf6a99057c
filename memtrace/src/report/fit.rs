//! Which columns of a table have room.

/// The least that is kept for the command at the end of a line.
pub(super) const COMMAND: usize = 12;

/// Leaves out columns, in the order of `least`, until the others and a command fit into `width`;
/// tells which are shown. Those that are not in `least` always are.
pub(super) fn shown<const N: usize>(
    widths: [usize; N],
    least: &[usize],
    width: usize,
) -> [bool; N] {
    let mut shown = [true; N];
    let mut used: usize = widths.iter().map(|width| width + 2).sum();
    for &column in least {
        if used.saturating_add(COMMAND) <= width {
            break;
        }
        if let (Some(shown), Some(width)) = (shown.get_mut(column), widths.get(column)) {
            *shown = false;
            used = used.saturating_sub(width + 2);
        }
    }
    shown
}

/// The names of those that are left out; empty if none is.
pub(super) fn left_out<const N: usize>(headings: [&str; N], shown: [bool; N]) -> String {
    let names: Vec<&str> = headings
        .into_iter()
        .zip(shown)
        .filter(|(_, shown)| !shown)
        .map(|(name, _)| name)
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{left_out, shown};

    /// What matters least goes first, and no more than has to.
    #[test]
    fn columns_go_in_order() {
        let widths = [5, 9, 9, 9];
        let least = [3, 1];
        let all = 7 + 11 + 11 + 11 + 12;
        for (width, expected) in [
            (usize::MAX, [true; 4]),
            (all, [true; 4]),
            (all - 1, [true, true, true, false]),
            (all - 11, [true, true, true, false]),
            (all - 12, [true, false, true, false]),
            (0, [true, false, true, false]),
        ] {
            assert_eq!(shown(widths, &least, width), expected, "{width}");
        }
        let headings = ["PID", "RSS", "ANON", "FILE"];
        assert_eq!(left_out(headings, [true, false, true, false]), "RSS, FILE");
    }
}
