//! Without BPF: what tier P says of processes, threads and programs, as root with
//! `--backend ptrace` and as a user without privileges.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{
    Lab, Run, Status, await_until, memtrace,
    tier_p::{PTRACE, bounds, check, nobody, trace_as_nobody},
    workloads,
};

/// The peak of one process, which knows its own size, for both kinds of users.
#[test]
fn the_peak_of_a_process_is_within_its_bounds() -> Result<()> {
    let lab = Lab::new()?;
    let words = "anon 3000 shmem 700 migrate 500 status @top unmap";
    let mut runs = vec![lab.trace_with(&PTRACE, words)?];
    if nobody().is_ok() {
        fs::remove_file(lab.path("top"))?;
        runs.push(trace_as_nobody(&lab, &PTRACE, words)?);
    }
    for run in runs {
        let summary = run.summary;
        check(&summary);
        assert_eq!(summary.certificate.verdict, "within");
        let top = lab.status("top")?;
        let image = summary.root()?.last_image()?;
        bounds(image, top.rss()?);
        assert_eq!(image.peak_vm_bytes, top.bytes("VmPeak")?);
        assert!(image.peak_rss_bytes.abs_diff(top.rss()?) <= summary.certificate.within_bytes);
    }
    Ok(())
}

/// The sum of two processes that hold memory at the same time is found by sampling, and
/// lies within the tree's bounds.
#[test]
fn the_peak_of_a_tree_is_within_its_bounds() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(
        &PTRACE,
        "pipe 0 pipe 1 anon 1000 fork{ exec{ SELF anon 2000 status @child post 0 await 1 } } \
         await 0 nap-us 400000 status @parent post 1 wait",
    )?;
    check(&run.summary);
    let truth = lab.status("child")?.rss()? + lab.status("parent")?.rss()?;
    let tree = &run.summary.tree;
    assert!(
        tree.peak_rss_low_bytes.is_some_and(|low| low <= truth),
        "{tree:?}"
    );
    assert!(
        tree.peak_rss_high_bytes.is_some_and(|high| high >= truth),
        "{tree:?}"
    );
    // Up to 6.1 /proc does not show what threads hold back.
    let certificate = &run.summary.certificate;
    let told = |reason: &String| reason.contains("each thread holds back");
    let unseen = if certificate.reasons.iter().any(told) {
        certificate.within_bytes
    } else {
        0
    };
    assert!(
        tree.peak_rss_bytes + unseen >= truth,
        "{truth} was held for 0.4 s: {tree:?}"
    );
    assert_eq!(tree.at_peak.len(), 2, "{:?}", tree.at_peak);
    Ok(())
}

/// However short a process lives, it is seen, and so is each of its programs.
#[test]
fn every_short_lived_process_is_seen() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(&PTRACE, "loop{ 500 fork{ exec{ NOTHING } } wait }")?;
    let summary = run.summary;
    check(&summary);
    assert_eq!(summary.processes.len(), 501);
    let root = summary.root()?.pid;
    for process in summary
        .processes
        .iter()
        .filter(|process| process.pid != root)
    {
        assert_eq!(process.ppid, root);
        assert_eq!(process.exit_status, Some(0), "{process:?}");
        let kinds: Vec<&str> = process
            .images
            .iter()
            .map(|image| image.kind.as_str())
            .collect();
        assert_eq!(kinds, ["fork", "exec"], "{process:?}");
        let program = process.last_image()?;
        assert_eq!(program.command, [workloads::NOTHING]);
        assert!(program.peak_rss_bytes > 0 && program.peak_rss_high_bytes.is_some());
    }
    Ok(())
}

/// Children that all live at once, in both orders of ending.
#[test]
fn many_children_at_once_are_seen() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(
        &PTRACE,
        "loop{ 100 fork{ anon 20 nap-us 20000 } } loop{ 100 wait }",
    )?;
    check(&run.summary);
    assert_eq!(run.summary.processes.len(), 101);
    assert!(
        run.summary
            .processes
            .iter()
            .all(|process| process.end_ns.is_some())
    );
    Ok(())
}

/// Threads belong to their process, also those that hold the memory.
#[test]
fn threads_are_no_processes() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(
        &PTRACE,
        "thread{ anon 400 meet 3 exit-thread } thread{ anon 400 meet 3 exit-thread } \
         anon 100 meet 3 status @top exit 0",
    )?;
    check(&run.summary);
    assert_eq!(run.summary.processes.len(), 1);
    bounds(run.summary.root()?.last_image()?, lab.status("top")?.rss()?);
    Ok(())
}

/// The leader may end first; what the others do then still counts.
#[test]
fn a_process_outlives_its_first_thread() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(
        &PTRACE,
        "thread{ await-leader anon 900 status @top exit 0 } exit-thread",
    )?;
    check(&run.summary);
    assert_eq!(run.summary.processes.len(), 1);
    bounds(run.summary.root()?.last_image()?, lab.status("top")?.rss()?);
    Ok(())
}

/// A thread that executes a program takes over the process's id (ptrace(2)), whether the
/// leader still lives or not.
#[test]
fn a_thread_can_execute_a_program() -> Result<()> {
    let lab = Lab::new()?;
    for words in [
        "anon 50 thread{ exec{ SELF anon 800 status @top } } nap-us 60000000",
        "anon 50 thread{ await-leader exec{ SELF anon 800 status @top } } exit-thread",
        "thread{ nap-us 60000000 } thread{ exec{ SELF anon 800 status @top } } nap-us 60000000",
    ] {
        let run = lab.trace_with(&PTRACE, words)?;
        check(&run.summary);
        assert_eq!(run.summary.processes.len(), 1, "{words}");
        let root = run.summary.root()?;
        let top = lab.status("top")?;
        assert_eq!(root.pid, top.pid()?);
        assert_eq!(root.execs().len(), 2, "{words}: {root:?}");
        bounds(root.last_image()?, top.rss()?);
    }
    Ok(())
}

