//! Descendants stay in the tree whatever they do, and memtrace waits for those it should.

use std::fs;

use anyhow::Result;
use memtrace_tests::{
    Lab, Missing, Summary, exact_status, memtrace, mib, require, require_privileges, scaled, skip,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// By default the result is given when the command itself has ended; who still runs is named.
#[test]
fn survivors_are_named() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let json = lab.path("summary.json").display().to_string();
    let memtrace = memtrace()?.display().to_string();
    let mut line = vec![
        memtrace,
        "run".to_owned(),
        "--json".to_owned(),
        json,
        "--".to_owned(),
    ];
    let words =
        "pipe 0 fork{ setsid anon 1000 status @survivor post 0 nap-us 60000000 } await 0 exit 5";
    line.extend(lab.script(words));
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    let survivor = lab.status("survivor")?;
    let pid = survivor.pid()?;
    let alive = fs::exists(format!("/proc/{pid}"))?;
    // It must not outlive the test.
    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    assert!(alive, "the survivor was ended");
    assert_eq!(finished.code(), Some(5), "{}", finished.stderr);
    assert!(
        finished.stderr.contains(&pid.to_string()),
        "{pid} is not named: {}",
        finished.stderr
    );
    let summary = Summary::read(&lab.path("summary.json"))?;
    summary.assert_exact();
    let process = summary.process(pid)?;
    assert_eq!(
        (process.end_ns, process.exit_status, process.signal),
        (None, None, None)
    );
    assert_eq!(process.last_image()?.peak_rss_bytes, survivor.rss()?);
    Ok(())
}

/// A background job that is about to run its program when the command ends, wherever in that it
/// is: nothing is missing.
#[test]
fn a_job_that_just_executes_is_a_survivor() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for _ in 0..scaled(40, 5) {
        let run = lab.trace("fork{ exec{ SELF nap-us 60000000 } }")?;
        let alive = run.summary.processes.iter().filter(|p| p.end_ns.is_none());
        let alive: Vec<u32> = alive.map(|process| process.pid).collect();
        for pid in &alive {
            // It must not outlive the test.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        run.summary.assert_exact();
        assert_eq!((run.summary.processes.len(), alive.len()), (2, 1));
    }
    Ok(())
}

/// With --wait-tree the result is given when the last descendant has ended; the exit status is
/// still the command's.
#[test]
fn wait_tree_waits_for_daemons() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!(
        "fork{{ setsid fork{{ await-orphan nap-us 200000 anon {} status @daemon exit 3 }} }} wait exit 6",
        mib(100)
    );
    let run = lab.run(&["--wait-tree"], &lab.script(&words))?;
    assert_eq!(run.finished.code(), Some(6), "{}", run.finished.stderr);
    run.summary.assert_exact();
    assert_eq!(run.summary.processes.len(), 3);
    assert!(
        run.summary
            .processes
            .iter()
            .all(|process| process.end_ns.is_some())
    );
    let daemon = lab.status("daemon")?;
    let process = run.summary.process(daemon.pid()?)?;
    assert_eq!(process.exit_status, Some(3));
    assert_eq!(process.last_image()?.peak_rss_bytes, daemon.rss()?);
    assert_eq!(
        run.summary.tree.peak_rss_bytes,
        daemon.rss()?,
        "it was alone at its top"
    );
    Ok(())
}

/// Orphans stay in the tree also where a subreaper adopts them.
#[test]
fn orphans_of_a_subreaper_stay_in_the_tree() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "subreaper fork{ fork{ await-orphan anon 5000 status @orphan } } reap wait";
    let summary = lab.trace(words)?.summary;
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 3);
    let orphan = lab.status("orphan")?;
    assert_eq!(
        summary.process(orphan.pid()?)?.last_image()?.peak_rss_bytes,
        orphan.rss()?
    );
    Ok(())
}

/// Processes in a PID namespace of their own belong to the tree like any other.
#[test]
fn processes_in_another_pid_namespace_are_in_the_tree() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let mut line = vec!["unshare", "--pid", "--fork"]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    line.extend(lab.script("anon 3000 fork{ anon 2000 status @child } wait status @init"));
    if lab.to_end(&mut lab.fixed(&line))?.code() != Some(0) {
        skip(&Missing(
            "`unshare --pid --fork` does not work here".to_owned(),
        ));
        return Ok(());
    }
    let run = lab.run(&[], &line)?;
    assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
    run.summary.assert_exact();
    assert_eq!(run.summary.processes.len(), 3);
    // /proc still shows the pids of the namespace outside.
    for name in ["init", "child"] {
        let status = lab.status(name)?;
        let process = run.summary.process(status.pid()?)?;
        assert_eq!(
            process.last_image()?.peak_rss_bytes,
            status.rss()?,
            "{name}"
        );
    }
    Ok(())
}
