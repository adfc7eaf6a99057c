//! `cargo xtask kernels`: the end-to-end tests on other kernels, in QEMU.
//!
//! The tests are compiled here and packed, with what they call, into an initial file
//! system; each kernel of the matrix boots with it. Nothing is skipped in silence: what
//! cannot apply to a kernel is listed with it in `list`, and counted.

mod bundle;
mod debian;
mod guest;
mod list;
mod protocol;
mod run;
mod table;

use std::{
    cmp::Reverse,
    collections::VecDeque,
    env, fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::{
    bundle::Built,
    list::{BOOTS, KERNELS, Kernel, SENSITIVE, is_due},
    run::{Job, Program, Run},
};
use crate::bpf::{self, Broken};

/// Test programs that guests have no use for.
const HOST_ONLY: [&str; 6] = [
    // Compilers and browsers do not fit into an initial file system, nor do the readers of
    // exports; what they read is the same on every kernel.
    "builds",
    "export",
    "html",
    "recordings",
    // Statistics over many runs, which take minutes where each takes seconds to start.
    "compare",
    "diff",
];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Kernels by name; all if none is named
    kernels: Vec<String>,
    /// Run only these test programs
    #[arg(long, value_name = "PROGRAM")]
    program: Vec<String>,
    /// Run only tests whose names contain this
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Leave out tests in which no kernel can make a difference, which run on the host too
    #[arg(long, conflicts_with_all = ["program", "test"])]
    kernel_tests: bool,
    /// Guests at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// CPUs of each guest; without this, there are further boots with more of them
    #[arg(long)]
    cpus: Option<u32>,
    /// Seconds for each test program
    #[arg(long, default_value_t = 900)]
    limit: u32,
    /// Run this shell command instead of the tests, where `$MEMTRACE_BIN` is memtrace
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Print what the guests say
    #[arg(short, long)]
    verbose: bool,
    /// Write what holds on which kernel to FILE
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        default_missing_value = "docs/exactness.md"
    )]
    table: Option<PathBuf>,
    /// Test the tests: build memtrace so that it counts wrongly, and fail unless tests
    /// fail on every kernel
    #[arg(long, value_name = "HOW", conflicts_with = "table")]
    broken: Option<Broken>,
    /// Do not boot anything, but read the consoles of the last run again
    #[arg(long)]
    again: bool,
    /// List the kernels and end
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    if options.list {
        for kernel in KERNELS {
            println!("{:8} {}", kernel.name, kernel.purpose);
        }
        return Ok(());
    }
    guest::check_emulator()?;
    let started = Instant::now();
    let work = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("kernels");
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let mut objects = env::var_os("MEMTRACE_BPF_OBJECTS").map(PathBuf::from);
    if options.broken.is_some() {
        let directory = work.join("broken-bpf");
        bpf::write(root, &directory, options.broken, false)?;
        objects = Some(directory);
    }
    let built = bundle::build(root, objects.as_deref())?;
    let base = if options.again {
        PathBuf::new()
    } else {
        bundle::base(&built, &work)?
    };
    let jobs = jobs(&built, options)?;

    let expected = options.broken.is_none();
    let count = jobs.len();
    let queue: Mutex<VecDeque<Job>> = Mutex::new(jobs.into());
    let runs = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    // The queue must not stay locked while a guest runs.
                    let Some(job) = lock(&queue).pop_front() else {
                        break;
                    };
                    let run = if options.again {
                        run::again(job, &work)
                    } else {
                        run::one(job, &built, &base, &work, options.verbose)
                    };
                    if expected {
                        run.print();
                    }
                    lock(&runs).push(run);
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.sort_by_key(|run| run.job.order);
    // A boot that did not run its tests shows nothing about them.
    let is_as_expected = |run: &&Run| {
        if expected {
            run.is_good()
        } else {
            run.has_failed_tests()
        }
    };
    let bad = count - runs.iter().filter(is_as_expected).count();
    println!(
        "{count} boots, {bad} {}, in {} s",
        if expected {
            "failed"
        } else {
            "noticed nothing"
        },
        started.elapsed().as_secs()
    );
    for run in &runs {
        if expected {
            println!("{}", run.line());
        } else {
            println!("{}", run.noticed());
        }
    }
    if !expected {
        ensure!(
            bad == 0,
            "in {bad} of {count} boots no test noticed {:?}",
            options.broken
        );
        return Ok(());
    }
    let (passed, failed) = runs
        .iter()
        .map(Run::totals)
        .fold((0, 0), |(passed, failed), (p, f)| (passed + p, failed + f));
    println!("{passed} passed, {failed} failed");
    if let Some(path) = &options.table {
        let path = root.join(path);
        table::write(root, &path, &runs)?;
        println!("wrote {}", path.display());
    }
    ensure!(bad == 0, "{bad} of {count} boots failed");
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            KERNELS
                .iter()
                .find(|kernel| kernel.name == name)
                .with_context(|| {
                    format!(
                        "there is no kernel {name}; there are {}",
                        KERNELS
                            .iter()
                            .map(|kernel| kernel.name)
                            .collect::<Vec<_>>()
                            .join(", ")
                    )
                })
        })
        .collect()
}

