//! Memory cgroups: killed at the limit, reclaimed from outside, reclaiming from others.

use std::fs;

use anyhow::{Context as _, Result};
use memtrace_tests::{Cgroup, Lab, Partner, lacks, page};

use crate::machine::{Zram, finish, talk};

fn group(bytes: u64) -> Result<Cgroup> {
    Cgroup::with_memory_limit(bytes).map_err(|missing| anyhow::anyhow!("{missing}"))
}

/// The peak of a process that the OOM killer ends is every page that it got.
#[test]
fn an_oom_killed_process_peaks_at_the_last_page_it_got() -> Result<()> {
    let lab = Lab::new()?;
    let group = group(32 << 20)?;
    let group_dir = group.path().display();
    let words = format!("count-in @count cgroup {group_dir} map 25600 status @base count-to 25600");
    let run = lab.run(&[], &lab.script(&words))?;
    assert_eq!(run.finished.signal(), Some(9), "{}", run.finished.stderr);
    run.summary.assert_exact();
    let root = run.summary.root()?;
    assert!(root.oom_killed, "{root:#?}");
    assert_eq!(root.signal, Some(9));
    let count = fs::read(lab.path("count"))?;
    let count = u64::from_le_bytes(
        count
            .get(..8)
            .context("no count")?
            .try_into()
            .context("a count of 8 bytes")?,
    );
    assert!((1..25600).contains(&count), "the workload: {count}");
    let (image, base) = (root.last_image()?, lab.status("base")?);
    let grown = image.peak_anon_bytes.wrapping_sub(base.bytes("RssAnon")?) / page();
    // The charge that fails is tried again after the kill (try_charge_memcg()). Where that
    // succeeds the page is there, but the process never returns from the fault to count it.
    assert!(
        grown == count || grown == count + 1,
        "{grown} pages, {count} counted"
    );
    assert_eq!(image.peak_rss_bytes, base.rss()? + grown * page());
    Ok(())
}

/// T16: what somebody else pushes out to swap and the process gets back page by page.
#[test]
fn memory_reclaimed_from_outside_is_counted_once() -> Result<()> {
    if lacks("memory.reclaim") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _swap = Zram::on()?;
    let group = group(512 << 20)?;
    let words = format!(
        "cgroup {} anon 6400 status @before say full hear status @out look 6400 status @back",
        group.path().display()
    );
    let mut traced = talk(&lab, &[], &words)?;
    traced.expect("full")?;
    // EAGAIN says that it was less than asked for.
    let reclaimed = group.set("memory.reclaim", "20M");
    traced.tell()?;
    let summary = finish(&lab, traced)?;
    let (before, out, back) = (
        lab.status("before")?,
        lab.status("out")?,
        lab.status("back")?,
    );
    let swapped = out.bytes("VmSwap")?;
    assert!(swapped > 0, "the workload: {reclaimed:?}");
    for status in [&out, &back] {
        assert_eq!(
            status.bytes("RssAnon")? + status.bytes("VmSwap")?,
            before.bytes("RssAnon")?,
            "the workload"
        );
    }
    summary.assert_exact();
    let image = summary.root()?.last_image()?;
    assert_eq!(image.peak_rss_bytes, before.rss()?);
    assert_eq!(image.peak_anon_bytes, before.bytes("RssAnon")?);
    assert_eq!(image.peak_swap_bytes, swapped);
    assert_eq!(image.peak_rss_swap_bytes, Some(before.rss()?));
    assert_eq!(summary.tree.peak_rss_swap_bytes, Some(before.rss()?));
    Ok(())
}

/// T16: the same by the process's own advice.
#[test]
fn memory_paged_out_to_zram_is_counted_once() -> Result<()> {
    let lab = Lab::new()?;
    let _swap = Zram::on()?;
    let words = "anon 6400 status @before pageout status @out look 6400 status @back";
    let summary = lab.trace(words)?.summary;
    let (before, out, back) = (
        lab.status("before")?,
        lab.status("out")?,
        lab.status("back")?,
    );
    assert!(out.bytes("VmSwap")? > 0, "the workload");
    for status in [&out, &back] {
        assert_eq!(
            status.bytes("RssAnon")? + status.bytes("VmSwap")?,
            before.bytes("RssAnon")?,
            "the workload"
        );
    }
    summary.assert_exact();
    let image = summary.root()?.last_image()?;
    assert_eq!(image.peak_rss_bytes, before.rss()?);
    assert_eq!(image.peak_swap_bytes, out.bytes("VmSwap")?);
    assert_eq!(image.peak_rss_swap_bytes, Some(before.rss()?));
    Ok(())
}

/// T4: a tracked process that swaps out an untracked one's pages to get its own.
#[test]
fn pages_swapped_out_of_an_untracked_process_are_not_ours() -> Result<()> {
    let lab = Lab::new()?;
    let _swap = Zram::on()?;
    let group = group(32 << 20)?;
    let group_dir = group.path().display();
    let words = format!("cgroup {group_dir} anon 6400 status @before say ready hear status @after");
    let mut holder = Partner::start(&mut lab.fixed(&lab.script(&words)))?;
    holder.expect("ready")?;
    let run = lab.trace(&format!(
        "cgroup {group_dir} status @base anon 5120 status @ours"
    ));
    holder.finish()?;
    let summary = run?.summary;
    let (before, after) = (lab.status("before")?, lab.status("after")?);
    assert!(
        after.bytes("VmSwap")? > before.bytes("VmSwap")?,
        "the workload: nothing was swapped out"
    );
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 1);
    let (base, ours) = (lab.status("base")?, lab.status("ours")?);
    let both = base.rss()? + base.bytes("VmSwap")? + 5120 * page();
    assert_eq!(ours.rss()? + ours.bytes("VmSwap")?, both, "the workload");
    let image = summary.root()?.last_image()?;
    assert_eq!(image.peak_rss_swap_bytes, Some(both));
    assert!(image.peak_rss_bytes >= ours.rss()? && image.peak_rss_bytes <= both);
    Ok(())
}
