//! How memtrace compares, measured here and now: `cargo run --release -p memtrace-tests
//! --example compare`, as root. Every line of the README's table comes from it.
//!
//! Exactness is measured against workloads that know what they hold; cost as the ratio
//! of median wall times in this one run, since the machine may be noisy. The cost beyond
//! start-up leaves out what the same tool needs for a program that ends at once.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, memtrace, mib, page, workloads};

const RUNS: usize = 9;

fn main() -> Result<()> {
    // MEMTRACE_BIN names a release build; see the README.
    println!("memtrace: {}", memtrace()?.display());
    let lab = Lab::new()?;
    println!("\n## What is reported\n");
    two_children(&lab)?;
    small_child_of_a_big_parent(&lab)?;
    println!("\n## What it costs: wall time, ratio to the untraced command\n");
    cost(&lab)
}

/// GNU time's `%M` for a command line, in bytes.
fn gnu_time(lab: &Lab, line: &[String]) -> Result<Option<u64>> {
    if !workloads::installed("time") {
        return Ok(None);
    }
    let output = lab.path("gnu-time");
    let path = output.display().to_string();
    let mut command = vec!["/usr/bin/time".to_owned(), "-o".to_owned(), path];
    command.extend(["-f", "%M"].map(str::to_owned));
    command.extend_from_slice(line);
    lab.to_end(&mut lab.fixed(&command))?.success()?;
    let kib: u64 = fs::read_to_string(&output)?.trim().parse()?;
    Ok(Some(kib * 1024))
}

fn show(bytes: Option<u64>) -> String {
    bytes.map_or_else(
        || "not installed".to_owned(),
        |bytes| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64),
    )
}

/// Two processes that hold 100 MiB each at the same moment.
fn two_children(lab: &Lab) -> Result<()> {
    let both = format!(
        "fork{{ anon {0} nap-us 400000 }} fork{{ anon {0} nap-us 400000 }} wait wait",
        mib(100)
    );
    let summary = lab.trace(&both)?.summary;
    println!("two children that hold 100 MiB each at the same time:");
    println!(
        "  memtrace, tree peak   {}",
        show(Some(summary.tree.peak_rss_bytes))
    );
    println!(
        "  /usr/bin/time %M      {}",
        show(gnu_time(lab, &lab.script(&both))?)
    );
    Ok(())
}

/// A program started by a process that holds 400 MiB.
fn small_child_of_a_big_parent(lab: &Lab) -> Result<()> {
    let words = format!("anon {} vfork{{ exec{{ NOTHING }} }} wait", mib(400));
    let summary = lab.trace(&words)?.summary;
    let images = summary.images_of(workloads::NOTHING);
    let image = images.first().context("the program was not seen")?;
    println!("a static program that ends at once, started by a process with 400 MiB:");
    println!(
        "  memtrace              {} ({} pages)",
        show(Some(image.peak_rss_bytes)),
        image.peak_rss_bytes / page()
    );
    println!(
        "  ru_maxrss (wait4)     {}",
        show(image.kernel.maxrss_bytes)
    );
    Ok(())
}

/// One way to run a command.
struct Tool {
    name: &'static str,
    prefix: Vec<String>,
}

fn tools(lab: &Lab) -> Result<Vec<Tool>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let file = lab.path("tool-output").display().to_string();
    let mut tools = vec![
        Tool {
            name: "untraced",
            prefix: Vec::new(),
        },
        Tool {
            name: "memtrace run",
            prefix: words(&[&memtrace()?.display().to_string(), "run", "-q", "--"]),
        },
    ];
    for (program, name, prefix) in [
        (
            "time",
            "/usr/bin/time",
            words(&["/usr/bin/time", "-o", &file]),
        ),
        (
            "perf",
            "perf stat -e kmem:rss_stat",
            words(&["perf", "stat", "-e", "kmem:rss_stat", "-o", &file, "--"]),
        ),
        (
            "strace",
            "strace -f -e trace=memory",
            words(&[
                "strace",
                "-f",
                "-q",
                "-e",
                "trace=memory",
                "-o",
                &file,
                "--",
            ]),
        ),
    ] {
        let usable = workloads::installed(program) && time(&prefix, &lab.script("exit 0")).is_ok();
        if usable {
            tools.push(Tool { name, prefix });
        } else {
            println!(
                "(not measured: {name}, which does not work here; Debian: apt-get install time linux-perf strace)"
            );
        }
    }
    Ok(tools)
}

fn time(prefix: &[String], line: &[String]) -> Result<Duration> {
    let words: Vec<&String> = prefix.iter().chain(line).collect();
    let (program, arguments) = words.split_first().context("an empty command")?;
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("failed to run {program}"))?;
    let elapsed = start.elapsed();
    anyhow::ensure!(status.success(), "{words:?} failed: {status}");
    Ok(elapsed)
}

fn median(prefix: &[String], line: &[String]) -> Result<Duration> {
    let mut times = (0..RUNS)
        .map(|_| time(prefix, line))
        .collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[RUNS / 2])
}

fn cost(lab: &Lab) -> Result<()> {
    let faults = format!("loop{{ 20 anon {} unmap }}", mib(256));
    let workloads = [
        ("touch 256 MiB and unmap, 20 times", lab.script(&faults)),
        (
            "400 x vfork + exec /bin/true",
            lab.script("loop{ 400 vfork{ exec{ /bin/true } } wait }"),
        ),
    ];
    let tools = tools(lab)?;
    let nothing = lab.script("exit 0");
    let mut starts = Vec::new();
    for tool in &tools {
        starts.push(median(&tool.prefix, &nothing)?);
    }
    println!("start-up (a program that ends at once), median of {RUNS}:");
    for (tool, start) in tools.iter().zip(&starts) {
        println!("  {:28} {:8.1} ms", tool.name, start.as_secs_f64() * 1e3);
    }
    for (name, line) in workloads {
        println!("{name}, median of {RUNS}:");
        let mut base = None;
        for (tool, start) in tools.iter().zip(&starts) {
            let wall = median(&tool.prefix, &line)?;
            let beyond = wall.saturating_sub(*start).as_secs_f64();
            let untraced = *base.get_or_insert(beyond);
            println!(
                "  {:28} {:8.1} ms  {:.2} x beyond start-up",
                tool.name,
                wall.as_secs_f64() * 1e3,
                beyond / untraced
            );
        }
    }
    Ok(())
}
