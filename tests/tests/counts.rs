//! Single processes: peaks equal arithmetic and the process's own status, to the page.

use anyhow::{Context as _, Result};
use memtrace_tests::{
    HugePages, Image, Lab, Run, Swap, exact_status, mib, page, require, require_privileges, scaled,
    skip,
};

/// Both ways of summing the kernel's per-CPU counters.
const SCHEMES: [&str; 2] = ["all", "touched"];

fn the_image(run: &Run) -> Result<&Image> {
    run.summary.assert_exact();
    let image = run.summary.root()?.last_image()?;
    assert_eq!(
        run.summary.processes.len(),
        1,
        "{:#?}",
        run.summary.processes
    );
    assert_eq!(run.summary.tree.peak_rss_bytes, image.peak_rss_bytes);
    Ok(image)
}

/// Runs `word n` for several n under both schemes; the peak of one kind, and that of RSS,
/// must be those of n = 0 plus n pages.
fn adds_up(word: &str, counts: &[u64], kind: fn(&Image) -> u64) -> Result<()> {
    let lab = Lab::new()?;
    for scheme in SCHEMES {
        let peaks = |pages: u64| -> Result<(u64, u64)> {
            if word.contains("@file") {
                lab.alone(&format!("make-file @file {}", pages.max(1)))?;
            }
            let words = if pages == 0 {
                "anon 00000".to_owned()
            } else {
                format!("{word} {pages:05}")
            };
            let run = lab.trace_with(&["--sum-cpus", scheme], &words)?;
            let image = the_image(&run)?;
            Ok((kind(image), image.peak_rss_bytes))
        };
        let (kind0, rss0) = peaks(0)?;
        // Where every run takes long, the second scheme has fewer.
        let stride = if scheme == SCHEMES[0] {
            1
        } else {
            scaled(1, 2)
        };
        for &n in counts.iter().step_by(stride) {
            let (kind, rss) = peaks(n)?;
            assert_eq!(
                kind.wrapping_sub(kind0),
                n * page(),
                "{word} {n}, --sum-cpus {scheme}"
            );
            assert_eq!(
                rss.wrapping_sub(rss0),
                n * page(),
                "RSS, {word} {n}, --sum-cpus {scheme}"
            );
        }
    }
    Ok(())
}

/// Around what a CPU's share or a thread's cache holds.
fn few() -> &'static [u64] {
    scaled(&[1, 5, 31, 32, 33, 63, 64, 100], &[1, 33, 64])
}

/// T1: shares that the kernel still keeps per CPU are counted.
#[test]
fn n_touched_anonymous_pages_raise_the_peak_by_n_pages() -> Result<()> {
    require_privileges!();
    let counts: Vec<u64> = few().iter().copied().chain([25600]).collect();
    adds_up("anon", &counts, |image| image.peak_anon_bytes)
}

/// T1: also if every page is touched from another CPU.
#[test]
fn pages_touched_from_changing_cpus_are_all_counted() -> Result<()> {
    require_privileges!();
    let many = scaled(25600, 1500);
    let counts: Vec<u64> = few().iter().copied().chain([many]).collect();
    adds_up("migrate", &counts, |image| image.peak_anon_bytes)
}

/// File mappings count as file.
#[test]
fn pages_of_a_file_mapping_are_counted_to_the_page() -> Result<()> {
    require_privileges!();
    adds_up("file @file", few(), |image| image.peak_file_bytes)
}

/// A private file page that is written becomes anonymous.
#[test]
fn written_pages_of_a_private_file_mapping_count_as_anonymous() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    lab.alone("make-file @file 100")?;
    let empty = lab.trace("anon 00000")?;
    let full = lab.trace("cow @file 00100")?;
    let (empty, full) = (the_image(&empty)?, the_image(&full)?);
    assert_eq!(full.peak_anon_bytes - empty.peak_anon_bytes, 100 * page());
    assert_eq!(full.peak_file_bytes - empty.peak_file_bytes, 100 * page());
    Ok(())
}

/// Shared anonymous memory counts as shmem.
#[test]
fn shared_anonymous_pages_are_counted_to_the_page() -> Result<()> {
    require_privileges!();
    adds_up("shmem", few(), |image| image.peak_shmem_bytes)
}

/// A mapped memfd counts as shmem.
#[test]
fn mapped_memfd_pages_are_counted_to_the_page() -> Result<()> {
    require_privileges!();
    adds_up("memfd", &[1, 33, 1000], |image| image.peak_shmem_bytes)
}

/// The heap counts as anonymous.
#[test]
fn heap_pages_are_counted_to_the_page() -> Result<()> {
    require_privileges!();
    adds_up("brk", &[1, 33, 1000], |image| image.peak_anon_bytes)
}

