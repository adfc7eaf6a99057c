//! Without BPF: the command must not suffer from being traced, and what cannot work is
//! said before it starts.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{
    Finished, Lab, Missing, Orphanage, Partner, Run, Summary, await_state, is_in_state, memtrace,
    require,
    tier_p::{AS_NOBODY, PTRACE, as_nobody, bounds, check, nobody, trace_as_nobody},
};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::WaitStatus,
    },
    unistd::Pid,
};

const JOBS: &str = env!("CARGO_BIN_EXE_jobs");

/// A copy of the test's own program where "nobody" can reach it.
fn jobs(lab: &Lab) -> Result<PathBuf> {
    let copy = lab.path("jobs");
    fs::copy(JOBS, &copy).context("copy the test's own program")?;
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o755))?;
    Ok(copy)
}

/// memtrace ends as the command did; signals arrive unchanged, real-time ones too.
#[test]
fn ends_are_passed_on() -> Result<()> {
    let lab = Lab::new()?;
    let Run { finished, summary } = lab.run(&PTRACE, &lab.script("anon 10 exit 7"))?;
    assert_eq!((finished.code(), summary.exit_status), (Some(7), Some(7)));
    for signal in [9, 15, 40] {
        let Run { finished, summary } = lab.run(&PTRACE, &lab.script(&format!("kill {signal}")))?;
        assert_eq!(finished.signal(), Some(signal));
        assert_eq!(summary.signal, Some(signal));
        check(&summary);
    }
    let trap = "trap 'exit 9' 40; kill -40 $$; exit 1";
    assert_eq!(
        lab.run(&PTRACE, &["sh", "-c", trap])?.finished.code(),
        Some(9)
    );
    let line = lab.memtrace_run(&PTRACE)?;
    let missing = [line.as_slice(), &["/no/such/program".to_owned()]].concat();
    assert_eq!(lab.to_end(&mut lab.fixed(&missing))?.code(), Some(127));
    Ok(())
}

/// What is sent to memtrace reaches the command.
#[test]
fn signals_are_forwarded() -> Result<()> {
    let lab = Lab::new()?;
    let script = "trap 'exit 7' TERM; trap 'exit 8' INT; trap 'exit 9' QUIT; \
                  echo ready; while :; do sleep 0.01; done";
    for backend in ["ptrace", "poll"] {
        let run = lab.memtrace_run(&["--backend", backend])?;
        let program = memtrace()?.display().to_string();
        let option = format!("--backend={backend}");
        let time = [&program, "time", "-o", "report", &option].map(str::to_owned);
        for line in [run, time.to_vec()] {
            for (signal, status) in [
                (Signal::SIGTERM, 7),
                (Signal::SIGINT, 8),
                (Signal::SIGQUIT, 9),
            ] {
                let line = [line.as_slice(), &["sh", "-c", script].map(str::to_owned)].concat();
                let mut running = Partner::start(&mut lab.fixed(&line))?;
                running.expect("ready")?;
                running.signal(signal)?;
                let ended = running.finish()?.0.code();
                assert_eq!(ended, Some(status), "{signal} {line:?}");
            }
        }
    }
    Ok(())
}

/// A program sees its child stop, stay stopped, and go on, as without a tracer.
#[test]
fn stopped_jobs_keep_working() -> Result<()> {
    let lab = Lab::new()?;
    let alone = lab.to_end(&mut lab.fixed(&[JOBS, "stop"]))?;
    alone.success().context("the test's own program is wrong")?;
    for _ in 0..5 {
        let run = lab.run(&PTRACE, &[JOBS, "stop"])?;
        run.finished.success()?;
        assert_eq!(run.summary.processes.len(), 2);
    }
    Ok(())
}

/// A stop of the command itself, from outside, lasts: it is still stopped when memtrace has dealt
/// with what another process of the tree did after it, as it would not be after a mere stop for the
/// tracer.
#[test]
fn the_command_can_be_stopped_and_continued() -> Result<()> {
    const STOPS: u32 = 3;
    let lab = Lab::new()?;
    let mut line = lab.memtrace_run(&PTRACE)?;
    line.extend(lab.script(&format!(
        "pipe 0 fork{{ loop{{ {STOPS} hear loop{{ 5 vfork{{ exec{{ NOTHING }} }} wait }} say worked }} hear post 0 }} \
         status @start say ready await 0 wait exit 6"
    )));
    let mut running = Partner::start(&mut lab.fixed(&line))?;
    running.expect("ready")?;
    let pid = lab.status("start")?.pid()?;
    for _ in 0..STOPS {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP)?;
        await_state(pid, "tT").context("not stopped")?;
        running.tell()?;
        running.expect("worked")?;
        ensure!(is_in_state(pid, "tT")?, "did not stay stopped");
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT)?;
        await_state(pid, "SRD").context("not continued")?;
    }
    assert_eq!(running.finish()?.0.code(), Some(6));
    Ok(())
}

