//! `memtrace attach`: what a process holds that runs already, and all that becomes of it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use memtrace_tests::{
    Attached, Lab, Partner, Process, Recorded, Summary, assert_complete, attach_refused,
    await_some, begin, exact_status, is_in_state, load, memtrace, mib, page, require,
    require_privileges, scaled,
};
use nix::sys::signal::Signal;

/// The process that is attached to and its image.
fn peak_of(process: &Process) -> Result<u64> {
    Ok(process.last_image()?.peak_rss_bytes)
}

/// Whichever programs are used.
const WAYS: [&[&str]; 4] = [
    &[],
    &["--sum-cpus", "touched"],
    &["--handler", "locked"],
    &["--handler", "plain"],
];

#[test]
fn what_was_there_and_what_comes_is_the_processs_own_status() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for options in WAYS {
        let words = "anon 500 shmem 70 make-file @data 40 file @data 40 say ready hear \
            anon 300 status @top unmap unmap say done hear exit 3";
        let mut workload = begin(&lab, words)?;
        workload.expect("ready")?;
        let attached = Attached::to(&lab, &[workload.pid().to_string()], options)?;
        workload.tell()?;
        workload.expect("done")?;
        workload.tell()?;
        let pid = workload.pid();
        let (status, _) = workload.finish()?;
        assert_eq!(status.code(), Some(3), "it goes on as if nothing was");
        let summary = attached.finish()?;
        summary.assert_exact();
        let root = summary.root()?;
        let top = lab.status("top")?;
        assert_eq!((root.pid, root.exit_status), (pid, Some(3)));
        assert_eq!(summary.exit_status, Some(3));
        let image = root.last_image()?;
        assert_eq!(image.peak_rss_bytes, top.rss()?, "{options:?}");
        assert_eq!(image.peak_anon_bytes, top.bytes("RssAnon")?);
        assert_eq!(summary.tree.peak_rss_bytes, top.rss()?);
        assert_eq!((summary.tree.processes, summary.tree.images), (1, 1));
    }
    Ok(())
}

/// The peak may be over already: then it is what is left.
#[test]
fn what_was_given_back_before_is_the_kernels_to_tell() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "anon 2000 status @before unmap status @then say ready hear";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let attached = Attached::to(&lab, &[workload.pid().to_string()], &[])?;
    workload.tell()?;
    workload.finish()?;
    let summary = attached.finish()?;
    summary.assert_exact();
    assert_eq!(summary.tree.peak_rss_bytes, lab.status("then")?.rss()?);
    let before = summary.root()?.before.context("it ran before")?;
    assert!(before.age_ns > 0);
    // What `VmHWM` says lacks a batch of pages of each CPU at most.
    let (told, real) = (
        before.kernel_hiwater_rss_bytes,
        lab.status("before")?.rss()?,
    );
    assert!(
        told <= real && told + mib(2) * page() >= real,
        "{told} {real}"
    );
    Ok(())
}

/// Children and grandchildren, what they share from before and what they get for themselves.
#[test]
fn descendants_are_taken_in_and_their_sum_is_the_peak() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "pipe 0 pipe 1 pipe 2 anon 400 \
        fork{ anon 50 \
            fork{ shmem 30 post 2 await 1 touch 10 anon 20 status @grandchild post 2 await 1 } \
            post 2 await 0 anon 25 status @child post 2 await 0 wait } \
        await 2 await 2 say ready hear \
        post 1 await 2 post 0 await 2 anon 100 status @root say top hear \
        post 1 post 0 wait";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let attached = Attached::to(&lab, &[workload.pid().to_string()], &[])?;
    workload.tell()?;
    workload.expect("top")?;
    workload.tell()?;
    let (status, _) = workload.finish()?;
    assert!(status.success());
    let summary = attached.finish()?;
    summary.assert_exact();
    assert_eq!(summary.tree.processes, 3);
    let names = ["root", "child", "grandchild"];
    let mut sum = 0;
    for name in names {
        let status = lab.status(name)?;
        let process = summary
            .processes
            .iter()
            .find(|process| status.pid().is_ok_and(|pid| process.pid == pid))
            .with_context(|| format!("no {name}"))?;
        assert_eq!(peak_of(process)?, status.rss()?, "{name}");
        assert!(process.before.is_some() && process.exit_status == Some(0));
        sum += status.rss()?;
    }
    assert_eq!(summary.tree.peak_rss_bytes, sum);
    // Nobody knows what they share from before: at least the root has what it has.
    let low = summary.tree.peak_footprint_low_bytes;
    assert!(
        low >= lab.status("root")?.rss()? && low + 400 * page() <= sum,
        "{low}"
    );
    assert_eq!(summary.tree.peak_footprint_high_bytes, sum);
    Ok(())
}

