//! What the command and its caller see of memtrace: nothing.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, Summary, memtrace, require_privileges, tier_p::AS_NOBODY, workloads};

/// Exit statuses are passed through, and are in the JSON; also those that mean something to
/// shells, to memtrace and to other wrappers.
#[test]
fn exit_statuses_pass_through() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let chosen = [
        0, 1, 2, 3, 7, 63, 64, 77, 99, 100, 101, 127, 128, 129, 137, 139, 143, 192, 254, 255,
    ];
    for status in chosen.into_iter().chain(120..=126) {
        let run = lab.run(&[], &[workloads::NOTHING, &status.to_string()])?;
        assert_eq!(run.finished.code(), Some(status), "{}", run.finished.stderr);
        assert_eq!(
            (run.summary.exit_status, run.summary.signal),
            (Some(status), None)
        );
        assert_eq!(run.summary.root()?.exit_status, Some(status));
    }
    Ok(())
}

/// A command that cannot be found or run: 127 and 126, as shells have it.
#[test]
fn commands_that_cannot_be_run_end_with_126_or_127() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let data = lab.path("data");
    fs::write(&data, "no program")?;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755))?;
    let locked = lab.path("locked");
    fs::write(&locked, "#!/bin/sh\n")?;
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o644))?;
    let dir = lab.dir().display().to_string();
    for (command, status) in [
        ("memtrace-no-such-command", 127),
        ("/no/such/directory/command", 127),
        (&locked.display().to_string(), 126),
        (&dir, 126),
    ] {
        let mut line = lab.memtrace_run(&[])?;
        line.push(command.to_owned());
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        assert_eq!(
            finished.code(),
            Some(status),
            "{command}: {}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains(command),
            "{command} is not named: {}",
            finished.stderr
        );
        assert_eq!(finished.stdout, "");
    }
    Ok(())
}

/// Failures of memtrace itself: 125, one clear message, and the command does not run.
#[test]
fn own_failures_end_with_125_and_do_not_run_the_command() -> Result<()> {
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let mark = lab.path("ran").display().to_string();
    let unwritable = lab.path("no/such/dir/out.json").display().to_string();
    let dir = lab.dir().display().to_string();
    for options in [
        vec!["--no-such-option"],
        vec!["--sum-cpus", "some"],
        vec!["--max-images", "many"],
        vec!["--json", &unwritable],
        vec!["--json", &dir],
        vec!["--json", "-"],
        vec!["--user", "memtrace-no-such-user"],
    ] {
        let mut line = vec![memtrace.as_str(), "run"];
        line.extend(&options);
        line.extend(["--", "touch", &mark]);
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        assert_eq!(
            finished.code(),
            Some(125),
            "{options:?}: {}",
            finished.stderr
        );
        assert!(!finished.stderr.is_empty(), "{options:?}: no message");
        assert_eq!(finished.stdout, "", "{options:?}");
        assert!(!lab.has("ran"), "{options:?}: the command ran");
    }
    let finished = lab.to_end(&mut lab.fixed(&[&memtrace, "run"]))?;
    assert_eq!(
        finished.code(),
        Some(125),
        "no command: {}",
        finished.stderr
    );
    Ok(())
}

/// Without privileges: one clear message with the remedy, 125, and the command does not run.
#[test]
fn without_privileges_the_remedy_is_named() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    // A place that the unprivileged user can reach.
    let copy = lab.path("memtrace");
    fs::copy(memtrace()?, &copy)?;
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755))?;
    let (copy, mark) = (
        copy.display().to_string(),
        lab.path("ran").display().to_string(),
    );
    let command = [&copy, "run", "--backend", "bpf", "--", "touch", &mark];
    let line: Vec<&str> = AS_NOBODY.into_iter().chain(command).collect();
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(finished.code(), Some(125), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("sudo") || finished.stderr.contains("setcap"),
        "{}",
        finished.stderr
    );
    assert!(!lab.has("ran"));
    Ok(())
}

