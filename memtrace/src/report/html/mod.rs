//! A page to look around in: one file, without network, readable without scripts.
//!
//! The page's own words (headline, certificate, who held what, a picture of the timeline, the
//! largest processes) are in the markup. Its script replaces the picture and the tables by ones
//! that answer for any range of time. It works with data in a script element that
//! is not executed. The Content-Security-Policy admits the one script and the one style by
//! their hashes, and nothing else: a name that were markup could do nothing, and the page
//! cannot reach any network.
//!
//! The timeline is folded before it is embedded (see `fold`): at most 2,000 windows and
//! about 30,000 entries of images in windows, whatever was recorded. Each window has
//! the least and the largest sum in it and what every image held at the instant of the largest,
//! so ranges of whole windows are answered exactly.
//!
//! Everything that traced programs can choose (names, arguments) is untrusted: controls and
//! what reorders text is made visible first, then markup is escaped.

mod assets;
mod data;
mod foot;
mod growth;
mod head;
mod insight;
pub(super) mod markup;
mod numbers;
mod peaks;
mod processes;
mod segments;
mod statics;
mod vlq;

use std::io;

use self::{
    assets::Assets,
    data::PageData,
    growth::Growth,
    markup::{escape_json, escape_markup},
    segments::tells_segments,
};
use super::{
    chart::{Run, layers::Layers},
    escape::one_line,
};

/// Writes the page: of one run, or of two to compare, the older or reference one first.
///
/// # Errors
///
/// Those of the writer; [`io::ErrorKind::InvalidInput`] for no run, or more than two.
pub fn html(out: &mut impl io::Write, runs: &[Run<'_>]) -> io::Result<()> {
    let growth: Vec<Growth> = match runs {
        [_] => Vec::new(),
        [a, b] => growth::growth(a.summary, b.summary),
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a page shows one run, or compares two",
            ));
        }
    };
    let layers: Vec<Layers> = runs.iter().map(|run| Layers::new(run.summary)).collect();
    let told = runs.iter().any(|run| tells_segments(run.summary));
    let assets = Assets::new(told);
    let titles: Vec<String> = runs.iter().map(|run| one_line(run.title)).collect();
    let title = escape_markup(&titles.join(" and "));
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"memtrace {}\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title} - memory</title>\n<style>{}</style>\n\
         </head>\n<body>\n",
        assets.policy,
        env!("CARGO_PKG_VERSION"),
        assets.style
    )?;
    head::write(out, runs, &layers)?;
    statics::write(out, runs, &layers, &growth)?;
    let data = serde_json::to_string(&PageData::new(runs, &layers))?;
    writeln!(
        out,
        "<script type=\"application/json\" id=\"data\">{}</script>",
        escape_json(&data)
    )?;
    let data = serde_json::to_string(&growth)?;
    write!(
        out,
        "<script type=\"application/json\" id=\"growth\">{}</script>\n\
         <script type=\"module\">{}</script>\n</body>\n</html>\n",
        escape_json(&data),
        assets.script
    )
}

#[cfg(test)]
mod tests;
