//! A storm of processes, of which none may be lost.

use std::path::Path;

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, memtrace, run_to_end, scaled};

use crate::{progress, results::Lost};

/// Forks and execs a static program, four at a time.
pub(crate) fn measure(lab: &Lab) -> Result<Lost> {
    let times = scaled(25_000, 50);
    progress(&format!("{} times fork and exec", times * 4));
    let one = "fork{ exec{ NOTHING } }";
    let words = format!("loop{{ {times} {one} {one} {one} {one} wait wait wait wait }}");
    let mut line = vec![memtrace()?.display().to_string(), "run".to_owned()];
    // JSON would be hundreds of megabytes.
    line.push("--".to_owned());
    line.extend(lab.script(&words));
    let directory: &Path = lab.dir();
    let finished = run_to_end(&mut lab.fixed(&line), directory)?.success()?;
    let report = &finished.stderr;
    let reported = processes(report)
        .with_context(|| format!("the report does not tell the number of processes: {report}"))?;
    Ok(Lost {
        created: times * 4 + 1,
        reported,
        none_lost: none_lost(report),
    })
}

/// The number before "processes" in the report.
fn processes(report: &str) -> Option<u64> {
    report.lines().find_map(|line| {
        let (before, _) = line.split_once(" processes, ")?;
        let number = before.rsplit(' ').next()?;
        number.replace(',', "").parse().ok()
    })
}

/// Whether the certificate says so.
fn none_lost(report: &str) -> bool {
    report
        .lines()
        .any(|line| line.starts_with("exact") && line.contains("none lost"))
}

#[cfg(test)]
mod tests {
    use super::{none_lost, processes};

    const REPORT: &str = "\
memtrace: peak 2.0 MiB (2,097,152 bytes) at +8.565 s of 14.428 s
          sum of RSS over the process tree: 100,001 processes, 200,001 images
exact     yes: 309,672 counter updates, none lost, residual 0
";

    #[test]
    fn the_report_is_understood() {
        assert_eq!(processes(REPORT), Some(100_001));
        assert!(none_lost(REPORT));
        assert_eq!(processes("memtrace: nothing"), None);
        assert!(!none_lost("exact     no: 3 records lost"));
    }
}
