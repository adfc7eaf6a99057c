//! The top of the page: the result, how exact it is, and what goes with it.

use std::io;

use super::markup::escape_markup;
use crate::{
    model::{Summary, Verdict},
    report::{
        chart::{
            Run,
            headline::{Headline, counted, ending, sum_of_peaks, verdict},
            layers::Layers,
            near::{near_peak, near_snapshot},
        },
        escape::one_line,
        units::{self, differ, duration, grouped, human, seconds},
    },
};

pub(super) fn write(
    out: &mut dyn io::Write,
    runs: &[Run<'_>],
    layers: &[Layers],
) -> io::Result<()> {
    write!(
        out,
        "<a class=\"skip\" href=\"#processes\">Skip to the processes</a>\n\
         <header class=\"bar\"><span class=\"brand\">memtrace</span>\
         <span class=\"bartitle\">{}</span>\
         <span class=\"tools\" id=\"tools\"></span></header>\n<main>\n",
        escape_markup(
            &runs
                .iter()
                .map(|run| one_line(run.title))
                .collect::<Vec<_>>()
                .join("  →  ")
        )
    )?;
    match runs {
        [a, b] => {
            difference(out, a.summary, b.summary)?;
            writeln!(out, "<div class=\"pair\">")?;
            for (i, (run, name)) in [a, b].into_iter().zip(["A", "B"]).enumerate() {
                let layers = layers.get(i);
                hero(out, run, layers, Some(name))?;
            }
            writeln!(out, "</div>")?;
        }
        _ => {
            for (run, layers) in runs.iter().zip(layers) {
                hero(out, run, Some(layers), None)?;
            }
        }
    }
    Ok(())
}

/// How much the second peak is above or below the first.
fn difference(out: &mut dyn io::Write, a: &Summary, b: &Summary) -> io::Result<()> {
    let (first, second) = (a.tree.peak_rss, b.tree.peak_rss);
    let amount = second.abs_diff(first);
    // In tenths of a per cent, rounded.
    let share = (u128::from(amount) * 2000 + u128::from(first))
        .checked_div(u128::from(first) * 2)
        .map_or_else(String::new, |tenths| {
            format!(
                " ({}{}.{} %)",
                sign(first, second),
                tenths / 10,
                tenths % 10
            )
        });
    let words = match second.cmp(&first) {
        std::cmp::Ordering::Less => "less at the peak of RSS: B against A",
        std::cmp::Ordering::Equal => "The peaks of RSS are equal.",
        std::cmp::Ordering::Greater => "more at the peak of RSS: B against A",
    };
    let class = if second > first { "more" } else { "less" };
    writeln!(
        out,
        "<section class=\"difference {class}\" aria-label=\"Difference\"><p class=\"amount\">\
         <span id=\"difference\" data-bytes=\"{}\">{}{}</span>{share}</p>\
         <p class=\"label\">{words}</p></section>",
        i128::from(second) - i128::from(first),
        sign(first, second),
        human(amount)
    )
}

fn sign(first: u64, second: u64) -> &'static str {
    match second.cmp(&first) {
        std::cmp::Ordering::Less => "−",
        std::cmp::Ordering::Equal => "",
        std::cmp::Ordering::Greater => "+",
    }
}

fn hero(
    out: &mut dyn io::Write,
    run: &Run<'_>,
    layers: Option<&Layers>,
    name: Option<&str>,
) -> io::Result<()> {
    let summary = run.summary;
    let headline = Headline::new(summary);
    let (verdict, class) = verdict(summary);
    let mark = match class {
        "good" => "✓",
        "fair" => "≈",
        _ => "!",
    };
    let title = one_line(run.title);
    writeln!(out, "<section class=\"hero\" aria-label=\"Result\">")?;
    if let Some(name) = name {
        writeln!(
            out,
            "<h2 class=\"which\"><b class=\"run{name}\">{name}</b> {}</h2>",
            escape_markup(&title)
        )?;
    } else {
        writeln!(out, "<h1 class=\"command\">{}</h1>", escape_markup(&title))?;
    }
    writeln!(
        out,
        "<div class=\"result\"><p class=\"amount\" data-peak-bytes=\"{}\">{}</p>\
         <p class=\"label\">{}<br><span class=\"exactly\">{}</span></p></div>",
        summary.tree.peak_rss,
        escape_markup(&headline.figure),
        headline.label,
        escape_markup(&headline.exactly)
    )?;
    if let Some(relation) = &headline.relation {
        writeln!(out, "<p class=\"relation\">{}</p>", escape_markup(relation))?;
    }
    certificate(out, summary, &format!("{mark} {verdict}"), class)?;
    for note in run.notes {
        writeln!(
            out,
            "<p class=\"note\" role=\"note\">{}</p>",
            escape_markup(&one_line(note))
        )?;
    }
    facts(out, run, layers)?;
    writeln!(out, "</section>")
}

