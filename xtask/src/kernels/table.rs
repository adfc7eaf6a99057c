//! `docs/exactness.md`: what holds on which kernel, from what the tests said there.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::{
    identity::Object,
    protocol::{Outcome, Results},
    record::{End, Record},
    run::{Run, Totals},
};

/// Which tests walk into which trap.
const TRAPS: &str = "tests/traps.txt";

/// A way to count wrongly, and the tests of it.
#[derive(Debug)]
struct Trap {
    name: String,
    what: String,
    tests: Vec<String>,
}

/// Writes the table of these runs, for readers of these BPF objects.
pub(crate) fn write(root: &Path, path: &Path, runs: &[Run], objects: &[Object]) -> Result<()> {
    let list = root.join(TRAPS);
    let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    let traps = traps(&text)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    fs::write(path, render(&traps, runs, objects))
        .with_context(|| format!("write {}", path.display()))
}

fn traps(text: &str) -> Result<Vec<Trap>> {
    let mut traps: Vec<Trap> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        if line.starts_with(' ') {
            let trap = traps
                .last_mut()
                .context("a test comes before the first trap")?;
            trap.tests.push(line.trim().to_owned());
        } else {
            let (name, what) = line
                .split_once(' ')
                .context("a trap needs a name and words")?;
            traps.push(Trap {
                name: name.to_owned(),
                what: what.to_owned(),
                tests: Vec::new(),
            });
        }
    }
    ensure!(
        traps.iter().all(|trap| !trap.tests.is_empty()),
        "a trap without tests"
    );
    Ok(traps)
}

/// What one kernel says about one trap.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    /// It was booted for other BPF objects than this table is about.
    Stale,
    /// Some tests of it failed, of so many that apply; of the others so many did not run.
    Failed {
        failed: usize,
        of: usize,
        missing: usize,
    },
    /// None of its tests ran.
    NotRun,
    /// No test of it can apply.
    NotHere,
    /// Some passed, of so many that apply, and the others did not run.
    Partial {
        passed: usize,
        of: usize,
        verdict: Verdict,
    },
    /// All that apply passed.
    Whole(Verdict),
}

/// What memtrace said of its own results in tests that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Every result was exact.
    Exact,
    /// The widest bound that a result had, in bytes.
    Within(u64),
    /// Some result said that something was missing.
    Incomplete,
    /// No test left a word about it, or the boot ended before they were read out.
    Unknown,
}

impl Verdict {
    fn of(trap: &Trap, results: &Results) -> Self {
        // They are read out after the last test.
        if !results.done {
            return Self::Unknown;
        }
        results
            .evidence
            .iter()
            .filter(|(test, _)| trap.tests.contains(test))
            .map(|(_, evidence)| {
                let mut words = evidence.split_whitespace();
                match (words.next(), words.next().map(str::parse)) {
                    (Some("exact"), _) => Self::Exact,
                    (Some("within"), Some(Ok(bytes))) => Self::Within(bytes),
                    _ => Self::Incomplete,
                }
            })
            .reduce(Self::worse)
            .unwrap_or(Self::Unknown)
    }

    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Incomplete, _) | (_, Self::Incomplete) => Self::Incomplete,
            (Self::Within(one), Self::Within(two)) => Self::Within(one.max(two)),
            // Unknown is no evidence, but the lack of any.
            (Self::Unknown | Self::Exact, other) | (other, Self::Unknown | Self::Exact) => other,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Exact => "exact".to_owned(),
            Self::Within(bytes) => format!("exact; within {} where stated", mib(bytes)),
            Self::Incomplete => "exact, or said to be incomplete".to_owned(),
            Self::Unknown => "passed".to_owned(),
        }
    }
}

impl Cell {
    fn of(trap: &Trap, results: &Results) -> Self {
        let (mut passed, mut failed, mut missing) = (0, 0, 0);
        for test in &trap.tests {
            match results.tests.get(test) {
                Some(Outcome::Passed) => passed += 1,
                Some(Outcome::Failed) => failed += 1,
                Some(Outcome::NotHere) => {}
                None => missing += 1,
            }
        }
        let of = passed + failed + missing;
        match (passed, failed, missing) {
            (0, 0, 0) => Self::NotHere,
            (0, 0, _) => Self::NotRun,
            (_, 0, 0) => Self::Whole(Verdict::of(trap, results)),
            (_, 0, _) => Self::Partial {
                passed,
                of,
                verdict: Verdict::of(trap, results),
            },
            _ => Self::Failed {
                failed,
                of,
                missing,
            },
        }
    }

    fn of_run(trap: &Trap, run: &Run) -> Self {
        match &run.result {
            Ok(_) if run.is_stale => Self::Stale,
            Ok(record) => Self::of(trap, &record.results),
            Err(_) => Self::NotRun,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Stale => "**not of these objects**".to_owned(),
            Self::Failed {
                failed,
                of,
                missing: 0,
            } => format!("**failed: {failed} of {of}**"),
            Self::Failed {
                failed,
                of,
                missing,
            } => format!("**failed: {failed} of {of}**; {missing} not run"),
            Self::NotRun => "not run".to_owned(),
            Self::NotHere => "-".to_owned(),
            Self::Partial {
                passed,
                of,
                verdict,
            } => {
                let not_run = of - passed;
                match verdict {
                    Verdict::Unknown => format!("only {passed} of {of} passed; {not_run} not run"),
                    _ => format!(
                        "only {passed} of {of} passed, {}; {not_run} not run",
                        verdict.text()
                    ),
                }
            }
            Self::Whole(verdict) => verdict.text(),
        }
    }
}

