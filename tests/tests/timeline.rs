//! Timelines: every peak is in them, whatever their width, and what is lost is said.

use anyhow::{Context, Result, ensure};
use memtrace::model::Timeline;
use memtrace_tests::{
    KernelObjects, Lab, Recorded, Run, assert_complete, await_some, await_until, can_list_objects,
    exact_status, held_at, load, mib, page, require, require_privileges, scaled,
};
use nix::sys::signal::Signal;

/// From every change to windows that hold whole lives.
const RESOLUTIONS: [&str; 4] = ["0", "1ms", "10ms", "1s"];

/// Generous, for emulated machines.
/// Runs a script and reads what was recorded.
fn record(lab: &Lab, options: &[&str], words: &str) -> Result<(Run, Recorded)> {
    let file = lab.path("run.memtrace").display().to_string();
    let mut all = vec!["-o", &file, "--force"];
    all.extend(options);
    let run = lab.trace_with(&all, words)?;
    let recorded = Recorded::read(&lab.path("run.memtrace"))?;
    assert_eq!(recorded.notes, Vec::<String>::new());
    Ok((run, recorded))
}

/// The timeline is whole, and its numbers are those of the summary that the run printed.
#[track_caller]
fn check(run: &Run, recorded: &Recorded) -> Result<Timeline> {
    run.summary.assert_exact();
    assert_eq!(recorded.lost, 0);
    let (summary, timeline) = recorded.timeline(None, usize::MAX)?;
    assert_complete(&summary, &timeline);
    assert_eq!(summary.tree.peak_rss, run.summary.tree.peak_rss_bytes);
    let images: Vec<_> = run
        .summary
        .processes
        .iter()
        .flat_map(|process| &process.images)
        .collect();
    assert!(!images.is_empty());
    for image in images {
        let found = summary.images.iter().find(|own| own.id == image.id);
        let found = found.context("an image is missing")?;
        assert_eq!(found.peak_rss, image.peak_rss_bytes, "{image:?}");
    }
    Ok(timeline)
}

/// Forks, programs, threads, vfork and memory that comes and goes, in several processes.
fn busy() -> String {
    let times = scaled(10, 2);
    format!(
        "loop{{ {times} fork{{ anon 100 vfork{{ exec{{ NOTHING }} }} wait dontneed touch 50 }} \
         fork{{ exec{{ SELF anon 200 thread{{ touch 20 exit-thread }} fork{{ touch 30 exec{{ NOTHING }} }} wait }} }} \
         vfork{{ exec{{ NOTHING }} }} fail-exec /no/such/program 2 fail-fork pidfd shmem 20 unmap wait wait wait nap-us 2000 }}"
    )
}

/// The in-kernel peaks of the tree and of every image are in the timeline, and at each span's
/// maximum the parts sum to it; also if spans are merged afterwards.
#[test]
fn every_peak_is_in_the_timeline_at_every_resolution() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for resolution in RESOLUTIONS {
        for scheme in ["all", "touched"] {
            let options = ["--resolution", resolution, "--sum-cpus", scheme];
            let (run, recorded) = record(&lab, &options, &busy())?;
            let fine = check(&run, &recorded)?;
            for (width, most) in [(Some(3_000_000), usize::MAX), (None, 200), (None, 1)] {
                let (summary, coarse) = recorded.timeline(width, most)?;
                assert_complete(&summary, &coarse);
                assert!(coarse.tree.len() <= fine.tree.len(), "{resolution}");
            }
        }
    }
    Ok(())
}

