//! Signals to memtrace.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{Lab, Orphanage, Partner, Summary, await_state, require_privileges};
use nix::sys::{signal::Signal, wait::WaitStatus};

/// Signals that ask memtrace to end reach the command; its answer is memtrace's.
#[test]
fn signals_are_forwarded_to_the_command() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for (signal, handler, expected) in [
        (Signal::SIGTERM, "", None),
        (Signal::SIGHUP, "", None),
        (Signal::SIGINT, "", None),
        (Signal::SIGQUIT, "", None),
        (Signal::SIGINT, "trap 'exit 5' INT;", Some(5)),
        (Signal::SIGQUIT, "trap 'exit 6' QUIT;", Some(6)),
        (Signal::SIGTERM, "trap 'exit 7' TERM;", Some(7)),
        (Signal::SIGUSR1, "trap 'exit 8' USR1;", Some(8)),
        (Signal::SIGUSR2, "trap 'exit 9' USR2;", Some(9)),
    ] {
        let mut line = lab.memtrace_run(&[])?;
        let script = format!("{handler} echo ready; while :; do sleep 0.01; done");
        line.extend(["sh", "-c", &script].map(str::to_owned));
        let mut running = Partner::start(&mut lab.fixed(&line))?;
        running.expect("ready")?;
        running.signal(signal)?;
        let (status, _) = running.finish()?;
        assert_eq!(status.code(), expected, "{signal}: {status}");
        let summary = Summary::read(&lab.path("summary.json"))?;
        assert_eq!(summary.exit_status, expected);
        if expected.is_none() {
            assert_eq!(summary.signal, Some(signal as i32));
        }
    }
    Ok(())
}

/// When memtrace is killed, the command goes on and is not left stopped.
#[test]
fn the_command_survives_the_death_of_memtrace() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let orphanage = Orphanage::open()?;
    let mut line = lab.memtrace_run(&[])?;
    line.extend(lab.script("say ready hear anon 100 say done exit 42"));
    let mut running = Partner::start(&mut lab.fixed(&line))?;
    running.expect("ready")?;
    running.signal(Signal::SIGKILL)?;
    // The end of standard input lets the command go on.
    let (_, rest) = running.finish()?;
    assert_eq!(rest, "done\n");
    let ended = orphanage.await_all()?;
    let own = matches!(ended.as_slice(), [WaitStatus::Exited(_, 42)]);
    ensure!(own, "the command ended with {ended:?}");
    Ok(())
}

/// SIGTSTP stops both, SIGCONT lets both go on.
#[test]
fn stopping_memtrace_stops_the_command_too() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut line = lab.memtrace_run(&[])?;
    line.extend(lab.script("status @start say ready hear exit 6"));
    // A group of their own, with a parent outside of it in the same session: the kernel
    // discards SIGTSTP in an orphaned process group, as a runner without a terminal may be.
    let mut running = Partner::start(lab.fixed(&line).process_group(0))?;
    running.expect("ready")?;
    let both = [running.pid(), lab.status("start")?.pid()?];
    running.signal(Signal::SIGTSTP)?;
    let stopped = both.iter().try_for_each(|&pid| await_state(pid, "T"));
    running.signal(Signal::SIGCONT)?;
    stopped.context("not both stopped")?;
    let going = both.iter().try_for_each(|&pid| await_state(pid, "RSD"));
    going.context("not both continued")?;
    let (status, _) = running.finish()?;
    assert_eq!(status.code(), Some(6));
    Summary::read(&lab.path("summary.json"))?.assert_exact();
    Ok(())
}
