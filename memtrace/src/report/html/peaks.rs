//! Two runs' peaks, one below the other, and what the kernel said about their shares.

use std::io;

use crate::{
    model::{PssSnapshot, Summary},
    report::{
        chart::{Run, near::near_snapshot},
        units::{grouped, human, seconds},
    },
};

/// A line of the table: what it is, a key for the script, and its value in a run, if known.
type Line = (&'static str, &'static str, fn(&Summary) -> Option<u64>);

const LINES: [Line; 6] = [
    ("Peak of RSS", "rss", |run| Some(run.tree.peak_rss)),
    ("Needed, with what fork shares once", "needed", |run| {
        let footprint = run.tree.footprint;
        (footprint.high > 0).then_some(footprint.high)
    }),
    ("Average of RSS", "average", |run| {
        Some(run.tree.average_rss)
    }),
    ("PSS near the peak", "pss", |run| near(run).map(|s| s.pss)),
    ("USS near the peak", "uss", |run| near(run).map(|s| s.uss)),
    ("RSS at that snapshot", "snapshot-rss", |run| {
        near(run).map(|s| s.rss)
    }),
];

fn near(run: &Summary) -> Option<&PssSnapshot> {
    near_snapshot(&run.tree)
}

pub(super) fn write(out: &mut dyn io::Write, a: &Run<'_>, b: &Run<'_>) -> io::Result<()> {
    let (a, b) = (a.summary, b.summary);
    write!(
        out,
        "<section class=\"card insight\" data-insight=\"peaks\" aria-label=\"Side by side\"><h2>Side by side</h2>\n\
         <div class=\"scroll\"><table class=\"grid\"><thead><tr><th scope=\"col\"></th>\
         <th scope=\"col\" class=\"number\">A</th><th scope=\"col\" class=\"number\">B</th>\
         <th scope=\"col\" class=\"number\">Change</th><th scope=\"col\" class=\"number\">Change, bytes</th></tr></thead>\n<tbody>\n"
    )?;
    for (label, key, of) in LINES {
        let values = [of(a), of(b)];
        if values == [None, None] {
            continue;
        }
        write!(
            out,
            "<tr data-line=\"{key}\"><th scope=\"row\">{label}</th>"
        )?;
        for value in values {
            match value {
                Some(bytes) => write!(
                    out,
                    "<td class=\"number\" data-bytes=\"{bytes}\">{}</td>",
                    human(bytes)
                )?,
                None => write!(out, "<td class=\"number\">not recorded</td>")?,
            }
        }
        match values {
            [Some(a), Some(b)] => {
                let (sign, class) = match b.cmp(&a) {
                    std::cmp::Ordering::Less => ("−", "number"),
                    std::cmp::Ordering::Equal => ("", "number"),
                    std::cmp::Ordering::Greater => ("+", "number up"),
                };
                let change = b.abs_diff(a);
                writeln!(
                    out,
                    "<td class=\"{class}\" data-bytes=\"{}\">{sign}{}</td><td class=\"number\">{sign}{}</td></tr>",
                    i128::from(b) - i128::from(a),
                    human(change),
                    grouped(change)
                )?;
            }
            _ => writeln!(
                out,
                "<td class=\"number\">–</td><td class=\"number\">–</td></tr>"
            )?,
        }
    }
    writeln!(out, "</tbody></table></div>")?;
    let snapshots: Vec<String> = [(a, "A"), (b, "B")]
        .into_iter()
        .filter_map(|(run, name)| {
            let at = near(run)?.at_ns;
            Some(format!("{name} at +{}", seconds(at)))
        })
        .collect();
    if !snapshots.is_empty() {
        writeln!(
            out,
            "<p class=\"quiet\">PSS and USS are snapshots of what the kernel says, the ones closest in RSS to the peaks: {}. \
             They are not exact; the RSS of that moment is beside them.</p>",
            snapshots.join(", ")
        )?;
    }
    writeln!(out, "</section>")
}
