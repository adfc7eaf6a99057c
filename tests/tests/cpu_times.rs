//! CPU times of processes are what the scheduler counted, however short they lived.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use memtrace_tests::{Cgroup, Lab, Orphanage, Process, require, require_privileges};

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

/// User and system time, which are all that it ran or may be a tick off.
fn cpu_time(process: &Process, exact: bool) -> Result<u64> {
    assert_eq!(process.cpu_exact, Some(exact), "{process:?}");
    let (user, system) = (process.user_ns, process.system_ns);
    Ok(user.context("no user time")? + system.context("no system time")?)
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
    let mut sum = 0;
    for process in &run.summary.processes {
        let told = cpu_time(process, true)?;
        let said = said.get(&process.pid).context("one said nothing")?;
        assert!(told >= *said, "{} had {said} ns, not {told}", process.pid);
        sum += told;
    }
    let first = &run.summary.processes[0];
    let before = said.get(&first.pid).context("the first said nothing")?;
    let (charged, unit) = group.cpu_time()?;
    println!("{sum} ns, {charged} charged, {before} before at most");
    assert!(sum + unit > charged, "{sum} ns of {charged}");
    assert!(sum <= charged + unit + before, "{sum} ns of {charged}");
    Ok(())
}

/// Without BPF they are wait4's, in microseconds, and not called exact.
#[test]
fn without_bpf_they_are_those_of_wait4() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace_with(&["--backend", "ptrace"], &children())?;
    let said = said(&run.finished.stdout)?;
    assert_eq!(said.len(), CHILDREN);
    for process in &run.summary.processes {
        let told = cpu_time(process, false)? + 2000;
        // The first said nothing.
        let said = said.get(&process.pid).copied().unwrap_or(0);
        assert!(told >= said, "{} had {said} ns, not {told}", process.pid);
    }
    Ok(())
}

/// Of a zombie there is what clock ticks found, and the result does not wait for it.
#[test]
fn a_zombies_are_not_called_exact() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    // This process gets the zombie from the command's, and does not wait for it.
    let orphanage = Orphanage::open()?;
    let run = lab.trace("fork{ cpu-us 500 say-cpu } await-child")?;
    let said = said(&run.finished.stdout)?;
    let (zombie, rest) = run.summary.processes.split_last().context("none")?;
    assert!(said.contains_key(&zombie.pid), "{said:?}");
    assert_eq!(zombie.exit_status, Some(0));
    cpu_time(zombie, false)?;
    assert_eq!(rest.len(), 1);
    cpu_time(&rest[0], true)?;
    run.summary.assert_exact();
    assert_eq!(orphanage.await_all()?.len(), 1);
    Ok(())
}

/// Threads that have ended are in the sum of their process, which can lack a tick of each.
#[test]
fn threads_are_in_the_sum() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "pipe 0 thread{ cpu-us 9000 post 0 } await 0 thread{ cpu-us 7000 post 0 } await 0 \
                 cpu-us 1000 say-cpu";
    let run = lab.trace(words)?;
    let said = said(&run.finished.stdout)?;
    let process = &run.summary.processes[0];
    let (told, said) = (cpu_time(process, false)?, said[&process.pid]);
    assert!(told >= said && said >= 17_000_000, "{told}, {said}");
    Ok(())
}
