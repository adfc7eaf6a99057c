//! `cargo xtask kernels`: the end-to-end tests on other kernels, in QEMU.
//!
//! The tests are compiled here and packed, with what they call, into an initial file
//! system; each kernel of the matrix boots with it. The kernels are pinned in `kernels.lock`
//! and kept in a cache, so that nothing but the sources decides about a run. Nothing is
//! skipped in silence: what cannot apply to a kernel is listed with it in `list`, and counted;
//! every other test has to have an outcome.

mod apt;
mod arch;
mod build;
mod bundle;
mod cross;
mod debian;
mod guest;
mod identity;
mod jobs;
mod list;
mod pins;
mod protocol;
mod record;
mod retry;
mod run;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env, fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::{
    arch::Arch,
    build::{Built, Profile, Request},
    cross::Cross,
    debian::Image,
    jobs::{jobs, needs_guest_tests},
    list::{KERNELS, Kernel},
    pins::Pin,
    run::{Job, Parts, Run, Shared, Totals},
};
use crate::bpf::{self, Broken};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Kernels by name; all if none is named
    kernels: Vec<String>,
    /// Run only these test programs; `PROGRAM::NAME` runs those of its tests whose names contain NAME
    #[arg(long, value_name = "PROGRAM[::NAME]")]
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
    /// How memtrace is built for the guests
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
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
    /// Do not boot anything, but read the logs of the last run again
    #[arg(long, conflicts_with = "broken")]
    again: bool,
    /// List the kernels and end
    #[arg(long)]
    list: bool,
    /// Pin the newest packages of these kernels and end
    #[arg(long, conflicts_with_all = ["again", "fetch"])]
    bump: bool,
    /// Put the pinned kernels into the cache and end
    #[arg(long, conflicts_with = "again")]
    fetch: bool,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    if options.list {
        for kernel in KERNELS {
            println!("{:8} {}", kernel.name, kernel.purpose);
        }
        return Ok(());
    }
    let kernels = chosen(&options.kernels)?;
    if options.bump {
        return bump(root, &kernels);
    }
    if options.fetch {
        for (name, image) in images(root, &kernels)? {
            let image = image.with_context(|| format!("kernel {name}"))?;
            println!("{name:8} {}", image.release);
        }
        return Ok(());
    }
    let started = Instant::now();
    let runs = if options.again {
        let objects = identity::objects(&identity::directory(root))?;
        let work = work(root, None)?;
        let mut runs: Vec<Run> = jobs(&kernels, None, options)?
            .into_iter()
            .map(|job| run::again(job, &work, &objects))
            .collect();
        runs.sort_by_key(|run| run.job.order);
        for run in &runs {
            run.print();
        }
        runs
    } else {
        boot(root, &kernels, options)?
    };
    report(root, options, &runs, started)
}

/// Where boots keep their files; those of programs that are wrong on purpose do not overwrite
/// what a table is made from.
fn work(root: &Path, broken: Option<Broken>) -> Result<PathBuf> {
    let work = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("kernels");
    let work = match broken {
        Some(how) => work.join(format!("broken-{how:?}").to_lowercase()),
        None => work,
    };
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    Ok(work)
}

