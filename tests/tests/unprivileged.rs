//! Without BPF: tier P, as root with `--backend ptrace` and as a user without privileges.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt as _},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{
    Finished, Image, Lab, Missing, Partner, Run, Status, Summary, memtrace, require, workloads,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const PTRACE: [&str; 2] = ["--backend", "ptrace"];
const JOBS: &str = env!("CARGO_BIN_EXE_jobs");

/// Runs what follows as the user "nobody", without any capability.
const AS_NOBODY: [&str; 6] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
];

/// Tests that give up privileges must have some.
fn nobody() -> Result<(), Missing> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing("needs root to become another user".to_owned()));
    }
    if !workloads::installed("setpriv") {
        return Err(Missing("needs setpriv of util-linux".to_owned()));
    }
    Ok(())
}

/// A command line as "nobody": `memtrace` and the programs of the test are copied to the
/// lab's directory, where that user can reach them.
fn as_nobody(lab: &Lab, options: &[&str], command: &[&str]) -> Result<Vec<String>> {
    fs::set_permissions(lab.dir(), PermissionsExt::from_mode(0o777))?;
    let mut line: Vec<String> = AS_NOBODY.map(str::to_owned).into();
    for (from, name) in [
        (memtrace()?, "memtrace"),
        (Path::new(workloads::SCRIPT), "script"),
        (Path::new(workloads::NOTHING), "nothing"),
        (Path::new(JOBS), "jobs"),
    ] {
        let to = lab.path(name);
        if !to.exists() {
            fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
            fs::set_permissions(&to, PermissionsExt::from_mode(0o755))?;
        }
    }
    let asked = lab.memtrace_run(options)?;
    line.push(lab.path("memtrace").display().to_string());
    line.extend(asked.into_iter().skip(1));
    line.extend(command.iter().map(|word| (*word).to_owned()));
    Ok(line)
}

