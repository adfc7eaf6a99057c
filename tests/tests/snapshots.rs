//! Snapshots of PSS and USS: against arithmetic, and without a trace in the exact numbers.

use std::fs;

use anyhow::{Context, Result};
use memtrace_tests::{Lab, Summary, exact_status, memtrace, mib, require, require_privileges};

const MIB: u64 = 1 << 20;

/// Parent and child map 64 MiB together and hold still.
fn sharing() -> String {
    format!(
        "pipe 0 pipe 1 anon {} fork{{ status @child post 0 await 1 }} await 0 status @parent nap-us 1500000 post 1 wait",
        mib(64)
    )
}

fn rollup_exists() -> Result<(), memtrace_tests::Missing> {
    if fs::exists("/proc/self/smaps_rollup").unwrap_or(false) {
        Ok(())
    } else {
        Err(memtrace_tests::Missing(
            "no smaps_rollup (before 4.14, or without CONFIG_PROC_PAGE_MONITOR)".to_owned(),
        ))
    }
}

/// Shared pages count once in PSS, twice in RSS and not in USS; the recording has the same
/// snapshot, and the exact numbers stay so.
#[test]
fn what_is_shared_counts_once() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    require!(rollup_exists());
    let lab = Lab::new()?;
    let recording = lab.path("run.memtrace").display().to_string();
    let summary = lab.trace_with(&["-o", &recording], &sharing())?.summary;
    summary.assert_exact();
    let (parent, child) = (lab.status("parent")?.rss()?, lab.status("child")?.rss()?);
    let tree = &summary.tree;
    assert_eq!(tree.peak_rss_bytes, parent + child, "undisturbed");
    let near = tree.pss_at_peak.context("no snapshot was taken")?;
    let rest = (parent - 64 * MIB) + (child - 64 * MIB);
    assert!(rest < MIB, "the workload");
    assert!(
        (64 * MIB..=64 * MIB + rest).contains(&near.pss_bytes),
        "{near:?} with {rest} bytes beside what is shared"
    );
    assert!(near.uss_bytes <= rest, "{near:?}");
    assert_eq!(near.rss_distance_bytes, 0, "{near:?}");
    assert_eq!(near.distance_ns, near.at_ns - tree.peak_at_ns);
    // The peak had settled, and both still lived.
    assert!(near.distance_ns >= 20_000_000, "{near:?}");
    let ends = summary
        .processes
        .iter()
        .filter_map(|process| process.end_ns);
    assert!(ends.min().is_some_and(|end| near.at_ns < end), "{near:?}");
    let same = tree.snapshots.iter().find(|s| s.at_ns == near.at_ns);
    assert_eq!(same.map(|s| s.rss_bytes), Some(parent + child));
    assert!(
        tree.snapshots
            .is_sorted_by(|a, b| a.at_ns + 500_000_000 <= b.at_ns)
    );

    let json = lab.path("again.json");
    let line = [
        memtrace()?.display().to_string(),
        "report".to_owned(),
        recording,
        "--json".to_owned(),
        json.display().to_string(),
    ];
    lab.to_end(&mut lab.fixed(&line))?.success()?;
    let again = Summary::read(&json)?;
    assert_eq!(again.tree.snapshots, tree.snapshots);
    assert_eq!(again.tree.pss_at_peak, tree.pss_at_peak);
    Ok(())
}

/// An address space with two processes (vfork) counts once.
#[test]
fn an_address_space_of_two_processes_counts_once() -> Result<()> {
    require_privileges!();
    require!(rollup_exists());
    let lab = Lab::new()?;
    let words = format!(
        "anon {} vfork{{ nap-us 1500000 exec{{ NOTHING }} }} wait",
        mib(64)
    );
    let recording = lab.path("recording").display().to_string();
    let summary = lab.trace_with(&["-o", &recording], &words)?.summary;
    summary.assert_exact();
    let near = summary.tree.pss_at_peak.context("no snapshot was taken")?;
    assert!((64 * MIB..65 * MIB).contains(&near.pss_bytes), "{near:?}");
    assert!((64 * MIB..65 * MIB).contains(&near.uss_bytes), "{near:?}");
    Ok(())
}

/// The option keeps them away.
#[test]
fn none_are_taken_if_none_are_wanted() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let recording = lab.path("recording").display().to_string();
    let options = ["--no-snapshots", "-o", &recording];
    let summary = lab.trace_with(&options, &sharing())?.summary;
    summary.assert_exact();
    assert_eq!(summary.tree.snapshots, []);
    assert_eq!(summary.tree.pss_at_peak, None);
    Ok(())
}
