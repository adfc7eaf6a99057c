//! Huge pages, by every way in which the kernel makes and splits them (T15).

use anyhow::Result;
use memtrace_tests::{Lab, lacks, page};

use crate::machine::{Setting, grown};

const THP: &str = "/sys/kernel/mm/transparent_hugepage";

fn thp(value: &str) -> Result<Setting> {
    Setting::set(format!("{THP}/enabled"), value)
}

/// The anonymous pages of a status above those of `status @base`.
fn above_base(lab: &Lab, name: &str) -> Result<u64> {
    let (base, other) = (lab.status("base")?, lab.status(name)?);
    Ok((other.bytes("RssAnon")? - base.bytes("RssAnon")?) / page())
}

/// One touched byte is 512 pages; a part that is unmapped goes page by page.
#[test]
fn huge_pages_count_whole_and_are_split_to_the_page() -> Result<()> {
    if lacks("thp") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _always = thp("always")?;
    let run = lab.trace(
        "status @base aligned 2048 touch 1 status @one touch 2048 cut 100 status @cut anon 101",
    )?;
    assert_eq!(above_base(&lab, "one")?, 512, "the workload");
    assert_eq!(above_base(&lab, "cut")?, 1948, "the workload");
    assert_eq!(grown(&lab, &run)?, 2049);
    // The same one page short of the top: the peak was before the split.
    let run = lab.trace("status @base aligned 2048 touch 2048 cut 100 anon 99")?;
    assert_eq!(grown(&lab, &run)?, 2048);
    Ok(())
}

/// With huge pages off, a touched page is a page.
#[test]
fn without_huge_pages_a_page_is_a_page() -> Result<()> {
    if lacks("thp") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _never = thp("never")?;
    let run = lab.trace("status @base aligned 512 touch 1")?;
    assert_eq!(grown(&lab, &run)?, 1);
    Ok(())
}

/// The huge zero page is nobody's.
#[test]
fn reading_untouched_huge_pages_costs_nothing() -> Result<()> {
    if lacks("thp") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _always = thp("always")?;
    let _zero = Setting::set(format!("{THP}/use_zero_page"), "1")?;
    let run = lab.trace("status @base aligned 2048 look 2048")?;
    assert_eq!(grown(&lab, &run)?, 0);
    // Written, it is a huge page of its own.
    let run = lab.trace("status @base aligned 1024 look 1024 touch 1")?;
    let written = grown(&lab, &run)?;
    // Up to 6.12 the fault gives one page at first (do_huge_zero_wp_pmd() is newer).
    assert!(written == 512 || written == 1, "{written}");
    Ok(())
}

/// Collapsing a range that is there in part adds what was missing.
#[test]
fn a_collapsed_range_counts_whole() -> Result<()> {
    if lacks("madv-collapse") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _never = thp("never")?;
    let run =
        lab.trace("status @base aligned 1024 touch-part 1 300 collapse status @top cut 24")?;
    assert_eq!(above_base(&lab, "top")?, 1024, "the workload");
    assert_eq!(grown(&lab, &run)?, 1024);
    Ok(())
}

/// Folios between a page and a huge page.
#[test]
fn large_folios_count_whole() -> Result<()> {
    if lacks("mthp") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _never = thp("never")?;
    let _mthp = Setting::set(format!("{THP}/hugepages-64kB/enabled"), "always")?;
    let run = lab.trace("status @base aligned 512 touch 17 status @top cut 490 status @cut")?;
    assert_eq!(above_base(&lab, "top")?, 32, "the workload");
    assert_eq!(above_base(&lab, "cut")?, 22, "the workload");
    assert_eq!(grown(&lab, &run)?, 32);
    Ok(())
}
