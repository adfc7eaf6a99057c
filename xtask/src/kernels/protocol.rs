//! What a guest says: on its first serial port the kernel's own words, on its second the
//! lines of `init.sh` and the test runners'.

use std::collections::{BTreeMap, BTreeSet};

use super::identity::Object;

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

/// What a kernel said of itself so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Console {
    /// Its last words, if it died.
    pub(crate) death: Option<String>,
    /// Complaints that it survived.
    pub(crate) warnings: Vec<String>,
}

/// What kernels say when they die.
const DEATHS: [&str; 4] = ["Kernel panic", "BUG: ", "Oops: ", "kernel BUG at"];
/// What they say when something is wrong with them.
const WARNINGS: [&str; 3] = ["WARNING: CPU", "WARNING: at", "INFO: task "];

impl Console {
    /// Takes one line.
    pub(crate) fn line(&mut self, line: &str) {
        if DEATHS.iter().any(|death| line.contains(death)) {
            self.death.get_or_insert_with(|| line.to_owned());
        } else if WARNINGS.iter().any(|warning| line.contains(warning)) {
            self.warnings.push(line.to_owned());
        }
    }
}

/// Everything the second port said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    /// The kernel's release.
    pub(crate) release: Option<String>,
    /// The day of the boot.
    pub(crate) date: Option<String>,
    /// The BPF objects of the memtrace under test.
    pub(crate) objects: Vec<Object>,
    /// Tests that have to have an outcome, by `program::test`.
    pub(crate) expected: BTreeSet<String>,
    /// Tests by `program::test`.
    pub(crate) tests: BTreeMap<String, Outcome>,
    /// Programs that ended badly without a failed test: killed, or crashed.
    pub(crate) broken: Vec<String>,
    /// Verdicts by `program::test`: what memtrace said of its own results there.
    pub(crate) evidence: Vec<(String, String)>,
    /// Programs have begun.
    pub(crate) begun: bool,
    /// The guest has nothing more to say.
    pub(crate) done: bool,
    program: Option<String>,
    failed_here: u32,
    not_here: BTreeSet<String>,
}

impl Results {
    /// Takes one line.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(words) = line.strip_prefix("@@") {
            self.own(words);
        } else if let Some((name, outcome)) = test_line(line) {
            let test = self.qualified(name);
            if outcome == Outcome::Failed {
                self.failed_here += 1;
            }
            let outcome = match outcome {
                Outcome::Passed if self.not_here.contains(&test) => Outcome::NotHere,
                other => other,
            };
            self.tests.insert(test, outcome);
        } else if let Some(rest) = line.strip_prefix("NOT HERE ")
            && let Some((name, _)) = rest.split_once(": ")
        {
            // Of standard error, so that it can come before or after the test's outcome.
            let test = self.qualified(name);
            if let Some(outcome) = self.tests.get_mut(&test)
                && *outcome == Outcome::Passed
            {
                *outcome = Outcome::NotHere;
            }
            self.not_here.insert(test);
        }
    }

    fn own(&mut self, words: &str) {
        let mut words = words.split_whitespace();
        match words.next() {
            Some("kernel") => self.release = words.next().map(str::to_owned),
            Some("date") => self.date = words.next().map(str::to_owned),
            Some("object") => {
                if let (Some(name), Some(hash)) = (words.next(), words.next()) {
                    self.objects.push((name.to_owned(), hash.to_owned()));
                }
            }
            Some("expect") => self.expected.extend(words.next().map(str::to_owned)),
            Some("begin") => {
                self.program = words.next().map(str::to_owned);
                self.begun = true;
                self.failed_here = 0;
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
        self.names(outcome).count()
    }

    /// The tests that ended so.
    pub(crate) fn names(&self, outcome: Outcome) -> impl Iterator<Item = &str> {
        self.tests
            .iter()
            .filter(move |&(_, &other)| other == outcome)
            .map(|(name, _)| name.as_str())
    }

    /// Tests that were expected and have no outcome.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &str> {
        self.expected
            .iter()
            .map(String::as_str)
            .filter(|name| !self.tests.contains_key(*name))
    }

    /// Tests that ran although they were not expected. A command of the user's own expects
    /// nothing, and may run anything.
    pub(crate) fn surplus(&self) -> impl Iterator<Item = &str> {
        self.tests
            .keys()
            .map(String::as_str)
            .filter(|name| !self.expected.is_empty() && !self.expected.contains(*name))
    }
}

