//! Ends that are not the process's own choice, and address spaces that outlive their process.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use memtrace_tests::{
    Cgroup, Lab, Run, Summary, exact_status, memtrace, mib, page, require, require_privileges,
    scaled, skip, workloads::NOTHING,
};

/// Killed at its top: the peak is complete, and memtrace ends by the same signal.
#[test]
fn a_killed_process_is_complete() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for (end, signal) in [("kill 9", 9), ("segv", 11), ("kill 15", 15), ("kill 6", 6)] {
        let run = lab.run(&[], &lab.script(&format!("anon 5000 status @top {end}")))?;
        assert_eq!(
            run.finished.signal(),
            Some(signal),
            "{end}: {}",
            run.finished.stderr
        );
        run.summary.assert_exact();
        assert_eq!(
            (run.summary.exit_status, run.summary.signal),
            (None, Some(signal))
        );
        let root = run.summary.root()?;
        assert_eq!((root.exit_status, root.signal), (None, Some(signal)));
        assert_eq!(
            root.last_image()?.peak_rss_bytes,
            lab.status("top")?.rss()?,
            "{end}"
        );
    }
    Ok(())
}

/// A killed child among others that end well.
#[test]
fn a_killed_child_is_reported_with_its_signal() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "fork{ anon 3000 status @child kill 9 } reap status @parent exit 4";
    let run = lab.run(&[], &lab.script(words))?;
    assert_eq!(run.finished.code(), Some(4));
    run.summary.assert_exact();
    let (child, parent) = (lab.status("child")?, lab.status("parent")?);
    let process = run.summary.process(child.pid()?)?;
    assert_eq!(
        (process.exit_status, process.signal, process.oom_killed),
        (None, Some(9), false)
    );
    assert_eq!(process.last_image()?.peak_rss_bytes, child.rss()?);
    assert_eq!(
        run.summary.tree.peak_rss_bytes,
        child.rss()? + parent.rss()?
    );
    Ok(())
}

/// A process that the OOM killer ends in a memory cgroup is marked, and its pages end with it
/// although the reaper frees them from outside.
#[test]
fn an_oom_killed_process_is_marked_and_complete() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let limit = 48 << 20;
    let group = match Cgroup::with_memory_limit(limit) {
        Ok(group) => group,
        Err(missing) => {
            skip(&missing);
            return Ok(());
        }
    };
    let words = format!(
        "fork{{ cgroup {} anon {} }} reap",
        group.path().display(),
        mib(100)
    );
    let summary = lab.trace(&words)?.summary;
    summary.assert_exact();
    let killed: Vec<_> = summary
        .processes
        .iter()
        .filter(|process| process.oom_killed)
        .collect();
    assert_eq!(killed.len(), 1, "{:#?}", summary.processes);
    for process in killed {
        assert_eq!(process.signal, Some(9));
        let peak = process.last_image()?.peak_rss_bytes;
        // What it had before it joined is charged elsewhere; page tables and the like need room.
        assert!(peak > limit / 2 && peak < limit + (1 << 20), "{peak}");
    }
    Ok(())
}

/// In a small container memtrace itself must not be what makes the difference: what it needs while the
/// command runs, memory of the kernel for it included, fits beside 80 of 100 MiB.
#[test]
fn a_command_that_fits_alone_fits_with_memtrace() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let group = match Cgroup::with_memory_limit(100 << 20) {
        Ok(group) => group,
        Err(missing) => {
            skip(&missing);
            return Ok(());
        }
    };
    let join = format!(
        "echo $$ > {}/cgroup.procs && exec \"$@\"",
        group.path().display()
    );
    let json = lab.path("summary.json");
    let mut line = vec!["sh".to_owned(), "-c".to_owned(), join, "sh".to_owned()];
    line.push(memtrace()?.display().to_string());
    line.extend(["run", "--json"].map(str::to_owned));
    line.push(json.display().to_string());
    line.push("--".to_owned());
    line.extend(lab.script(&format!("anon {} status @top", mib(80))));
    lab.to_end(&mut lab.fixed(&line))?.success()?;
    let summary = Summary::read(&json)?;
    summary.assert_exact();
    assert_eq!(
        summary.root()?.last_image()?.peak_rss_bytes,
        lab.status("top")?.rss()?
    );
    Ok(())
}

/// Runs a script with the text report as well.
fn with_text(lab: &Lab, words: &str) -> Result<Run> {
    let mut line = lab.memtrace_run(&[])?;
    line.retain(|word| word != "-q");
    line.extend(lab.script(words));
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    lab.summary(finished)
}

/// The lines of the report from `ended` to the next label.
fn ended(run: &Run) -> Vec<&str> {
    let lines = run.finished.stderr.lines();
    let mut lines = lines.skip_while(|line| !line.starts_with("ended"));
    let first = lines.next().and_then(|line| line.strip_prefix("ended"));
    let rest = lines.take_while(|line| line.starts_with(' '));
    first.into_iter().chain(rest).map(str::trim_start).collect()
}

