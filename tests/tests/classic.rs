//! The fallback for counters of an unknown layout: values from the classic tracepoint.

use std::process::Command;

use anyhow::Result;
use memtrace_tests::{Lab, Missing, Run, lacks, page, require_privileges, skip};

/// Before a command: it sees tracefs, mounted for it alone if it is not there already (mounting
/// it twice at one place is refused).
const WITH_TRACEFS: [&str; 6] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "test -e /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing && exec \"$@\"",
    "sh",
];

/// Runs a script under `memtrace run` with tracefs mounted where only it sees it.
fn trace(lab: &Lab, options: &[&str], words: &str) -> Result<Run> {
    let mut line: Vec<String> = WITH_TRACEFS.map(str::to_owned).to_vec();
    line.extend(lab.memtrace_run(options)?);
    line.extend(lab.script(words));
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    lab.summary(finished)
}

/// Whether tracefs can be had.
fn tracefs() -> Result<(), Missing> {
    let [unshare, rest @ ..] = WITH_TRACEFS;
    let mounted = Command::new(unshare)
        .args(rest)
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success());
    if mounted {
        Ok(())
    } else {
        Err(Missing("tracefs cannot be mounted here".to_owned()))
    }
}

/// Every page shows, however the kernel keeps its counters.
#[test]
fn n_pages_raise_the_peak_by_n_pages_without_knowing_the_layout() -> Result<()> {
    require_privileges!();
    if let Err(missing) = tracefs() {
        skip(&missing);
        return Ok(());
    }
    if lacks("exact-tracepoint") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let peak = |words: &str| -> Result<u64> {
        let run = trace(&lab, &["--classic-tracepoint"], words)?;
        run.summary.assert_exact();
        Ok(run.summary.tree.peak_anon_bytes)
    };
    let none = peak("anon 00000")?;
    for n in [1_u64, 31, 32, 33, 64, 600] {
        assert_eq!(
            peak(&format!("anon {n:05}"))? - none,
            n * page(),
            "{n} pages"
        );
    }
    Ok(())
}

/// A tree of several processes is the same with both sources of values.
#[test]
fn a_forking_tree_has_the_same_peak_either_way() -> Result<()> {
    require_privileges!();
    if let Err(missing) = tracefs() {
        skip(&missing);
        return Ok(());
    }
    if lacks("exact-tracepoint") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let words = "anon 01000 fork{ anon 02000 } wait anon 00500";
    let own = trace(&lab, &[], words)?.summary;
    let classic = trace(&lab, &["--classic-tracepoint"], words)?.summary;
    own.assert_exact();
    classic.assert_exact();
    assert_eq!(own.tree.peak_rss_bytes, classic.tree.peak_rss_bytes);
    assert_eq!(own.tree.peak_anon_bytes, classic.tree.peak_anon_bytes);
    assert_eq!(own.processes.len(), classic.processes.len());
    Ok(())
}
