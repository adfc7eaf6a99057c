//! What a guest's console says: the lines of `init.sh`, the test runner's, and the
//! kernel's own complaints.

use std::collections::BTreeMap;

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It passed.
    Passed,
    /// It failed, or its program did not get that far.
    Failed,
    /// It needs something that this kernel cannot have.
    NotHere,
}

/// Everything a console said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Console {
    /// The kernel's release.
    pub(crate) release: Option<String>,
    /// Tests by `program::test`.
    pub(crate) tests: BTreeMap<String, Outcome>,
    /// Programs that ended badly without a failed test: killed, or crashed.
    pub(crate) broken: Vec<String>,
    /// Verdicts by `program::test`: what memtrace said of its own results there.
    pub(crate) evidence: Vec<(String, String)>,
    /// The kernel's last words, if it died.
    pub(crate) death: Option<String>,
    /// Complaints of the kernel that it survived.
    pub(crate) warnings: Vec<String>,
    /// The guest has nothing more to say.
    pub(crate) done: bool,
    program: Option<String>,
    failed_here: u32,
    not_here: Vec<String>,
}

/// What kernels say when they die.
const DEATHS: [&str; 4] = ["Kernel panic", "BUG: ", "Oops: ", "kernel BUG at"];
/// What they say when something is wrong with them.
const WARNINGS: [&str; 3] = ["WARNING: CPU", "WARNING: at", "INFO: task "];

impl Console {
    /// Takes one line.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(words) = line.strip_prefix("@@") {
            self.own(words);
        } else if let Some((name, outcome)) = test_line(line) {
            let test = self.qualified(name);
            if outcome == Outcome::Failed {
                self.failed_here += 1;
            }
            let outcome = if self.not_here.iter().any(|other| other == name) {
                Outcome::NotHere
            } else {
                outcome
            };
            self.tests.insert(test, outcome);
        } else if let Some(rest) = line.strip_prefix("NOT HERE ") {
            if let Some((name, _)) = rest.split_once(':') {
                self.not_here.push(name.to_owned());
            }
        } else if DEATHS.iter().any(|death| line.contains(death)) {
            self.death.get_or_insert_with(|| line.to_owned());
        } else if WARNINGS.iter().any(|warning| line.contains(warning)) {
            self.warnings.push(line.to_owned());
        }
    }

    fn own(&mut self, words: &str) {
        let mut words = words.split_whitespace();
        match words.next() {
            Some("kernel") => self.release = words.next().map(str::to_owned),
            Some("begin") => {
                self.program = words.next().map(str::to_owned);
                self.failed_here = 0;
                self.not_here.clear();
            }
            Some("end") => {
                let program = words.next().unwrap_or_default();
                let status = words.next().unwrap_or_default();
                if status != "0" && self.failed_here == 0 {
                    self.broken.push(format!("{program} (status {status})"));
                }
                self.program = None;
            }
            Some("evidence") => {
                if let Some(test) = words.next() {
                    let verdict = words.collect::<Vec<_>>().join(" ");
                    self.evidence.push((test.to_owned(), verdict));
                }
            }
            Some("broken") => self.broken.push(words.collect::<Vec<_>>().join(" ")),
            Some("done") => self.done = true,
            _ => {}
        }
    }

    fn qualified(&self, test: &str) -> String {
        match &self.program {
            Some(program) => format!("{program}::{test}"),
            None => test.to_owned(),
        }
    }

    /// How many tests ended so.
    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.tests
            .values()
            .filter(|&&other| other == outcome)
            .count()
    }

    /// The tests that ended so.
    pub(crate) fn names(&self, outcome: Outcome) -> impl Iterator<Item = &str> {
        self.tests
            .iter()
            .filter(move |&(_, &other)| other == outcome)
            .map(|(name, _)| name.as_str())
    }
}

/// `test NAME ... ok`, as Rust's test runner prints it.
fn test_line(line: &str) -> Option<(&str, Outcome)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    match outcome.split_whitespace().next()? {
        "ok" => Some((name, Outcome::Passed)),
        // A skipped test that nobody sees is a failed one.
        "FAILED" | "ignored" | "ignored," => Some((name, Outcome::Failed)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Console, Outcome};

    fn console(text: &str) -> Console {
        let mut console = Console::default();
        text.lines().for_each(|line| console.line(line));
        console
    }

    #[test]
    fn tests_belong_to_their_program() {
        let console = console(
            "@@kernel 6.1.0-50 2\n@@begin counts\nrunning 2 tests\ntest a ... ok\ntest b ... FAILED\n@@end counts 101\n@@done",
        );
        assert_eq!(console.release.as_deref(), Some("6.1.0-50"));
        assert_eq!(console.tests["counts::a"], Outcome::Passed);
        assert_eq!(console.tests["counts::b"], Outcome::Failed);
        assert!(
            console.broken.is_empty(),
            "a failed test explains the status"
        );
        assert!(console.done);
    }

    #[test]
    fn a_program_that_dies_is_noticed() {
        let console = console("@@begin counts\ntest a ... ok\n@@end counts 137");
        assert_eq!(console.broken, ["counts (status 137)"]);
    }

    #[test]
    fn what_does_not_apply_is_neither_passed_nor_failed() {
        let console = console("@@begin x\nNOT HERE a: no exact status\ntest a ... ok\n@@end x 0");
        assert_eq!(console.tests["x::a"], Outcome::NotHere);
    }

    #[test]
    fn ignored_tests_fail() {
        let console = console("@@begin x\ntest a ... ignored, later\n@@end x 0");
        assert_eq!(console.tests["x::a"], Outcome::Failed);
    }

    #[test]
    fn the_kernels_last_words_are_kept() {
        let console =
            console("[ 1.0] BUG: unable to handle page fault\n[ 1.1] Kernel panic - not syncing");
        assert!(
            console
                .death
                .is_some_and(|words| words.contains("page fault"))
        );
    }
}
