//! What the run says about running more or fewer processes at a time, and what a sampler would
//! have missed of it. In the markup, for readers without scripts too; the script only moves it.

use std::io;

use super::{markup::escape_markup, processes::name};
use crate::report::{
    chart::{
        Run,
        concurrency::{Concurrency, Level, concurrency},
        headline::counted,
        spikes::{LEAST_PART, Spike, Spikes, spikes},
    },
    units::{differ, duration, grouped, human, seconds},
};

const MS: u64 = 1_000_000;

/// Spikes are told that are shorter than this.
const SHORT_NS: u64 = 100 * MS;

/// Spikes that are listed.
const LISTED: usize = 8;

/// How often samplers look: `top -d 0.01` at best, mprof and psrecord, `top` and `docker stats`.
const INTERVALS_NS: [u64; 3] = [10 * MS, SHORT_NS, 1000 * MS];

/// Rows of counts; more are summed up.
const LEVELS: usize = 24;

pub(super) fn write(
    out: &mut dyn io::Write,
    run: &Run<'_>,
    index: usize,
    which: &str,
) -> io::Result<()> {
    if let Some(found) = concurrency(run) {
        at_a_time(out, run, &found, index, which)?;
    }
    if let Some(found) = spikes(run, SHORT_NS, LISTED) {
        missed(out, run, &found, index, which)?;
    }
    Ok(())
}

/// `1.2 s`, with as many digits as a length of time needs.
fn length(ns: u64) -> String {
    duration(ns)
        .replace(".000 ms", " ms")
        .replace(".000 s", " s")
}

/// A moment: `+1.204 s`.
fn moment(ns: u64) -> String {
    format!("+{}", seconds(ns))
}

fn bar(part: u64, whole: u64) -> String {
    let share = u128::from(part.min(whole)) * 10_000 / u128::from(whole.max(1));
    format!(
        "<svg class=\"hbar\" width=\"100%\" height=\"14\" aria-hidden=\"true\">\
         <rect class=\"mt-l0\" width=\"{}.{:02}%\" height=\"14\" rx=\"2\"/></svg>",
        share / 100,
        share % 100
    )
}