/// What to boot: each kernel with all tests, then those with more CPUs with some.
fn jobs(built: &Built, options: &Options) -> Result<Vec<Job>> {
    let kernels = chosen(&options.kernels)?;
    let programs = programs(built, options)?;
    let whole = options.program.is_empty() && options.test.is_none() && options.command.is_none();
    let mut jobs: Vec<Job> = Vec::new();
    for &kernel in &kernels {
        jobs.push(Job {
            order: jobs.len(),
            kernel,
            boot: None,
            cpus: options.cpus.unwrap_or(2),
            programs: programs
                .iter()
                .filter(|program| !whole || is_due(&program.name, kernel, options.kernel_tests))
                .cloned()
                .collect(),
        });
    }
    for boot in BOOTS {
        let Some(&kernel) = kernels.iter().find(|kernel| kernel.name == boot.kernel) else {
            continue;
        };
        if !whole || options.cpus.is_some() || options.broken.is_some() {
            break;
        }
        jobs.push(Job {
            order: jobs.len(),
            kernel,
            boot: Some(boot.name),
            cpus: boot.cpus,
            programs: some(built, boot.programs, options.limit)?,
        });
    }
    ensure!(!jobs.is_empty(), "there is nothing to run");
    // The longest first, so that none is left to run alone at the end.
    jobs.sort_by_key(|job| Reverse(job.programs.len()));
    Ok(jobs)
}

/// The test programs to run.
fn programs(built: &Built, options: &Options) -> Result<Vec<Program>> {
    let limit = options.limit;
    if let Some(command) = &options.command {
        return Ok(vec![Program {
            name: "command".to_owned(),
            limit,
            words: command.clone(),
        }]);
    }
    if options.broken.is_some() && options.program.is_empty() {
        return some(built, SENSITIVE, limit);
    }
    for name in &options.program {
        if !built.tests.iter().any(|(other, _)| other == name) {
            bail!("there is no test program {name}");
        }
    }
    Ok(built
        .tests
        .iter()
        .filter(|(name, _)| !HOST_ONLY.contains(&name.as_str()))
        .filter(|(name, _)| options.program.is_empty() || options.program.contains(name))
        .map(|(name, path)| Program::test(name, path, options.test.as_deref(), limit))
        .collect())
}

/// Test programs with filters.
fn some(built: &Built, programs: &[(&str, &str)], limit: u32) -> Result<Vec<Program>> {
    programs
        .iter()
        .map(|(name, filter)| {
            let (_, path) = built
                .tests
                .iter()
                .find(|(other, _)| other == name)
                .with_context(|| format!("there is no test program {name}"))?;
            Ok(Program::test(name, path, Some(filter), limit))
        })
        .collect()
}