/// A process that has its creator's memory does not count it again.
#[test]
fn a_vfork_that_is_under_way_shares_its_image() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "anon 300 vfork{ say inside hear exec{ NOTHING } } wait status @end say done hear";
    let mut workload = begin(&lab, words)?;
    workload.expect("inside")?;
    let attached = Attached::to(&lab, &[workload.pid().to_string()], &[])?;
    workload.tell()?;
    workload.expect("done")?;
    workload.tell()?;
    workload.finish()?;
    let summary = attached.finish()?;
    summary.assert_exact();
    // The creator's, and that of the program.
    assert_eq!((summary.tree.processes, summary.tree.images), (2, 2));
    let rss = lab.status("end")?.rss()?;
    assert!(summary.tree.peak_rss_bytes < rss + mib(1) * page());
    assert!(peak_of(summary.root()?)? >= rss);
    Ok(())
}

/// Forks, programs and threads under way at any moment: nothing is missed from there on, and what comes last is
/// the most.
#[test]
fn whenever_it_attaches_the_rest_is_exact() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let times = load(200, scaled(20, 4));
    let words = "anon 100 loop{ 60 say round \
            fork{ anon 30 fork{ touch 20 exec{ SELF anon 40 } } wait } \
            vfork{ exec{ NOTHING } } thread{ anon 10 unmap } \
            fork{ touch 50 exec{ NOTHING } } shmem 20 unmap wait wait wait } \
        say last hear anon 12000 status @top unmap";
    for time in 0..times {
        let mut workload = begin(&lab, words)?;
        for _ in 0..=time % 13 {
            workload.expect("round")?;
        }
        let attached = Attached::to(&lab, &[workload.pid().to_string()], &[])?;
        await_last(&mut workload)?;
        workload.tell()?;
        let (status, _) = workload.finish()?;
        assert!(status.success(), "{status}");
        let summary = attached.finish()?;
        summary.assert_exact();
        assert_eq!(summary.tree.peak_rss_bytes, lab.status("top")?.rss()?);
        assert_eq!(summary.tree.survivors, 0);
        let ended = summary.processes.iter();
        assert!(ended.clone().all(|process| process.exit_status == Some(0)));
    }
    Ok(())
}

/// Whatever it says until then.
fn await_last(workload: &mut Partner) -> Result<()> {
    for _ in 0..=60 {
        if workload.line()? == "last" {
            return Ok(());
        }
    }
    anyhow::bail!("it does not come to its end")
}

#[test]
fn it_ends_after_a_time_or_with_a_signal_and_the_process_goes_on() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let mut workload = begin(&lab, "anon 200 status @held say ready hear anon 50")?;
    workload.expect("ready")?;
    let held = lab.status("held")?.rss()?;
    let check = |summary: &Summary| -> Result<()> {
        summary.assert_exact();
        assert_eq!(summary.tree.peak_rss_bytes, held);
        assert_eq!((summary.tree.survivors, summary.exit_status), (1, None));
        let image = summary.root()?.last_image()?;
        assert_eq!(image.average_rss_bytes, held);
        Ok(())
    };
    check(&Attached::to(&lab, &[workload.pid().to_string()], &["--duration", "30ms"])?.finish()?)?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let attached = Attached::to(&lab, &[workload.pid().to_string()], &[])?;
        attached.memtrace().signal(signal)?;
        check(&attached.finish()?)?;
    }
    // A process that does nothing at all, for it is stopped.
    workload.signal(Signal::SIGSTOP)?;
    await_some("the workload is stopped", || {
        Ok(is_in_state(workload.pid(), "T")?.then_some(()))
    })?;
    check(&Attached::to(&lab, &[workload.pid().to_string()], &["--duration", "30ms"])?.finish()?)?;
    workload.signal(Signal::SIGCONT)?;
    workload.tell()?;
    let (status, _) = workload.finish()?;
    assert!(status.success());
    Ok(())
}

/// All of the timeline, from what was there on.
#[test]
fn a_recording_begins_with_what_was_there() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for resolution in ["10ms", "0"] {
        let words = "pipe 0 anon 300 fork{ anon 40 status @idle await 0 } \
            say ready hear anon 200 status @top unmap say done hear post 0 wait";
        let mut workload = begin(&lab, words)?;
        workload.expect("ready")?;
        let file = lab.path("file.memtrace").display().to_string();
        let options = ["-o", &file, "--force", "--resolution", resolution];
        let attached = Attached::to(&lab, &[workload.pid().to_string()], &options)?;
        workload.tell()?;
        workload.expect("done")?;
        workload.tell()?;
        workload.finish()?;
        let summary = attached.finish()?;
        summary.assert_exact();
        let peak = lab.status("top")?.rss()? + lab.status("idle")?.rss()?;
        assert_eq!(summary.tree.peak_rss_bytes, peak);
        let mut report = Command::new(memtrace()?);
        report.args(["report", &file, "--json", "-"]);
        let report = lab.to_end(&mut report)?.success()?;
        let live = fs::read_to_string(lab.path("summary.json"))?;
        assert_eq!(report.stdout, live, "--resolution {resolution}");
        let recorded = Recorded::read(Path::new(&file))?;
        let (told, timeline) = recorded.timeline(None, usize::MAX)?;
        assert_complete(&told, &timeline);
    }
    Ok(())
}

