//! Trees made by fork: what they hold together, and what of it is shared.

use anyhow::Result;
use memtrace_tests::{Lab, exact_status, mib, page, require, require_privileges};

const MIB: u64 = 1 << 20;

/// A fork child that only waits: the sum of RSS doubles, the footprint does not.
#[test]
fn a_child_that_only_sleeps_doubles_rss_but_not_the_footprint() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!(
        "pipe 0 pipe 1 anon {} fork{{ status @child post 0 await 1 }} await 0 status @parent post 1 wait",
        mib(400)
    );
    lab.alone(&words)?;
    for scheme in ["all", "touched"] {
        let summary = lab.trace_with(&["--sum-cpus", scheme], &words)?.summary;
        summary.assert_exact();
        let (parent, child) = (lab.status("parent")?.rss()?, lab.status("child")?.rss()?);
        assert!(parent >= 400 * MIB && child >= 400 * MIB, "the workload");
        let tree = &summary.tree;
        assert_eq!(tree.peak_rss_bytes, parent + child);
        let (low, high) = (
            tree.peak_footprint_low_bytes,
            tree.peak_footprint_high_bytes,
        );
        assert!(high - low <= MIB, "bounds {low} and {high}");
        assert!(
            low >= 400 * MIB && high <= parent + MIB,
            "bounds {low} and {high} for {parent}"
        );
    }
    Ok(())
}

/// Pages that the child writes are its own from then on.
#[test]
fn pages_that_the_child_writes_are_within_the_footprints_bounds() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!(
        "pipe 0 pipe 1 anon {} fork{{ touch {} status @child post 0 await 1 }} await 0 status @parent post 1 wait",
        mib(400),
        mib(100)
    );
    lab.alone(&words)?;
    let summary = lab.trace(&words)?.summary;
    summary.assert_exact();
    let (parent, child) = (lab.status("parent")?.rss()?, lab.status("child")?.rss()?);
    let tree = &summary.tree;
    assert_eq!(tree.peak_rss_bytes, parent + child);
    let needed = parent + 100 * MIB;
    let (low, high) = (
        tree.peak_footprint_low_bytes,
        tree.peak_footprint_high_bytes,
    );
    assert!(
        low <= needed && needed <= high,
        "{needed} is not within {low} and {high}"
    );
    assert!(
        low >= 400 * MIB && high < parent + 110 * MIB,
        "bounds {low} and {high} say little"
    );
    Ok(())
}

/// When the parent has ended, its child's inherited pages are the child's alone.
#[test]
fn a_child_that_outlives_its_parent_keeps_its_pages_counted() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!(
        "anon {} fork{{ await-orphan anon {} status @child }} exit 0",
        mib(400),
        mib(500)
    );
    let summary = lab.trace_with(&["--wait-tree"], &words)?.summary;
    summary.assert_exact();
    let child = lab.status("child")?;
    let process = summary.process(child.pid()?)?;
    assert_eq!(process.last_image()?.peak_rss_bytes, child.rss()?);
    let tree = &summary.tree;
    assert!(child.rss()? > 900 * MIB, "the workload");
    assert_eq!(
        tree.peak_rss_bytes,
        child.rss()?,
        "900 MiB alone are more than 2 x 400 MiB before"
    );
    let (low, high) = (
        tree.peak_footprint_low_bytes,
        tree.peak_footprint_high_bytes,
    );
    assert!(
        low <= child.rss()? && child.rss()? <= high,
        "{} is not within {low} and {high}",
        child.rss()?
    );
    assert!(high - low <= MIB, "bounds {low} and {high}");
    Ok(())
}

/// Two children at their top at the same time add up.
#[test]
fn concurrent_children_add_up() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let child = |name: &str| format!("fork{{ anon {} status @{name} post 0 await 1 }}", mib(100));
    let words = format!(
        "pipe 0 pipe 1 {} {} await 0 await 0 status @parent post 1 post 1 wait wait",
        child("a"),
        child("b")
    );
    lab.alone(&words)?;
    for scheme in ["all", "touched"] {
        let summary = lab.trace_with(&["--sum-cpus", scheme], &words)?.summary;
        summary.assert_exact();
        let parts = [
            lab.status("parent")?.rss()?,
            lab.status("a")?.rss()?,
            lab.status("b")?.rss()?,
        ];
        assert_eq!(summary.tree.peak_rss_bytes, parts.iter().sum::<u64>());
        assert_eq!(summary.tree.at_peak.len(), 3);
        for name in ["parent", "a", "b"] {
            let status = lab.status(name)?;
            let pid = status.pid()?;
            let held = summary.tree.at_peak.iter().find(|part| part.pid == pid);
            assert_eq!(
                held.map(|part| part.rss_bytes),
                Some(status.rss()?),
                "{name} at the peak"
            );
            assert_eq!(
                held.map(|part| part.anon_bytes),
                Some(status.bytes("RssAnon")?),
                "{name}"
            );
        }
    }
    Ok(())
}

