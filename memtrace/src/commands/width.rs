//! How wide a report may be.

use std::{env, ffi::OsStr, os::fd::AsFd};

use memtrace::report::text::Options;

/// What nobody means, and no layout can use.
const WIDEST: usize = 10_000;

/// What a report on a stream is written for: `COLUMNS`, else the terminal's width; a file or
/// a pipe has no width.
pub(super) fn fitting(stream: impl AsFd) -> Options {
    let wanted = env::var_os("COLUMNS").as_deref().and_then(columns);
    let width = wanted.or_else(|| {
        let size = rustix::termios::tcgetwinsize(stream).ok()?;
        // 0: nobody has told it.
        Some(usize::from(size.ws_col)).filter(|width| *width > 0)
    });
    width.map_or_else(Options::default, |width| Options {
        width,
        wrap: true,
        ..Options::default()
    })
}

/// The columns that a table on the stream ends at.
pub(super) fn of_tables(stream: impl AsFd) -> usize {
    let options = fitting(stream);
    if options.wrap {
        options.width
    } else {
        usize::MAX
    }
}

fn columns(text: &OsStr) -> Option<usize> {
    let columns = text.to_str()?.trim().parse().ok()?;
    (1..=WIDEST).contains(&columns).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::columns;

    /// Only numbers that a terminal could have.
    #[test]
    fn what_counts_as_columns() {
        assert_eq!(columns("80".as_ref()), Some(80));
        assert_eq!(columns(" 132\n".as_ref()), Some(132));
        for text in ["", "0", "-1", "wide", "99999"] {
            assert_eq!(columns(text.as_ref()), None, "{text:?}");
        }
    }
}
