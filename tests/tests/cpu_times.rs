//! CPU times of processes are what the scheduler counted, however short they lived.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use memtrace_tests::{Cgroup, Lab, Process, Summary, require, require_privileges};

/// How many children there are.
const CHILDREN: usize = 24;

/// Children that compute for less than a clock tick, and some for more, each then says what it has had.
fn children() -> String {
    let child = |n: usize| format!("fork{{ cpu-us {} say-cpu }} wait ", 150 + n * n * 20);
    (0..CHILDREN).map(child).collect()
}

/// What processes said, by their ids.
fn said(text: &str) -> Result<BTreeMap<u32, u64>> {
    let lines = text.lines().map(|line| {
        let (pid, ns) = line.split_once(' ').context("not two numbers")?;
        Ok((pid.parse()?, ns.parse()?))
    });
    lines.collect()
}

fn cpu_time(process: &Process) -> Result<u64> {
    ensure!(process.cpu_exact == Some(true), "sampled: {process:?}");
    let (user, system) = (process.user_ns, process.system_ns);
    Ok(user.context("no user time")? + system.context("no system time")?)
}

/// Every process has at least what it had before it ended; gives the sum of what all have.
fn assert_complete(summary: &Summary, said: &BTreeMap<u32, u64>) -> Result<u64> {
    let mut sum = 0;
    for process in &summary.processes {
        let told = cpu_time(process)?;
        sum += told;
        if let Some(&said) = said.get(&process.pid) {
            assert!(told >= said, "{} had {said} ns, not {told}", process.pid);
        }
    }
    Ok(sum)
}

/// All of them together had what the kernel charged to their cgroup, to the nanosecond where it tells that; of
/// the first one, what it had before it was in there, less than when its program began, is told by it alone.
#[test]
fn all_that_ran_is_counted_and_nothing_else() -> Result<()> {
    require_privileges!();
    require!(Cgroup::of_cpu_time());
    let lab = Lab::new()?;
    let group = Cgroup::of_cpu_time().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let join = group.path().join("cgroup.procs").display().to_string();
    let words = format!("say-cpu {}", children());
    let mut line = vec!["sh".to_owned(), "-c".to_owned()];
    line.push("echo 0 >\"$0\" && exec \"$@\"".to_owned());
    line.push(join);
    line.extend(lab.script(&words));
    let run = lab.run(&[], &line)?;
    assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
    let said = said(&run.finished.stdout)?;
    assert_eq!(said.len(), CHILDREN + 1);
    assert_eq!(run.summary.processes.len(), CHILDREN + 1);
    let sum = assert_complete(&run.summary, &said)?;
    let first = &run.summary.processes[0];
    let before = said.get(&first.pid).context("the first said nothing")?;
    let (charged, unit) = group.cpu_time()?;
    println!("{sum} ns, {charged} charged, {before} before at most");
    assert!(sum + unit > charged, "{sum} ns of {charged}");
    assert!(sum <= charged + unit + before, "{sum} ns of {charged}");
    Ok(())
}

/// Without BPF too, and of who has children as well, whose times wait4(2) adds up.
#[test]
fn without_bpf_they_are_those_of_wait4() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(&["--backend", "ptrace"], &children())?;
    let said = said(&run.finished.stdout)?;
    let (root, children) = run.summary.processes.split_first().context("no process")?;
    assert_eq!(
        root.cpu_exact,
        Some(false),
        "of those who wait, it is in ticks"
    );
    assert_eq!(children.len(), CHILDREN);
    for process in children {
        // wait4(2) has no more than microseconds of either.
        let told = cpu_time(process)? + 2000;
        let said = said.get(&process.pid).context("one said nothing")?;
        assert!(told >= *said, "{} had {said} ns, not {told}", process.pid);
    }
    Ok(())
}

/// Threads that have ended are in the sum of their process.
#[test]
fn threads_are_in_the_sum() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "pipe 0 thread{ cpu-us 9000 post 0 } await 0 thread{ cpu-us 7000 post 0 } await 0 \
                 cpu-us 1000 say-cpu";
    let run = lab.trace(words)?;
    let said = said(&run.finished.stdout)?;
    let sum = assert_complete(&run.summary, &said)?;
    assert!(sum >= 17_000_000, "{sum}");
    Ok(())
}