/// `test NAME ... ok`, as Rust's test runner prints it.
fn test_line(line: &str) -> Option<(&str, Outcome)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    // One that should panic is listed without these words.
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    match outcome.split_whitespace().next()? {
        "ok" => Some((name, Outcome::Passed)),
        // A skipped test that nobody sees is a failed one.
        "FAILED" | "ignored" | "ignored," => Some((name, Outcome::Failed)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Console, Outcome, Results};

    fn results(text: &str) -> Results {
        let mut results = Results::default();
        text.lines().for_each(|line| results.line(line));
        results
    }

    #[test]
    fn tests_belong_to_their_program() {
        let results = results(
            "@@kernel 6.1.0-50 2\n@@begin counts\nrunning 2 tests\ntest a ... ok\ntest b ... FAILED\n@@end counts 101\n@@done",
        );
        assert_eq!(results.release.as_deref(), Some("6.1.0-50"));
        assert_eq!(results.tests["counts::a"], Outcome::Passed);
        assert_eq!(results.tests["counts::b"], Outcome::Failed);
        assert!(
            results.broken.is_empty(),
            "a failed test explains the status"
        );
        assert!(results.begun && results.done);
    }

    #[test]
    fn a_program_that_dies_is_noticed() {
        let results = results("@@begin counts\ntest a ... ok\n@@end counts 137");
        assert_eq!(results.broken, ["counts (status 137)"]);
    }

    #[test]
    fn what_does_not_apply_is_neither_passed_nor_failed() {
        for text in [
            "@@begin x\nNOT HERE m::a: no exact status\ntest m::a ... ok\n@@end x 0",
            "@@begin x\ntest m::a ... ok\nNOT HERE m::a: no exact status\n@@end x 0",
        ] {
            assert_eq!(results(text).tests["x::m::a"], Outcome::NotHere);
        }
        for text in [
            "@@begin x\nNOT HERE a: b\ntest a ... FAILED\n@@end x 101",
            "@@begin x\ntest a ... FAILED\nNOT HERE a: b\n@@end x 101",
        ] {
            assert_eq!(results(text).tests["x::a"], Outcome::Failed);
        }
    }

    #[test]
    fn ignored_tests_fail() {
        let results = results("@@begin x\ntest a ... ignored, later\n@@end x 0");
        assert_eq!(results.tests["x::a"], Outcome::Failed);
    }

    #[test]
    fn every_expected_test_needs_an_outcome_and_no_other_may_have_one() {
        let results = results(
            "@@expect x::a\n@@expect x::b\n@@expect x::c\n@@begin x\ntest a ... ok\ntest c - should panic ... ok\ntest d ... ok\n@@end x 0\n@@done",
        );
        assert_eq!(results.missing().collect::<Vec<_>>(), ["x::b"]);
        assert_eq!(results.surplus().collect::<Vec<_>>(), ["x::d"]);
    }

    #[test]
    fn a_command_may_run_anything() {
        let results = results("@@begin command\ntest d ... ok\n@@end command 0\n@@done");
        assert_eq!(results.surplus().count(), 0);
    }

    #[test]
    fn a_boot_says_what_it_was_made_with() {
        let results = results("@@date 2026-01-02\n@@object a.bpf.o 0f0f\n@@object b.bpf.o f0f0");
        assert_eq!(results.date.as_deref(), Some("2026-01-02"));
        assert_eq!(
            results.objects,
            [("a.bpf.o", "0f0f"), ("b.bpf.o", "f0f0")]
                .map(|(name, hash)| (name.to_owned(), hash.to_owned()))
        );
    }

    #[test]
    fn the_kernels_last_words_are_kept() {
        let mut console = Console::default();
        for line in [
            "[ 0.5] WARNING: CPU: 0 PID: 1",
            "[ 1.0] BUG: unable to handle page fault",
            "[ 1.1] Kernel panic - not syncing",
        ] {
            console.line(line);
        }
        assert!(
            console
                .death
                .is_some_and(|words| words.contains("page fault"))
        );
        assert_eq!(console.warnings.len(), 1);
    }
}
