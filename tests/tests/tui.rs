//! `--tui`: the screen of `memtrace top` while a result comes about.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;
use memtrace_tests::{
    ENTERS, LEAVES, Lab, OnTerminal, Recorded, Summary, await_some, begin, exact_status, memtrace,
    require, require_privileges,
};

/// Whoever leaves the screen of attach has the result so far, and so has whoever waits for the end.
#[test]
fn a_screen_of_attach_ends_with_the_result() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for leaves in [true, false] {
        let mut workload = begin(&lab, "anon 300 say ready hear say goes-on")?;
        workload.expect("ready")?;
        let pid = workload.pid().to_string();
        let json = lab.path("summary.json");
        let _ = fs::remove_file(&json);
        let line = [
            "attach",
            "--tui",
            "--json",
            "summary.json",
            "-o",
            "it.memtrace",
            "--force",
        ];
        let line = [&line[..], &["--max-peak", "1", &pid]].concat();
        let mut attach = OnTerminal::start(&lab, &line)?;
        attach.await_text(ENTERS)?;
        attach.await_text("COMMAND")?;
        attach.await_text("exact")?;
        assert!(attach.is_raw()?);
        assert!(
            !attach.shown().contains("certificate"),
            "{}",
            attach.shown()
        );
        attach.forget();
        if leaves {
            attach.press("q")?;
        } else {
            workload.tell()?;
        }
        attach.await_text(LEAVES)?;
        attach.await_text("attached  to process")?;
        let status = attach.end()?;
        assert!(!attach.is_raw()?);
        // Budgets are judged as without.
        assert_eq!(status.code(), Some(124));
        let summary = Summary::read(&json)?;
        assert_eq!(summary.tree.survivors, u64::from(leaves));
        Recorded::read(&lab.path("it.memtrace"))?;
        if leaves {
            workload.tell()?;
        }
        workload.expect("goes-on")?;
        workload.finish()?;
    }
    Ok(())
}

/// What the command of run prints is shown when the screen is gone, in its order, before the result. Keys that send
/// signals send them to the command.
#[test]
fn what_the_command_prints_is_shown_afterwards() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    // By name, too: that must not cut short what is kept. And what is not `wait` puts the trap off.
    let script = "trap 'kill $!; echo interrupted; exit 7' INT\n\
        echo first; echo second >/dev/stderr; read line || echo no input\n\
        sleep 1000 & echo >fifo; wait\n";
    fs::write(lab.path("job.sh"), script)?;
    nix::unistd::mkfifo(&lab.path("fifo"), nix::sys::stat::Mode::S_IRWXU)?;
    let line = [
        "run",
        "--tui",
        "--json",
        "summary.json",
        "--",
        "sh",
        "job.sh",
    ];
    let mut run = OnTerminal::start_session(&lab, &line)?;
    run.await_text(ENTERS)?;
    // Not before it waits.
    fs::read(lab.path("fifo"))?;
    assert!(run.is_raw()?);
    assert!(!run.shown().contains("first"), "{}", run.shown());
    run.forget();
    run.press("\x03")?;
    run.await_text(LEAVES)?;
    run.await_text("first\r\nsecond\r\nno input\r\n")?;
    // A shell may say more of what it waited for.
    run.await_text("interrupted\r\nmemtrace: ")?;
    let status = run.end()?;
    assert!(!run.is_raw()?);
    assert_eq!(status.code(), Some(7));
    let summary = Summary::read(&lab.path("summary.json"))?;
    assert_eq!(summary.exit_status, Some(7));
    Ok(())
}

/// Who leaves the screen of run does not end the command.
#[test]
fn the_command_goes_on_without_the_screen() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    nix::unistd::mkfifo(&lab.path("fifo"), nix::sys::stat::Mode::S_IRWXU)?;
    fs::write(lab.path("job.sh"), "echo first; cat fifo; echo last\n")?;
    let line = ["run", "--tui", "--", "sh", "job.sh"];
    let mut run = OnTerminal::start_session(&lab, &line)?;
    run.await_text(ENTERS)?;
    run.await_text("COMMAND")?;
    run.forget();
    run.press("q")?;
    run.await_text(LEAVES)?;
    run.await_text("the command goes on")?;
    assert!(!run.is_raw()?);
    assert!(!run.shown().contains("first"), "{}", run.shown());
    fs::write(lab.path("fifo"), "between\n")?;
    run.await_text("first\r\nbetween\r\nlast\r\nmemtrace: ")?;
    assert_eq!(run.end()?.code(), Some(0));
    Ok(())
}

