//! What a reader without scripts sees below the headline; the script puts its own in its place.

use std::io;

use super::{
    foot,
    growth::Growth,
    insight,
    markup::escape_markup,
    peaks,
    processes::{Figures, figures, name},
};
use crate::{
    model::Summary,
    report::{
        chart::{
            Run,
            headline::{counted, sum_of_peaks},
            layers::Layers,
        },
        svg::{Size, inline},
        text::segment_rows,
        units::{duration, grouped, human, seconds},
    },
};

/// Rows of the tables; the script's have more.
const PROCESSES: usize = 200;
const PROGRAMS: usize = 60;

/// Of the picture in the page.
const SIZE: Size = Size {
    width: 1080,
    height: 380,
};

pub(super) fn write(
    out: &mut dyn io::Write,
    runs: &[Run<'_>],
    layers: &[Layers],
    growth: &[Growth],
) -> io::Result<()> {
    writeln!(out, "<div id=\"app\"></div>\n<div id=\"static\">")?;
    if let [a, b] = runs {
        peaks::write(out, a, b)?;
        grown(out, growth)?;
    }
    for (i, ((run, layers), name)) in runs.iter().zip(layers).zip(["A", "B"]).enumerate() {
        let which = if runs.len() > 1 {
            format!(" of {name}")
        } else {
            String::new()
        };
        writeln!(
            out,
            "<section class=\"card\"><h2>Memory over time{which}</h2>\n{}</section>",
            inline(run, layers, SIZE)
        )?;
        holders(out, run.summary, layers, &which)?;
        insight::write(out, run, i, &which)?;
        segments(out, run.summary, &which)?;
        processes(out, run.summary, &which)?;
    }
    writeln!(
        out,
        "<p class=\"quiet\">With scripts enabled, this page answers for any range of time. \
         The scripts are in this file and cannot reach any network.</p>\n</div>"
    )?;
    foot::write(out, runs)?;
    writeln!(out, "</main>")
}

/// Who held what at the peak: bars that sum to it.
fn holders(
    out: &mut dyn io::Write,
    summary: &Summary,
    layers: &Layers,
    which: &str,
) -> io::Result<()> {
    let tree = &summary.tree;
    writeln!(
        out,
        "<section class=\"card\"><h2>Who made the peak{which}</h2>\n<table class=\"bars\">\n\
         <thead><tr><th scope=\"col\">Program</th><th scope=\"col\"></th>\
         <th scope=\"col\" class=\"number\">Held</th><th scope=\"col\" class=\"number\">Bytes</th></tr></thead>\n<tbody>"
    )?;
    let mut holding: Vec<_> = layers.layers.iter().enumerate().collect();
    holding.retain(|(_, layer)| layer.holders > 0);
    holding.sort_by_key(|(_, layer)| std::cmp::Reverse(layer.at_peak.rss()));
    for (i, layer) in holding {
        let held = layer.at_peak.rss();
        let times = if layer.holders > 1 {
            format!(" ×{}", grouped(layer.holders as u64))
        } else {
            String::new()
        };
        writeln!(
            out,
            "<tr><th scope=\"row\">{}{times}</th><td class=\"barcell\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            escape_markup(&layer.name),
            bar(i, held, tree.peak_rss),
            human(held),
            grouped(held)
        )?;
    }
    let sum = tree.own_peak().rss();
    writeln!(
        out,
        "</tbody>\n<tfoot><tr><th scope=\"row\">Sum</th><td></td><td class=\"number\">{}</td>\
         <td class=\"number\">{}</td></tr></tfoot></table>\n\
         <p class=\"quiet\">At +{}. The processes' own peaks sum to {}.</p></section>",
        human(sum),
        grouped(sum),
        seconds(tree.peak_at_ns),
        human(sum_of_peaks(summary))
    )
}

/// A bar as long as `part` of `whole`, in the colour and pattern of a layer.
fn bar(layer: usize, part: u64, whole: u64) -> String {
    // In hundredths of a per cent.
    let share = u128::from(part.min(whole)) * 10_000 / u128::from(whole.max(1));
    let (whole, rest) = (share / 100, share % 100);
    format!(
        "<svg class=\"hbar\" width=\"100%\" height=\"14\" aria-hidden=\"true\">\
         <rect class=\"mt-l{layer}\" width=\"{whole}.{rest:02}%\" height=\"14\" rx=\"2\"/></svg>"
    )
}

/// What the largest image consisted of, where segments were told apart.
fn segments(out: &mut dyn io::Write, summary: &Summary, which: &str) -> io::Result<()> {
    let biggest = summary.tree.biggest.and_then(|i| summary.images.get(i));
    let Some(image) = biggest.filter(|image| image.segments.is_some()) else {
        return Ok(());
    };
    writeln!(
        out,
        "<section class=\"card\"><h2>What memory was for{which}</h2>\n\
         <p class=\"quiet\">Of {} [{}], the largest, in bytes.</p>\n\
         <div class=\"scroll\"><table class=\"grid\"><thead><tr><th scope=\"col\">Segment</th>\
         <th scope=\"col\" class=\"number\">Most resident</th><th scope=\"col\" class=\"number\">At its peak</th>\
         <th scope=\"col\" class=\"number\">Of it anonymous</th><th scope=\"col\" class=\"number\">Swapped out</th>\
         <th scope=\"col\" class=\"number\">Virtual</th></tr></thead>\n<tbody>",
        escape_markup(&name(image)),
        image.pid
    )?;
    for (segment, numbers) in segment_rows(image) {
        write!(out, "<tr><th scope=\"row\">{segment}</th>")?;
        for number in numbers {
            write!(out, "<td class=\"number\">{number}</td>")?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div></section>")
}

fn processes(out: &mut dyn io::Write, summary: &Summary, which: &str) -> io::Result<()> {
    let all = figures(summary);
    writeln!(
        out,
        "<section class=\"card\"><h2>Processes{which}</h2>\n<div class=\"scroll\"><table class=\"grid\">\n\
         <thead><tr><th scope=\"col\">Program</th><th scope=\"col\" class=\"number\">PID</th>\
         <th scope=\"col\" class=\"number\">Start</th><th scope=\"col\" class=\"number\">Lifetime</th>\
         <th scope=\"col\" class=\"number\">Peak</th><th scope=\"col\" class=\"number\">Peak at</th>\
         <th scope=\"col\" class=\"number\">At tree's peak</th><th scope=\"col\" class=\"number\">Average</th>\
         <th scope=\"col\">End</th><th scope=\"col\">Command</th></tr></thead>\n<tbody>"
    )?;
    for of in all.iter().take(PROCESSES) {
        row(out, summary, of)?;
    }
    writeln!(out, "</tbody></table></div>")?;
    let left_out = all.len().saturating_sub(PROCESSES);
    if left_out > 0 {
        writeln!(
            out,
            "<p class=\"quiet\">{} with smaller peaks not listed here.</p>",
            counted(left_out, "process", "processes")
        )?;
    }
    writeln!(out, "</section>")
}

fn row(out: &mut dyn io::Write, summary: &Summary, of: &Figures<'_>) -> io::Result<()> {
    let process = of.process;
    let amount = |bytes: u64| {
        if of.borrowed {
            format!("({})", human(bytes))
        } else {
            human(bytes)
        }
    };
    let image = of.image;
    writeln!(
        out,
        "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">+{}</td>\
         <td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">+{}</td>\
         <td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td>\
         <td class=\"code\">{}</td></tr>",
        escape_markup(&of.name(summary)),
        process.pid,
        seconds(process.start_ns),
        duration(process.lifetime_ns),
        amount(of.peak()),
        seconds(image.map_or(0, |image| image.peak_at_ns)),
        human(of.at_tree_peak),
        amount(image.map_or(0, |image| image.average_rss)),
        escape_markup(&of.ending()),
        escape_markup(&of.command(summary))
    )
}

/// What grew, of two runs.
fn grown(out: &mut dyn io::Write, growth: &[Growth]) -> io::Result<()> {
    writeln!(
        out,
        "<section class=\"card\"><h2>What grew</h2>\n<div class=\"scroll\"><table class=\"grid\"><thead><tr>\
         <th scope=\"col\">Program</th><th scope=\"col\" class=\"number\">At the peak of A</th>\
         <th scope=\"col\" class=\"number\">At the peak of B</th><th scope=\"col\" class=\"number\">Change, bytes</th>\
         </tr></thead>\n<tbody>"
    )?;
    for program in growth.iter().take(PROGRAMS) {
        let [a, b] = program.at_peak;
        let sign = match b.cmp(&a) {
            std::cmp::Ordering::Less => "−",
            std::cmp::Ordering::Equal => "",
            std::cmp::Ordering::Greater => "+",
        };
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{sign}{}</td></tr>",
            escape_markup(&program.name),
            human(a),
            human(b),
            grouped(b.abs_diff(a))
        )?;
    }
    writeln!(out, "</tbody></table></div></section>")
}
