//! The timeline of a recording below its summary.

use std::{env, fs, io::Write, os::fd::AsFd, path::Path};

use memtrace::{
    recording::{LoadOptions, Loaded, load},
    report::{
        Run,
        plot::{self, Look},
    },
    screen::Appearance,
};

use super::width;

/// Many more than a terminal has columns, and so few that they need no memory to speak of.
const SPANS: usize = 20_000;

/// A recording as far as a line needs it.
pub(super) fn options() -> LoadOptions {
    LoadOptions {
        max_spans: SPANS,
        ..LoadOptions::default()
    }
}

/// As wide as the stream, with the characters that its user's locale has.
pub(super) fn look(stream: impl AsFd, ascii: bool) -> Look {
    Look {
        width: width::fitting(stream).width,
        ascii: ascii || !Appearance::of_environment(|name| env::var_os(name)).unicode,
    }
}

/// Draws what was loaded.
pub(super) fn draw(loaded: &Loaded, look: Look, mut out: impl Write) -> std::io::Result<()> {
    let run = Run {
        summary: &loaded.summary,
        timeline: &loaded.timeline,
        title: "",
        notes: &loaded.notes,
        limit: None,
    };
    plot::write(&run, look, &mut out)?;
    out.flush()
}

/// Draws a recording that was just written. A device or a pipe cannot be read again, and what cannot be read is
/// told of elsewhere.
pub(super) fn draw_file(path: &Path, stream: impl AsFd, out: impl Write) -> std::io::Result<()> {
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if is_file && let Ok(loaded) = load(path, &options()) {
        draw(&loaded, look(stream, false), out)?;
    }
    Ok(())
}