/// T17: what is not resident in a process is not counted: an unmapped memfd, untouched or only
/// read anonymous memory.
#[test]
fn memory_that_no_page_table_maps_is_not_counted() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let empty = lab.trace("anon 00000")?;
    let expected = the_image(&empty)?.peak_rss_bytes;
    for words in [
        "memfd-write 25600",
        "map 25600 look 25600",
        "map 25600 unmap",
        "reserve 25600",
    ] {
        let run = lab.trace(words)?;
        assert_eq!(the_image(&run)?.peak_rss_bytes, expected, "{words}");
    }
    Ok(())
}

/// T17: huge pages of hugetlbfs are not RSS.
#[test]
fn hugetlb_pages_are_not_rss() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let _pool = match HugePages::find(32) {
        Ok(pool) => pool,
        Err(missing) => {
            skip(&missing);
            return Ok(());
        }
    };
    let empty = lab.trace("anon 00000")?;
    let run = lab.trace("hugetlb 16384")?;
    assert_eq!(
        the_image(&run)?.peak_rss_bytes,
        the_image(&empty)?.peak_rss_bytes
    );
    // But they are told.
    assert_eq!(the_image(&empty)?.peak_hugetlb_bytes, 0);
    assert_eq!(the_image(&run)?.peak_hugetlb_bytes, 64 << 20);
    assert_eq!(run.summary.tree.peak_hugetlb_bytes, 64 << 20);
    Ok(())
}

/// A peak of a millisecond is as visible as any other.
#[test]
fn a_spike_of_a_millisecond_is_the_peak() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!(
        "anon {} nap-us 20000 anon {} status @top nap-us 1000 unmap status @after nap-us 20000",
        mib(100),
        mib(10)
    );
    lab.alone(&words)?;
    assert_eq!(
        lab.status("top")?.rss()? - lab.status("after")?.rss()?,
        10 << 20,
        "the workload"
    );
    for scheme in SCHEMES {
        let run = lab.trace_with(&["--sum-cpus", scheme], &words)?;
        let image = the_image(&run)?;
        assert_eq!(image.peak_rss_bytes, lab.status("top")?.rss()?);
        assert_eq!(
            lab.status("after")?.rss()? + (10 << 20),
            image.peak_rss_bytes
        );
    }
    Ok(())
}

/// Nothing of a ramp that ends with the process is missed.
#[test]
fn a_ramp_in_the_last_milliseconds_is_seen_to_its_top() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let flat = lab.trace("nap-us 20000 anon 00000 exit 0")?;
    let ramp = lab.trace("nap-us 20000 anon 25600 exit 0")?;
    let grown = the_image(&ramp)?.peak_anon_bytes - the_image(&flat)?.peak_anon_bytes;
    assert_eq!(grown, 25600 * page());
    Ok(())
}

/// At the top of a process our peaks are its own status, kind by kind.
#[test]
fn peaks_equal_the_processs_own_status_at_its_top() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    lab.alone("make-file @file 200")?;
    for scheme in SCHEMES {
        for mix in [
            "anon 300 file @file 200 shmem 100",
            "shmem 33 migrate 77 anon 4000",
            "memfd 1000 cow @file 150 brk 63",
            "anon 1 shmem 1 file @file 1",
        ] {
            let words = format!("{mix} status @top unmap");
            let run = lab.trace_with(&["--sum-cpus", scheme], &words)?;
            let (image, top) = (the_image(&run)?, lab.status("top")?);
            assert_eq!(
                image.peak_rss_bytes,
                top.rss()?,
                "{mix}, --sum-cpus {scheme}"
            );
            assert_eq!(image.peak_anon_bytes, top.bytes("RssAnon")?, "{mix}");
            assert_eq!(image.peak_shmem_bytes, top.bytes("RssShmem")?, "{mix}");
            assert_eq!(image.peak_vm_bytes, top.bytes("VmPeak")?, "{mix}");
        }
    }
    Ok(())
}

/// T15: huge pages are counted whole, also when one is split.
#[test]
fn transparent_huge_pages_are_counted_whole() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let run = lab.trace("thp 16384 status @top cut 100 status @cut thp 512 status @end")?;
    let image = the_image(&run)?;
    let highest = [lab.status("top")?.rss()?, lab.status("end")?.rss()?]
        .into_iter()
        .max();
    assert_eq!(Some(image.peak_rss_bytes), highest);
    assert!(lab.status("cut")?.rss()? < lab.status("top")?.rss()?);
    Ok(())
}

