//! The comparison for people.

use std::io;

use super::{Command, Comparison, Quantity, Statistics, certificate};
use crate::report::{
    escape::escape,
    units::{duration, human},
};

/// Writes the comparison.
///
/// # Errors
///
/// Those of the writer.
pub fn write(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    for command in &comparison.commands {
        one(comparison, command, out)?;
        writeln!(out)?;
    }
    if comparison.commands.len() > 1 {
        for quantity in Quantity::ALL {
            summary(comparison, quantity, out)?;
        }
    }
    Ok(())
}

fn one(comparison: &Comparison, command: &Command, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "{}", escape(command.text.as_bytes()))?;
    let mut outliers = Vec::new();
    for quantity in Quantity::ALL {
        let Some(statistics) = comparison.statistics(command, quantity) else {
            continue;
        };
        let Statistics {
            mean,
            sigma,
            median,
            min,
            max,
            outliers: far,
        } = statistics;
        let sigma = sigma.map_or_else(
            || " ".repeat(15),
            |sigma| format!(" ± {:>12}", amount(quantity, sigma)),
        );
        writeln!(
            out,
            "  {:<8}{:>12}{sigma}   min {:>12}   median {:>12}   max {:>12}",
            quantity.name(),
            amount(quantity, mean),
            amount(quantity, min as f64),
            amount(quantity, median),
            amount(quantity, max as f64)
        )?;
        if far > 0 {
            outliers.push(format!("{far} of {}", quantity.name()));
        }
    }
    writeln!(out, "  exact   {}", certificate(command))?;
    if command.failures() > 0 {
        writeln!(
            out,
            "  FAILED  {} of {} runs did not end with status 0",
            command.failures(),
            command.runs.len()
        )?;
    }
    if !outliers.is_empty() {
        writeln!(
            out,
            "  warning outliers ({}): something else may have run meanwhile; try again when the machine is quiet, or with --warmup",
            outliers.join(", ")
        )?;
    }
    Ok(())
}

fn summary(comparison: &Comparison, quantity: Quantity, out: &mut dyn io::Write) -> io::Result<()> {
    let (all, best) = comparison.all(quantity);
    let Some((index, best)) = best.and_then(|best| Some((best, all.get(best)?.as_ref()?))) else {
        return Ok(());
    };
    let name = |index: usize| {
        let command = comparison.commands.get(index);
        escape(command.map_or(&[][..], |command| command.text.as_bytes()))
    };
    writeln!(out, "{:<8}least: {}", quantity.name(), name(index))?;
    for (other, statistics) in all.iter().enumerate() {
        let Some((ratio, sigma)) = statistics
            .as_ref()
            .filter(|_| other != index)
            .and_then(|statistics| statistics.relative_to(best))
        else {
            continue;
        };
        writeln!(
            out,
            "        {} times: {}",
            times(ratio, sigma),
            name(other)
        )?;
    }
    Ok(())
}

/// `2.00 ± 0.10`.
pub(super) fn times(ratio: f64, sigma: Option<f64>) -> String {
    match sigma {
        Some(sigma) => format!("{ratio:.2} ± {sigma:.2}"),
        None => format!("{ratio:.2}"),
    }
}

/// A value that is not negative, in its unit.
fn amount(quantity: Quantity, value: f64) -> String {
    // Saturates.
    let whole = value.round() as u64;
    match quantity {
        Quantity::Peak | Quantity::Average => human(whole),
        Quantity::Time => duration(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::comparison, write};

    /// Numbers by hand: 9, 10, 11 have the deviation 1; 20/10 with 10 % and none is 2 ± 0.2.
    #[test]
    fn a_comparison_for_people() {
        let mut out = Vec::new();
        write(&comparison(), &mut out).expect("writing to memory");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "\
a|b\\u{1b}
  peak        10.0 MiB ±      1.0 MiB   min      9.0 MiB   median     10.0 MiB   max     11.0 MiB
  average      5.0 MiB ±          0 B   min      5.0 MiB   median      5.0 MiB   max      5.0 MiB
  time      100.000 ms ±         0 ns   min   100.000 ms   median   100.000 ms   max   100.000 ms
  exact   yes, in all 3 runs

c
  peak        20.0 MiB ±          0 B   min     20.0 MiB   median     20.0 MiB   max     20.0 MiB
  average      6.0 MiB ±          0 B   min      6.0 MiB   median      6.0 MiB   max      6.0 MiB
  time       90.000 ms ±         0 ns   min    90.000 ms   median    90.000 ms   max    90.000 ms
  exact   NO, within 4.0 KiB in the worst of 3 runs

peak    least: a|b\\u{1b}
        2.00 ± 0.20 times: c
average least: a|b\\u{1b}
        1.20 ± 0.00 times: c
time    least: c
        1.11 ± 0.00 times: a|b\\u{1b}
"
        );
    }
}
