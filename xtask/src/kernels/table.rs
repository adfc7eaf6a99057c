//! `docs/exactness.md`: what holds on which kernel, from what the tests said there.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::{
    protocol::{Console, Outcome},
    run::Run,
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

/// Writes the table of these runs.
pub(crate) fn write(root: &Path, path: &Path, runs: &[Run]) -> Result<()> {
    let list = root.join(TRAPS);
    let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    let traps = traps(&text)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    fs::write(path, render(&traps, runs)).with_context(|| format!("write {}", path.display()))
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
    /// Some test of it failed.
    Failed,
    /// None of its tests ran.
    NotRun,
    /// No test of it can apply.
    NotHere,
    /// All passed, and every result was exact.
    Exact,
    /// All passed; the widest bound that a result had, in bytes.
    Within(u64),
    /// All passed, and some result said that something was missing.
    Incomplete,
}

impl Cell {
    fn of(trap: &Trap, console: &Console) -> Self {
        let (mut passed, mut missing) = (0, 0);
        for test in &trap.tests {
            match console.tests.get(test) {
                Some(Outcome::Passed) => passed += 1,
                Some(Outcome::NotHere) => {}
                Some(Outcome::Failed) => return Self::Failed,
                None => missing += 1,
            }
        }
        if passed == 0 {
            return if missing == 0 {
                Self::NotHere
            } else {
                Self::NotRun
            };
        }
        let mut cell = Self::Exact;
        for (_, evidence) in console
            .evidence
            .iter()
            .filter(|(test, _)| trap.tests.contains(test))
        {
            let mut words = evidence.split_whitespace();
            match words.next() {
                Some("within") => {
                    let bytes = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                    cell = match cell {
                        Self::Incomplete => Self::Incomplete,
                        Self::Within(other) => Self::Within(bytes.max(other)),
                        _ => Self::Within(bytes),
                    };
                }
                Some("exact") => {}
                _ => cell = Self::Incomplete,
            }
        }
        cell
    }

    fn text(&self) -> String {
        match self {
            Self::Failed => "**wrong**".to_owned(),
            Self::NotRun => "not run".to_owned(),
            Self::NotHere => "-".to_owned(),
            Self::Exact => "exact".to_owned(),
            Self::Within(bytes) => format!("exact; within {} where stated", mib(*bytes)),
            Self::Incomplete => "exact, or said to be incomplete".to_owned(),
        }
    }
}

fn mib(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn render(traps: &[Trap], runs: &[Run]) -> String {
    let mut out = String::from(HEAD);
    // Writing to a string does not fail.
    let _ = out.write_str("## Kernels\n\n| kernel | why | tests passed | failed | not for this kernel |\n|---|---|---|---|---|\n");
    for run in runs {
        let (passed, failed) = run.totals();
        let not_here = run
            .result
            .as_ref()
            .map_or(0, |(console, ..)| console.count(Outcome::NotHere));
        let why = run.job.boot.unwrap_or(run.job.kernel.purpose);
        let _ = writeln!(
            out,
            "| {} | {why} | {passed} | {failed} | {not_here} |",
            run.release
        );
    }
    let first: Vec<&Run> = runs.iter().filter(|run| run.job.boot.is_none()).collect();
    let _ = out.write_str("\n## Traps\n\n| trap | what goes wrong if it is not seen to |");
    for run in &first {
        let _ = write!(out, " {} |", run.job.kernel.name);
    }
    let _ = writeln!(out, "\n|---|---|{}", "---|".repeat(first.len()));
    for trap in traps {
        let _ = write!(out, "| {} | {} |", trap.name, trap.what);
        let missing = |console: &Console| {
            let ran = |test: &&String| console.tests.contains_key(*test);
            trap.tests.len() - trap.tests.iter().filter(ran).count()
        };
        for run in &first {
            let cell = match &run.result {
                Ok((console, ..)) => Cell::of(trap, console),
                Err(_) => Cell::Failed,
            };
            let left_out = run
                .result
                .as_ref()
                .map_or(0, |(console, ..)| missing(console));
            let note = if left_out > 0 && cell != Cell::NotRun {
                format!(" ({left_out} of {} tests not run)", trap.tests.len())
            } else {
                String::new()
            };
            let _ = write!(out, " {}{note} |", cell.text());
        }
        out.push('\n');
    }
    let _ = out.write_str("\n## What does not apply\n\n");
    for run in runs {
        if let Ok((console, ..)) = &run.result {
            for name in console.names(Outcome::NotHere) {
                let _ = writeln!(out, "- {}: `{name}`", run.job.name());
            }
        }
    }
    out
}

const HEAD: &str = "\
<!-- Made by `cargo xtask kernels --table`; not written by hand. -->

# What is exact on which kernel

The end-to-end tests ran on each of these kernels, Debian's own builds, in emulated
machines. Every test compares memtrace's numbers with workloads that know their own pages,
or with the kernel's own. A cell says:

- `exact`: all tests of the trap passed, and memtrace called every result of them exact.
- `exact; within N where stated`: all passed, among them runs to which something was
  denied on purpose (`--fentry off`); memtrace stated the bound N there, and it held.
- `exact, or said to be incomplete`: all passed, among them runs in which the kernel
  skipped a program or there was no room; memtrace said so.
- `not run`: the tests were left out of the run that made this table.
- `-`: the kernel does not have what the trap is about.

The traps and their tests are in `tests/traps.txt`. Without privileges (tier P) nothing here
holds; see the README.

";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{Cell, Console, traps};

    fn console(text: &str) -> Console {
        let mut console = Console::default();
        text.lines().for_each(|line| console.line(line));
        console
    }

    const LIST: &str = "# comment\n\nT1 torn sums\n    a::x\n    a::y\n";

    #[test]
    fn a_cell_is_as_good_as_its_worst_test() {
        let traps = traps(LIST).unwrap();
        let cell = |text: &str| Cell::of(&traps[0], &console(text));
        let ran = "@@begin a\ntest x ... ok\ntest y ... ok\n@@end a 0\n";
        assert_eq!(
            cell(&format!("{ran}@@evidence a::x exact 0 A")),
            Cell::Exact
        );
        assert_eq!(
            cell(&format!(
                "{ran}@@evidence a::x within 4096 A\n@@evidence a::y within 8 A"
            )),
            Cell::Within(4096)
        );
        assert_eq!(
            cell(&format!("{ran}@@evidence a::y incomplete 0 A")),
            Cell::Incomplete
        );
        assert_eq!(
            cell("@@begin a\ntest x ... FAILED\n@@end a 1"),
            Cell::Failed
        );
        assert_eq!(cell("@@begin b\ntest x ... ok\n@@end b 0"), Cell::NotRun);
        assert_eq!(
            cell(
                "@@begin a\nNOT HERE x: z\ntest x ... ok\nNOT HERE y: z\ntest y ... ok\n@@end a 0"
            ),
            Cell::NotHere
        );
    }

    #[test]
    fn a_trap_needs_tests() {
        assert!(traps("T1 nothing\n").is_err());
        assert!(traps("    a::x\n").is_err());
    }
}
