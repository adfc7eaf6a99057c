//! Processes with several threads.

use anyhow::Result;
use memtrace_tests::{
    BusyCpus, Lab, announced, exact_status, exec_arguments, load, page, require,
    require_privileges, scaled, workloads,
};

/// T3: when threads that touch and drop memory meet at their top, the peak is that top.
#[test]
fn threads_that_meet_at_their_top_have_exactly_that_peak() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let file = lab.path("top").display().to_string();
    for scheme in ["all", "touched"] {
        let rounds = scaled("2000", "200");
        let line = [workloads::CHURN, "4", "40", rounds, "barrier", &file];
        let run = lab.run(&["--sum-cpus", scheme], &line)?;
        run.summary.assert_exact();
        let image = run.summary.root()?.last_image()?;
        assert_eq!(
            image.peak_rss_bytes,
            lab.status("top")?.rss()?,
            "--sum-cpus {scheme}"
        );
    }
    Ok(())
}

/// T3: when they do not, it is at most what all of them can hold: reading the counters while
/// a share moves from a CPU to the common count adds nothing.
#[test]
fn threads_that_run_freely_never_exceed_what_they_can_hold() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let file = lab.path("base").display().to_string();
    for scheme in ["all", "touched"] {
        let rounds = scaled("8000", "400");
        let line = [workloads::CHURN, "4", "40", rounds, "free", &file];
        let run = lab.run(&["--sum-cpus", scheme], &line)?;
        run.summary.assert_exact();
        let base = lab.status("base")?.rss()?;
        let peak = run.summary.root()?.last_image()?.peak_rss_bytes;
        assert!(peak >= base + 40 * page(), "{peak} for a base of {base}");
        assert!(
            peak <= base + 4 * 40 * page(),
            "{} pages too many",
            (peak - base) / page() - 160
        );
    }
    Ok(())
}

/// Where other programs take the CPUs away in the middle of everything, from the threads, from memtrace, and
/// from programs in the kernel where those can be preempted, a number comes later, and is the same.
#[test]
fn beside_busy_cpus_every_result_is_exact() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let file = lab.path("top").display().to_string();
    let busy = BusyCpus::new()?;
    // Threads that stay where they are, and such that are on another CPU at every page, where each time they
    // wait for whoever computes there.
    let ways = [
        ("all", "barrier", "20"),
        ("touched", "hop", "2"),
        ("touched", "barrier", "20"),
        ("all", "hop", "2"),
    ];
    let runs = announced("runs", load(50, scaled(4, 2)));
    for (_, (scheme, kind, rounds)) in (0..runs).zip(ways.iter().cycle()) {
        let line = [workloads::CHURN, "4", "40", rounds, kind, &file];
        let run = lab.run(&["--sum-cpus", scheme], &line)?;
        assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
        run.summary.assert_exact();
        let image = run.summary.root()?.last_image()?;
        let (peak, top) = (image.peak_rss_bytes, lab.status("top")?.rss()?);
        assert_eq!(peak, top, "{kind}, --sum-cpus {scheme}");
        assert_eq!(run.summary.tree.peak_rss_bytes, top, "{kind}");
    }
    drop(busy);
    Ok(())
}

/// Memory from malloc arenas of several threads.
#[test]
fn memory_of_a_dynamic_program_with_threads_is_its_own_status() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let file = lab.path("top").display().to_string();
    for scheme in ["all", "touched"] {
        let line = [env!("CARGO_BIN_EXE_holders"), "8", "10", &file];
        let run = lab.run(&["--sum-cpus", scheme], &line)?;
        let certificate = &run.summary.certificate;
        // Up to 6.1 a huge page of one thread can meet another's flush; that is said then,
        // but the numbers have to be right here all the same.
        if certificate.tier == "A+B" && certificate.verdict == "within" {
            assert_eq!(certificate.residual_bytes, 0);
        } else {
            run.summary.assert_exact();
        }
        let (image, top) = (run.summary.root()?.last_image()?, lab.status("top")?);
        assert!(top.rss()? > 80 << 20, "the workload");
        // Ending may need pages of libraries that nothing needed before.
        assert!(
            image.peak_rss_bytes >= top.rss()?,
            "{} < {}",
            image.peak_rss_bytes,
            top.rss()?
        );
        assert!(image.peak_rss_bytes - top.rss()? <= 16 * page());
        assert_eq!(image.peak_anon_bytes, top.bytes("RssAnon")?);
    }
    Ok(())
}

/// T10: a thread that executes a program takes over the process.
#[test]
fn a_thread_that_execs_is_still_the_same_process() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    // Each thread's status also makes the kernel show what that thread held back (up to 6.1).
    let words = "anon 12800 \
        thread{ meet 2 status @first exec{ SELF anon 5120 status @second } } \
        status @leader meet 2 nap-us 60000000";
    lab.alone(words)?;
    for _ in 0..20 {
        let summary = lab.trace(words)?.summary;
        summary.assert_exact();
        assert_eq!(summary.processes.len(), 1, "{:#?}", summary.processes);
        let root = summary.root()?;
        assert_eq!(root.pid, lab.status("second")?.pid()?);
        assert_eq!((root.exit_status, root.signal), (Some(0), None));
        let peaks: Vec<u64> = root
            .execs()
            .iter()
            .map(|image| image.peak_rss_bytes)
            .collect();
        let first = lab.status("first")?.rss()? + exec_arguments();
        assert_eq!(peaks, [first, lab.status("second")?.rss()?]);
    }
    Ok(())
}

/// T12: the process lives on when its first thread has ended.
#[test]
fn memory_that_is_allocated_after_the_first_thread_ended_counts() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "thread{ await-leader anon 25600 status @top exit 3 } exit-thread";
    let run = lab.run(&[], &lab.script(words))?;
    assert_eq!(run.finished.code(), Some(3), "{}", run.finished.stderr);
    run.summary.assert_exact();
    assert_eq!(run.summary.processes.len(), 1);
    let root = run.summary.root()?;
    assert_eq!(root.exit_status, Some(3));
    assert_eq!(root.last_image()?.peak_rss_bytes, lab.status("top")?.rss()?);
    Ok(())
}

/// T12: two threads that end at the same moment end their process once.
#[test]
fn threads_that_end_at_the_same_moment_end_the_process_once() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "loop{ 1000 fork{ thread{ meet 2 exit-thread } meet 2 exit-thread } wait }";
    let summary = lab.trace(words)?.summary;
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 1001);
    for process in &summary.processes {
        assert_eq!(
            (process.exit_status, process.signal),
            (Some(0), None),
            "{process:?}"
        );
        assert!(
            process.end_ns.is_some_and(|end| end >= process.start_ns),
            "{process:?}"
        );
    }
    Ok(())
}
