//! Commands started by `memtrace::launch`: what they find, how they end, and
//! what is left when the tracer dies.
//!
//! Signal dispositions and masks belong to a whole process or thread, so every
//! test that changes them does it in a process forked for it alone
//! ([`process::in_child`]).
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "launch/process.rs"]
mod process;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use memtrace::launch::{
    Finished, Inherited, LaunchError, Running, Signals, Spec, Stopped, exit_like, spawn_stopped,
};

use process::{Directory, Fifo, exists, in_child, is_root, state_of, wait_for};

fn stopped(spec: &Spec) -> Stopped {
    spawn_stopped(spec, &Inherited::current()).unwrap()
}

fn running(spec: &Spec) -> Running {
    stopped(spec).release().unwrap()
}

fn shell(script: &str) -> Spec {
    Spec::new(["/bin/sh", "-c", script])
}

fn finish(spec: &Spec) -> Finished {
    running(spec).wait().unwrap()
}

/// What a command writes to the file `$OUT`.
fn output_with(spec: Spec, inherited: &Inherited) -> String {
    let directory = Directory::new();
    let file = directory.0.path().join("out");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let stopped = spawn_stopped(&spec.env("OUT", &file), inherited).unwrap();
    let finished = stopped.release().unwrap().wait().unwrap();
    assert_eq!(finished.status, 0);
    fs::read_to_string(file).unwrap()
}

fn output_of(script: &str) -> String {
    output_with(shell(script), &Inherited::current())
}

#[test]
fn exit_codes_pass() {
    for code in [0, 7, 125, 255] {
        let finished = finish(&shell(&format!("exit {code}")));
        assert_eq!(finished.exit_status(), Some(code));
        assert_eq!(finished.signal(), None);
    }
}

#[test]
fn deaths_by_signal_pass() {
    for signal in [libc::SIGKILL, libc::SIGALRM, libc::SIGXCPU] {
        let finished = finish(&shell(&format!("kill -{signal} $$")));
        assert_eq!(finished.signal(), Some(signal));
        assert_eq!(finished.exit_status(), None);
    }
}