/// Ctrl-Z for memtrace stops the command too; both go on together.
#[test]
fn stopping_memtrace_stops_the_command_too() -> Result<()> {
    let lab = Lab::new()?;
    let mut line = lab.memtrace_run(&PTRACE)?;
    line.extend(lab.script("status @start say ready loop{ 20 nap-us 10000 } hear exit 6"));
    // A group of their own that is not orphaned: see tests/signals.rs.
    let mut running = Partner::start(lab.fixed(&line).process_group(0))?;
    running.expect("ready")?;
    let pid = lab.status("start")?.pid()?;
    running.signal(Signal::SIGTSTP)?;
    let stopped = await_state(running.pid(), "T").and_then(|()| await_state(pid, "tT"));
    running.signal(Signal::SIGCONT)?;
    stopped.context("not both stopped")?;
    await_state(running.pid(), "SRD").context("memtrace was not continued")?;
    await_state(pid, "SRD").context("the command was not continued")?;
    assert_eq!(running.finish()?.0.code(), Some(6));
    check(&Summary::read(&lab.path("summary.json"))?);
    Ok(())
}

/// Debuggers cannot trace inside the tree, which the first line says; with `poll` they can.
#[test]
fn programs_that_trace_work_with_poll() -> Result<()> {
    require!(nobody());
    let lab = Lab::new()?;
    lab.to_end(&mut lab.fixed(&[JOBS, "trace"]))?
        .success()
        .context("the test's own program is wrong")?;
    let jobs = jobs(&lab)?.display().to_string();
    let run = |backend: &str| -> Result<Finished> {
        let line = as_nobody(&lab, &["--backend", backend], &[&jobs, "trace"])?;
        lab.to_end(&mut lab.fixed(&line))
    };
    let traced = run("ptrace")?;
    assert_eq!(traced.code(), Some(99), "{traced:?}");
    let first = traced.stderr.lines().next().unwrap_or_default();
    assert!(
        first.contains("debuggers cannot trace"),
        "{}",
        traced.stderr
    );
    assert!(first.contains("--backend poll"), "{}", traced.stderr);
    assert!(
        traced.stderr.contains("ptrace is refused"),
        "{}",
        traced.stderr
    );
    run("poll")?.success()?;
    check(&Summary::read(&lab.path("summary.json"))?);
    Ok(())
}

/// loses them, which is said before and after. A tracer with `CAP_SYS_PTRACE` changes nothing.
#[test]
fn set_user_id_programs() -> Result<()> {
    require!(nobody());
    let lab = Lab::new()?;
    // Makes the copies.
    as_nobody(&lab, &[], &[])?;
    let jobs = jobs(&lab)?.display().to_string();
    fs::set_permissions(&jobs, PermissionsExt::from_mode(0o4755))?;
    let alone: Vec<&str> = AS_NOBODY
        .into_iter()
        .chain([jobs.as_str(), "euid"])
        .collect();
    // The bounding set does not matter for the user id.
    let alone = lab.to_end(&mut lab.fixed(&alone))?;
    if alone.stdout != "0\n" {
        require!(Err::<(), _>(Missing(
            "the temporary directory's file system ignores set-user-ID".to_owned()
        )));
    }
    let run = |command: &[&str]| -> Result<(Finished, Summary)> {
        let line = as_nobody(&lab, &[], command)?;
        let finished = lab.to_end(&mut lab.fixed(&line))?.success()?;
        Ok((finished, Summary::read(&lab.path("summary.json"))?))
    };
    let (finished, summary) = run(&[&jobs, "euid"])?;
    assert_eq!(finished.stdout, "0\n");
    assert!(
        finished.stderr.contains("privileges of its own"),
        "{}",
        finished.stderr
    );
    assert_eq!(summary.certificate.verdict, "incomplete");

    let (finished, summary) = run(&["sh", "-c", &format!("{jobs} euid; true")])?;
    assert_eq!(finished.stdout, "65534\n");
    let first = finished.stderr.lines().next().unwrap_or_default();
    assert!(
        first.contains("set-user-ID programs"),
        "{}",
        finished.stderr
    );
    let reasons = &summary.certificate.reasons;
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("jobs ran without the privileges")),
        "{reasons:?}"
    );

    let options = ["--backend", "ptrace", "--user", "65534"];
    let mut line = lab.memtrace_run(&options)?;
    line.extend(["sh", "-c", &format!("{jobs} euid; true")].map(str::to_owned));
    let finished = lab.to_end(&mut lab.fixed(&line))?.success()?;
    assert_eq!(
        finished.stdout, "0\n",
        "CAP_SYS_PTRACE keeps it: {}",
        finished.stderr
    );
    Ok(())
}

