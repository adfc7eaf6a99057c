//! `--live`: lines while the command runs.

use std::{fs, io::Read as _, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{
    Lab, await_some, await_until, exact_status, page, require, require_privileges,
    tier_p::{self, PTRACE},
};

/// One line.
#[derive(Clone, Copy, Debug)]
struct Line {
    seconds: f64,
    vm_peak: u64,
    vm_size: u64,
    vm_hwm: u64,
    vm_rss: u64,
    /// Those of [`OTHERS`].
    others: [u64; 8],
    tree_rss: u64,
    tree_peak: u64,
    processes: u64,
}

const HEADER: &str = "Time[s] VmPeak VmSize VmLck VmPin VmHWM VmRSS VmData VmStk VmExe VmLib VmPTE VmSwap \
                      TreeRSS TreePeak Procs [KiB]";

/// Columns that are what the status has.
const OTHERS: [&str; 8] = [
    "VmLck", "VmPin", "VmData", "VmStk", "VmExe", "VmLib", "VmPTE", "VmSwap",
];

fn lines(text: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.join(" ") == HEADER {
            continue;
        }
        let number = |at: usize| -> Result<u64> {
            let word: &str = words.get(at).context("too few columns")?;
            // The root has ended.
            if word == "-" {
                return Ok(0);
            }
            word.parse().with_context(|| format!("{line:?}"))
        };
        ensure!(words.len() == 16, "{line:?}");
        lines.push(Line {
            seconds: words[0].parse()?,
            vm_peak: number(1)?,
            vm_size: number(2)?,
            vm_hwm: number(5)?,
            vm_rss: number(6)?,
            others: [3, 4, 7, 8, 9, 10, 11, 12].map(|at| number(at).unwrap_or(u64::MAX)),
            tree_rss: number(13)?,
            tree_peak: number(14)?,
            processes: number(15)?,
        });
    }
    Ok(lines)
}

/// The root's sizes are its own status, the tree's peak is that of the result, and a spike that
/// was gone before the first line is in all of them.
#[test]
fn lines_show_the_roots_status_and_the_trees_peak() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "pipe 0 pipe 1 fork{ anon 100 post 1 await 0 } \
        fork{ anon 5000 unmap post 1 await 0 } await 1 await 1 \
        anon 50 status @top say ready hear post 0 post 0 wait wait";
    let mut memtrace = lab.converse(&["--live=0.02", "--live-to", "live"], words)?;
    memtrace.expect("ready")?;
    // From here on nothing changes until it is told to go on.
    let so_far = || fs::read_to_string(lab.path("live"));
    let before = lines(&so_far()?)?.len();
    await_some("more lines come", || {
        Ok((lines(&so_far()?)?.len() >= before + 5).then_some(()))
    })?;
    let calm_until = lines(&so_far()?)?.len();
    memtrace.tell()?;
    let (status, _) = memtrace.finish()?;
    ensure!(status.success(), "{status}");
    let summary = memtrace_tests::Summary::read(&lab.path("summary.json"))?;
    summary.assert_exact();
    let text = so_far()?;
    ensure!(text.starts_with("   Time[s]"), "{text}");
    let lines = lines(&text)?;
    ensure!(lines.is_sorted_by(|a, b| a.seconds < b.seconds), "{text}");
    let peak = summary.tree.peak_rss_bytes;
    ensure!(
        lines.iter().all(|line| line.tree_peak * 1024 <= peak),
        "{text}"
    );
    let top = lab.status("top")?;
    // The first may have been on its way when it was not ready yet.
    for line in lines.get(before + 1..calm_until).context("no lines")? {
        assert_eq!(line.processes, 3, "{text}");
        assert_eq!(line.tree_peak * 1024, peak, "{text}");
        assert_eq!(line.vm_rss * 1024, top.rss()?, "{text}");
        assert_eq!(line.vm_size * 1024, top.bytes("VmSize")?, "{text}");
        assert_eq!(line.vm_peak * 1024, top.bytes("VmPeak")?, "{text}");
        for (name, kib) in OTHERS.into_iter().zip(line.others) {
            assert_eq!(kib * 1024, top.bytes(name)?, "{name}: {text}");
        }
        ensure!(line.vm_hwm > 0 && line.vm_hwm <= line.vm_size, "{text}");
        ensure!(peak - line.tree_rss * 1024 > 4000 * page(), "{text}");
        ensure!(line.tree_rss * 1024 > top.rss()? + 100 * page(), "{text}");
    }
    Ok(())
}

/// Without BPF the same lines, with what was sampled.
#[test]
fn lines_come_without_bpf_too() -> Result<()> {
    let lab = Lab::new()?;
    for backend in [PTRACE[1], "poll"] {
        let options = ["--backend", backend, "--live=0.05", "--live-to", "live"];
        let run = lab.trace_with(
            &options,
            "fork{ anon 3000 nap-us 600000 } anon 1000 nap-us 600000 wait",
        )?;
        if backend == "ptrace" {
            tier_p::check(&run.summary);
        }
        let text = fs::read_to_string(lab.path("live"))?;
        let lines = lines(&text)?;
        let last = lines.last().context("no lines")?;
        ensure!(last.tree_peak * 1024 > 4000 * page(), "{backend}: {text}");
        for seen in [
            lines.iter().any(|line| line.vm_rss * 1024 > 500 * page()),
            lines.iter().any(|line| line.processes == 2),
        ] {
            ensure!(seen, "{backend}: {text}");
        }
    }
    Ok(())
}

/// A reader that does not read holds up neither the command nor the tracing.
#[test]
fn nobody_waits_for_a_slow_reader() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut line = lab.memtrace_run(&["--live=1ms"])?;
    // 1500 lines of 85 bytes are more than a pipe holds.
    line.extend(lab.script("loop{ 300 fork{ anon 50 nap-us 5000 } wait } status @end"));
    let mut child = lab
        .fixed(&line)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    await_until("the command ends, whoever reads --live", || lab.has("end"))?;
    let mut text = String::new();
    child
        .stderr
        .take()
        .context("no pipe")?
        .read_to_string(&mut text)?;
    ensure!(child.wait()?.success(), "{text}");
    let summary = memtrace_tests::Summary::read(&lab.path("summary.json"))?;
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 301);
    ensure!(text.contains("lines of --live were left out"), "{text}");
    ensure!(
        text.matches("Time[s]").count() > 10,
        "the header does not come again: {text}"
    );
    Ok(())
}

/// Intervals that make no sense.
#[test]
fn bad_intervals_are_refused() -> Result<()> {
    let lab = Lab::new()?;
    for option in ["--live=0", "--live=-1", "--live=x", "--live-to=x"] {
        let mut line = lab.memtrace_run(&[option])?;
        line.extend(lab.script("make-file @ran 1"));
        let refused = lab.to_end(&mut lab.fixed(&line))?;
        assert_eq!(refused.code(), Some(125), "{option}");
        assert!(!lab.has("ran"), "{option}");
    }
    Ok(())
}