fn mib(bytes: u64) -> String {
    // In this order no number overflows.
    let (whole, rest) = (bytes / (1 << 20), bytes % (1 << 20));
    format!("{whole}.{} MiB", rest * 10 / (1 << 20))
}

fn hashes(objects: &[Object]) -> String {
    objects
        .iter()
        .map(|(name, hash)| format!("`{name}` {hash}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn render(traps: &[Trap], runs: &[Run], objects: &[Object]) -> String {
    let mut out = String::from(HEAD);
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "## Kernels\n\nThe BPF objects, by their SHA-256: {}.\n",
        hashes(objects)
    );
    let _ = out.write_str("| kernel | why | booted | BPF objects | passed | failed | did not run | not for this kernel |\n|---|---|---|---|---|---|---|---|\n");
    for run in runs {
        let _ = writeln!(out, "{}", row(run));
    }
    let first: Vec<&Run> = runs.iter().filter(|run| run.job.boot.is_none()).collect();
    let _ = out.write_str("\n## Traps\n\n| trap | what goes wrong if it is not seen to |");
    for run in &first {
        let _ = write!(out, " {} |", run.job.kernel.name);
    }
    let _ = writeln!(out, "\n|---|---|{}", "---|".repeat(first.len()));
    for trap in traps {
        let _ = write!(out, "| {} | {} |", trap.name, trap.what);
        for run in &first {
            let _ = write!(out, " {} |", Cell::of_run(trap, run).text());
        }
        out.push('\n');
    }
    let _ = out.write_str("\n## What does not apply\n\n");
    for run in runs {
        if let Ok(Record { results, .. }) = &run.result {
            for name in results.names(Outcome::NotHere) {
                let _ = writeln!(out, "- {}: `{name}`", run.job.name());
            }
        }
    }
    out
}

/// A kernel's line.
fn row(run: &Run) -> String {
    let name = if run.release.is_empty() {
        run.job.kernel.name
    } else {
        &run.release
    };
    let why = run.job.boot.unwrap_or(run.job.kernel.purpose);
    let Ok(Record { results, end, .. }) = &run.result else {
        return format!("| {name} | {why} | **not booted** | | | | | |");
    };
    let Totals {
        passed,
        failed,
        did_not_run,
        not_here,
    } = run.totals();
    let objects = if run.is_stale {
        format!("**others**: {}", hashes(&results.objects))
    } else if results.objects.is_empty() {
        "**not said**".to_owned()
    } else {
        "these".to_owned()
    };
    let mut troubles = Vec::new();
    if *end != End::Done {
        troubles.push("ended early".to_owned());
    }
    if !results.broken.is_empty() {
        troubles.push(format!("broken: {}", results.broken.join(", ")));
    }
    let surplus = results.surplus().count();
    if surplus > 0 {
        troubles.push(format!("{surplus} ran unexpected"));
    }
    let date = results.date.as_deref().unwrap_or("**unknown**");
    let trouble = if troubles.is_empty() {
        String::new()
    } else {
        format!("; **{}**", troubles.join("; "))
    };
    let bold = |number: usize| {
        if number == 0 {
            "0".to_owned()
        } else {
            format!("**{number}**")
        }
    };
    format!(
        "| {name} | {why} | {date}{trouble} | {objects} | {passed} | {} | {} | {not_here} |",
        bold(failed),
        bold(did_not_run),
    )
}

const HEAD: &str = "\
<!-- Made by `cargo xtask kernels --table`; not written by hand. -->

# What is exact on which kernel

The end-to-end tests ran on each of these kernels, Debian's own builds, in emulated
machines. Every test compares memtrace's numbers with workloads that know their own pages,
or with the kernel's own. A cell says:

- `exact`: all tests of the trap that apply passed, and memtrace called every result of them
  exact.
- `exact; within N where stated`: all passed, among them runs to which something was
  denied on purpose (`--fentry off`); memtrace stated the bound N there, and it held.
- `exact, or said to be incomplete`: all passed, among them runs in which the kernel
  skipped a program or there was no room; memtrace said so.
- `passed`: all passed, and none of them says what memtrace called its results.
- `only 3 of 5 passed, ...; 2 not run`: the others were left out of the run that made this
  table, or it ended before them; nothing is known of those.
- `failed: 1 of 5`: memtrace is wrong there, or the test is.
- `not run`: none of the tests ran.
- `-`: the kernel does not have what the trap is about.

The traps and their tests are in `tests/traps.txt`. Without privileges (tier P) nothing here
holds; see the README.

";

#[cfg(test)]
mod tests;
