//! One boot of the matrix: a kernel, some tests, and what came of them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use super::{
    arch::Arch,
    build::{Built, TestProgram},
    bundle::{self, Plan},
    debian::Image,
    guest::Guest,
    identity::{self, Object},
    list::Kernel,
    protocol::Outcome,
    record::{End, Logs, Record},
    retry,
};

/// Memory of a guest in MiB; the tests' largest trees need a third of it.
const MEMORY: u32 = 3072;

/// How long a guest may give no sign of life. `init.sh` gives one every 5 s, whatever the
/// tests do; before it runs, QEMU unpacks the initial file system.
const SILENCE: Duration = Duration::from_secs(120);

/// How long a guest may take beside its programs, which have limits of their own.
const BESIDE: u64 = 600;

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
    /// Tests that it has to run.
    pub(crate) tests: Vec<String>,
    /// Its file, if it is a test program.
    pub(crate) path: Option<PathBuf>,
}

impl Program {
    /// A test program, with those of its tests whose names contain `filter`.
    pub(crate) fn test(test: &TestProgram, filter: Option<&str>, limit: u32) -> Result<Self> {
        let TestProgram { name, path, here } = test;
        Ok(Self {
            name: name.clone(),
            limit,
            words: format!(
                "{} --test-threads=2 {}",
                path.display(),
                filter.unwrap_or_default()
            ),
            tests: Built::list(here, filter)?,
            path: Some(path.clone()),
        })
    }
}

/// What all boots of one instruction set have in common.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) built: Built,
    /// The initial file system's common part.
    pub(crate) base: PathBuf,
}

/// What all boots of a run have in common.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) parts: &'a BTreeMap<Arch, Parts>,
    /// By the kernel's name.
    pub(crate) images: &'a BTreeMap<&'static str, Result<Image>>,
    /// The BPF objects in memtrace.
    pub(crate) objects: &'a [Object],
    pub(crate) work: &'a Path,
    pub(crate) verbose: bool,
}

/// What came of one boot.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) job: Job,
    /// The kernel's release, once it is known.
    pub(crate) release: String,
    pub(crate) result: Result<Record>,
    /// Whether memtrace had other BPF objects then than it has now.
    pub(crate) is_stale: bool,
    pub(crate) logs: Logs,
}

/// Boots it.
pub(crate) fn one(job: Job, shared: &Shared<'_>) -> Run {
    let logs = Logs::new(&directory(&job, shared.work));
    let result = boots(&job, shared, &logs);
    Run::new(job, result, logs, shared.objects)
}

/// What the logs of the last boot of this say.
pub(crate) fn again(job: Job, work: &Path, objects: &[Object]) -> Run {
    let logs = Logs::new(&directory(&job, work));
    let result = Record::read(&logs);
    Run::new(job, result, logs, objects)
}

fn directory(job: &Job, work: &Path) -> PathBuf {
    work.join(job.name().replace(' ', "-"))
}

/// Boots it until it shows something.
fn boots(job: &Job, shared: &Shared<'_>, logs: &Logs) -> Result<Record> {
    logs.clear()?;
    let mut number = 1;
    loop {
        let record = boot(job, shared, logs, number)?;
        let Some(why) = retry::reason_of(&record) else {
            return Ok(record);
        };
        println!(
            "{}: boot {number} after {} s: {why}; booting again",
            job.name(),
            record.time.as_secs()
        );
        logs.keep(number)?;
        number += 1;
    }
}

fn boot(job: &Job, shared: &Shared<'_>, logs: &Logs, number: u32) -> Result<Record> {
    let dir = directory(job, shared.work);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let image = match shared.images.get(job.kernel.name) {
        Some(Ok(image)) => image,
        Some(Err(error)) => return Err(anyhow!("{error:#}")),
        None => return Err(anyhow!("nobody fetched the kernel")),
    };
    let arch = job.kernel.arch;
    let Parts { built, base } = shared
        .parts
        .get(&arch)
        .with_context(|| format!("nothing is built for {}", arch.debian()))?;
    let header = header(job, shared.objects, &identity::today()?);
    let plan = Plan {
        port: arch.results(),
        header: &header,
        programs: &job.programs,
        environment: &[
            ("MEMTRACE_BIN", built.memtrace.display().to_string()),
            ("MEMTRACE_TARGET_TMP", built.tmp.display().to_string()),
            ("MEMTRACE_REQUIRE_ALL", "1".to_owned()),
            ("MEMTRACE_LACKS", job.kernel.lacks.join(",")),
            ("MEMTRACE_TEST_SCALE", "small".to_owned()),
            ("MEMTRACE_TEST_SWAPON", "1".to_owned()),
            ("MEMTRACE_EVIDENCE", "/tmp/evidence".to_owned()),
            ("RUST_BACKTRACE", "0".to_owned()),
        ],
    };
    let initrd = bundle::complete(base, image, &plan, &dir)?;
    let disk = bundle::disk(&dir)?;
    let programs: u64 = job
        .programs
        .iter()
        .map(|program| u64::from(program.limit))
        .sum();
    let guest = Guest {
        arch,
        kernel: &image.dir.join("vmlinuz"),
        initrd: &initrd,
        disk: &disk,
        cpus: job.cpus,
        memory: MEMORY,
        append: job.kernel.append,
        logs,
        boot: number,
        silence: SILENCE,
        limit: Duration::from_secs(programs.saturating_add(BESIDE)),
        verbose: shared.verbose,
    };
    let mut outcome = guest.run();
    if let Ok(record) = &mut outcome {
        // It may have died before it could say so.
        record
            .results
            .release
            .get_or_insert_with(|| image.release.clone());
        record.results.expected = expected(job).collect();
    }
    for file in [&initrd, &disk] {
        fs::remove_file(file).with_context(|| format!("remove {}", file.display()))?;
    }
    outcome
}

