//! One boot of the matrix: a kernel, some tests, and what came of them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    bundle::{self, Built, Plan},
    debian,
    guest::{End, Guest},
    list::Kernel,
    protocol::{Console, Outcome},
};

/// Memory of a guest in MiB; the tests' largest trees need a third of it.
const MEMORY: u32 = 3072;

/// How long a guest may say nothing: longer than any test's own limit.
const SILENCE: Duration = Duration::from_secs(400);

/// How long a guest may take in all.
const LIMIT: Duration = Duration::from_secs(3600);

/// How often to boot at most.
const BOOTS: u32 = 3;

/// Whether a kernel died of its emulator. A kernel patches its code by way of a breakpoint,
/// which stands there for a moment (`text_poke_bp_batch()`, arch/x86/kernel/alternative.c);
/// QEMU's translation can keep it for longer, and no handler knows it then. Each program that
/// is attached has code patched; no other code has breakpoints.
fn is_emulators(words: &str) -> bool {
    words.contains("Oops: int3")
}

/// What to boot, and what to run there.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Its place in the report.
    pub(crate) order: usize,
    pub(crate) kernel: &'static Kernel,
    /// What distinguishes it from the kernel's first boot.
    pub(crate) boot: Option<&'static str>,
    pub(crate) cpus: u32,
    pub(crate) programs: Vec<Program>,
}

/// A command for a guest.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// Seconds it may take.
    pub(crate) limit: u32,
    /// For the guest's shell.
    pub(crate) words: String,
}

impl Program {
    /// A test program, with those of its tests whose names contain `filter`.
    pub(crate) fn test(name: &str, path: &Path, filter: Option<&str>, limit: u32) -> Self {
        Self {
            name: name.to_owned(),
            limit,
            words: format!(
                "{} --test-threads=2 {}",
                path.display(),
                filter.unwrap_or_default()
            ),
        }
    }
}

/// What came of one boot.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) job: Job,
    /// The kernel's release, once it is known.
    pub(crate) release: String,
    /// What its console said, how it ended, and how long it took.
    pub(crate) result: Result<(Console, End, Duration)>,
    log: PathBuf,
}

/// Boots it.
pub(crate) fn one(job: Job, built: &Built, base: &Path, work: &Path, verbose: bool) -> Run {
    let dir = work.join(job.name().replace(' ', "-"));
    let log = dir.join("console.log");
    let mut release = String::new();
    let mut boots = 0;
    let result = loop {
        boots += 1;
        let result = boot(&job, built, base, &dir, &log, verbose, &mut release);
        match &result {
            Ok((_, End::Died(words), _)) if is_emulators(words) && boots < BOOTS => {
                println!("{}: booted again, QEMU ran stale code: {words}", job.name());
            }
            _ => break result,
        }
    };
    Run {
        job,
        release,
        result,
        log,
    }
}

/// What the console of the last boot of this said.
pub(crate) fn again(job: Job, work: &Path) -> Run {
    let log = work.join(job.name().replace(' ', "-")).join("console.log");
    let result = replay(&log);
    let release = match &result {
        Ok((console, ..)) => console.release.clone().unwrap_or_default(),
        Err(_) => String::new(),
    };
    Run {
        job,
        release,
        result,
        log,
    }
}

fn replay(log: &Path) -> Result<(Console, End, Duration)> {
    let text = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    let mut console = Console::default();
    let mut seconds = 0.0_f64;
    for line in String::from_utf8_lossy(&text).lines() {
        // As `Guest::run` writes them: [   12.3] words
        let Some((time, words)) = line
            .strip_prefix('[')
            .and_then(|line| line.split_once("] "))
        else {
            continue;
        };
        seconds = time.trim().parse().unwrap_or(seconds);
        console.line(words);
    }
    let end = match (console.done, console.death.take()) {
        (true, _) => End::Done,
        (false, Some(words)) => End::Died(words),
        (false, None) => End::Gone,
    };
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Ok((console, end, time))
}