/// Whenever memtrace is killed, the command goes on to its end, and nobody is left behind: stopped
/// or waiting.
#[test]
fn the_command_survives_the_death_of_memtrace() -> Result<()> {
    const ROUNDS: u32 = 50;
    const OWN_STATUS: i32 = 42;
    /// What the process that waits for memtrace ends with when that is gone.
    const NEVER_STARTED: i32 = 125;
    let lab = Lab::new()?;
    let orphanage = Orphanage::open()?;
    for rounds in [0, 1, 3, 10, 30, ROUNDS] {
        let mut line = lab.memtrace_run(&PTRACE)?;
        line.extend(lab.script(&format!(
            "loop{{ {ROUNDS} say round fork{{ exec{{ NOTHING }} }} wait }} hear \
             loop{{ 50 fork{{ anon 5 }} wait }} exit {OWN_STATUS}"
        )));
        let mut running = Partner::start(&mut lab.fixed(&line))?;
        for _ in 0..rounds {
            running.expect("round")?;
        }
        running.signal(Signal::SIGKILL)?;
        // The end of standard input lets the command go on.
        let (_, rest) = running.finish()?;
        let ended = orphanage.await_all()?;
        let status = |wanted: i32| {
            let is = |status: &WaitStatus| matches!(status, WaitStatus::Exited(_, code) if *code == wanted);
            ended.iter().any(is)
        };
        if rounds > 0 {
            ensure!(status(OWN_STATUS), "after {rounds} rounds: {ended:?}");
        } else {
            // Killed at its start, it may have begun nothing.
            let none = rest.is_empty() && (ended.is_empty() || status(NEVER_STARTED));
            ensure!(none || status(OWN_STATUS), "{rest:?}, {ended:?}");
        }
    }
    Ok(())
}

/// Under another tracer, memtrace itself for instance, the inner one falls back to /proc.
#[test]
fn memtrace_can_be_nested() -> Result<()> {
    let lab = Lab::new()?;
    let inner = lab.path("inner.json").display().to_string();
    let memtrace = memtrace()?.display().to_string();
    let mut command = [
        &memtrace,
        "run",
        "-q",
        "--backend",
        "ptrace",
        "--json",
        &inner,
        "--",
    ]
    .map(str::to_owned)
    .to_vec();
    command.extend(lab.script("anon 300 status @top nap-us 200000 exit 3"));
    let Run { finished, summary } = lab.run(&PTRACE, &command)?;
    assert_eq!(finished.code(), Some(3));
    check(&summary);
    assert_eq!(summary.processes.len(), 2, "{summary:#?}");
    let inner = Summary::read(&lab.path("inner.json"))?;
    check(&inner);
    assert_eq!(inner.certificate.verdict, "incomplete");
    assert!(
        inner
            .certificate
            .reasons
            .iter()
            .any(|r| r.contains("ptrace is not permitted"))
    );
    // Both saw the same program.
    let top = lab.status("top")?;
    bounds(summary.process(top.pid()?)?.last_image()?, top.rss()?);
    assert_eq!(inner.root()?.pid, top.pid()?);
    Ok(())
}

/// `bpf` is an error.
#[test]
fn without_privileges_it_falls_back_and_says_so() -> Result<()> {
    require!(nobody());
    let lab = Lab::new()?;
    let run = trace_as_nobody(&lab, &[], "anon 600 status @top say out")?;
    check(&run.summary);
    assert_eq!(run.finished.stdout, "out\n");
    let first = run.finished.stderr.lines().next().unwrap_or_default();
    for part in ["no BPF", "tier P", "sampled", "set-user-ID", "debuggers"] {
        assert!(first.contains(part), "{part:?} is not in {first:?}");
    }
    bounds(run.summary.root()?.last_image()?, lab.status("top")?.rss()?);

    let line = as_nobody(&lab, &["--backend", "bpf"], &["true"])?;
    let refused = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    Ok(())
}

/// `check` tells a user without privileges that tier P works.
#[test]
fn check_tells_whether_tracing_is_permitted() -> Result<()> {
    require!(nobody());
    let lab = Lab::new()?;
    as_nobody(&lab, &[], &[])?;
    let memtrace = lab.path("memtrace").display().to_string();
    let line: Vec<&str> = AS_NOBODY
        .into_iter()
        .chain([&*memtrace, "check", "--json"])
        .collect();
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    let report: serde_json::Value = serde_json::from_str(&finished.stdout)?;
    assert_eq!(report["ptrace"], true, "{report:#}");
    assert_eq!(report["tier"], "P", "{report:#}");
    assert_eq!(report["exact"], false, "{report:#}");
    Ok(())
}