/// The tests that a boot has to run, by `program::test`.
fn expected(job: &Job) -> impl Iterator<Item = String> {
    job.programs.iter().flat_map(|program| {
        program
            .tests
            .iter()
            .map(|test| format!("{}::{test}", program.name))
    })
}

/// What `init.sh` says first, so that the log tells by itself what the boot was about.
fn header(job: &Job, objects: &[Object], date: &str) -> String {
    let mut out = format!("@@date {date}\n");
    // Writing to a string does not fail.
    for (name, hash) in objects {
        let _ = writeln!(out, "@@object {name} {hash}");
    }
    for test in expected(job) {
        let _ = writeln!(out, "@@expect {test}");
    }
    out
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

/// What a boot's tests came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) did_not_run: usize,
    pub(crate) not_here: usize,
}

impl Run {
    /// A record, or why there is none, judged by the BPF objects of now.
    pub(crate) fn new(job: Job, result: Result<Record>, logs: Logs, objects: &[Object]) -> Self {
        let results = result.as_ref().ok().map(|record| &record.results);
        Self {
            release: results
                .and_then(|results| results.release.clone())
                .unwrap_or_default(),
            // A boot that died before it said anything tells nothing of any objects.
            is_stale: results
                .is_some_and(|results| results.date.is_some() && results.objects != objects),
            job,
            result,
            logs,
        }
    }

    /// Whether it came to its end, and every test that was to run passed.
    pub(crate) fn is_good(&self) -> bool {
        match &self.result {
            Ok(Record { results, end, .. }) => {
                let Totals {
                    failed,
                    did_not_run,
                    ..
                } = self.totals();
                *end == End::Done
                    && !self.is_stale
                    && failed == 0
                    && did_not_run == 0
                    && results.broken.is_empty()
                    && results.surplus().next().is_none()
            }
            Err(_) => false,
        }
    }

    /// Whether a test itself failed, rather than its surroundings.
    pub(crate) fn has_failed_tests(&self) -> bool {
        self.totals().failed > 0
    }

    pub(crate) fn totals(&self) -> Totals {
        self.result.as_ref().map_or_else(
            |_| Totals::default(),
            |Record { results, .. }| Totals {
                passed: results.count(Outcome::Passed),
                failed: results.count(Outcome::Failed),
                did_not_run: results.missing().count(),
                not_here: results.count(Outcome::NotHere),
            },
        )
    }

    /// Which tests noticed that memtrace counted wrongly on purpose.
    pub(crate) fn noticed(&self) -> String {
        let name = self.job.name();
        match &self.result {
            Ok(Record { results, .. }) => format!(
                "{name:12} noticed by {}",
                results
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
        if let Ok(Record {
            results,
            console,
            end,
            ..
        }) = &self.result
        {
            for name in results.names(Outcome::Failed) {
                println!("    FAILED {name}");
            }
            for name in results.missing() {
                println!("    did not run: {name}");
            }
            for name in results.surplus() {
                println!("    ran, but was not expected: {name}");
            }
            for name in &results.broken {
                println!("    broken: {name}");
            }
            // Words of death that it survived are in no other line.
            let death = console.death.iter().filter(|_| *end == End::Done);
            for warning in console.warnings.iter().chain(death) {
                println!("    the kernel says: {warning}");
            }
        }
        if !self.is_good() {
            println!(
                "    logs: {} {}",
                self.logs.results.display(),
                self.logs.console.display()
            );
        }
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let (name, release) = (self.job.name(), &self.release);
        let record = match &self.result {
            Err(error) => return format!("{name:12} {release:28} not run: {error:#}"),
            Ok(record) => record,
        };
        let Totals {
            passed,
            failed,
            did_not_run,
            not_here,
        } = self.totals();
        let mut line = format!(
            "{name:12} {release:28} {}: {passed} passed, {failed} failed, {did_not_run} did not run, {not_here} not for this kernel; ",
            if self.is_good() { "ok" } else { "FAILED" },
        );
        // Writing to a string does not fail.
        let _ = match record.booted {
            Some(booted) => write!(
                line,
                "{} s, {} s of them booting",
                record.time.as_secs(),
                booted.as_secs()
            ),
            None => write!(line, "{} s", record.time.as_secs()),
        };
        if record.boots > 1 {
            let _ = write!(line, "; boot {}", record.boots);
        }
        if record.end != End::Done {
            let _ = write!(line, "; {}", record.end.text());
        }
        if self.is_stale {
            line.push_str("; with other BPF objects than memtrace has now");
        }
        line
    }
}
