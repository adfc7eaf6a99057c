//! Nowhere to write, nothing to open, and stops at the wrong moment: the command's result is
//! passed on whatever becomes of the report.

use std::{
    fs,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use memtrace_tests::{
    Checkpoints, Finished, Lab, Missing, Summary, announced, await_state, lacks, load, memtrace,
    require, require_privileges, workloads,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The command line `WORDS... memtrace run --json JSON -q -- nothing STATUS`.
fn line(before: &[&str], json: &str, status: i32) -> Result<Vec<String>> {
    let status = status.to_string();
    let memtrace = memtrace()?.display().to_string();
    let own = [
        memtrace.as_str(),
        "run",
        "--json",
        json,
        "-q",
        "--",
        workloads::NOTHING,
        &status,
    ];
    let words = before.iter().chain(&own);
    Ok(words.map(|&word| word.to_owned()).collect())
}

/// JSON that cannot be written is a failure of memtrace's own, unless the command has one.
fn assert_unwritten(lab: &Lab, before: &[&str], json: &str) -> Result<()> {
    for (status, expected) in [(0, 125), (3, 3)] {
        let finished = lab.to_end(&mut lab.fixed(&line(before, json, status)?))?;
        assert_eq!(
            finished.code(),
            Some(expected),
            "{before:?} {json}: {finished:?}"
        );
        let told = finished.stderr.contains("cannot write JSON");
        assert!(told, "{before:?} {json}: {finished:?}");
    }
    Ok(())
}

/// A device that is always full.
#[test]
fn a_full_device_is_told_and_the_status_passed_on() -> Result<()> {
    require_privileges!();
    assert_unwritten(&Lab::new()?, &[], "/dev/full")
}

/// A file system of two pages, both of which are taken.
#[test]
fn a_full_file_system_is_told_and_the_status_passed_on() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let dir = lab.path("small");
    fs::create_dir(&dir)?;
    let dir = dir.display().to_string();
    let mount = format!(
        "mount -t tmpfs -o size=8k none {dir} && head -c 8192 /dev/zero >{dir}/taken && exec \"$@\""
    );
    let before = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    let works = lab.to_end(lab.fixed(&before).arg("true"))?;
    require!(
        (works.code() == Some(0))
            .then_some(())
            .ok_or_else(|| Missing(format!("no tmpfs can be mounted: {}", works.stderr)))
    );
    assert_unwritten(&lab, &before, &format!("{dir}/out.json"))
}

/// Runs what follows with a limit of one block on the size of files: 512 bytes, or 1024 in bash.
const SMALL_FILES: [&str; 4] = ["sh", "-c", "ulimit -f 1 && exec \"$@\"", "sh"];

/// A limit on the size of files, which by default kills who exceeds it.
#[test]
fn a_limit_on_file_sizes_is_told_and_the_status_passed_on() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let json = lab.path("out.json").display().to_string();
    assert_unwritten(&lab, &SMALL_FILES, &json)?;

    // The report itself, to a file; and GNU time's.
    let memtrace = memtrace()?.display().to_string();
    for words in [
        &["run", "-v", "--"][..],
        &["time", "-v"],
        &["time", "-v", "-o", &json],
    ] {
        let own = [memtrace.as_str()];
        let line = [&SMALL_FILES[..], &own, words, &[workloads::NOTHING, "3"]].concat();
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        assert_eq!(finished.code(), Some(3), "{words:?}: {finished:?}");
        assert!(finished.stderr.len() <= 1024, "the limit is not in force");
    }

    // The command still gets the signal.
    let own = [memtrace.as_str(), "run", "-q", "--", "sh", "-c"];
    let script = "head -c 2000 /dev/zero >big; echo $?";
    let line = [&SMALL_FILES[..], &own, &[script]].concat();
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(finished.stdout.trim(), (128 + libc::SIGXFSZ).to_string());
    Ok(())
}

/// Standard streams that are closed, full, or that nobody reads.
#[test]
fn the_status_is_passed_on_without_standard_streams() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let nothing = workloads::NOTHING;
    for redirection in ["2>&-", "<&- >&- 2>&-", "2>/dev/full", "<&-", ">&-"] {
        for options in ["-v --per-process", "--format runit", "-q"] {
            let script =
                format!("{memtrace} run {options} --json json -- {nothing} 3 {redirection}");
            let finished = lab.to_end(&mut lab.fixed(&["sh", "-c", &script]))?;
            assert_eq!(finished.code(), Some(3), "{script}: {finished:?}");
            Summary::read(&lab.path("json"))?.assert_exact();
        }
        let script = format!("{memtrace} time -v {nothing} 3 {redirection}");
        let finished = lab.to_end(&mut lab.fixed(&["sh", "-c", &script]))?;
        assert_eq!(finished.code(), Some(3), "{script}: {finished:?}");
    }
    Ok(())
}

