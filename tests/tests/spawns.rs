//! Programs that are run by others: exec images are their own, however they were started.

use anyhow::{Context, Result, ensure};
use memtrace_tests::{
    Lab, Summary, exact_status, exec_arguments, load, mib, page, require, require_privileges,
    scaled, workloads,
};

/// The peak of the one image of the program, after checking the certificate.
fn peak_of(summary: &Summary, program: &str) -> Result<u64> {
    summary.assert_exact();
    let images = summary.images_of(program);
    ensure!(images.len() == 1, "{} images of {program}", images.len());
    images
        .first()
        .map(|image| image.peak_rss_bytes)
        .context("no image")
}

/// The peaks of a program that is run by fork, vfork and `posix_spawn` from parents that
/// hold this many MiB.
fn by_each_way(lab: &Lab, held: u64, program: &str) -> Result<Vec<(String, u64)>> {
    let mut peaks = Vec::new();
    for way in ["fork{", "vfork{"] {
        let words = format!("anon {:06} {way} exec{{ {program} }} }} wait", mib(held));
        let summary = lab.trace(&words)?.summary;
        peaks.push((
            format!("{way} from {held} MiB"),
            peak_of(&summary, program)?,
        ));
    }
    let status = lab.path("spawner").display().to_string();
    let line = [
        env!("CARGO_BIN_EXE_spawner"),
        &format!("{held:03}"),
        &status,
        program,
    ];
    let run = lab.run(&[], &line)?;
    ensure!(
        run.finished.code() == Some(0),
        "spawner: {:?}",
        run.finished
    );
    peaks.push((
        format!("posix_spawn from {held} MiB"),
        peak_of(&run.summary, program)?,
    ));
    Ok(peaks)
}

/// T8: a static program has the same peak, to the page, whoever started it and how.
#[test]
fn a_programs_peak_does_not_depend_on_who_started_it() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut peaks = by_each_way(&lab, 0, workloads::NOTHING)?;
    peaks.extend(by_each_way(&lab, 400, workloads::NOTHING)?);
    let expected = peaks.first().map(|(_, peak)| *peak);
    for (way, peak) in &peaks {
        assert_eq!(Some(*peak), expected, "{way}; all: {peaks:?}");
    }
    Ok(())
}

/// T8: so has `/bin/true`, but for what the dynamic linker finds in the page cache.
#[test]
fn bin_true_from_a_parent_of_400_mib_is_as_small_as_ever() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut peaks = by_each_way(&lab, 0, "/bin/true")?;
    peaks.extend(by_each_way(&lab, 400, "/bin/true")?);
    let smallest = peaks.iter().map(|(_, peak)| *peak).min().unwrap_or(0);
    for (way, peak) in &peaks {
        assert!(peak - smallest <= 32 * page(), "{way}; all: {peaks:?}");
    }
    Ok(())
}

/// The tree of a spawner holds both: the parent at its size and the child's own image.
#[test]
fn a_vfork_child_adds_only_its_own_program_to_the_tree() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    // T9: the child naps in the parent's memory before its exec.
    let words = format!(
        "anon {} vfork{{ nap-us 200000 exec{{ NOTHING }} }} wait status @parent",
        mib(300)
    );
    lab.alone(&words)?;
    let summary = lab.trace(&words)?.summary;
    let child = peak_of(&summary, workloads::NOTHING)?;
    let parent = lab.status("parent")?;
    assert_eq!(summary.tree.peak_rss_bytes, parent.rss()? + child);
    assert_eq!(summary.processes.len(), 2);
    let own = summary
        .process(parent.pid()?)?
        .execs()
        .last()
        .map(|image| image.peak_rss_bytes);
    assert_eq!(own, Some(parent.rss()? + exec_arguments()));
    Ok(())
}

/// T9: memory shared by two processes counts once, and as long as one of them lives.
#[test]
fn a_clone_vm_worker_keeps_the_shared_memory_counted() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "anon 25600 clonevm{ await-orphan anon 5000 status @worker } exit 0";
    let summary = lab.trace_with(&["--wait-tree"], words)?.summary;
    summary.assert_exact();
    let worker = lab.status("worker")?;
    assert!(worker.rss()? >= 30600 * page(), "the workload");
    assert_eq!(summary.tree.peak_rss_bytes, worker.rss()?);
    assert_eq!(summary.processes.len(), 2);
    assert_eq!(summary.tree.images, 1, "one address space");
    assert_eq!(summary.process(worker.pid()?)?.exit_status, Some(0));
    Ok(())
}