fn boot(
    job: &Job,
    built: &Built,
    base: &Path,
    dir: &Path,
    log: &Path,
    verbose: bool,
    release: &mut String,
) -> Result<(Console, End, Duration)> {
    let Job {
        kernel,
        cpus,
        programs,
        ..
    } = job;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let image = debian::fetch(kernel)?;
    release.clone_from(&image.release);
    let plan = Plan {
        programs,
        environment: &[
            ("MEMTRACE_BIN", built.memtrace.display().to_string()),
            ("MEMTRACE_TARGET_TMP", built.tmp.display().to_string()),
            ("MEMTRACE_REQUIRE_ALL", "1".to_owned()),
            ("MEMTRACE_LACKS", kernel.lacks.join(",")),
            ("MEMTRACE_TEST_SCALE", "small".to_owned()),
            ("MEMTRACE_TEST_SWAPON", "1".to_owned()),
            ("MEMTRACE_EVIDENCE", "/tmp/evidence".to_owned()),
            ("RUST_BACKTRACE", "0".to_owned()),
        ],
    };
    let initrd = bundle::complete(base, &image, &plan, dir)?;
    let disk = bundle::disk(dir)?;
    let guest = Guest {
        kernel: &image.dir.join("vmlinuz"),
        initrd: &initrd,
        disk: &disk,
        cpus: *cpus,
        memory: MEMORY,
        append: kernel.append,
        log,
        silence: SILENCE,
        limit: LIMIT,
        verbose,
    };
    let outcome = guest.run();
    for file in [&initrd, &disk] {
        fs::remove_file(file).with_context(|| format!("remove {}", file.display()))?;
    }
    outcome
}

impl Job {
    /// What the report calls it.
    pub(crate) fn name(&self) -> String {
        match self.boot {
            Some(boot) => format!("{} {boot}", self.kernel.name),
            None => self.kernel.name.to_owned(),
        }
    }
}

impl Run {
    /// Whether it came to its end and every test passed.
    pub(crate) fn is_good(&self) -> bool {
        match &self.result {
            Ok((console, end, _)) => {
                *end == End::Done
                    && console.broken.is_empty()
                    && console.count(Outcome::Failed) == 0
                    && console.count(Outcome::Passed) > 0
            }
            Err(_) => false,
        }
    }

    /// Whether a test itself failed, rather than its surroundings.
    pub(crate) fn has_failed_tests(&self) -> bool {
        self.result
            .as_ref()
            .is_ok_and(|(console, ..)| console.count(Outcome::Failed) > 0)
    }

    /// How many tests passed and failed; a boot that did not come to its end has failed.
    pub(crate) fn totals(&self) -> (usize, usize) {
        match &self.result {
            Ok((console, end, _)) => (
                console.count(Outcome::Passed),
                console.count(Outcome::Failed)
                    + console.broken.len()
                    + usize::from(*end != End::Done),
            ),
            Err(_) => (0, 1),
        }
    }

    /// Which tests noticed that memtrace counted wrongly on purpose.
    pub(crate) fn noticed(&self) -> String {
        let name = self.job.name();
        match &self.result {
            Ok((console, ..)) => format!(
                "{name:12} noticed by {}",
                console
                    .names(Outcome::Failed)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Err(error) => format!("{name:12} not run: {error:#}"),
        }
    }

    /// Prints what failed.
    pub(crate) fn print(&self) {
        println!("{}", self.line());
        if let Ok((console, ..)) = &self.result {
            for name in console.names(Outcome::Failed) {
                println!("    FAILED {name}");
            }
            for name in &console.broken {
                println!("    broken: {name}");
            }
            for warning in &console.warnings {
                println!("    the kernel says: {warning}");
            }
        }
        if !self.is_good() {
            println!("    console: {}", self.log.display());
        }
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let (name, release) = (self.job.name(), &self.release);
        match &self.result {
            Err(error) => format!("{name:12} {release:28} not run: {error:#}"),
            Ok((console, end, time)) => {
                let verdict = if self.is_good() { "ok" } else { "FAILED" };
                let how = match end {
                    End::Done => String::new(),
                    End::Died(words) => format!("; the kernel died: {words}"),
                    End::Stalled => "; it fell silent".to_owned(),
                    End::TooLong => "; it took too long".to_owned(),
                    End::Gone => "; QEMU ended".to_owned(),
                };
                let (passed, failed) = self.totals();
                format!(
                    "{name:12} {release:28} {verdict}: {passed} passed, {failed} failed, {} not for this kernel, {} s{how}",
                    console.count(Outcome::NotHere),
                    time.as_secs(),
                )
            }
        }
    }
}
