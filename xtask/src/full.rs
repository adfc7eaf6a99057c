//! `cargo xtask full`: everything that can be tested, one after the other, on a machine that does
//! nothing else meanwhile. It takes hours; `.ci/run` is what every change has to pass.

mod state;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::state::State;
use crate::kernels;

/// The end-to-end tests of what the plain programs, those for the oldest kernels, do on the host.
const PLAIN: [&str; 6] = ["counts", "ends", "footprint", "foreign", "forks", "threads"];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Kernels by name; all if none is named
    kernels: Vec<String>,
    /// Run only these test programs, on the host and on the kernels
    #[arg(long, value_name = "PROGRAM")]
    program: Vec<String>,
    /// Leave out what an earlier run of the same sources has passed
    #[arg(long)]
    resume: bool,
    /// List the steps and end
    #[arg(long)]
    list: bool,
}

/// One of the things to run.
#[derive(Debug)]
struct Step {
    name: String,
    /// Arguments of Cargo.
    arguments: Vec<String>,
    environment: &'static [(&'static str, &'static str)],
}

impl Step {
    fn new(name: impl Into<String>, arguments: &[&str]) -> Self {
        Self {
            name: name.into(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            environment: &[],
        }
    }

    fn with(mut self, environment: &'static [(&'static str, &'static str)]) -> Self {
        self.environment = environment;
        self
    }

    fn and(mut self, option: &str, values: &[String]) -> Self {
        for value in values {
            self.arguments.extend([option.to_owned(), value.clone()]);
        }
        self
    }
}

/// Nothing may be skipped, and nothing is small.
const WHOLE: &[(&str, &str)] = &[
    ("MEMTRACE_REQUIRE_ALL", "1"),
    ("MEMTRACE_TEST_SWAPON", "1"),
    ("MEMTRACE_TEST_SCALE", "full"),
];

const WHOLE_PLAIN: &[(&str, &str)] = &[
    ("MEMTRACE_REQUIRE_ALL", "1"),
    ("MEMTRACE_TEST_SWAPON", "1"),
    ("MEMTRACE_TEST_SCALE", "full"),
    ("MEMTRACE_TEST_HANDLER", "plain"),
];

/// About a minute of them.
const MANY_CASES: &[(&str, &str)] = &[("PROPTEST_CASES", "400000")];

/// Everything, in this order.
fn steps(options: &Options) -> Result<Vec<Step>> {
    const TEST: [&str; 4] = ["test", "--locked", "--no-fail-fast", "--package"];
    let of = |package: &str, tests: &[&str]| -> Vec<String> {
        let tests = tests.iter().flat_map(|test| ["--test", test]);
        let words = TEST.into_iter().chain([package]).chain(tests);
        words.map(str::to_owned).collect()
    };
    let mut steps = Vec::new();
    if options.program.is_empty() {
        steps.push(Step::new("BPF objects", &["xtask", "bpf", "--check"]));
        let families = [
            "test",
            "--locked",
            "--release",
            "--package",
            "memtrace-ebpf",
        ];
        steps.push(Step::new("families without a kernel", &families).with(MANY_CASES));
        let whole = ["test", "--workspace", "--locked", "--no-fail-fast"];
        steps.push(Step::new("host", &whole).with(WHOLE));
        let mut plain = Step::new("host, plain programs", &[]).with(WHOLE_PLAIN);
        plain.arguments = of("memtrace-tests", &PLAIN);
        steps.push(plain);
        let fuzz = ["xtask", "fuzz", "--seconds", "60", "--jobs", "2"];
        steps.push(Step::new("fuzz targets", &fuzz));
    } else {
        let programs: Vec<&str> = options.program.iter().map(String::as_str).collect();
        let mut host = Step::new("host", &[]).with(WHOLE);
        host.arguments = of("memtrace-tests", &programs);
        steps.push(host);
    }
    let names = kernels::names(&options.kernels)?;
    for name in &names {
        let step = Step::new(format!("kernel {name}"), &["xtask", "kernels", name]);
        steps.push(step.and("--program", &options.program));
    }
    if options.program.is_empty() {
        for name in &names {
            for how in ["events", "share"] {
                let words = ["xtask", "kernels", name, "--broken", how];
                steps.push(Step::new(format!("kernel {name}, wrong {how}"), &words));
            }
        }
    }
    // Of all kernels, whichever were run now: the table says what is missing or old.
    if options.program.is_empty() {
        let table = ["xtask", "kernels", "--again", "--table"];
        steps.push(Step::new("docs/exactness.md", &table));
    }
    for step in &mut steps {
        if !options.program.is_empty() {
            // What passed of a part is no word about the whole.
            step.name = format!("{}: {}", step.name, options.program.join(", "));
        }
        if step.arguments.iter().any(|word| word == "kernels") {
            step.arguments.extend(["--jobs".into(), "1".into()]);
        }
    }
    Ok(steps)
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let steps = steps(options)?;
    if options.list {
        for step in &steps {
            println!("{:28} cargo {}", step.name, step.arguments.join(" "));
        }
        return Ok(());
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut state = State::open(
        &target.join("full-state"),
        &state::fingerprint(root, &target)?,
    )?;
    let began = Instant::now();
    let mut lines = Vec::new();
    let mut failed = 0;
    for step in &steps {
        let line = if options.resume && state.has_passed(&step.name) {
            format!("{:28} passed before", step.name)
        } else {
            println!("\n=== {}: cargo {}", step.name, step.arguments.join(" "));
            let start = Instant::now();
            let passed = one(root, step)?;
            let seconds = start.elapsed().as_secs();
            state.note(&step.name, passed)?;
            failed += usize::from(!passed);
            let verdict = if passed { "passed" } else { "FAILED" };
            format!("{:28} {verdict} in {seconds} s", step.name)
        };
        println!("{line}");
        lines.push(line);
    }
    println!("\n=== all of it, in {}", minutes(began.elapsed()));
    for line in &lines {
        println!("{line}");
    }
    println!("{} passed, {failed} failed", steps.len() - failed);
    ensure!(
        failed == 0,
        "{failed} of {} steps failed; `cargo xtask full --resume` runs those again",
        steps.len()
    );
    Ok(())
}

fn one(root: &Path, step: &Step) -> Result<bool> {
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(&step.arguments)
        .envs(step.environment.iter().copied())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("run cargo {}", step.arguments.join(" ")))?;
    Ok(status.success())
}

fn minutes(time: Duration) -> String {
    format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{Options, steps};

    fn names(kernels: &[&str], program: &[&str]) -> Vec<String> {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let options = Options {
            kernels: owned(kernels),
            program: owned(program),
            resume: false,
            list: false,
        };
        let steps = steps(&options).unwrap();
        steps.into_iter().map(|step| step.name).collect()
    }

    #[test]
    fn each_kernel_is_a_step_of_its_own() {
        let names = names(&["5.10", "7"], &[]);
        for wanted in ["host", "kernel 5.10", "kernel 7", "kernel 7, wrong share"] {
            assert!(
                names.iter().any(|name| name == wanted),
                "{wanted}: {names:?}"
            );
        }
        assert_eq!(names.last().unwrap(), "docs/exactness.md");
        assert!(!names.iter().any(|name| name == "kernel 6.1"));
    }

    #[test]
    fn single_programs_write_no_table() {
        assert_eq!(
            names(&["6.1"], &["counts"]),
            ["host: counts", "kernel 6.1: counts"]
        );
    }

    #[test]
    fn steps_have_different_names() {
        let mut names = names(&[], &[]);
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
