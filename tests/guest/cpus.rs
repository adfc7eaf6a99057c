//! Many CPUs, and CPUs that come and go.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, page, workloads};

use crate::machine::{Setting, finish, talk};

/// Both ways of summing the kernel's per-CPU counters.
const SCHEMES: [&str; 2] = ["all", "touched"];
const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

/// T1 with a CPU that goes while it holds a share of the counters, and comes back.
#[test]
fn pages_of_a_cpu_that_was_switched_off_are_still_counted() -> Result<()> {
    let lab = Lab::new()?;
    let words = "status @base map 400 cpu 1 touch-part 0 45 say one hear \
                 touch-part 1 45 status @off say off hear cpu 1 touch-part 2 45 \
                 cpu 0 touch-part 3 45 status @top unmap";
    for scheme in SCHEMES {
        let mut traced = talk(&lab, &["--sum-cpus", scheme], words)?;
        traced.expect("one")?;
        let off = Setting::set(ONLINE, "0")?;
        traced.tell()?;
        traced.expect("off")?;
        drop(off);
        let online = fs::read_to_string(ONLINE)?;
        assert_eq!(online.trim(), "1");
        traced.tell()?;
        let summary = finish(&lab, traced)?;
        summary.assert_exact();
        let (base, image) = (lab.status("base")?, summary.root()?.last_image()?);
        assert_eq!(
            image.peak_anon_bytes - base.bytes("RssAnon")?,
            180 * page(),
            "--sum-cpus {scheme}"
        );
        assert_eq!(image.peak_rss_bytes, lab.status("top")?.rss()?);
    }
    Ok(())
}

/// Switches a CPU off and on until told to stop; returns how often.
fn toggle(stop: &AtomicBool, times: &AtomicU32) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        drop(Setting::set(ONLINE, "0")?);
        times.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// T1 and T3 while a CPU goes and comes all the time: its share moves to the common count
/// while it is being read.
#[test]
fn peaks_are_exact_while_a_cpu_comes_and_goes() -> Result<()> {
    let lab = Lab::new()?;
    let file = lab.path("top").display().to_string();
    let churn = [workloads::CHURN, "4", "40", "800", "barrier", &file].map(str::to_owned);
    let migrate = lab.script(&format!("migrate 3000 status {file}"));
    for scheme in SCHEMES {
        for line in [churn.as_slice(), &migrate] {
            let (stop, times) = (AtomicBool::new(false), AtomicU32::new(0));
            let run = thread::scope(|scope| {
                let toggling = scope.spawn(|| toggle(&stop, &times));
                let run = lab.run(&["--sum-cpus", scheme], line);
                stop.store(true, Ordering::SeqCst);
                toggling
                    .join()
                    .map_err(|_| anyhow::anyhow!("the thread that toggles the CPU panicked"))??;
                run
            })?;
            let times = times.into_inner();
            assert!(times > 2, "the CPU was switched off {times} times only");
            assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
            run.summary.assert_exact();
            assert_eq!(
                run.summary.root()?.last_image()?.peak_rss_bytes,
                lab.status("top")?.rss()?,
                "--sum-cpus {scheme}, {line:?}"
            );
        }
    }
    Ok(())
}

/// Threads that map, touch, migrate and unmap, so that shares of a counter lie on every CPU
/// and on none of them where the memory is now (the workload of Mathieu Desnoyers that led
/// to exact sums in /proc).
#[test]
fn threads_that_hop_over_all_cpus_have_exactly_their_pages() -> Result<()> {
    let lab = Lab::new()?;
    let cpus = thread::available_parallelism()
        .context("count the CPUs")?
        .get();
    let threads = 2 * cpus;
    let file = lab.path("top").display().to_string();
    for scheme in SCHEMES {
        let peak = |pages: u64| -> Result<u64> {
            let (threads, pages) = (threads.to_string(), pages.to_string());
            let line = [workloads::CHURN, &threads, &pages, "10", "hop", &file];
            let run = lab.run(&["--sum-cpus", scheme], &line)?;
            assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
            run.summary.assert_exact();
            let peak = run.summary.root()?.last_image()?.peak_rss_bytes;
            assert_eq!(peak, lab.status("top")?.rss()?, "--sum-cpus {scheme}");
            Ok(peak)
        };
        let (low, high) = (peak(20)?, peak(45)?);
        assert_eq!(
            high - low,
            25 * threads as u64 * page(),
            "{threads} threads, --sum-cpus {scheme}"
        );
    }
    Ok(())
}
