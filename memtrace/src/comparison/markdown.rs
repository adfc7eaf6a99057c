//! The comparison as a table for a ticket or a README.

use std::io;

use super::{Comparison, Quantity, certificate, text::times};
use crate::report::escape::escape;

const MIB: f64 = 1_048_576.0;
const MS: f64 = 1e6;

/// Writes a table in GitHub's Markdown.
///
/// # Errors
///
/// Those of the writer.
pub fn write(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    let (peaks, best) = comparison.all(Quantity::Peak);
    let best = best.and_then(|best| peaks.get(best)?.as_ref());
    writeln!(
        out,
        "| Command | Peak [MiB] | Min [MiB] | Max [MiB] | Relative | Average [MiB] | Time [ms] | Exact |"
    )?;
    writeln!(out, "|:---|---:|---:|---:|---:|---:|---:|:---|")?;
    for (command, peak) in comparison.commands.iter().zip(&peaks) {
        let average = comparison.statistics(command, Quantity::Average);
        let time = comparison.statistics(command, Quantity::Time);
        let (Some(peak), Some(average), Some(time)) = (peak, average, time) else {
            continue;
        };
        let with_sigma = |mean: f64, sigma: Option<f64>, unit: f64| match sigma {
            Some(sigma) => format!("{:.2} ± {:.2}", mean / unit, sigma / unit),
            None => format!("{:.2}", mean / unit),
        };
        let relative = best.and_then(|best| peak.relative_to(best)).map_or_else(
            String::new,
            |(ratio, sigma)| {
                if best == Some(peak) {
                    "1.00".to_owned()
                } else {
                    times(ratio, sigma)
                }
            },
        );
        writeln!(
            out,
            "| {} | {} | {:.2} | {:.2} | {relative} | {} | {} | {} |",
            code(&command.text),
            with_sigma(peak.mean, peak.sigma, MIB),
            peak.min as f64 / MIB,
            peak.max as f64 / MIB,
            with_sigma(average.mean, average.sigma, MIB),
            with_sigma(time.mean, time.sigma, MS),
            certificate(command)
        )?;
    }
    Ok(())
}

/// As code within a cell: a longer fence than any in the text, and no `|` that ends the cell.
fn code(text: &str) -> String {
    let text = escape(text.as_bytes()).replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::{super::testing::comparison, code, write};

    /// One line per command; a `|` in a name does not end the cell.
    #[test]
    fn a_table() {
        let mut out = Vec::new();
        write(&comparison(), &mut out).expect("writing to memory");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "\
| Command | Peak [MiB] | Min [MiB] | Max [MiB] | Relative | Average [MiB] | Time [ms] | Exact |
|:---|---:|---:|---:|---:|---:|---:|:---|
| `a\\|b\\u{1b}` | 10.00 ± 1.00 | 9.00 | 11.00 | 1.00 | 5.00 ± 0.00 | 100.00 ± 0.00 | yes, in all 3 runs |
| `c` | 20.00 ± 0.00 | 20.00 | 20.00 | 2.00 ± 0.20 | 6.00 ± 0.00 | 90.00 ± 0.00 | NO, within 4.0 KiB in the worst of 3 runs |
"
        );
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
    }
}