/// T16: on the way out to swap and back, RSS and swap together never exceed what was there.
#[test]
fn swapped_pages_are_counted_once() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let _swap = match Swap::find(env!("CARGO_TARGET_TMPDIR")) {
        Ok(swap) => swap,
        Err(missing) => {
            skip(&missing);
            return Ok(());
        }
    };
    let words = "anon 25600 status @before pageout status @out look 25600 status @back";
    lab.alone(words)?;
    assert!(
        lab.status("out")?.bytes("VmSwap")? > 0,
        "the workload: nothing was swapped out"
    );
    let run = lab.trace(words)?;
    let image = the_image(&run)?;
    let (before, out) = (lab.status("before")?, lab.status("out")?);
    assert_eq!(
        out.bytes("RssAnon")? + out.bytes("VmSwap")?,
        before.bytes("RssAnon")?,
        "the workload"
    );
    assert_eq!(image.peak_rss_bytes, before.rss()?);
    assert_eq!(image.peak_swap_bytes, out.bytes("VmSwap")?);
    if let Some(both) = image.peak_rss_swap_bytes {
        assert_eq!(both, before.rss()?);
    }
    // It is called less than exact where anything was swapped, and only there.
    let worth = |run: &Run| run.summary.certificate.quantities.get("rss_swap").cloned();
    let swapped = worth(&run).context("no word about RSS + swap")?;
    assert_ne!(swapped.verdict, "exact", "{swapped:?}");
    let unswapped = lab.trace("anon 100")?;
    assert_eq!(unswapped.summary.tree.peak_swap_bytes, 0);
    let unswapped_worth = worth(&unswapped).context("no word about RSS + swap")?;
    assert_eq!(
        unswapped_worth.verdict,
        unswapped.summary.certificate.verdict
    );
    Ok(())
}

/// T18: the peak of the virtual size includes what was never touched.
#[test]
fn the_peak_of_virtual_memory_includes_untouched_mappings() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let small = lab.trace("map 1 unmap status @top")?;
    let small = the_image(&small)?.peak_vm_bytes;
    for (words, pages) in [
        (format!("map {} unmap status @top", mib(1024)), mib(1024)),
        (
            format!("reserve {} allow unmap status @top", mib(300)),
            mib(300),
        ),
        (
            format!("brk {0} brk-down {0} status @top", mib(100)),
            mib(100),
        ),
    ] {
        let run = lab.trace(&words)?;
        let image = the_image(&run)?;
        assert_eq!(
            image.peak_vm_bytes,
            lab.status("top")?.bytes("VmPeak")?,
            "{words}"
        );
        // The heap word touches: its last partial page may already have been there.
        let grown = image.peak_vm_bytes.abs_diff(small);
        assert!(
            grown.abs_diff((pages - 1) * page()) <= 4 * page(),
            "{words}: {grown}"
        );
    }
    Ok(())
}

/// T11: sizes are those of the process however it ends: by itself, by a signal, with threads.
#[test]
fn the_way_a_process_ends_does_not_change_its_sizes() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let grow = format!("map {} anon {} status @top", mib(1024), mib(10));
    let threads = "thread{ nap-us 60000000 } ".repeat(32);
    for (words, signal) in [
        (format!("{grow} exit 0"), None),
        (format!("{grow} kill 9"), Some(9)),
        (format!("{grow} segv"), Some(11)),
        (format!("{threads} {grow} exit 0"), None),
    ] {
        let run = lab.run(&[], &lab.script(&words))?;
        assert_eq!(
            run.finished.signal(),
            signal,
            "{words}: {}",
            run.finished.stderr
        );
        let (image, top) = (the_image(&run)?, lab.status("top")?);
        assert_eq!(image.peak_rss_bytes, top.rss()?, "{words}");
        assert_eq!(image.peak_vm_bytes, top.bytes("VmPeak")?, "{words}");
    }
    Ok(())
}

/// T19: being traced changes nothing that the process can see of its own memory.
#[test]
fn a_traced_process_has_the_same_pages_as_an_untraced_one() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    lab.alone("make-file @file 64")?;
    let words = "anon 500 file @file 64 shmem 70 status @top";
    let sizes = || -> Result<Vec<u64>> {
        let status = lab.status("top")?;
        [
            "RssAnon", "RssFile", "RssShmem", "VmRSS", "VmPeak", "VmData", "VmStk", "VmExe",
            "VmLib", "VmPTE",
        ]
        .iter()
        .map(|field| status.bytes(field))
        .collect()
    };
    lab.alone(words)?;
    let untraced = sizes()?;
    for scheme in SCHEMES {
        the_image(&lab.trace_with(&["--sum-cpus", scheme], words)?)?;
        assert_eq!(sizes()?, untraced);
    }
    Ok(())
}