/// Runs a script as "nobody".
fn trace_as_nobody(lab: &Lab, options: &[&str], words: &str) -> Result<Run> {
    let script = lab.path("script").display().to_string();
    let nothing = lab.path("nothing").display().to_string();
    let mut words = lab.script(words);
    for word in &mut words {
        if word == workloads::SCRIPT {
            word.clone_from(&script);
        } else if word == workloads::NOTHING {
            word.clone_from(&nothing);
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let line = as_nobody(lab, options, &words)?;
    let run = lab.summary(lab.to_end(&mut lab.fixed(&line))?)?;
    Ok(Run {
        finished: run.finished.success()?,
        summary: run.summary,
    })
}

/// What a tier P result must look like, whatever the command was.
#[track_caller]
fn check(summary: &Summary) {
    let certificate = &summary.certificate;
    assert_eq!(certificate.tier, "P");
    assert_ne!(certificate.verdict, "exact");
    assert!(!certificate.reasons.is_empty());
    assert_eq!(certificate.events, 0, "no kernel events are claimed");
    let tree = &summary.tree;
    assert!(tree.peak_rss_low_bytes.is_some(), "{tree:?}");
    assert_eq!(tree.processes, summary.processes.len() as u64);
    assert!(tree.average_rss_bytes <= tree.peak_rss_bytes, "{tree:?}");
    let parts: u64 = tree.at_peak.iter().map(|part| part.rss_bytes).sum();
    assert!(parts <= tree.peak_rss_bytes, "{tree:?}");
    if certificate.verdict == "within" {
        let high = tree.peak_rss_high_bytes.unwrap_or(0);
        assert!(high >= tree.peak_rss_bytes, "{tree:?}");
        assert!(
            high - tree.peak_rss_bytes <= certificate.within_bytes,
            "{tree:?}"
        );
    }
}

/// A true peak must lie within the bounds that are given for an image.
#[track_caller]
fn bounds(image: &Image, truth: u64) {
    let (low, high) = (image.peak_rss_low_bytes, image.peak_rss_high_bytes);
    assert!(
        low.is_some_and(|low| low <= truth) && high.is_some_and(|high| truth <= high),
        "the true peak {truth} is not between {low:?} and {high:?}, peak {}",
        image.peak_rss_bytes
    );
}

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
    assert!(
        tree.peak_rss_bytes >= truth,
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
    let mut line = lab.memtrace_run(&PTRACE)?;
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    line.extend(["sh", "-c", script].map(str::to_owned));
    let mut running = Partner::start(&mut lab.fixed(&line))?;
    running.expect("ready")?;
    running.signal(Signal::SIGTERM)?;
    assert_eq!(running.finish()?.0.code(), Some(7));
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

/// A stop of the command itself, from outside.
#[test]
fn the_command_can_be_stopped_and_continued() -> Result<()> {
    let lab = Lab::new()?;
    let mut line = lab.memtrace_run(&PTRACE)?;
    line.extend(lab.script("status @start say ready hear exit 6"));
    let mut running = Partner::start(&mut lab.fixed(&line))?;
    running.expect("ready")?;
    let pid = lab.status("start")?.pid()?;
    for _ in 0..3 {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP)?;
        ensure!(await_state(pid, "tT"), "not stopped");
        // A group-stop lasts; a mere stop for the tracer would be over by now.
        thread::sleep(Duration::from_millis(50));
        ensure!(await_state(pid, "tT"), "did not stay stopped");
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT)?;
        ensure!(await_state(pid, "SRD"), "not continued");
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
    let stopped = await_state(running.pid(), "T") && await_state(pid, "tT");
    running.signal(Signal::SIGCONT)?;
    ensure!(stopped, "not both stopped");
    ensure!(
        await_state(running.pid(), "SRD"),
        "memtrace was not continued"
    );
    ensure!(await_state(pid, "SRD"), "the command was not continued");
    assert_eq!(running.finish()?.0.code(), Some(6));
    check(&Summary::read(&lab.path("summary.json"))?);
    Ok(())
}

fn await_state(pid: u32, letters: &str) -> bool {
    (0..500).any(|_| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        let so = state.is_some_and(|state| letters.contains(state));
        if !so {
            thread::sleep(Duration::from_millis(10));
        }
        so
    })
}

/// Debuggers cannot trace inside the tree, which the first line says; with `poll` they can.
#[test]
fn programs_that_trace_work_with_poll() -> Result<()> {
    require!(nobody());
    let lab = Lab::new()?;
    lab.to_end(&mut lab.fixed(&[JOBS, "trace"]))?
        .success()
        .context("the test's own program is wrong")?;
    let jobs = lab.path("jobs").display().to_string();
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

/// A set-user-ID command keeps its privileges and is only looked at; deeper in the tree it
/// loses them, which is said before and after. A tracer with `CAP_SYS_PTRACE` changes nothing.
#[test]
fn set_user_id_programs() -> Result<()> {
    require!(nobody());
    let lab = Lab::new()?;
    // Makes the copies.
    as_nobody(&lab, &[], &[])?;
    let jobs = lab.path("jobs").display().to_string();
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

/// Whenever memtrace is killed, the command goes on to its end.
#[test]
fn the_command_survives_the_death_of_memtrace() -> Result<()> {
    let lab = Lab::new()?;
    for delay in [0, 1, 3, 10, 30] {
        let mut line = lab.memtrace_run(&PTRACE)?;
        line.extend(lab.script(
            "status @start say ready loop{ 50 fork{ exec{ NOTHING } } wait } hear \
             loop{ 50 fork{ anon 5 } wait } status @end",
        ));
        let mut running = Partner::start(&mut lab.fixed(&line))?;
        running.expect("ready")?;
        thread::sleep(Duration::from_millis(delay));
        running.signal(Signal::SIGKILL)?;
        running.finish()?;
        // The end of standard input lets it go on.
        let ended = (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            lab.has("end")
        });
        let pid = lab.status("start")?.pid()?.cast_signed();
        if !ended {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            anyhow::bail!("the command did not go on after {delay} ms: {state}");
        }
        fs::remove_file(lab.path("end"))?;
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

/// Without privileges `auto` says what is missing before the command starts, and measures;
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
    ensure!(
        (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            lab.has("late")
        }),
        "the survivor did not go on"
    );
    Ok(())
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