/// A terminal that goes away (its window is closed) takes the screen with it, and not the result.
#[test]
fn a_terminal_that_goes_away_ends_no_more_than_the_screen() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    nix::unistd::mkfifo(&lab.path("fifo"), nix::sys::stat::Mode::S_IRWXU)?;
    // Who only has no terminal any more goes on.
    fs::write(
        lab.path("job.sh"),
        "trap '' HUP; echo first; cat fifo; exit 3\n",
    )?;
    let line = [
        "run",
        "--tui",
        "--json",
        "summary.json",
        "--",
        "sh",
        "job.sh",
    ];
    let mut run = OnTerminal::start_session(&lab, &line)?;
    run.await_text(ENTERS)?;
    run.await_text("COMMAND")?;
    run.hang_up()?;
    fs::write(lab.path("fifo"), "between\n")?;
    assert_eq!(run.end()?.code(), Some(3));
    let summary = Summary::read(&lab.path("summary.json"))?;
    assert_eq!(summary.exit_status, Some(3));
    Ok(())
}

/// The key w has what is known so far written, as --json has it at the end; nothing ends or changes by it.
#[test]
fn a_key_writes_the_result_so_far() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for command in [&["attach", "--tui"][..], &["top"]] {
        let words = "say ready hear anon 900 status @top unmap fork{ exec{ NOTHING } } wait \
            anon 300 say done hear say goes-on";
        let mut workload = begin(&lab, words)?;
        workload.expect("ready")?;
        let pid = workload.pid();
        let mut screen = OnTerminal::start(&lab, &[command, &[&pid.to_string()]].concat())?;
        screen.await_text("COMMAND")?;
        screen.await_text("exact")?;
        workload.tell()?;
        workload.expect("done")?;
        screen.press("w")?;
        let (path, text) = await_some("a whole report", || report(&lab))?;
        let summary = Summary::parse(&text)?;
        summary.assert_exact();
        assert_eq!(summary.tree.peak_rss_bytes, lab.status("top")?.rss()?);
        assert_eq!(summary.tree.processes, 2);
        assert_eq!((summary.exit_status, summary.signal), (None, None));
        let root = summary.process(pid)?;
        assert_eq!((root.end_ns, root.exit_status), (None, None));
        let children = summary.processes.iter().filter(|one| one.pid != pid);
        let ended: Vec<_> = children.map(|one| one.exit_status).collect();
        assert_eq!(ended, [Some(0)]);
        fs::remove_file(path)?;
        screen.press("q")?;
        assert!(screen.end()?.success());
        workload.tell()?;
        workload.expect("goes-on")?;
        workload.finish()?;
    }
    Ok(())
}

/// The report that is in the directory of a test, once it is whole.
fn report(lab: &Lab) -> Result<Option<(PathBuf, String)>> {
    for entry in fs::read_dir(lab.dir())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("memtrace-") && name.ends_with(".json") {
            let text = fs::read_to_string(&path)?;
            return Ok(text.ends_with('\n').then_some((path, text)));
        }
    }
    Ok(None)
}

#[test]
fn where_there_can_be_no_screen_that_is_said() -> Result<()> {
    let lab = Lab::new()?;
    for (options, words) in [
        (&["attach", "--tui", "1"][..], "--tui needs a terminal"),
        (&["run", "--tui", "true"], "--tui needs a terminal"),
        (
            &["attach", "--tui", "--live", "1"],
            "--live would write over the screen",
        ),
    ] {
        let mut command = Command::new(memtrace()?);
        command.args(options);
        let finished = lab.to_end(&mut command)?;
        assert_eq!(finished.code(), Some(125), "{finished:?}");
        assert!(finished.stderr.contains(words), "{finished:?}");
    }
    Ok(())
}
