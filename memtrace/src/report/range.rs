//! Peaks and averages between two moments of a recording.

use std::{cmp::Reverse, io};

use super::{
    escape::command_line,
    grid,
    select::{Selection, Sort},
    times::Times,
    units::{duration, grouped, human},
};
use crate::{
    model::{ImageSummary, Origin, Summary},
    recording::{ImageRange, Range},
};

/// Writes the range; `width_ns` is the width of the windows that were recorded.
///
/// # Errors
///
/// Those of the writer.
pub fn write(
    summary: &Summary,
    range: &Range,
    width_ns: u64,
    selection: &Selection,
    width: usize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let times = Times::of(summary);
    writeln!(
        out,
        "memtrace: between +{} and +{}: peak {} ({} bytes) at +{}",
        times.show(range.from_ns),
        times.show(range.until_ns),
        human(range.peak_rss),
        grouped(range.peak_rss),
        times.show(range.peak_at_ns),
    )?;
    writeln!(
        out,
        "          average {} ({} bytes), least {} ({} bytes); sum of RSS over the process tree",
        human(range.average_rss),
        grouped(range.average_rss),
        human(range.least_rss),
        grouped(range.least_rss),
    )?;
    if width_ns > 0 {
        let width = duration(width_ns);
        writeln!(
            out,
            "          recorded in windows of {width}: the range is whole windows, peaks are exact, averages to within a window"
        )?;
    }
    writeln!(out)?;
    let images = range.images.iter();
    let mut rows: Vec<(&ImageSummary, &ImageRange)> = images
        .filter_map(|(index, range)| Some((summary.images.get(*index)?, range)))
        .filter(|(image, _)| {
            selection
                .filter
                .as_ref()
                .is_none_or(|filter| filter.matches_image(image))
        })
        .collect();
    match selection.sort {
        Sort::Rss => {
            rows.sort_by_key(|(image, range)| (Reverse(range.average_rss), image.id));
        }
        Sort::Peak => rows.sort_by_key(|(image, range)| (Reverse(range.peak_rss), image.id)),
        Sort::Start => rows.sort_by_key(|(image, _)| (image.start_ns, image.id)),
        Sort::Pid => rows.sort_by_key(|(image, _)| (image.pid, image.id)),
        Sort::Name => rows.sort_by(|(a, _), (b, _)| {
            let name = |image: &ImageSummary| image.program.name().to_vec();
            name(a).cmp(&name(b)).then(a.id.cmp(&b.id))
        }),
    }
    let lines: Vec<_> = rows
        .iter()
        .map(|(image, range)| {
            let fork = if image.origin == Origin::Fork {
                "(fork) "
            } else {
                ""
            };
            (
                [
                    image.pid.to_string(),
                    human(range.peak_rss),
                    format!("+{}", times.show(range.peak_at_ns)),
                    human(range.average_rss),
                    human(range.last_rss),
                ],
                format!("{fork}{}", command_line(&image.program.args)),
            )
        })
        .collect();
    grid::write(
        ["PID", "PEAK", "PEAK AT", "AVERAGE", "AT END"],
        &[4, 3, 2],
        "COMMAND",
        &lines,
        width,
        out,
    )
}