/// A pipe whose reader is gone: no death by SIGPIPE, which would hide the command's status.
#[test]
fn a_reader_that_has_gone_changes_nothing() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    for words in [
        &["run", "-v", "--"][..],
        &["run", "--json", "/dev/stderr", "--"],
        &["time", "-v"],
    ] {
        let line = [&[memtrace.as_str()], words, &[workloads::NOTHING, "3"]].concat();
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let status = lab
            .fixed(&line)
            .stderr(Stdio::from(OwnedFd::from(writer)))
            .status()?;
        assert_eq!(status.code(), Some(3), "{words:?}: {status}");
    }
    let out = lab.path("out").display().to_string();
    let line = [
        &memtrace,
        "run",
        "-q",
        "--json",
        "-",
        "--stdout",
        &out,
        "--",
        workloads::NOTHING,
        "3",
    ];
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let status = lab
        .fixed(&line)
        .stdout(Stdio::from(OwnedFd::from(writer)))
        .status()?;
    assert_eq!(status.code(), Some(3), "JSON: {status}");
    Ok(())
}

/// A current directory that is no more.
#[test]
fn a_current_directory_that_was_removed_changes_nothing() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let json = lab.path("out.json").display().to_string();
    let before = [
        "sh",
        "-c",
        "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"",
        "sh",
    ];
    let finished = lab.to_end(&mut lab.fixed(&line(&before, &json, 3)?))?;
    assert_eq!(finished.code(), Some(3), "{finished:?}");
    Summary::read(&lab.path("out.json"))?.assert_exact();
    Ok(())
}

/// Low limits of the command are not memtrace's: it raises its own, and the command keeps them.
#[test]
fn low_soft_limits_are_the_commands_alone() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for (limit, ask, expected) in [
        ("ulimit -S -n 8", "ulimit -n", "8\n"),
        ("ulimit -S -l 0", "ulimit -l", "0\n"),
    ] {
        let script = format!("{limit} && exec \"$@\"");
        let mut line = ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
        line.extend(lab.memtrace_run(&[])?);
        line.extend(["sh", "-c", ask].map(str::to_owned));
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        ensure!(finished.code() == Some(0), "{limit}: {finished:?}");
        assert_eq!(finished.stdout, expected, "{limit}");
        lab.summary(finished)?.summary.assert_exact();
    }
    Ok(())
}

/// A limit on open files that cannot be raised is told with its remedy, however far memtrace got,
/// and the command does not run.
#[test]
fn too_few_descriptors_are_told_with_their_remedy() -> Result<()> {
    require_privileges!();
    if lacks("free-maps") {
        // Without that capability there is no BPF.
        return Ok(());
    }
    let lab = Lab::new()?;
    let mark = lab.path("ran").display().to_string();
    for limit in [5, 6, 7, 8, 12, 16, 24, 32, 40, 48] {
        let _ = fs::remove_file(&mark);
        // Not to be raised even by root: without CAP_SYS_RESOURCE.
        let script = format!("ulimit -n {limit} && exec \"$@\"");
        let before = [
            "setpriv",
            "--bounding-set=-sys_resource",
            "sh",
            "-c",
            &script,
            "sh",
        ];
        let mut line = before.map(str::to_owned).to_vec();
        line.extend(lab.memtrace_run(&[])?);
        line.extend(["touch", &mark].map(str::to_owned));
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        match finished.code() {
            Some(125) => {
                assert!(
                    finished.stderr.contains("ulimit -n"),
                    "{limit}: {finished:?}"
                );
                assert!(!lab.has("ran"), "{limit}: the command ran");
            }
            Some(0) => {
                assert!(lab.has("ran"));
                lab.summary(finished)?.summary.assert_exact();
            }
            _ => panic!("{limit}: {finished:?}"),
        }
    }
    Ok(())
}

/// Stops interrupt the kernel's verifier, among other things (a pending signal makes `bpf_check()`
/// give up with EAGAIN, kernel/bpf/verifier.c): memtrace tries again, and the result is right.
#[test]
fn stops_in_every_phase_change_nothing() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let checkpoints = Checkpoints::open(&lab)?;
    let options = checkpoints.options();
    let rounds = announced("runs", load(20, 3));
    for round in 0..rounds {
        let _ = fs::remove_file(lab.path("ran"));
        let mut line = lab.memtrace_run(&[&options[0], &options[1]])?;
        line.extend(lab.script("status @ran anon 100 exit 7"));
        let mut command: Command = lab.fixed(&line);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::piped()).spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let mut held = checkpoints.accept()?;
        let mut stops = 0;
        while held.point()?.is_some() {
            // Wherever it then is on its way to the next point.
            held.go_on()?;
            kill(pid, Signal::SIGSTOP)?;
            await_state(child.id(), "TZX")?;
            kill(pid, Signal::SIGCONT)?;
            stops += 1;
        }
        let output = child.wait_with_output()?;
        let finished = Finished {
            status: output.status,
            stdout: String::new(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        ensure!(stops > 5, "only {stops} points: {finished:?}");
        assert_eq!(finished.code(), Some(7), "round {round}: {finished:?}");
        ensure!(lab.has("ran"), "round {round}");
        lab.summary(finished)?.summary.assert_exact();
    }
    Ok(())
}