/// Peaks of processes that do not overlap in time do not add up.
#[test]
fn sequential_children_do_not_add_up() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let child = |name: &str, pages: u64| format!("fork{{ anon {pages} status @{name} }} wait");
    let words = format!(
        "status @parent {} {}",
        child("a", mib(100)),
        child("b", mib(90))
    );
    lab.alone(&words)?;
    let summary = lab.trace(&words)?.summary;
    summary.assert_exact();
    let (parent, a, b) = (lab.status("parent")?, lab.status("a")?, lab.status("b")?);
    assert_eq!(summary.tree.peak_rss_bytes, parent.rss()? + a.rss()?);
    for status in [&parent, &a, &b] {
        let process = summary.process(status.pid()?)?;
        assert_eq!(process.last_image()?.peak_rss_bytes, status.rss()?);
    }
    Ok(())
}

/// Forty generations, all alive at the same time.
#[test]
fn a_chain_of_forty_generations_is_one_tree() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!(
        "{} status @leaf {}",
        "fork{ anon 10 ".repeat(40),
        "} wait ".repeat(40)
    );
    lab.alone(&words)?;
    let summary = lab.trace(&words)?.summary;
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 41);
    let leaf = lab.status("leaf")?;
    assert_eq!(
        summary.process(leaf.pid()?)?.last_image()?.peak_rss_bytes,
        leaf.rss()?
    );
    // Each generation's parent is the one before it.
    let mut pid = leaf.pid()?;
    for _ in 0..40 {
        pid = summary.process(pid)?.ppid;
    }
    assert_eq!(pid, summary.root()?.pid);
    let anon: u64 = summary
        .tree
        .at_peak
        .iter()
        .map(|part| part.anon_bytes)
        .sum();
    // Generation g has touched 10 g pages.
    let touched: u64 = (1..=40).map(|generation| generation * 10 * page()).sum();
    let own = summary
        .tree
        .at_peak
        .iter()
        .map(|part| part.anon_bytes)
        .min()
        .unwrap_or(0);
    assert_eq!(anon - own * 41, touched);
    Ok(())
}

/// T6: a fork that the kernel refuses leaves nothing behind, also if the memory was already copied.
#[test]
fn a_refused_fork_leaves_nothing_behind() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for kind in ["pidfd", "set-tid", "nproc"] {
        let refused = format!("anon 1000 loop{{ 10 fail-fork {kind} }}");
        // As another user it could not write a status any more.
        let words = if kind == "nproc" {
            format!("anon 9000 status @top unmap {refused}")
        } else {
            format!("{refused} anon 8000 status @top")
        };
        lab.alone(&words)?;
        let summary = lab.trace(&words)?.summary;
        summary.assert_exact();
        assert_eq!(summary.processes.len(), 1, "{kind}");
        assert_eq!(
            summary.tree.peak_rss_bytes,
            lab.status("top")?.rss()?,
            "{kind}"
        );
        let image = summary
            .root()?
            .execs()
            .last()
            .map(|image| image.peak_rss_bytes);
        assert_eq!(image, Some(lab.status("top")?.rss()?), "{kind}");
    }
    Ok(())
}

/// T17: shared memory is counted in each process that maps it.
#[test]
fn shared_memory_counts_in_every_process_that_maps_it() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let child = |name: &str| format!("fork{{ touch 1000 status @{name} post 0 await 1 }}");
    let words = format!(
        "pipe 0 pipe 1 shmem 1000 {} {} {} await 0 await 0 await 0 status @parent post 1 post 1 post 1 wait wait wait",
        child("a"),
        child("b"),
        child("c")
    );
    lab.alone(&words)?;
    let summary = lab.trace(&words)?.summary;
    summary.assert_exact();
    assert_eq!(summary.tree.peak_shmem_bytes, 4 * 1000 * page());
    let mut sum = 0;
    for name in ["parent", "a", "b", "c"] {
        sum += lab.status(name)?.rss()?;
    }
    assert_eq!(summary.tree.peak_rss_bytes, sum);
    Ok(())
}