/// The text says how the command ended, unless it did well, and what else a signal ended.
#[test]
fn the_text_says_how_processes_ended() -> Result<()> {
    let lab = Lab::new()?;
    for (words, expected) in [
        ("exit 0", None),
        ("exit 3", Some("exit status 3")),
        ("kill 9", Some("killed by signal 9 (SIGKILL)")),
        ("kill 15", Some("killed by signal 15 (SIGTERM)")),
        ("fork{ exit 1 } reap", None),
        ("fork{ kill 13 } reap", None),
    ] {
        let run = with_text(&lab, words)?;
        let ended = ended(&run);
        let found: Vec<&str> = expected.into_iter().collect();
        assert_eq!(ended, found, "{words}: {}", run.finished.stderr);
        let headline = run.finished.stderr.starts_with("memtrace: ");
        assert!(headline, "{words}: {}", run.finished.stderr);
    }
    let run = with_text(&lab, "fork{ status @child kill 10 } reap exit 4")?;
    let child = lab.status("child")?.pid()?;
    let killed = format!("killed by signal 10 (SIGUSR1): script [{child}]");
    assert_eq!(ended(&run), ["exit status 4", &killed]);
    Ok(())
}

/// So it does of whom the OOM killer took, with what it had held.
#[test]
fn the_text_names_who_was_killed_by_oom() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let group = match Cgroup::with_memory_limit(48 << 20) {
        Ok(group) => group,
        Err(missing) => {
            skip(&missing);
            return Ok(());
        }
    };
    let group = group.path().display();
    let big = mib(100);
    let run = with_text(
        &lab,
        &format!("fork{{ status @child cgroup {group} anon {big} }} reap exit 4"),
    )?;
    let child = lab.status("child")?.pid()?;
    let peak = run.summary.process(child)?.last_image()?.peak_rss_bytes;
    let tenths = (peak * 10 + (1 << 19)) >> 20;
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let killed = format!("killed by OOM: script [{child}] at {whole}.{tenth} MiB");
    let ended = ended(&run);
    assert_eq!(ended.first().context("nothing is said")?, &"exit status 4");
    assert_eq!(ended.get(1).context("no victim")?, &killed);
    assert_eq!(ended.len(), 2, "{ended:?}");
    Ok(())
}

/// T13: readers of /proc hold address spaces beyond the end of their processes; they
/// stay counted until they are gone, and then nothing is left.
#[test]
fn readers_of_proc_do_not_disturb_the_accounting() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let rounds = scaled(400, 60);
    let done = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let summary = thread::scope(|scope| {
        let reader = || {
            while !done.load(Ordering::Relaxed) {
                for pid in workers() {
                    // It may end at any moment: that is the point.
                    if fs::read(format!("/proc/{pid}/smaps")).is_ok_and(|text| !text.is_empty()) {
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        scope.spawn(reader);
        scope.spawn(reader);
        let run = lab.trace(&format!("loop{{ {rounds} fork{{ anon 2000 }} wait }}"));
        done.store(true, Ordering::Relaxed);
        run.map(|run| run.summary)
    })?;
    assert!(
        reads.load(Ordering::Relaxed) > 0,
        "the readers read nothing"
    );
    summary.assert_exact();
    assert_eq!(summary.processes.len(), rounds + 1);
    let peaks = summary.processes.iter().flat_map(|process| &process.images);
    let children: Vec<u64> = peaks
        .filter(|image| image.kind == "fork")
        .map(|image| image.peak_rss_bytes)
        .collect();
    assert_eq!(children.len(), rounds);
    assert_eq!(children.iter().min(), children.iter().max());
    assert!(children.first().is_some_and(|peak| *peak > 2000 * page()));
    Ok(())
}

/// What the command leaves behind forks, executes and ends while tracing ends: all of it counts up to one
/// moment, and nothing of it is half there.
#[test]
fn what_still_forks_when_the_run_ends_leaves_it_exact() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    // Long enough on any machine; what is left of it is ended below.
    let words = format!(
        "fork{{ loop{{ 4000 fork{{ anon 20 exec{{ {NOTHING} }} }} fork{{ anon 40 }} wait wait }} }} \
         fork{{ loop{{ 4000 fork{{ anon 20 exec{{ {NOTHING} }} }} wait }} }} nap-us 20000"
    );
    for _ in 0..scaled(20, 3) {
        let summary = lab.trace(&words)?.summary;
        let root = summary.processes.first().context("no process")?.pid;
        let loops = summary.processes.iter().filter(|one| one.ppid == root);
        let mut ended = 0;
        for process in loops.filter(|one| one.end_ns.is_none()) {
            // SAFETY: a signal to a process of this test that lives: a loop that runs for seconds.
            let killed = unsafe { libc::kill(process.pid.cast_signed(), libc::SIGKILL) };
            ended += usize::from(killed == 0);
        }
        summary.assert_exact();
        assert_eq!(ended, 2, "both loops were still running");
    }
    Ok(())
}

/// The processes that run the script now.
fn workers() -> Vec<u32> {
    let named = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "script\n")
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(named)
        .collect()
}
