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

use std::{
    collections::VecDeque,
    env, fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::{
    bundle::Plan,
    guest::{End, Guest},
    list::{KERNELS, Kernel},
    protocol::{Console, Outcome},
};

/// Test programs that guests have no use for.
const HOST_ONLY: [&str; 1] = [
    // Compilers do not fit into an initial file system.
    "builds",
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
    /// Guests at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// CPUs of each guest
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Seconds for each test program
    #[arg(long, default_value_t = 900)]
    limit: u32,
    /// Run this shell command instead of the tests, where `$MEMTRACE_BIN` is memtrace
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Print what the guests say
    #[arg(short, long)]
    verbose: bool,
    /// List the kernels and end
    #[arg(long)]
    list: bool,
}

/// What came of one guest.
struct Run {
    kernel: &'static Kernel,
    release: String,
    result: Result<(Console, End, Duration)>,
    log: PathBuf,
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    if options.list {
        for kernel in KERNELS {
            println!("{:8} {}", kernel.name, kernel.purpose);
        }
        return Ok(());
    }
    let kernels = chosen(&options.kernels)?;
    let started = Instant::now();
    let work = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("kernels");
    fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
    let built = bundle::build(
        root,
        env::var_os("MEMTRACE_BPF_OBJECTS")
            .as_deref()
            .map(Path::new),
    )?;
    let base = bundle::base(&built, &work)?;
    let programs = programs(&built, options)?;

    let queue: Mutex<VecDeque<&'static Kernel>> = Mutex::new(kernels.iter().copied().collect());
    let runs = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while let Some(kernel) = take(&queue) {
                    let run = one(kernel, &built, &base, &programs, &work, options);
                    print(&run);
                    lock(&runs).push(run);
                }
            });
        }
    });
    let runs = runs
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let bad = runs.iter().filter(|run| !is_good(run)).count();
    println!(
        "{} kernels, {bad} failed, in {} s",
        runs.len(),
        started.elapsed().as_secs()
    );
    for kernel in &kernels {
        if let Some(run) = runs.iter().find(|run| run.kernel.name == kernel.name) {
            println!("{}", line(run));
        }
    }
    ensure!(bad == 0, "{bad} of {} kernels failed", runs.len());
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn take<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    lock(queue).pop_front()
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

/// The test programs to run, with limits and arguments.
fn programs(built: &bundle::Built, options: &Options) -> Result<Vec<(String, u32, Vec<String>)>> {
    for name in &options.program {
        if !built.tests.iter().any(|(other, _)| other == name) {
            bail!("there is no test program {name}");
        }
    }
    if let Some(command) = &options.command {
        return Ok(vec![(
            "command".to_owned(),
            options.limit,
            vec![command.clone()],
        )]);
    }
    Ok(built
        .tests
        .iter()
        .filter(|(name, _)| !HOST_ONLY.contains(&name.as_str()))
        .filter(|(name, _)| options.program.is_empty() || options.program.contains(name))
        .map(|(name, path)| {
            let mut words = vec![path.display().to_string(), "--test-threads=2".to_owned()];
            words.extend(options.test.clone());
            (name.clone(), options.limit, words)
        })
        .collect())
}

fn one(
    kernel: &'static Kernel,
    built: &bundle::Built,
    base: &Path,
    programs: &[(String, u32, Vec<String>)],
    work: &Path,
    options: &Options,
) -> Run {
    let dir = work.join(kernel.name);
    let log = dir.join("console.log");
    let mut release = String::new();
    let result = (|| {
        fs::create_dir_all(&dir)?;
        let image = debian::fetch(kernel)?;
        release.clone_from(&image.release);
        let initrd = bundle::complete(
            base,
            &image,
            &Plan {
                programs,
                environment: &[
                    ("MEMTRACE_BIN", built.memtrace.display().to_string()),
                    ("MEMTRACE_REQUIRE_ALL", "1".to_owned()),
                    ("MEMTRACE_TARGET_TMP", built.tmp.display().to_string()),
                    ("MEMTRACE_LACKS", kernel.lacks.join(",")),
                    ("MEMTRACE_TEST_SCALE", "small".to_owned()),
                    ("MEMTRACE_TEST_SWAPON", "1".to_owned()),
                    ("MEMTRACE_EVIDENCE", "/tmp/evidence".to_owned()),
                    ("RUST_BACKTRACE", "0".to_owned()),
                ],
            },
            &dir,
        )?;
        let disk = bundle::disk(&dir)?;
        let guest = Guest {
            kernel: &image.dir.join("vmlinuz"),
            initrd: &initrd,
            disk: &disk,
            cpus: options.cpus,
            memory: 3072,
            append: kernel.append,
            log: log.clone(),
            silence: Duration::from_secs(300),
            limit: Duration::from_secs(3600),
            verbose: options.verbose,
        };
        let outcome = guest.run();
        fs::remove_file(&initrd)?;
        fs::remove_file(&disk)?;
        outcome
    })();
    Run {
        kernel,
        release,
        result,
        log,
    }
}

fn is_good(run: &Run) -> bool {
    match &run.result {
        Ok((console, end, _)) => {
            *end == End::Done
                && console.broken.is_empty()
                && console.count(Outcome::Failed) == 0
                && console.count(Outcome::Passed) > 0
        }
        Err(_) => false,
    }
}

/// What failed, as soon as it is known.
fn print(run: &Run) {
    println!("{}", line(run));
    if let Ok((console, ..)) = &run.result {
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
    if !is_good(run) {
        println!("    console: {}", run.log.display());
    }
}

/// One line for one kernel.
fn line(run: &Run) -> String {
    let name = run.kernel.name;
    let release = &run.release;
    match &run.result {
        Err(error) => format!("{name:8} {release:28} not run: {error:#}"),
        Ok((console, end, time)) => {
            let verdict = if is_good(run) { "ok" } else { "FAILED" };
            let how = match end {
                End::Done => String::new(),
                End::Died(words) => format!("; the kernel died: {words}"),
                End::Stalled => "; it fell silent".to_owned(),
                End::TooLong => "; it took too long".to_owned(),
                End::Gone => "; QEMU ended".to_owned(),
            };
            format!(
                "{name:8} {release:28} {verdict}: {} passed, {} failed, {} not for this kernel, {} s{how}",
                console.count(Outcome::Passed),
                console.count(Outcome::Failed) + console.broken.len(),
                console.count(Outcome::NotHere),
                time.as_secs(),
            )
        }
    }
}
