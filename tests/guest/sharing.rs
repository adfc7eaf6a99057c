//! Pages that come, go or move by other means than faults of their owner: KSM, userfaultfd,
//! mremap.

use std::fs;

use anyhow::Result;
use memtrace_tests::{Lab, Status, await_some, lacks, page};

use crate::machine::{Setting, finish, grown, talk};

const KSM: &str = "/sys/kernel/mm/ksm";

/// KSM at work as long as this lives.
fn ksm(use_zero_pages: &str) -> Result<[Setting; 4]> {
    Ok([
        Setting::set(format!("{KSM}/use_zero_pages"), use_zero_pages)?,
        Setting::set(format!("{KSM}/pages_to_scan"), "2000")?,
        Setting::set(format!("{KSM}/sleep_millisecs"), "10")?,
        Setting::set(format!("{KSM}/run"), "1")?,
    ])
}

/// A merged page still counts for each process that maps it.
#[test]
fn merged_pages_still_count() -> Result<()> {
    if lacks("ksm") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _ksm = ksm("0")?;
    let words = "status @base anon 200 mergeable say ready hear status @merged \
                 touch 200 status @broken anon 100 status @top";
    let mut traced = talk(&lab, &[], words)?;
    traced.expect("ready")?;
    await_some("merging", || {
        let sharing = fs::read_to_string(format!("{KSM}/pages_sharing"))?;
        Ok((sharing.trim().parse::<u64>()? >= 199).then_some(()))
    })?;
    traced.tell()?;
    let summary = finish(&lab, traced)?;
    summary.assert_exact();
    let base = lab.status("base")?.bytes("RssAnon")?;
    for (name, pages) in [("merged", 200), ("broken", 200), ("top", 300)] {
        let anon = lab.status(name)?.bytes("RssAnon")?;
        assert_eq!(anon - base, pages * page(), "the workload: {name}");
    }
    let image = summary.root()?.last_image()?;
    assert_eq!(image.peak_anon_bytes - base, 300 * page());
    Ok(())
}

/// A page that the kernel's own thread merges with the zero page is gone.
#[test]
fn pages_merged_with_the_zero_page_are_gone() -> Result<()> {
    if lacks("ksm") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _ksm = ksm("1")?;
    let words = "status @base blank 300 mergeable say ready hear status @merged anon 400";
    let mut traced = talk(&lab, &[], words)?;
    traced.expect("ready")?;
    let base = lab.status("base")?;
    let path = format!("/proc/{}/status", base.pid()?);
    await_some("merging", || {
        let now = Status::parse(&fs::read_to_string(&path)?);
        let merged = now.bytes("RssAnon")? <= base.bytes("RssAnon")? + 10 * page();
        Ok(merged.then_some(()))
    })?;
    // What is left, if anything, is merged soon or never.
    traced.tell()?;
    let summary = finish(&lab, traced)?;
    summary.assert_exact();
    let left = lab.status("merged")?.bytes("RssAnon")? - base.bytes("RssAnon")?;
    let grown = summary.root()?.last_image()?.peak_anon_bytes - base.bytes("RssAnon")?;
    assert!(
        grown >= 400 * page() && grown <= left + 400 * page(),
        "{grown}, {left} not merged"
    );
    Ok(())
}

/// Pages that userfaultfd puts there are the owner's, whoever puts them; zero pages are
/// nobody's until they are written.
#[test]
fn pages_from_userfaultfd_belong_to_their_owner() -> Result<()> {
    if lacks("userfaultfd") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let words = "status @base map 400 uffd uffd-copy 0 100 uffd-zero 1 100 status @zero \
                 fork{ uffd-copy 2 100 } wait status @filled touch-part 1 100 status @top";
    let summary = lab.trace(words)?.summary;
    let base = lab.status("base")?.bytes("RssAnon")?;
    for (name, pages) in [("zero", 100), ("filled", 200), ("top", 300)] {
        let anon = lab.status(name)?.bytes("RssAnon")?;
        assert_eq!(anon - base, pages * page(), "the workload: {name}");
    }
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 2);
    let root = summary.root()?.last_image()?;
    assert_eq!(root.peak_anon_bytes - base, 300 * page());
    // The child has what it inherited, and copied a few pages of those.
    for process in &summary.processes {
        let image = process.last_image()?;
        if image.id != root.id {
            assert_eq!(image.peak_anon_bytes - base, 100 * page());
        }
    }
    Ok(())
}

/// mremap moves pages and adds none.
#[test]
fn moved_pages_count_once() -> Result<()> {
    let lab = Lab::new()?;
    let run = lab.trace(
        "status @base map 3000 touch 3000 move grow 1000 move touch 4000 grow 3000 status @top",
    )?;
    assert_eq!(grown(&lab, &run)?, 4000);
    assert_eq!(
        run.summary.root()?.last_image()?.peak_vm_bytes,
        lab.status("top")?.bytes("VmPeak")?
    );
    Ok(())
}