/// Each exec ends an image and begins another; the process stays one.
#[test]
fn an_exec_chain_is_one_process_with_an_image_per_program() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words =
        "anon 1000 status @a exec{ SELF anon 3000 status @b exec{ SELF anon 2000 status @c } }";
    lab.alone(words)?;
    for scheme in ["all", "touched"] {
        let summary = lab.trace_with(&["--sum-cpus", scheme], words)?.summary;
        summary.assert_exact();
        assert_eq!(summary.processes.len(), 1);
        let peaks: Vec<u64> = summary
            .root()?
            .execs()
            .iter()
            .map(|image| image.peak_rss_bytes)
            .collect();
        let mut expected = Vec::new();
        for name in ["a", "b", "c"] {
            let arguments = if name == "c" { 0 } else { exec_arguments() };
            expected.push(lab.status(name)?.rss()? + arguments);
        }
        assert_eq!(peaks, expected);
        assert_eq!(Some(&summary.tree.peak_rss_bytes), expected.iter().max());
    }
    Ok(())
}

/// T7: the arguments of an exec, which the kernel books to the old image while it builds the
/// new one, are never in the tree twice.
#[test]
fn huge_arguments_count_once() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let long = "x".repeat(100_000);
    let arguments = 15 * 100_001u64;
    let slack = 4 * page();

    let words = format!("status @old tag {long} exec-big NOTHING 15");
    lab.alone(&words)?;
    let summary = lab.trace(&words)?.summary;
    summary.assert_exact();
    let old = lab.status("old")?.rss()?;
    let new = summary.root()?.last_image()?.peak_rss_bytes;
    assert!(new > arguments, "the workload: {new}");
    let peak = summary.tree.peak_rss_bytes;
    assert!(
        peak >= new && peak <= old.max(new) + arguments + slack,
        "{peak} for {old} and {new}"
    );
    assert!(peak < old + new, "{peak}: the images' sum is {}", old + new);

    // A vfork child's old image is its parent's, which therefore rises by the arguments.
    let words = format!("anon 1000 vfork{{ tag {long} exec-big NOTHING 15 }} wait status @parent");
    lab.alone(&words)?;
    let summary = lab.trace(&words)?.summary;
    summary.assert_exact();
    let parent = lab.status("parent")?;
    let image = summary.process(parent.pid()?)?.last_image()?;
    let peak = image.peak_rss_bytes;
    assert!(
        peak >= parent.rss()? && peak <= parent.rss()? + arguments + slack,
        "{peak}"
    );
    Ok(())
}

/// T5: thousands of short processes of two kinds, whose `mm_struct`s reuse each other's memory.
#[test]
fn no_process_inherits_from_an_address_space_that_was_there_before() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let each = scaled(2500, 150);
    let words = format!(
        "loop{{ {each} fork{{ exec{{ NOTHING }} }} wait vfork{{ exec{{ SELF tag big anon 500 }} }} wait }}"
    );
    let summary = lab.trace(&words)?.summary;
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 2 * each + 1);
    let small: Vec<u64> = summary
        .images_of(workloads::NOTHING)
        .iter()
        .map(|image| image.peak_rss_bytes)
        .collect();
    let big: Vec<u64> = summary
        .exec_images()
        .filter(|image| image.command.get(1).is_some_and(|word| word == "tag"))
        .map(|image| image.peak_rss_bytes)
        .collect();
    for (name, peaks) in [("small", &small), ("big", &big)] {
        assert_eq!(peaks.len(), each, "{name}");
        assert_eq!(peaks.iter().min(), peaks.iter().max(), "{name}");
    }
    assert!(big.first() > small.first());
    Ok(())
}

fn assert_storm(summary: &Summary, programs: usize, others: usize) {
    summary.assert_exact();
    assert_eq!(summary.processes.len(), programs + others);
    let images = summary.images_of(workloads::NOTHING);
    assert_eq!(images.len(), programs);
    let peaks = images.iter().map(|image| image.peak_rss_bytes);
    assert_eq!(peaks.clone().min(), peaks.max());
    let unfinished = summary
        .processes
        .iter()
        .filter(|process| process.exit_status != Some(0));
    assert_eq!(unfinished.count(), 0, "every process ended with status 0");
}

/// Thousands of processes one after the other: every one is reported.
#[test]
fn a_storm_of_processes_is_reported_to_the_last() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let count = load(20_000, 2_000);
    let words = format!("loop{{ {count} vfork{{ exec{{ NOTHING }} }} wait }}");
    let summary = lab.trace(&words)?.summary;
    assert_storm(&summary, count, 1);
    Ok(())
}

/// Two storms at the same time, with fork and with vfork.
#[test]
fn two_concurrent_storms_are_all_reported() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let each = load(5_000, 500);
    for way in ["vfork{", "fork{"] {
        let storm = format!("fork{{ loop{{ {each} {way} exec{{ NOTHING }} }} wait }} }}");
        let summary = lab.trace(&format!("{storm} {storm} wait wait"))?.summary;
        assert_storm(&summary, 2 * each, 3);
    }
    Ok(())
}
