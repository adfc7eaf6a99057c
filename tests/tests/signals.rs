//! Signals to memtrace, up to its death at any moment.

use std::{fs, os::unix::process::CommandExt as _, thread, time::Duration};

use anyhow::{Result, ensure};
use memtrace_tests::{Lab, Partner, Summary, require_privileges};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Signals that ask memtrace to end reach the command; its answer is memtrace's.
#[test]
fn signals_are_forwarded_to_the_command() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for (signal, handler, expected) in [
        (Signal::SIGTERM, "", None),
        (Signal::SIGHUP, "", None),
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
    let mut line = lab.memtrace_run(&[])?;
    line.extend(lab.script("status @start say ready hear anon 100 status @end say done"));
    let mut running = Partner::start(&mut lab.fixed(&line))?;
    running.expect("ready")?;
    running.signal(Signal::SIGKILL)?;
    running.finish()?;
    // The end of standard input lets it go on.
    for _ in 0..500 {
        if lab.has("end") {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let pid = lab.status("start")?.pid()?;
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    anyhow::bail!("the command did not go on: {state}")
}

/// Wherever memtrace is when it is killed, nothing of it or of the command stays behind, stopped
/// or waiting.
#[test]
fn nothing_stays_behind_when_memtrace_is_killed_at_any_moment() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for delay in (0..300).step_by(10) {
        let mark = format!("killed-after-{delay}-{}", std::process::id());
        let mut line = lab.memtrace_run(&[])?;
        line.extend(lab.script(&format!("tag {mark} anon 10")));
        let running = Partner::start(&mut lab.fixed(&line))?;
        thread::sleep(Duration::from_millis(delay));
        // It may have ended by itself already.
        let _ = running.signal(Signal::SIGKILL);
        running.finish()?;
        let mut left = Vec::new();
        for _ in 0..500 {
            left = running_with(&mark);
            if left.is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        for (pid, _) in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        ensure!(left.is_empty(), "left behind after {delay} ms: {left:?}");
    }
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
    let stopped = await_states(&both, |state| state == 'T');
    running.signal(Signal::SIGCONT)?;
    ensure!(stopped, "not both stopped");
    ensure!(
        await_states(&both, |state| state != 'T'),
        "not both continued"
    );
    let (status, _) = running.finish()?;
    assert_eq!(status.code(), Some(6));
    Summary::read(&lab.path("summary.json"))?.assert_exact();
    Ok(())
}

/// Waits up to five seconds until the states of all processes (field 3 of `/proc/PID/stat`) are so.
fn await_states(pids: &[u32], so: impl Fn(char) -> bool) -> bool {
    let state = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    (0..500).any(|_| {
        thread::sleep(Duration::from_millis(10));
        pids.iter().all(|pid| state(pid).is_some_and(&so))
    })
}

/// Processes whose command line contains a word, with their states.
fn running_with(word: &str) -> Vec<(i32, String)> {
    let describe = |pid: i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        String::from_utf8_lossy(&command)
            .contains(word)
            .then_some((pid, stat))
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(describe)
        .collect()
}