/// Sizes that a reader may have in mind: the limit, and powers of two around the peak.
fn sizes(run: &Run<'_>) -> Vec<u64> {
    let above = run.summary.tree.peak_rss.max(1).checked_next_power_of_two();
    let above = above.unwrap_or(1 << 63);
    let mut sizes: Vec<u64> = [above / 2, above, above.saturating_mul(2)]
        .into_iter()
        .chain(run.limit)
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Levels in at most [`LEVELS`] rows: from, to, and the level that had the largest sum.
fn rows(levels: &[Level]) -> Vec<(usize, usize, Level)> {
    let each = levels.len().div_ceil(LEVELS).max(1);
    let merged = levels.chunks(each).filter_map(|chunk| {
        let most = chunk.iter().max_by_key(|level| level.largest)?;
        let for_ns = chunk
            .iter()
            .fold(0, |sum: u64, l| sum.saturating_add(l.for_ns));
        let (first, last) = (chunk.first()?.at_once, chunk.last()?.at_once);
        Some((first, last, Level { for_ns, ..*most }))
    });
    merged.collect()
}

fn at_a_time(
    out: &mut dyn io::Write,
    run: &Run<'_>,
    found: &Concurrency,
    index: usize,
    which: &str,
) -> io::Result<()> {
    let program = run
        .summary
        .images
        .get(found.image)
        .map_or_else(String::new, name);
    let program = escape_markup(&program);
    let most = found.levels.len();
    writeln!(
        out,
        "<section class=\"card insight\" data-insight=\"parallel\" data-run=\"{index}\" \
         aria-label=\"How many at a time\"><h2>How many at a time{which}</h2>"
    )?;
    write!(
        out,
        "<p class=\"answer\">Up to <b>{}</b> of <b class=\"program\">{program}</b> were alive at the same time; ",
        grouped(most as u64)
    )?;
    match found.at_peak {
        0 => write!(
            out,
            "at the peak none of them held memory: fewer at a time would not lower it."
        )?,
        2 if most == 2 => write!(out, "at the peak both held memory.")?,
        n if n == most => write!(out, "at the peak all {} held memory.", grouped(n as u64))?,
        n => write!(
            out,
            "at the peak {} of them held memory.",
            grouped(n as u64)
        )?,
    }
    if !run.timeline.losses.is_empty() {
        write!(
            out,
            " Records of the timeline are missing, so that counts can be off."
        )?;
    }
    if let Some(line) = found.line {
        write!(
            out,
            " Each further one costs about <b class=\"each\" data-bytes=\"{0}\">{1}</b>.",
            line.each.round() as u64,
            human(line.each.round() as u64)
        )?;
        let fits: Vec<String> = sizes(run)
            .into_iter()
            .map(|size| {
                let fit = line.fitting(size);
                let more = if fit > most as u64 {
                    " (more than were seen)"
                } else {
                    ""
                };
                format!(
                    "<span class=\"fit\" data-bytes=\"{size}\" data-fit=\"{fit}\"><b>{}</b> into {}{more}</span>",
                    grouped(fit),
                    human(size)
                )
            })
            .collect();
        write!(
            out,
            " At a time, about this many would fit: {}.",
            fits.join(", ")
        )?;
        if differ(run.summary.tree.footprint.low, run.summary.tree.peak_rss) {
            write!(
                out,
                " That is RSS: what is shared after fork counts in each of them, so more need less."
            )?;
        }
    }
    write!(
        out,
        "</p>\n<table class=\"bars\"><thead><tr><th scope=\"col\">At a time</th>\
         <th scope=\"col\" class=\"number\">For</th><th scope=\"col\"></th>\
         <th scope=\"col\" class=\"number\">Largest sum seen</th>\
         <th scope=\"col\" class=\"number\">Of it {program}</th></tr></thead>\n<tbody>\n"
    )?;
    for (first, last, level) in rows(&found.levels) {
        let count = if first == last {
            grouped(first as u64)
        } else {
            format!("{} to {}", grouped(first as u64), grouped(last as u64))
        };
        let seen = level.largest > 0;
        writeln!(
            out,
            "<tr data-count=\"{first}\" data-ns=\"{}\" data-bytes=\"{}\" data-held=\"{}\" data-at=\"{}\">\
             <th scope=\"row\">{count}</th><td class=\"number\">{}</td><td class=\"barcell\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number bytes\">{}</td></tr>",
            level.for_ns,
            level.largest,
            level.held,
            level.at_ns,
            length(level.for_ns),
            bar(level.largest, run.summary.tree.peak_rss),
            if seen {
                human(level.largest)
            } else {
                "–".to_owned()
            },
            if seen {
                human(level.held)
            } else {
                "–".to_owned()
            },
        )?;
    }
    write!(
        out,
        "</tbody></table>\n<details class=\"quiet\"><summary>How that is worked out</summary><p>Counted are address \
         spaces while they hold memory; how long is from their lifetimes. The largest sum is that of RSS over the whole \
         tree at {}: so there was at least that much.",
        if run.timeline.width_ns > 0 {
            format!(
                "the moments whose composition is known, the maxima and the ends of windows of {}",
                length(run.timeline.width_ns)
            )
        } else {
            "any change".to_owned()
        }
    )?;
    if let Some(line) = found.line {
        write!(
            out,
            " What each costs is the slope of a line through these sums (least squares over the counts that lasted 1 % of \
             the time; where only two did, what each one held, if that is more than what the second added); what fits \
             keeps {} free, by which a sum lay above that line. It is an estimate.",
            human(line.above.round() as u64)
        )?;
    }
    writeln!(out, "</p></details></section>")
}

fn missed(
    out: &mut dyn io::Write,
    run: &Run<'_>,
    found: &Spikes,
    index: usize,
    which: &str,
) -> io::Result<()> {
    let peak = run.summary.tree.peak_rss;
    let least = human((peak / LEAST_PART).max(1));
    let short = length(SHORT_NS);
    writeln!(
        out,
        "<section class=\"card insight\" data-insight=\"spikes\" data-run=\"{index}\" data-count=\"{}\" \
         aria-label=\"What a sampler would miss\"><h2>What a sampler would miss{which}</h2>",
        found.count
    )?;
    if found.count == 0 {
        writeln!(
            out,
            "<p class=\"answer\">No spike is known that is shorter than {short} and higher than 1 % of the peak.</p>"
        )?;
    } else {
        writeln!(
            out,
            "<p class=\"answer\">At least <b>{}</b> shorter than {short}, each {least} (1 % of the peak) or higher.</p>",
            counted(found.count, "spike", "spikes")
        )?;
    }
    intervals(out, run)?;
    if !found.listed.is_empty() {
        listed(out, run, &found.listed)?;
    }
    let left = found.count.saturating_sub(found.listed.len());
    if left > 0 {
        writeln!(
            out,
            "<p class=\"quiet\">{} more that are lower.</p>",
            grouped(left as u64)
        )?;
    }
    writeln!(
        out,
        "<details class=\"quiet\"><summary>How that is worked out</summary><p>An amount lasted if the sum of RSS did not \
         fall below it for the whole interval: whoever looks once per interval is sure to see no more than the largest \
         amount that lasted. A spike is above what lasted {short} around it. {} Spikes are counted whose tops are more \
         than {short} apart. Whose it is: the program that held most more at the top than right before.</p></details></section>",
        if run.timeline.width_ns > 0 {
            format!(
                "Within a window ({}) the maximum counts as if it had been held all the time, so that there can be more \
                 and higher spikes than told, and shorter ones.",
                length(run.timeline.width_ns)
            )
        } else {
            "Each change is known.".to_owned()
        }
    )
}

/// What samplers of several speeds are sure to see.
fn intervals(out: &mut dyn io::Write, run: &Run<'_>) -> io::Result<()> {
    let peak = run.summary.tree.peak_rss;
    let sure: Vec<(u64, u64)> = INTERVALS_NS
        .into_iter()
        .filter_map(|interval| Some((interval, spikes(run, interval, 0)?.sure?)))
        .collect();
    if sure.is_empty() {
        return Ok(());
    }
    write!(
        out,
        "<table class=\"bars sampler\"><thead><tr><th scope=\"col\">Looks every</th><th scope=\"col\"></th>\
         <th scope=\"col\" class=\"number\">Sure to see, at most</th>\
         <th scope=\"col\" class=\"number\">Can miss of the peak, at least</th></tr></thead>\n<tbody>\n"
    )?;
    for (interval, sure) in sure {
        let missing = peak.saturating_sub(sure);
        writeln!(
            out,
            "<tr data-interval=\"{interval}\" data-sure=\"{sure}\"><th scope=\"row\">{}</th>\
             <td class=\"barcell\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            length(interval),
            bar(sure, peak),
            human(sure),
            human(missing)
        )?;
    }
    writeln!(out, "</tbody></table>")
}

fn listed(out: &mut dyn io::Write, run: &Run<'_>, spikes: &[Spike]) -> io::Result<()> {
    write!(
        out,
        "<div class=\"scroll\"><table class=\"grid\"><thead><tr><th scope=\"col\">At</th>\
         <th scope=\"col\" class=\"number\">For at most</th><th scope=\"col\" class=\"number\">Up to</th>\
         <th scope=\"col\" class=\"number\">Above what lasted, at least</th>\
         <th scope=\"col\">Most more of</th></tr></thead>\n<tbody>\n"
    )?;
    for spike in spikes {
        let by = spike.by.and_then(|(image, rise)| {
            let image = run.summary.images.get(image)?;
            Some(format!("{}, +{}", name(image), human(rise)))
        });
        writeln!(
            out,
            "<tr data-at=\"{}\" data-from=\"{}\" data-until=\"{}\" data-top=\"{}\" data-height=\"{}\">\
             <th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td>{}</td></tr>",
            spike.at_ns,
            spike.from_ns,
            spike.until_ns,
            spike.top,
            spike.height(),
            moment(spike.at_ns),
            length(spike.until_ns.saturating_sub(spike.from_ns)),
            human(spike.top),
            human(spike.height()),
            escape_markup(&by.unwrap_or_default())
        )?;
    }
    writeln!(out, "</tbody></table></div>")
}