fn certificate(
    out: &mut dyn io::Write,
    summary: &Summary,
    word: &str,
    class: &str,
) -> io::Result<()> {
    let certificate = &summary.certificate;
    let checks = certificate.cross_checks;
    let events = units::counted(certificate.events, "counter update", "counter updates");
    let made = counted(
        usize::try_from(checks.count).unwrap_or(usize::MAX),
        "comparison",
        "comparisons",
    );
    let checked = match (checks.count, checks.largest_difference_bytes) {
        (0, _) => String::new(),
        (_, 0) => format!(", {made} with /proc without a difference"),
        (_, most) => format!(", {made} with /proc differ by at most {}", human(most)),
    };
    let sentence = match certificate.verdict {
        Verdict::Exact => format!("{events}, none lost, residual 0{checked}."),
        Verdict::Within(bytes) => format!(
            "Numbers can be off by up to {} ({} bytes). {events}{checked}.",
            human(bytes),
            grouped(bytes)
        ),
        Verdict::Incomplete => {
            format!("Something is missing, and there is no bound. {events}{checked}.")
        }
    };
    let open = if class == "good" { "" } else { " open" };
    write!(
        out,
        "<details class=\"certificate {class}\"{open}><summary><b>{word}</b> <span>{sentence}</span>\
         </summary>\n<ul>\n"
    )?;
    let tier = format!("Measured in tier {}.", certificate.tier);
    let lines = certificate.reasons.iter().chain(&certificate.remarks);
    for line in lines.chain([&tier]) {
        writeln!(out, "<li>{}</li>", escape_markup(&one_line(line)))?;
    }
    write!(
        out,
        "<li>RSS is resident memory as the kernel's counters define it: file mappings, anonymous and \
         shared memory. The tree's is the sum over all its address spaces at one moment, each \
         once.</li>\n</ul></details>\n"
    )
}

fn facts(out: &mut dyn io::Write, run: &Run<'_>, layers: Option<&Layers>) -> io::Result<()> {
    writeln!(out, "<dl class=\"facts\">")?;
    fact_list(run, layers, &mut |label, value, more| {
        writeln!(
            out,
            "<div><dt>{label}</dt><dd>{} <small>{}</small></dd></div>",
            escape_markup(value),
            escape_markup(more)
        )
    })?;
    writeln!(out, "</dl>")
}

fn fact_list(
    run: &Run<'_>,
    layers: Option<&Layers>,
    fact: &mut dyn FnMut(&str, &str, &str) -> io::Result<()>,
) -> io::Result<()> {
    let summary = run.summary;
    let tree = &summary.tree;
    if let Some((least, most)) = near_peak(run) {
        let (value, more) = if least == most {
            (duration(most), "in all".to_owned())
        } else {
            let least = match least {
                0 => String::new(),
                ns => format!("at least {}", duration(ns)),
            };
            (format!("≤ {}", duration(most)), least)
        };
        fact("Within 1 % of peak", &value, &more)?;
    }
    if let Some(layer) = layers.and_then(|layers| {
        let holding = layers.layers.iter().filter(|layer| layer.holders > 0);
        holding.max_by_key(|layer| layer.at_peak.rss())
    }) {
        let held = layer.at_peak.rss();
        let times = if layer.holders > 1 {
            format!(" ×{}", grouped(layer.holders as u64))
        } else {
            String::new()
        };
        fact(
            "Held most at the peak",
            &format!("{}{times}", layer.name),
            &format!("{} of {}", human(held), human(tree.peak_rss)),
        )?;
    }
    if let Some(image) = tree.biggest.and_then(|i| summary.images.get(i)) {
        fact(
            "Largest process",
            &human(image.peak_rss),
            &format!("{} [{}]", super::processes::name(image), image.pid),
        )?;
    }
    fact("Average", &human(tree.average_rss), "over time")?;
    if let Some(snapshot) = near_snapshot(tree) {
        fact(
            "PSS near the peak",
            &human(snapshot.pss),
            &format!(
                "USS {}; a snapshot at +{}, RSS {}",
                human(snapshot.uss),
                seconds(snapshot.at_ns),
                human(snapshot.rss)
            ),
        )?;
    }
    let sum = sum_of_peaks(summary);
    fact(
        "Sum of single peaks",
        &human(sum),
        if sum > tree.peak_rss && differ(sum, tree.peak_rss) {
            "they did not coincide"
        } else {
            ""
        },
    )?;
    fact(
        "Processes",
        &grouped(summary.processes.len() as u64),
        &counted(summary.images.len(), "address space", "address spaces"),
    )?;
    fact(
        "Took",
        &seconds(summary.wall_ns.max(tree.duration_ns)),
        &ending(summary.outcome),
    )
}
