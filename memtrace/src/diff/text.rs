//! The difference for people.

use std::io;

use super::{Diff, Numbers, Pair, Side};
use crate::{
    model::Verdict,
    report::{
        escape::{clip, command_line, escape},
        units::{duration, grouped, human},
    },
};

/// What to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A line for each image, too.
    pub per_process: bool,
    /// Programs and images that are the same on both sides, too.
    pub all: bool,
}

/// Characters for names.
const NAME: usize = 60;

/// Writes the difference.
///
/// # Errors
///
/// Those of the writer.
pub fn write(
    diff: &Diff,
    before: &Side,
    after: &Side,
    options: Options,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let words = |side: &Side| {
        let args: Vec<Vec<u8>> = side
            .command
            .iter()
            .map(|word| word.clone().into_bytes())
            .collect();
        clip(&command_line(&args), NAME)
    };
    writeln!(out, "before    {}", words(before))?;
    writeln!(out, "after     {}", words(after))?;
    let Pair {
        before: Some(old),
        after: Some(new),
    } = diff.total
    else {
        return Ok(());
    };
    let bytes = |label: &str, number: fn(&Numbers) -> u64, out: &mut dyn io::Write| {
        let (old, new) = (number(&old), number(&new));
        writeln!(
            out,
            "{label:<10}{} -> {}   {} ({})",
            human(old),
            human(new),
            signed(i128::from(new) - i128::from(old), human),
            percent(old, new)
        )
    };
    bytes("peak", |side| side.peak, out)?;
    bytes("average", |side| side.average, out)?;
    writeln!(
        out,
        "{:<10}{} -> {}   {} ({})",
        "time",
        duration(old.time_ns),
        duration(new.time_ns),
        signed(diff.total.growth(|side| side.time_ns), duration),
        percent(old.time_ns, new.time_ns)
    )?;
    writeln!(
        out,
        "{:<10}{} -> {}",
        "processes",
        grouped(old.count),
        grouped(new.count)
    )?;
    writeln!(
        out,
        "{:<10}before: {}; after: {}",
        "exact",
        exact(before.verdict),
        exact(after.verdict)
    )?;
    table(diff, options, out)
}

fn exact(verdict: Verdict) -> String {
    match verdict {
        Verdict::Exact => "yes".to_owned(),
        Verdict::Within(bytes) => format!("within {}", human(bytes)),
        Verdict::Incomplete => "NO, incomplete".to_owned(),
    }
}

fn table(diff: &Diff, options: Options, out: &mut dyn io::Write) -> io::Result<()> {
    let shown =
        |pair: &Pair| options.all || pair.before.map(of_memory) != pair.after.map(of_memory);
    let programs: Vec<_> = diff
        .programs
        .iter()
        .filter(|program| shown(&program.pair))
        .collect();
    let same = diff.programs.len() - programs.len();
    if !programs.is_empty() {
        writeln!(out)?;
        writeln!(
            out,
            "{:>11} {:>11} {:>12}  {:>12} {:>12}  {:>11}  {:>13}  program",
            "peak before", "after", "growth", "average", "at tree peak", "count", "time"
        )?;
    }
    for program in &programs {
        row(
            &program.pair,
            &clip(&escape(program.name.as_bytes()), NAME),
            out,
        )?;
        if options.per_process && program.images.len() > 1 {
            for image in program.images.iter().filter(|image| shown(&image.pair)) {
                let args: Vec<Vec<u8>> = image
                    .command
                    .iter()
                    .map(|word| word.clone().into_bytes())
                    .collect();
                let line = format!("  #{} {}", image.number, command_line(&args));
                row(&image.pair, &clip(&line, NAME), out)?;
            }
        }
    }
    if same > 0 {
        writeln!(out)?;
        writeln!(
            out,
            "{} programs need what they needed before (--all shows them)",
            grouped(same as u64)
        )?;
    }
    Ok(())
}

/// Everything but time, which is never the same twice, and the mean, which depends on it.
fn of_memory(numbers: Numbers) -> (u64, u64) {
    (numbers.peak, numbers.count)
}

fn row(pair: &Pair, name: &str, out: &mut dyn io::Write) -> io::Result<()> {
    let amount = |side: Option<Numbers>| side.map_or_else(|| "-".to_owned(), |n| human(n.peak));
    let count = |side: Option<Numbers>| side.map_or(0, |side| side.count);
    let counts = match (count(pair.before), count(pair.after)) {
        (old, new) if old == new => grouped(old),
        (old, new) => format!("{} -> {}", grouped(old), grouped(new)),
    };
    writeln!(
        out,
        "{:>11} {:>11} {:>12}  {:>12} {:>12}  {counts:>11}  {:>13}  {name}",
        amount(pair.before),
        amount(pair.after),
        signed(pair.growth(|side| side.peak), human),
        signed(pair.growth(|side| side.average), human),
        signed(pair.growth(|side| side.at_tree_peak), human),
        signed(pair.growth(|side| side.time_ns), duration)
    )
}

/// With its sign.
pub(super) fn signed(number: i128, shown: fn(u64) -> String) -> String {
    let amount = shown(u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX));
    match number {
        0 => amount,
        1.. => format!("+{amount}"),
        _ => format!("-{amount}"),
    }
}

/// By how much, of the first.
fn percent(old: u64, new: u64) -> String {
    if old == 0 {
        return if new == 0 { "0.0 %" } else { "from nothing" }.to_owned();
    }
    format!("{:+.1} %", (new as f64 / old as f64 - 1.0) * 100.0)
}