/// A spike that is gone within a millisecond, in the middle of much longer windows: its
/// height, its composition and what was before are right to the page.
#[test]
fn a_spike_is_seen_whatever_the_width() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!(
        "status @before nap-us 150000 anon {} status @top unmap nap-us 150000 status @after",
        mib(20)
    );
    for resolution in RESOLUTIONS {
        let (run, recorded) = record(&lab, &["--resolution", resolution], &words)?;
        let timeline = check(&run, &recorded)?;
        let (before, top) = (lab.status("before")?.rss()?, lab.status("top")?.rss()?);
        ensure!(
            top == before + (20 << 20),
            "the workload: {before} and {top}"
        );
        assert_eq!(run.summary.tree.peak_rss_bytes, top);
        // The span after it may begin with all of it.
        let spike = timeline.tree.iter().find(|span| span.max_rss == top);
        let spike = spike.context("no span with the peak")?;
        assert_eq!((spike.max_rss, spike.at_max.rss()), (top, top));
        if timeline.width_ns < 100_000_000 {
            // What was before it is no part of it.
            let earlier = timeline
                .tree
                .iter()
                .take_while(|span| span.start_ns < spike.start_ns);
            let largest = earlier.map(|span| span.last.rss()).max();
            assert!(largest.is_some_and(|largest| largest < top), "{resolution}");
        }
        if timeline.width_ns > 0 && timeline.width_ns < 100_000_000 {
            // Nothing happens while it sleeps, so nothing is recorded: however slow the machine,
            // of all the windows those of 300 ms are not there.
            let awake = timeline.end_ns.saturating_sub(300_000_000);
            let most = usize::try_from(awake / timeline.width_ns)? + 20;
            let spans = timeline.tree.len();
            assert!(spans < most, "{spans} spans at {resolution}, not {most}");
        }
    }
    Ok(())
}

/// Who held what at the maximum of a span, by their own account.
#[test]
fn the_parts_at_a_maximum_are_what_each_process_had() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    // The child goes up and down again, then the parent: two maxima of which the first is
    // the tree's peak.
    let words = "pipe 0 pipe 1 fork{ exec{ SELF tag child anon 3000 status @child post 0 await 1 unmap post 0 } } \
         await 0 anon 500 status @parent unmap post 1 await 0 nap-us 30000 anon 700 status @later unmap wait";
    for resolution in RESOLUTIONS {
        let (run, recorded) = record(&lab, &["--resolution", resolution], words)?;
        let timeline = check(&run, &recorded)?;
        let (child, parent) = (lab.status("child")?.rss()?, lab.status("parent")?.rss()?);
        assert_eq!(run.summary.tree.peak_rss_bytes, child + parent);
        let spike = timeline
            .tree
            .iter()
            .find(|span| span.max_rss == child + parent);
        let start = spike.context("no span with the peak")?.start_ns;
        let (summary, _) = recorded.timeline(None, usize::MAX)?;
        let mut held: Vec<u64> = summary
            .images
            .iter()
            .zip(&timeline.images)
            .map(|(_, spans)| held_at(spans, start).rss())
            .filter(|rss| *rss > 0)
            .collect();
        held.sort_unstable();
        let mut wanted = [child, parent];
        wanted.sort_unstable();
        assert_eq!(held, wanted, "{resolution}");
        let later = lab.status("later")?.rss()?;
        if timeline.width_ns < 10_000_000 {
            // After the nap the parent alone goes up again.
            let mut after = timeline
                .tree
                .iter()
                .filter(|span| span.start_ns > start + 15_000_000);
            let seen = after.any(|span| span.max_rss == later);
            assert!(seen, "{resolution}");
        }
    }
    Ok(())
}

/// Pages shared after fork are in the timeline, too.
#[test]
fn what_fork_shares_is_in_the_timeline() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "anon 2000 pipe 0 fork{ await 0 } nap-us 30000 touch 10 post 0 wait";
    for resolution in ["0", "1ms"] {
        let (run, recorded) = record(&lab, &["--resolution", resolution], words)?;
        let timeline = check(&run, &recorded)?;
        let most = timeline.tree.iter().map(|span| span.shared).max();
        assert!(most >= Some(2000 * page()), "{most:?} at {resolution}");
        let last = timeline.tree.last().map(|span| span.shared);
        assert_eq!(last, Some(0), "{resolution}");
    }
    Ok(())
}