/// Pins the newest packages of these kernels.
fn bump(root: &Path, kernels: &[&'static Kernel]) -> Result<()> {
    let mut pins = pins::read(root)?;
    for kernel in kernels {
        let new = debian::newest(kernel)?;
        let before = pins.iter().find(|pin| pin.kernel == new.kernel);
        if before == Some(&new) {
            println!("{:8} {} is the newest", kernel.name, new.release);
            continue;
        }
        println!(
            "{:8} {} of {}, before {}",
            kernel.name,
            new.release,
            new.suite,
            before.map_or("nothing", |pin| pin.release.as_str())
        );
        pins::replace(&mut pins, new);
        // Kept even if the next kernel cannot be found.
        pins::write(root, &pins)?;
    }
    Ok(())
}

/// The pinned images of these kernels, one after another: two boots of one kernel share its
/// directory.
fn images(
    root: &Path,
    kernels: &[&'static Kernel],
) -> Result<BTreeMap<&'static str, Result<Image>>> {
    let pins: Vec<Pin> = pins::read(root)?;
    Ok(kernels
        .iter()
        .map(|kernel| {
            let image =
                pins::of(&pins, kernel.name).and_then(|pin| debian::fetch(pin, kernel.arch));
            (kernel.name, image)
        })
        .collect())
}

/// Builds, and boots everything.
fn boot(root: &Path, kernels: &[&'static Kernel], options: &Options) -> Result<Vec<Run>> {
    let arches: BTreeSet<Arch> = kernels.iter().map(|kernel| kernel.arch).collect();
    for &arch in &arches {
        guest::check_emulator(arch)?;
    }
    let work = work(root, options.broken)?;
    let images = images(root, kernels)?;
    let broken = match options.broken {
        Some(_) => {
            let directory = work.join("bpf");
            bpf::write(root, &directory, options.broken, false, |_| true)?;
            Some(directory)
        }
        None => None,
    };
    let builds = builds(root, &arches, broken.as_deref(), &work, options)?;
    let objects = identity::objects(&broken.unwrap_or_else(|| identity::directory(root)))?;
    let jobs = jobs(kernels, Some(&builds), options)?;
    let parts = builds
        .into_iter()
        .filter(|(arch, _)| arches.contains(arch))
        .map(|(arch, (built, cross))| {
            let mut tests: BTreeSet<&Path> = jobs
                .iter()
                .filter(|job| job.kernel.arch == arch)
                .flat_map(|job| &job.programs)
                .filter_map(|program| program.path.as_deref())
                .collect();
            if options.command.is_some() {
                tests.extend(built.tests.iter().map(|test| test.path.as_path()));
            }
            let base = bundle::base(&built, &tests, cross.as_ref(), &below(&work, arch)?)?;
            Ok((arch, Parts { built, base }))
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    let shared = Shared {
        parts: &parts,
        images: &images,
        objects: &objects,
        work: &work,
        verbose: options.verbose,
    };
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
                    let run = run::one(job, &shared);
                    if options.broken.is_none() {
                        run.print();
                    }
                    lock(&runs).push(run);
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.sort_by_key(|run| run.job.order);
    Ok(runs)
}

/// What is built for each instruction set, and with what.
type Builds = BTreeMap<Arch, (Built, Option<Cross>)>;

/// Where what guests of one instruction set share is kept.
fn below(work: &Path, arch: Arch) -> Result<PathBuf> {
    let dir = match arch {
        Arch::Amd64 => work.to_owned(),
        Arch::Arm64 => work.join(arch.debian()),
    };
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// Builds memtrace and its tests for these, with these BPF objects if not with the committed ones.
fn builds(
    root: &Path,
    arches: &BTreeSet<Arch>,
    objects: Option<&Path>,
    work: &Path,
    options: &Options,
) -> Result<Builds> {
    // For another instruction set nothing is built otherwise: wrong programs need no place of their own.
    let usual = self::work(root, None)?;
    let build = |arch: Arch, cross: Option<&Cross>| {
        let request = Request {
            profile: options.profile,
            objects,
            apart: &below(cross.map_or(work, |_| &usual), arch)?.join("target"),
            guest: options.command.is_none() && needs_guest_tests(options),
            cross,
        };
        build::build(root, &request)
    };
    // Whatever it is for: it tells which tests there are.
    let native = build(Arch::Amd64, None)?;
    let mut builds = Builds::new();
    for &arch in arches.iter().filter(|&&arch| arch != Arch::Amd64) {
        let cross = Cross::fetch(arch)?;
        let mut built = build(arch, Some(&cross))?;
        built.told_by(&native)?;
        builds.insert(arch, (built, Some(cross)));
    }
    builds.insert(Arch::Amd64, (native, None));
    Ok(builds)
}

/// Says what came of everything, and fails if that is not as it should be.
fn report(root: &Path, options: &Options, runs: &[Run], started: Instant) -> Result<()> {
    let (count, seconds) = (runs.len(), started.elapsed().as_secs());
    if let Some(broken) = options.broken {
        // A boot that did not run its tests shows nothing about them.
        let bad = runs.iter().filter(|run| !run.has_failed_tests()).count();
        println!("{count} boots, {bad} noticed nothing, in {seconds} s");
        for run in runs {
            println!("{}", run.noticed());
        }
        ensure!(
            bad == 0,
            "in {bad} of {count} boots no test noticed {broken:?}"
        );
        return Ok(());
    }
    let bad = runs.iter().filter(|run| !run.is_good()).count();
    println!("{count} boots, {bad} failed, in {seconds} s");
    let mut sum = Totals::default();
    for run in runs {
        println!("{}", run.line());
        let totals = run.totals();
        sum.passed += totals.passed;
        sum.failed += totals.failed;
        sum.did_not_run += totals.did_not_run;
    }
    println!(
        "{} passed, {} failed, {} did not run",
        sum.passed, sum.failed, sum.did_not_run
    );
    if let Some(path) = &options.table {
        let path = root.join(path);
        let objects = identity::objects(&identity::directory(root))?;
        table::write(root, &path, runs, &objects)?;
        println!("wrote {}", path.display());
    }
    ensure!(bad == 0, "{bad} of {count} boots failed");
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The names of the kernels that are meant, all if none is named.
pub(crate) fn names(names: &[String]) -> Result<Vec<&'static str>> {
    Ok(chosen(names)?
        .into_iter()
        .map(|kernel| kernel.name)
        .collect())
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