/// The command's surroundings are the same with and without memtrace: environment, limits,
/// signals, open files, process group, session, directory.
#[test]
fn the_command_sees_the_same_surroundings() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let look = "env | grep -v ^_= | sort; pwd; umask; ulimit -a; \
        grep -E '^(Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups|Cpus_allowed):' /proc/self/status; \
        cat /proc/self/oom_score_adj /proc/self/personality /proc/self/cgroup /proc/self/timerslack_ns; \
        cut -d' ' -f5-8,18,19 /proc/self/stat; ls /proc/$$/fd; readlink /proc/$$/fd/0; cat";
    let shell = ["sh", "-c", look];
    let alone = lab.to_end(&mut lab.fixed(&shell))?.success()?;
    let traced = lab.run(&[], &shell)?;
    assert_eq!(traced.finished.stdout, alone.stdout);
    assert_eq!(traced.finished.stderr, alone.stderr);
    Ok(())
}

/// What goes in and out is not touched, byte for byte.
#[test]
fn input_output_and_error_pass_untouched() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let bytes: Vec<u8> = (0..1_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(lab.path("in"), &bytes)?;
    let pipeline = format!(
        "exec <{0}/in >{0}/out 2>{0}/err; exec {1} -- sh -c 'cat; echo to stderr >&2'",
        lab.dir().display(),
        lab.memtrace_run(&[])?
            .iter()
            .take_while(|word| *word != "--")
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    );
    let finished = lab
        .to_end(&mut lab.fixed(&["sh", "-c", &pipeline]))?
        .success()?;
    assert_eq!(
        (finished.stdout.as_str(), finished.stderr.as_str()),
        ("", "")
    );
    assert!(
        fs::read(lab.path("out"))? == bytes,
        "standard output differs from standard input"
    );
    assert_eq!(fs::read_to_string(lab.path("err"))?, "to stderr\n");
    Ok(())
}

/// The report goes to standard error, after the command's own lines, and -q leaves it out.
#[test]
fn the_report_goes_to_standard_error_only() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let finished = lab
        .to_end(&mut lab.fixed(&[memtrace.as_str(), "run", "--", "echo", "hello"]))?
        .success()?;
    assert_eq!(finished.stdout, "hello\n");
    assert!(
        finished.stderr.contains("exact"),
        "no certificate: {}",
        finished.stderr
    );
    let finished = lab
        .to_end(&mut lab.fixed(&[memtrace.as_str(), "run", "-q", "--", "echo", "hello"]))?
        .success()?;
    assert_eq!(
        (finished.stdout.as_str(), finished.stderr.as_str()),
        ("hello\n", "")
    );
    Ok(())
}

/// With the command's own output elsewhere, JSON can go to standard output.
#[test]
fn json_goes_to_standard_output_if_the_command_does_not_use_it() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let out = lab.path("out").display().to_string();
    let line = [
        memtrace.as_str(),
        "run",
        "-q",
        "--json",
        "-",
        "--stdout",
        &out,
        "--",
        "echo",
        "hello",
    ];
    let finished = lab.to_end(&mut lab.fixed(&line))?.success()?;
    assert_eq!(fs::read_to_string(out)?, "hello\n");
    let summary = Summary::parse(&finished.stdout)?;
    summary.assert_exact();
    assert_eq!(summary.command, ["echo", "hello"]);
    Ok(())
}

/// Names that try to look like something else are data, whatever they contain.
#[test]
fn names_with_control_characters_do_not_reach_the_terminal() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let evil = "\u{1b}[2J\u{7}\r\nfake\u{202e}";
    let mut line = vec![memtrace.as_str(), "run", "--per-process", "-v", "--"];
    let script = lab.script("");
    line.extend(script.iter().map(String::as_str));
    line.extend(["name", evil, "tag", evil]);
    let finished = lab.to_end(&mut lab.fixed(&line))?.success()?;
    for hidden in ['\u{1b}', '\u{7}', '\r', '\u{202e}'] {
        assert!(
            !finished.stderr.contains(hidden),
            "{hidden:?} in {:?}",
            finished.stderr
        );
    }
    let mut line = lab.script("");
    line.extend(["name", evil, "tag", evil].map(str::to_owned));
    let run = lab.run(&[], &line)?;
    run.summary.assert_exact();
    let command = &run.summary.root()?.last_image()?.command;
    assert_eq!(
        command.last().context("no command")?,
        evil,
        "JSON keeps them"
    );
    Ok(())
}