#[test]
fn what_cannot_be_attached_to_is_named() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut workload = begin(
        &lab,
        "fork{ exit 0 } thread{ say ready hear } nap-us 60000000",
    )?;
    workload.expect("ready")?;
    let pid = workload.pid();
    let child = await_some("the child is a zombie", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let child: Option<u32> = children
            .split_whitespace()
            .next()
            .and_then(|c| c.parse().ok());
        Ok(child.filter(|child| is_in_state(*child, "Z").unwrap_or(false)))
    })?;
    let mut threads = fs::read_dir(format!("/proc/{pid}/task"))?;
    let thread = threads
        .find_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            (name != pid.to_string()).then_some(name)
        })
        .context("a second thread")?;
    for (target, words) in [
        (child.to_string(), "has ended (a zombie)"),
        (thread, "is a thread of process"),
        ("2147483647".to_owned(), "there is no process 2147483647"),
    ] {
        let finished = attach_refused(&lab, &[&target])?;
        assert_eq!(finished.code(), Some(125), "{finished:?}");
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
        assert!(finished.stdout.is_empty());
    }
    // Only the initial PID namespace shows those.
    if fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        let finished = attach_refused(&lab, &["2"])?;
        assert!(
            finished.stderr.contains("a thread of the kernel"),
            "{}",
            finished.stderr
        );
    }
    let finished = attach_refused(&lab, &["-1"])?;
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    Ok(())
}

/// How large it ever was hides what it is since, unless that is more.
#[test]
fn the_largest_size_is_that_since_then() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for (pages, is_more) in [("3000", false), ("90000", true)] {
        let words =
            format!("map 60000 unmap say ready hear map {pages} touch 1 status @top say done hear");
        let mut workload = begin(&lab, &words)?;
        workload.expect("ready")?;
        let attached = Attached::to(&lab, &[workload.pid().to_string()], &[])?;
        workload.tell()?;
        workload.expect("done")?;
        workload.tell()?;
        workload.finish()?;
        let summary = attached.finish()?;
        summary.assert_exact();
        let top = lab.status("top")?;
        let seen = summary.root()?.last_image()?.vm.peak_size_bytes;
        assert_eq!(seen, top.bytes("VmSize")?);
        assert_eq!(seen == top.bytes("VmPeak")?, is_more);
        assert_eq!(summary.certificate.virtual_sizes.size, "at_page_faults");
    }
    Ok(())
}

/// A child that has the memory of a process that was not asked for is not taken for its owner.
#[test]
fn who_has_anothers_memory_is_not_attached_to_alone() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "anon 100 vfork{ status @child say inside hear exec{ SELF say runs hear } } wait";
    let mut workload = begin(&lab, words)?;
    workload.expect("inside")?;
    let child = lab.status("child")?.pid()?;
    let finished = attach_refused(&lab, &[&child.to_string()])?;
    let words = format!(
        "process {child} has the memory of process {}",
        workload.pid()
    );
    assert!(finished.stderr.contains(&words), "{}", finished.stderr);
    workload.tell()?;
    workload.expect("runs")?;
    let attached = Attached::to(&lab, &[child.to_string()], &[])?;
    workload.tell()?;
    workload.finish()?;
    let summary = attached.finish()?;
    summary.assert_exact();
    assert_eq!((summary.tree.processes, summary.tree.images), (1, 1));
    Ok(())
}

/// Who starts it in the background of a script can end it with SIGINT, which is ignored there.
#[test]
fn an_interrupt_that_a_process_sends_ends_it() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let mut workload = begin(&lab, "anon 10 status @held say ready hear")?;
    workload.expect("ready")?;
    let before = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"];
    let attached = Attached::behind(&before, &lab, &[workload.pid().to_string()], &[])?;
    attached.memtrace().signal(Signal::SIGINT)?;
    let summary = attached.finish()?;
    summary.assert_exact();
    assert_eq!(summary.tree.peak_rss_bytes, lab.status("held")?.rss()?);
    workload.tell()?;
    workload.finish()?;
    Ok(())
}

/// What a small one can have in common with it is little.
#[test]
fn most_of_a_large_child_of_a_small_process_is_needed() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "fork{ exec{ SELF anon 3000 status @child say ready hear } } status @root wait";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let attached = Attached::to(&lab, &[workload.pid().to_string()], &[])?;
    workload.tell()?;
    workload.finish()?;
    let summary = attached.finish()?;
    summary.assert_exact();
    let (root, child) = (lab.status("root")?.rss()?, lab.status("child")?.rss()?);
    let tree = &summary.tree;
    assert_eq!(tree.peak_rss_bytes, root + child);
    assert!(tree.peak_footprint_low_bytes >= 3000 * page());
    assert!(tree.peak_footprint_low_bytes <= child);
    assert_eq!(tree.peak_footprint_high_bytes, root + child);
    Ok(())
}