#[test]
fn what_cannot_run_says_so_as_gnu_time_does() {
    let directory = Directory::new();
    let plain = directory.file("plain", "exit 0\n", 0o644);
    let gone = directory.0.path().join("gone");
    let inside = plain.join("inside");
    let missing = "memtrace-no-such-command";
    for (file, code, reason) in [
        (missing, 127, "No such file or directory"),
        ("", 127, "No such file or directory"),
        (gone.to_str().unwrap(), 127, "No such file or directory"),
        (plain.to_str().unwrap(), 126, "Permission denied"),
        ("/", 126, "Permission denied"),
        (inside.to_str().unwrap(), 126, "Not a directory"),
    ] {
        let error = stopped(&Spec::new([file])).release().unwrap_err();
        assert_eq!(error.exit_code(), code, "{file}");
        assert_eq!(error.to_string(), format!("cannot run {file}: {reason}"));
        let LaunchError::CannotRun { finished, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(finished.exit_status(), Some(code), "{file}");
    }
    let none = spawn_stopped(&Spec::new([""; 0]), &Inherited::current()).unwrap_err();
    assert_eq!(none.exit_code(), 125);
    assert!(spawn_stopped(&Spec::new(["a\0b"]), &Inherited::current()).is_err());
}

#[test]
fn the_path_is_searched_as_execvp_does() {
    let directory = Directory::new();
    let (first, second) = (directory.0.path().join("1"), directory.0.path().join("2"));
    fs::create_dir(&first).unwrap();
    fs::create_dir(&second).unwrap();
    fs::write(first.join("mt-cmd"), "#!/bin/sh\nexit 1\n").unwrap();
    directory.file("2/mt-cmd", "#!/bin/sh\nexit 2\n", 0o755);
    let path = format!("{}:/nowhere:{}", first.display(), second.display());
    let spec = Spec::new(["mt-cmd"]).env("PATH", path);
    // The first may not be executed, so the search goes on.
    assert_eq!(finish(&spec).exit_status(), Some(2));
    fs::remove_file(second.join("mt-cmd")).unwrap();
    let error = stopped(&spec).release().unwrap_err();
    assert_eq!(
        error.exit_code(),
        126,
        "denied anywhere counts more: {error}"
    );
}

#[test]
fn a_script_without_interpreter_line_runs_in_the_shell() {
    let directory = Directory::new();
    let script = directory.file("script", "test \"$1|$2\" = 'a b|c' && exit 9\n", 0o755);
    let spec = Spec::new([script.as_os_str(), "a b".as_ref(), "c".as_ref()]);
    assert_eq!(finish(&spec).exit_status(), Some(9));
}

#[test]
fn arguments_environment_and_directory_arrive() {
    let script = "printf '%s|' \"$0\" \"$@\" \"$MT_NEW\" \"${MT_GONE-none}\" \"$PWD\" >>$OUT";
    let spec = Spec::new(["/bin/sh", "-c", script, "zero", "", "a  b", "\u{e9}"])
        .env("MT_NEW", "x=y")
        .env("MT_GONE", "here")
        .env_remove("MT_GONE")
        .start_dir("/");
    let text = output_with(spec, &Inherited::current());
    assert_eq!(text, "zero||a  b|\u{e9}|x=y|none|/|");

    // Nothing is added, lost or reordered.
    let theirs = output_of("tr '\\0' '\\n' </proc/$$/environ >>$OUT; :");
    let ours = fs::read_to_string("/proc/self/environ")
        .unwrap()
        .replace('\0', "\n");
    let theirs: Vec<_> = theirs
        .lines()
        .filter(|line| !line.starts_with("OUT="))
        .collect();
    assert_eq!(theirs, ours.lines().collect::<Vec<_>>());

    let error = stopped(&Spec::new(["true"]).start_dir("/no/such"))
        .release()
        .unwrap_err();
    assert_eq!(error.exit_code(), 125);
    assert!(
        error.to_string().contains("\"/no/such\": No such file"),
        "{error}"
    );
}

/// What a program without a shell around it writes to its standard output;
/// redirects that of this process, so only for [`in_child`].
fn direct_output(argv: &[&str], inherited: &Inherited) -> String {
    let directory = Directory::new();
    let file = directory.0.path().join("out");
    process::redirect_stdout(&fs::File::create(&file).unwrap());
    let stopped = spawn_stopped(&Spec::new(argv), inherited).unwrap();
    let mut running = stopped.release().unwrap();
    assert_eq!(running.wait().unwrap().status, 0);
    fs::read_to_string(file).unwrap()
}

#[test]
fn streams_and_descriptors_are_exactly_the_callers() {
    let status = in_child(|| {
        process::close_from(3);
        let theirs = direct_output(&["ls", "/proc/self/fd"], &Inherited::current());
        // 3 is its own, on the directory that it lists.
        assert_eq!(theirs, "0\n1\n2\n3\n");
        let paths = ["/proc/self/fd/0", "/proc/self/fd/2"];
        let theirs = direct_output(&["readlink", paths[0], paths[1]], &Inherited::current());
        let ours = paths.map(|path| format!("{}\n", fs::read_link(path).unwrap().display()));
        assert_eq!(theirs, ours.concat());
        0
    });
    assert_eq!(status, 0);
}

#[test]
fn group_session_and_priority_are_the_callers() {
    // pgrp, session, tty and nice are fields 5, 6, 7 and 19 of /proc/PID/stat.
    let fields = |stat: &str| -> Vec<String> {
        let after = stat.rsplit(')').next().unwrap();
        let fields: Vec<_> = after.split_ascii_whitespace().collect();
        [2, 3, 4, 16]
            .iter()
            .map(|index| fields[*index].to_owned())
            .collect()
    };
    let theirs = output_of("read -r line </proc/$$/stat; echo \"$line\" >>$OUT");
    let ours = fs::read_to_string("/proc/self/stat").unwrap();
    assert_eq!(fields(&theirs), fields(&ours));
}

/// A set of signals that `grep` finds in its own status file.
fn own_signals(name: &str, inherited: &Inherited) -> u64 {
    let line = direct_output(
        &["grep", &format!("^{name}:"), "/proc/self/status"],
        inherited,
    );
    u64::from_str_radix(line.split_ascii_whitespace().nth(1).unwrap(), 16).unwrap()
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

#[test]
fn dispositions_and_mask_are_the_inherited_ones() {
    let status = in_child(|| {
        // A parent that used glibc's posix_spawn left signal 32 ignored.
        let before = own_signals("SigIgn", &Inherited::current());
        let (ignored_too, blocked) = (bit(libc::SIGHUP) | bit(libc::SIGCHLD), bit(libc::SIGWINCH));
        process::ignore(libc::SIGHUP);
        process::ignore(libc::SIGCHLD);
        process::handle(libc::SIGUSR1);
        process::block(&[libc::SIGWINCH]);
        let signals = Signals::take_over().unwrap();
        // SIGINT, SIGQUIT and SIGPIPE are ignored here but not by the command.
        let ignored = own_signals("SigIgn", signals.inherited());
        assert_eq!(ignored, before | ignored_too, "{ignored:x}");
        assert_eq!(own_signals("SigBlk", signals.inherited()), blocked);
        0
    });
    assert_eq!(status, 0);
}

#[test]
fn ignored_sigpipe_and_closed_streams_of_the_caller_reach_the_command() {
    // Only a new program has a runtime that changes them: this test binary,
    // which runs the test below and prints what that saw.
    let me = std::env::current_exe().unwrap();
    let run = |prelude: &str| {
        let script = format!("{prelude} exec \"$0\" --exact what_a_new_program_hands_on");
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .arg(&me)
            .env("MEMTRACE_HELPER", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        let line = text
            .lines()
            .find_map(|line| line.split_once("SEEN "))
            .unwrap();
        line.1.to_owned()
    };
    assert_eq!(run(""), "pipe=0 stdin=open");
    assert_eq!(run("trap '' PIPE;"), "pipe=1 stdin=open");
    assert_eq!(run("exec 0<&-;"), "pipe=0 stdin=closed");
}

#[test]
fn what_a_new_program_hands_on() {
    let text = output_of("grep SigIgn: /proc/self/status >>$OUT");
    let ignored = u64::from_str_radix(text.split_ascii_whitespace().nth(1).unwrap(), 16).unwrap();
    let pipe = u8::from(ignored & bit(libc::SIGPIPE) != 0);
    let script = "if [ -e /proc/$$/fd/0 ]; then echo open >>$OUT; else echo closed >>$OUT; fi";
    let stdin = output_of(script);
    let stdin = stdin.trim_end();
    assert!(matches!(stdin, "open" | "closed"), "{stdin}");
    if std::env::var_os("MEMTRACE_HELPER").is_some() {
        process::print_uncaptured(&format!("SEEN pipe={pipe} stdin={stdin}"));
    }
}

#[test]
fn a_name_shows_before_the_command_does() {
    let mut stopped = stopped(&shell("exit 3"));
    let comm = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    stopped.rename(b"memtrace-exec\0\0\0").unwrap();
    assert_eq!(comm(stopped.pid()), "memtrace-exec\n");
    stopped.rename(b"0123456789abcdef").unwrap();
    assert_eq!(comm(stopped.pid()), "0123456789abcde\n");
    assert_eq!(
        stopped.release().unwrap().wait().unwrap().exit_status(),
        Some(3)
    );
}

#[test]
fn dropping_ends_and_reaps_without_running() {
    let directory = Directory::new();
    let mark = directory.0.path().join("ran");
    let spec = Spec::new(["touch".as_ref(), mark.as_os_str()]);
    let process = stopped(&spec);
    let pid = process.pid();
    assert!(exists(pid));
    drop(process);
    assert!(!exists(pid), "a zombie would still exist");

    // Also one that somebody stopped.
    let process = stopped(&spec);
    let pid = process.pid();
    process::kill(pid, libc::SIGSTOP);
    wait_for("the stop", || state_of(pid) == Some('T'));
    drop(process);
    assert!(!exists(pid));
    assert!(!mark.exists());
}

#[test]
fn a_death_before_the_release_is_told() {
    for release_at_once in [true, false] {
        let mut process = stopped(&shell("exit 0"));
        let pid = process.pid();
        process::kill(pid, libc::SIGALRM);
        wait_for("the death", || state_of(pid) == Some('Z'));
        let result = if release_at_once {
            process.release().map(drop)
        } else {
            process.rename(b"memtrace-exec\0\0\0")
        };
        let Err(LaunchError::EndedEarly(finished)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(finished.signal(), Some(libc::SIGALRM));
        assert!(!exists(pid));
    }
}

#[test]
fn the_command_never_outlives_a_killed_tracer_unreleased() {
    let directory = Directory::new();
    let mark = directory.0.path().join("ran");
    let fifo = Fifo::new(&directory);
    let spec = Spec::new(["touch".as_ref(), mark.as_os_str()]);
    let tracer = process::fork_child(|| {
        let process = stopped(&spec);
        fifo.write_line(&process.pid().to_string());
        process::sleep_forever()
    });
    let pid = fifo.read_line().parse().unwrap();
    assert!(exists(pid));
    process::kill(tracer, libc::SIGKILL);
    assert_eq!(process::wait_status(tracer), libc::SIGKILL);
    // Its new parent reaps it, or will: a zombie has ended.
    wait_for("the end of the orphan", || {
        matches!(state_of(pid), None | Some('Z'))
    });
    assert!(!mark.exists());
}

#[test]
fn a_stopped_command_is_still_waited_for() {
    let mut running = running(&shell("kill -STOP $$; exit 6"));
    let pid = running.pid();
    wait_for("the stop", || state_of(pid) == Some('T'));
    assert!(running.try_wait().unwrap().is_none());
    running.forward(libc::SIGCONT).unwrap();
    let finished = running.wait().unwrap();
    assert_eq!(finished.exit_status(), Some(6));
    // Again, and a signal that must not hit whoever has the number next.
    assert_eq!(running.try_wait().unwrap().unwrap().status, finished.status);
    running.forward(libc::SIGKILL).unwrap();
}

#[test]
fn times_and_usage_are_the_commands() {
    let mut running = running(&shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"));
    let pidfd = running.try_clone_pidfd().unwrap();
    if let Some(pidfd) = pidfd {
        process::poll_readable(&pidfd);
        assert!(
            running.try_wait().unwrap().is_some(),
            "readable means ended"
        );
    }
    let finished = running.wait().unwrap();
    assert!(finished.started_ns < finished.ended_ns);
    assert_eq!(
        finished.elapsed().as_nanos(),
        u128::from(finished.ended_ns - finished.started_ns)
    );
    assert!(finished.rusage.ru_maxrss > 0 && finished.rusage.ru_minflt > 0);
}

#[test]
fn another_user_with_all_groups() {
    if !is_root() {
        return;
    }
    let user = Spec::resolve_user("4000000001").unwrap();
    let spec = shell("id -u >>$OUT; id -G >>$OUT; grep CapEff /proc/self/status >>$OUT");
    let text = output_with(spec.user(user.clone()), &Inherited::current());
    assert_eq!(text, "4000000001\n4000000001\nCapEff:\t0000000000000000\n");

    let status = in_child(move || {
        process::become_user(4_000_000_002);
        let error = stopped(&shell("exit 0").user(user)).release().unwrap_err();
        assert_eq!(error.exit_code(), 125);
        assert!(error.to_string().contains("sudo"), "{error}");
        0
    });
    assert_eq!(status, 0);
}

#[path = "launch/signals.rs"]
mod signals;

/// Exit statuses are tested end to end: a process forked from one with threads, as
/// the test harness is, cannot call exit(3), whose locks may be held forever.
#[test]
fn ending_as_the_command_did() {
    for (script, status) in [
        ("kill -TERM $$", libc::SIGTERM),
        ("kill -KILL $$", libc::SIGKILL),
        ("kill -INT $$", libc::SIGINT),
        ("kill -SEGV $$", libc::SIGSEGV),
    ] {
        let got = in_child(move || {
            let mut signals = Signals::take_over().unwrap();
            let stopped = spawn_stopped(&shell(script), signals.inherited()).unwrap();
            let finished = stopped.release().unwrap().wait().unwrap();
            signals.restore();
            exit_like(finished.status)
        });
        // No bit 7: this process left no core dump, whatever its command did.
        assert_eq!(got, status, "{script}");
    }
    // Also where the signal was blocked and ignored all along.
    let got = in_child(|| {
        process::block(&[libc::SIGTERM]);
        process::ignore(libc::SIGTERM);
        exit_like(libc::SIGTERM)
    });
    assert_eq!(got, libc::SIGTERM);
}