/// A vfork child uses its parent's memory until it executes a program.
#[test]
fn memory_shared_by_vfork_counts_once() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(
        &PTRACE,
        "anon 3000 loop{ 20 vfork{ exec{ NOTHING } } wait } status @top",
    )?;
    let summary = run.summary;
    check(&summary);
    let root = summary.root()?;
    let own = root.last_image()?;
    assert_eq!(summary.processes.len(), 21);
    for process in summary
        .processes
        .iter()
        .filter(|process| process.pid != root.pid)
    {
        let kinds: Vec<&str> = process
            .images
            .iter()
            .map(|image| image.kind.as_str())
            .collect();
        assert_eq!(kinds, ["shared", "exec"], "{process:?}");
        assert_eq!(process.images.first().map(|image| image.id), Some(own.id));
    }
    let top = lab.status("top")?.rss()?;
    bounds(own, top);
    // Counted twice it would be more.
    assert!(
        summary.tree.peak_rss_bytes < top + top / 2,
        "{:?}",
        summary.tree
    );
    Ok(())
}

/// What an exec replaces is bounded, and said to be sampled.
#[test]
fn images_before_an_exec_are_bounded() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(
        &PTRACE,
        "anon 2500 status @before exec{ SELF tag later anon 10 }",
    )?;
    let summary = run.summary;
    check(&summary);
    let root = summary.root()?;
    let first = root.images.first().context("no image")?;
    bounds(first, lab.status("before")?.rss()?);
    ensure!(
        summary
            .certificate
            .reasons
            .iter()
            .any(|reason| reason.contains("before their exec")),
        "{:?}",
        summary.certificate.reasons
    );
    Ok(())
}

/// A set-user-ID command keeps its privileges and is only looked at; deeper in the tree it
/// Without privileges `auto` says what is missing before the command starts, and measures;
/// `--wait-tree` waits for what outlives the command; without, it is named and goes on.
#[test]
fn what_outlives_the_command() -> Result<()> {
    let lab = Lab::new()?;
    let words = "fork{ setsid nap-us 300000 anon 800 status @late } nap-us 1000";
    let waited = lab
        .trace_with(&["--backend", "ptrace", "--wait-tree"], words)?
        .summary;
    check(&waited);
    let late = lab.status("late")?;
    bounds(waited.process(late.pid()?)?.last_image()?, late.rss()?);
    assert!(
        waited
            .processes
            .iter()
            .all(|process| process.end_ns.is_some())
    );

    fs::remove_file(lab.path("late"))?;
    let left = lab.trace_with(&PTRACE, words)?.summary;
    check(&left);
    assert_eq!(
        left.processes.iter().filter(|p| p.end_ns.is_none()).count(),
        1
    );
    await_until("the survivor goes on", || lab.has("late"))
}

/// GNU time's format, with a bounded number for `%M`.
#[test]
fn gnu_time_formats() -> Result<()> {
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let report = lab.path("report").display().to_string();
    let mut line = [
        &memtrace,
        "time",
        "--backend=ptrace",
        "-o",
        &report,
        "-f",
        "%M|%x|%C|%%",
    ]
    .map(str::to_owned)
    .to_vec();
    let script = lab.script("anon 2000 status @top exit 3");
    line.extend(script.iter().cloned());
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(finished.code(), Some(3));
    let text = fs::read_to_string(&report)?;
    let (abnormal, values) = text.split_once('\n').context("one line only")?;
    assert_eq!(abnormal, "Command exited with non-zero status 3");
    let (max, rest) = values.split_once('|').context("no separator")?;
    assert_eq!(rest, format!("3|{}|%\n", script.join(" ")));
    let truth = lab.status("top")?.rss()?;
    let traced = lab.run(&PTRACE, &script)?.summary;
    let off = (max.parse::<u64>()? * 1024).abs_diff(truth);
    assert!(
        off <= traced.certificate.within_bytes,
        "{max} KiB, truth {truth} bytes"
    );

    let wrong = lab
        .fixed(&[&memtrace, "time", "--backend=magic", "true"])
        .output()?;
    assert_eq!(wrong.status.code(), Some(125));
    Ok(())
}

/// Looking at /proc alone finds the tree and the command's status.
#[test]
fn polling_finds_the_tree() -> Result<()> {
    let lab = Lab::new()?;
    let Run { finished, summary } = lab.run(
        &["--backend", "poll"],
        &lab.script(
            "fork{ anon 500 status @child nap-us 400000 } anon 300 status @top wait exit 5",
        ),
    )?;
    assert_eq!(finished.code(), Some(5));
    check(&summary);
    assert_eq!(summary.certificate.verdict, "incomplete");
    assert_eq!(summary.processes.len(), 2);
    for name in ["child", "top"] {
        let status: Status = lab.status(name)?;
        let image = summary.process(status.pid()?)?.last_image()?;
        let low = image.peak_rss_low_bytes.context("no lower bound")?;
        assert!(
            low <= status.rss()? && image.peak_rss_bytes > 0,
            "{name}: {image:?}"
        );
    }
    Ok(())
}