/// A limit on images that is too small is a loss that the certificate tells.
#[test]
fn a_map_that_is_too_small_is_never_exact() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = format!(
        "{} nap-us 1000 {}",
        "fork{ anon 10 ".repeat(30),
        "} wait ".repeat(30)
    );
    let run = lab.trace_with(&["--max-images", "8"], &words)?;
    let certificate = &run.summary.certificate;
    assert_ne!(certificate.verdict, "exact", "{certificate:?}");
    assert!(certificate.lost.maps_full > 0, "{certificate:?}");
    assert!(!certificate.reasons.is_empty(), "{certificate:?}");
    Ok(())
}

/// With --user the command runs as that user, and the result is as exact.
#[test]
fn the_command_runs_as_another_user() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for user in ["nobody", "65534"] {
        let run = lab.run(&["--user", user], &["sh", "-c", "id -u; id -g"])?;
        assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
        assert_eq!(run.finished.stdout, "65534\n65534\n", "--user {user}");
        run.summary.assert_exact();
    }
    Ok(())
}

/// Under sudo, files belong to the user who called it.
#[test]
fn output_files_belong_to_the_user_who_called_sudo() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    std::os::unix::fs::chown(lab.dir(), Some(65534), Some(65534))?;
    let line = [lab.memtrace_run(&[])?, vec![workloads::NOTHING.to_owned()]].concat();
    let mut command = lab.fixed(&line);
    command
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534")
        .env("SUDO_USER", "nobody");
    lab.to_end(&mut command)?.success()?;
    let json = fs::metadata(lab.path("summary.json"))?;
    assert_eq!((json.uid(), json.gid()), (65534, 65534));

    // Where that user may not write, root's rights do not help.
    std::os::unix::fs::chown(lab.dir(), Some(0), Some(0))?;
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755))?;
    fs::remove_file(lab.path("summary.json"))?;
    let finished = lab.to_end(&mut command)?;
    assert_eq!(finished.code(), Some(125), "{}", finished.stderr);
    assert!(!lab.has("summary.json"));
    Ok(())
}

/// runit's block has runit's labels.
#[test]
fn the_runit_format_has_its_labels_in_order() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let line = [
        memtrace.as_str(),
        "run",
        "--format",
        "runit",
        "--",
        "sh",
        "-c",
        "exit 3",
    ];
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(finished.code(), Some(3));
    let mut rest = finished.stderr.as_str();
    for label in [
        "totalmem",
        "available",
        "free",
        "retval",
        "real",
        "user",
        "sys",
        "maxrss",
        "avgrss",
        "maxvsize",
        "avgvsize",
    ] {
        let Some((_, after)) = rest.split_once(label) else {
            panic!("{label} is missing or out of order in {}", finished.stderr);
        };
        rest = after;
    }
    Ok(())
}

/// The table of processes has a line for each.
#[test]
fn the_table_has_a_line_for_every_process() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let json = lab.path("summary.json").display().to_string();
    let memtrace = memtrace()?.display().to_string();
    let mut line = vec![memtrace, "run".to_owned(), "--per-process".to_owned()];
    line.extend(["--json".to_owned(), json, "--".to_owned()]);
    line.extend(lab.script("loop{ 5 fork{ anon 100 exit 7 } reap }"));
    let finished = lab.to_end(&mut lab.fixed(&line))?.success()?;
    let summary = Summary::read(&lab.path("summary.json"))?;
    assert_eq!(summary.processes.len(), 6);
    for process in &summary.processes {
        let pid = process.pid.to_string();
        let lines = finished.stderr.lines();
        let found = lines.filter(|line| line.split_whitespace().next() == Some(pid.as_str()));
        assert_eq!(found.count(), 1, "process {pid} in {}", finished.stderr);
    }
    Ok(())
}

/// memtrace goes first where it may, so that its buffers are read in time; the command has the
/// priority that memtrace was started with.
#[test]
fn only_memtrace_goes_first() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut partner = lab.converse(&[], "status @top say ready hear")?;
    partner.expect("ready")?;
    let own = niceness(std::process::id())?;
    assert_eq!(niceness(lab.status("top")?.pid()?)?, own);
    assert_eq!(niceness(partner.pid())?, own.min(-10));
    partner.tell()?;
    let (status, said) = partner.finish()?;
    assert!(status.success(), "{said}");
    Ok(())
}

/// `nice` in `proc_pid_stat(5)`.
fn niceness(pid: u32) -> Result<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    Ok(fields
        .split_whitespace()
        .nth(16)
        .context("no nice value")?
        .parse()?)
}