/// A buffer of one page for every change, and nobody who empties it: most of the timeline is
/// lost, and nothing else.
#[test]
fn what_finds_the_timelines_buffer_full_is_counted_and_costs_no_number() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!(
        "loop{{ {} fork{{ anon 300 exec{{ NOTHING }} }} wait }} anon {} status @top unmap",
        scaled(20, 5),
        mib(40)
    );
    let name = lab.path("run.memtrace").display().to_string();
    let options = [
        "-o",
        &name,
        "--resolution",
        "0",
        "--timeline-ring-size",
        "4",
    ];
    let run = lab.unattended(&options, &words)?;
    let recorded = Recorded::read(&lab.path("run.memtrace"))?;
    assert_eq!(recorded.notes, Vec::<String>::new());
    run.summary.assert_exact();
    assert_eq!(run.summary.tree.peak_rss_bytes, lab.status("top")?.rss()?);
    // Up to 6.1 many faults are one change.
    assert!(recorded.lost > 100, "{} lost", recorded.lost);
    let said = &run.finished.stderr;
    assert!(
        said.contains("records of the timeline are missing"),
        "{said}"
    );
    let (summary, timeline) = recorded.timeline(None, usize::MAX)?;
    assert_eq!(summary.tree.peak_rss, run.summary.tree.peak_rss_bytes);
    assert_eq!(summary.processes.len(), run.summary.processes.len());
    // Changes that were lost leave nothing behind once their image has ended.
    let last = timeline.tree.last().map(|span| span.last.rss());
    assert_eq!(last, Some(0));
    let remark = summary.certificate.remarks.iter();
    let said = remark.filter(|remark| remark.contains("--timeline-ring-size"));
    assert_eq!(said.count(), 1, "{:?}", summary.certificate.remarks);
    Ok(())
}

/// SIGKILL of memtrace: the kernel keeps nothing, the command goes on, and what was recorded
/// can be read up to the moment before.
#[test]
fn a_killed_memtrace_leaves_a_recording_and_nothing_in_the_kernel() -> Result<()> {
    require_privileges!();
    require!(can_list_objects());
    let lab = Lab::new()?;
    let file = lab.path("run.memtrace");
    let name = file.display().to_string();
    let words =
        "anon 5000 status @top unmap say up loop{ 10 anon 10 unmap nap-us 1000 } hear status @end";
    let mut partner = lab.converse(&["-o", &name, "--resolution", "1ms"], words)?;
    partner.expect("up")?;
    let top = lab.status("top")?.rss()?;
    let recorded = await_some("the peak comes to the file", || {
        let recorded = Recorded::read(&file)?;
        let seen = recorded.events.iter().any(|event| match event {
            memtrace::event::Event::TreeWindow(window) => {
                u64::try_from(window.max_rss).is_ok_and(|pages| pages * page() >= top)
            }
            _ => false,
        });
        Ok((seen && recorded.checkpoints > 0).then_some(recorded))
    })?;
    assert!(recorded.last.is_none());
    let objects = KernelObjects::of_process(partner.pid());
    assert!(!objects.is_empty() && objects.still_there() == objects);
    partner.signal(Signal::SIGKILL)?;
    let (status, _) = partner.finish()?;
    assert!(!status.success());
    objects.await_gone()?;
    let recorded = Recorded::read(&file)?;
    assert!(recorded.last.is_none() && !recorded.notes.is_empty());
    // Its input has ended, and so it comes to its own end.
    await_until("the command goes on", || lab.has("end"))
}

