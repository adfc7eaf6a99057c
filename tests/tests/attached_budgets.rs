//! Budgets of what runs already: judged from the moment on at which memtrace attaches, and trees that are ended
//! at a limit.

use std::fs;

use anyhow::Result;
use memtrace_tests::{
    Attached, Lab, Partner, attach_refused, begin, exact_status, mib, page, require,
    require_privileges, workloads,
};
use nix::sys::signal::Signal;

const MISSED: Option<i32> = Some(124);

/// What was before does not count, what is there does, and one page decides.
#[test]
fn what_is_there_counts_and_what_was_before_does_not() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let mut workload = begin(&lab, "anon 900 unmap anon 300 status @held say ready hear")?;
    workload.expect("ready")?;
    let held = lab.status("held")?.rss()?;
    let pid = [workload.pid().to_string()];
    let junit = lab.path("junit.xml");
    for option in ["--max-peak", "--max-process-peak", "--max-average"] {
        for (limit, status) in [(held, Some(0)), (held - page(), MISSED)] {
            let options = [
                option,
                &limit.to_string(),
                "--junit",
                &junit.display().to_string(),
                "--duration",
                "1ms",
            ];
            let (code, summary) = Attached::to(&lab, &pid, &options)?.finish_anyhow()?;
            assert_eq!(
                (code, summary.tree.peak_rss_bytes),
                (status, held),
                "{option}"
            );
            let xml = fs::read_to_string(&junit)?;
            let missed = xml.contains("is 4.0 KiB over the limit of");
            assert_eq!(missed, status == MISSED, "{option}: {xml}");
            assert!(xml.contains("/script anon 900 "), "{xml}");
        }
    }
    workload.tell()?;
    workload.finish()?;
    Ok(())
}

/// What a file has for a command is for processes that run it; of several, if all do.
#[test]
fn a_budget_file_is_for_what_the_processes_run() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let file = lab.path("memtrace.toml");
    let options = [
        "--budgets",
        &file.display().to_string(),
        "--duration",
        "1ms",
    ];
    let mut workloads = Vec::new();
    for words in ["anon 10 say ready hear", "anon 11 say ready hear"] {
        let mut workload = begin(&lab, words)?;
        workload.expect("ready")?;
        workloads.push(workload);
    }
    let pids: Vec<String> = workloads.iter().map(|one| one.pid().to_string()).collect();
    for (pattern, pids, status) in [
        ("script", &pids[..1], MISSED),
        ("make", &pids[..1], Some(0)),
        ("script", &pids[..], MISSED),
        ("*script anon 10 *", &pids[..1], MISSED),
        ("*script anon 10 *", &pids[..], Some(0)),
    ] {
        fs::write(
            &file,
            format!("[[budget]]\ncommand = \"{pattern}\"\nmax-peak = 1\n"),
        )?;
        let (code, _) = Attached::to(&lab, pids, &options)?.finish_anyhow()?;
        assert_eq!(code, status, "{pattern}: {pids:?}");
    }
    for mut workload in workloads {
        workload.tell()?;
        workload.finish()?;
    }
    Ok(())
}

/// All of the tree is ended, those in other sessions too, and nobody else.
#[test]
fn a_tree_that_crosses_its_limit_is_ended() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = format!(
        "pipe 0 loop{{ 4 fork{{ anon 50 fork{{ setsid anon 50 post 0 nap-us 100000000 }} nap-us 100000000 }} }} \
            await 0 await 0 await 0 await 0 say ready hear anon {} nap-us 100000000",
        mib(64)
    );
    let mut stranger = begin(&lab, "say ready hear say goes-on")?;
    stranger.expect("ready")?;
    let mut workload = begin(&lab, &words)?;
    workload.expect("ready")?;
    let pid = [workload.pid().to_string()];
    let attached = Attached::to(
        &lab,
        &pid,
        &["--kill", "--max-peak", "60MiB", "--kill-after", "10m"],
    )?;
    workload.tell()?;
    let (code, _) = attached.finish_anyhow()?;
    assert_eq!(code, MISSED);
    // Its pipe has no end before all that have it have ended.
    let (status, _) = workload.finish()?;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(Signal::SIGTERM as i32)
    );
    let json: serde_json::Value = serde_json::from_slice(&fs::read(lab.path("summary.json"))?)?;
    let ended = &json["ended_by_limit"];
    assert_eq!(
        (
            &ended["limit_bytes"],
            &ended["terminated"],
            &ended["killed"]
        ),
        (&(60 << 20).into(), &9.into(), &0.into()),
        "{ended}"
    );
    assert_eq!(json["signal"], 15);
    stranger.tell()?;
    stranger.expect("goes-on")?;
    stranger.finish()?;
    Ok(())
}

/// Who is over the limit already is ended, and who does not end when asked is killed, though the time is over.
#[test]
fn an_end_is_waited_for_beyond_the_time() -> Result<()> {
    require_privileges!();
    if !workloads::installed("sh") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let shell = "trap '' TERM; echo ready; while :; do read line; done";
    let mut workload = Partner::start(&mut lab.fixed(&["sh", "-c", shell]))?;
    workload.expect("ready")?;
    let pid = [workload.pid().to_string()];
    let options = ["--kill", "--max-peak", "1", "--kill-after", "50ms"];
    let options = [&options[..], &["--duration", "1ms"]].concat();
    let (code, _) = Attached::to(&lab, &pid, &options)?.finish_anyhow()?;
    assert_eq!(code, MISSED);
    let (status, _) = workload.finish()?;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(Signal::SIGKILL as i32)
    );
    Ok(())
}

#[test]
fn nothing_is_ended_without_a_limit() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut workload = begin(&lab, "say ready hear say goes-on")?;
    workload.expect("ready")?;
    let pid = workload.pid().to_string();
    for (options, words) in [
        (&["--kill"][..], "--kill needs a limit on the peak"),
        (&["--budgets", "/nonexistent"], "cannot read /nonexistent"),
        (&["--junit", "/dev/null"], "--junit reports on budgets"),
    ] {
        let line = [options, &[pid.as_str()]].concat();
        let refused = attach_refused(&lab, &line)?;
        assert_eq!(refused.code(), Some(125), "{refused:?}");
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    workload.tell()?;
    workload.expect("goes-on")?;
    workload.finish()?;
    Ok(())
}
