//! Instructions of parts of memtrace, counted by callgrind: the same on a quiet and on a busy
//! machine, so that a regression shows.
//!
//! callgrind runs this program twice for each part, once with one repetition and once with more,
//! and the difference is what the repetitions need: reading the input and starting cancel out.

mod input;
mod parts;

use std::{env, fs, process::Command};

use anyhow::{Context as _, Result, bail};
use memtrace_tests::{Lab, workloads};

use crate::{progress, results::Instructions, statistics::ratio};

pub(crate) use self::parts::{PARTS, repeat};

/// Repetitions of the second run.
const MORE: u32 = 4;

/// Counts all parts.
pub(crate) fn measure(lab: &Lab) -> Result<Vec<Instructions>> {
    if !workloads::installed("valgrind") {
        bail!("valgrind is not installed; apt-get install valgrind");
    }
    let mut found = Vec::new();
    for part in PARTS {
        progress(&format!("instructions: {}", part.what));
        let (once, more) = (count(lab, part.name, 1)?, count(lab, part.name, 1 + MORE)?);
        let operations = part.operations() * u64::from(MORE);
        let each = ratio(more.saturating_sub(once) as f64, operations as f64);
        found.push(Instructions {
            part: part.what.to_owned(),
            operation: part.operation.to_owned(),
            each: each.context("a part without an operation")?,
        });
    }
    Ok(found)
}

/// Instructions of this program with so many repetitions of a part.
fn count(lab: &Lab, part: &str, repetitions: u32) -> Result<u64> {
    let output = lab.path("callgrind.out");
    let me = env::current_exe().context("find this program's own path")?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(me)
        .args(["--repeat", part, "--repetitions", &repetitions.to_string()])
        .current_dir(lab.dir());
    let ended = valgrind.output().context("run valgrind")?;
    if !ended.status.success() {
        bail!(
            "{valgrind:?} ended with {}: {}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr).trim()
        );
    }
    total(&fs::read_to_string(&output)?).context("callgrind wrote no total")
}

/// The sum over all functions in callgrind's output.
fn total(output: &str) -> Option<u64> {
    let mut lines = output.lines();
    let total = lines.find_map(|line| line.strip_prefix("totals:"))?;
    total.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{PARTS, repeat, total};

    #[test]
    fn the_total_is_found() {
        let output =
            "# callgrind format\nevents: Ir\nsummary: 5\n\nfn=(1) main\n1 5\n\ntotals: 1234567\n";
        assert_eq!(total(output), Some(1_234_567));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn every_part_runs() {
        for part in PARTS.iter().filter(|part| part.name != "btf") {
            assert!(part.operations() > 0, "{}", part.name);
            assert!(repeat(part.name, 2).is_ok(), "{}", part.name);
        }
        assert!(repeat("nothing", 1).is_err());
    }
}