/// A recording is not replaced by accident, and a full disk costs only the recording.
#[test]
fn files_that_exist_and_disks_that_are_full() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let name = lab.path("run.memtrace").display().to_string();
    std::fs::write(&name, "mine")?;
    let mut line = lab.memtrace_run(&["-o", &name])?;
    line.extend(lab.script("status @ran"));
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(finished.code(), Some(125), "{}", finished.stderr);
    assert!(finished.stderr.contains("--force"), "{}", finished.stderr);
    assert!(!lab.has("ran"));
    assert_eq!(std::fs::read(&name)?, b"mine");

    let mut line: Vec<String> = ["bash", "-c", "ulimit -f 16; exec \"$@\"", "bash"]
        .map(str::to_owned)
        .to_vec();
    line.extend(lab.memtrace_run(&["-o", &name, "--force", "--resolution", "0"])?);
    let words = format!(
        "loop{{ {} anon 1000 unmap anon 700 unmap }} anon 2000 status @top",
        scaled(300, 60)
    );
    line.extend(lab.script(&words));
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(finished.code(), Some(125), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("the recording is not whole"),
        "{}",
        finished.stderr
    );
    let run = lab.summary(finished)?;
    run.summary.assert_exact();
    assert_eq!(run.summary.tree.peak_rss_bytes, lab.status("top")?.rss()?);
    Ok(())
}

/// While the memory of the program before is given back, which can take long, the one that follows it counts:
/// the pages of its arguments are in its image, and in no other any more.
#[test]
fn a_new_programs_arguments_count_while_the_old_memory_goes() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let long = "x".repeat(100_000);
    let words = format!(
        "fork{{ anon {} tag {long} exec-big NOTHING 15 }} wait",
        mib(50)
    );
    let (run, recorded) = record(&lab, &["--resolution", "0"], &words)?;
    let timeline = check(&run, &recorded)?;
    let child = run
        .summary
        .processes
        .iter()
        .find(|process| process.images.len() == 2);
    let child = child.context("no process has two images")?;
    let (summary, _) = recorded.timeline(None, 1)?;
    let spans = |n: usize| {
        let id = child.images.get(n).map(|image| image.id);
        let at = summary.images.iter().position(|image| Some(image.id) == id);
        at.and_then(|at| timeline.images.get(at))
            .context("an image is missing")
    };
    let (old, new) = (spans(0)?, spans(1)?);
    let half = old
        .iter()
        .skip_while(|span| span.last.rss() < 50 << 20)
        .find(|span| span.last.rss() < 25 << 20)
        .context("the old memory did not go")?;
    let counted = new.iter().find(|span| span.last.rss() > 0);
    let counted = counted.context("the new program does not count")?;
    assert!(counted.last.rss() > 1_500_000, "{counted:?}");
    assert!(counted.start_ns < half.start_ns, "{counted:?}, {half:?}");
    Ok(())
}

/// While a large program gives way to one with many arguments, its sibling comes and goes: those arguments are
/// in the tree's peak once, be it with the old memory or beside it, and so is everybody else.
#[test]
fn the_trees_peak_has_a_new_programs_arguments_once() -> Result<()> {
    const COMES_AND_GOES: u64 = 32;
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let argument = "x".repeat(100_000);
    let arguments = 20 * 100_001;
    // The sibling is at it when the other one begins, and most likely still when that has ended: whatever it
    // holds at any moment between, the bounds below are right.
    let words = format!(
        "pipe 0 pipe 1 \
         fork{{ anon {} status @old post 1 await 0 tag {argument} exec-big NOTHING 20 }} \
         fork{{ anon 500 status @sibling await 1 loop{{ 10 anon {COMES_AND_GOES} unmap }} post 0 \
                loop{{ {} anon {COMES_AND_GOES} unmap }} }} \
         status @parent wait wait",
        mib(load(1024, 64)),
        load(20_000, 2_000),
    );
    lab.alone(&words)?;
    for resolution in ["1ms", "1s"] {
        let (run, recorded) = record(&lab, &["--resolution", resolution], &words)?;
        check(&run, &recorded)?;
        let rss = |name| lab.status(name)?.rss();
        let without = rss("parent")? + rss("old")? + rss("sibling")?;
        let peak = run.summary.tree.peak_rss_bytes;
        let low = without + arguments;
        // Pointers to the arguments, and what else the new program has before the old memory goes.
        let high = low + (COMES_AND_GOES + 16) * page();
        assert!(
            (low..=high).contains(&peak),
            "{peak} is not within {low} and {high}"
        );
    }
    Ok(())
}
