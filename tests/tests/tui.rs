//! `--tui`: the screen of `memtrace top` while a result comes about.

use std::{fs, process::Command};

use anyhow::Result;
use memtrace_tests::{
    ENTERS, LEAVES, Lab, OnTerminal, Recorded, Summary, begin, memtrace, require_privileges,
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

#[test]
fn where_there_can_be_no_screen_that_is_said() -> Result<()> {
    let lab = Lab::new()?;
    for (options, words) in [
        (&["attach", "--tui", "1"][..], "--tui needs a terminal"),
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
