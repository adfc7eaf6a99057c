//! `memtrace attach --segments`: what pages are for that were there before, to the page: against arithmetic and
//! against the workload's own smaps.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{
    Attached, Image, Lab, Partner, Process, Recorded, Summary, load, memtrace, page,
    require_privileges, scaled,
    smaps::{self, Held, Segments},
    threads_hold_back_changes, workloads,
};
use nix::sys::signal::Signal;

/// A workload whose heap lies apart from its bss, as programs have it.
fn begin(lab: &Lab, words: &str) -> Result<Partner> {
    let mut line = Command::new("env");
    line.arg("--default-signal").args(lab.script(words));
    line.env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .current_dir(lab.dir());
    Partner::start(&mut line)
}

/// Lets a workload that is attached to go on, until it has said that it is done and is told to end.
fn to_the_end(mut workload: Partner, attached: Attached<'_>) -> Result<Summary> {
    workload.tell()?;
    workload.expect("done")?;
    workload.tell()?;
    workload.finish()?;
    let summary = attached.finish()?;
    summary.assert_exact();
    Ok(summary)
}

/// The process with the status or smaps that it wrote, by its id.
fn process(summary: &Summary, pid: u32) -> Result<&Process> {
    let mut processes = summary.processes.iter();
    processes
        .find(|process| process.pid == pid)
        .context("the process is not there")
}

/// Pages of a segment.
fn resident(all: &Segments, name: &str) -> i64 {
    let held = all.get(name).copied().unwrap_or_default();
    held.resident.cast_signed()
}

/// The segments at an image's peak, exact: those of the smaps that it wrote, whose sum is the peak.
fn assert_peak(lab: &Lab, image: &Image, written: &str) -> Result<Segments> {
    let own = smaps::read(&lab.path(written), workloads::SCRIPT)?;
    let mixed = smaps::is_mixed(&lab.path(written))?;
    let found = smaps::at_peak(image, &own)?;
    let sum: u64 = found.values().map(|held| held.resident).sum();
    assert_eq!(sum * page(), image.peak_rss_bytes, "{written}");
    // Where the heap happens to lie right behind the bss, smaps does not tell one from the other.
    if !mixed {
        assert_eq!(found, own, "{written}");
        // What a thread held back at that time is found right after the rest, and not told for certain.
        let held_back = if threads_hold_back_changes() { 64 } else { 0 };
        let within = image.segments_within_bytes.context("no bound")?;
        assert!(within <= held_back * page(), "{written}: {within}");
        assert_eq!(image.segments_left_bytes, 0, "{written}");
    }
    Ok(own)
}

/// What grew before, and what grows and shrinks afterwards: also of what was there before.
const BEFORE: &str = "make-file @data 64 anon 200 file @data 40 shmem 40 thp 1024 anon 100 brk 90 descend 300 \
    smaps @before say ready hear";
const AFTER: &str = "unmap cut 1000 unmap cut 15 brk 20 brk-down 50 anon 60 file @data 30 shmem 25 descend 700 touch 5";

#[test]
fn what_was_there_is_in_its_segment_and_what_goes_leaves_it() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for handler in ["optimised", "locked", "plain"] {
        let words = format!("{BEFORE} {AFTER} anon 3000 smaps @top say done hear");
        let mut workload = begin(&lab, &words)?;
        workload.expect("ready")?;
        let options = ["--segments", "--handler", handler];
        let attached = Attached::to(&lab, &[workload.pid().to_string()], &options)?;
        let summary = to_the_end(workload, attached)?;
        let own = assert_peak(&lab, summary.root()?.last_image()?, "top")?;
        let before = smaps::read(&lab.path("before"), workloads::SCRIPT)?;
        // What the words say.
        for (name, more) in [
            ("anon", -100 - 1024 + 60 + 3000),
            ("heap", 20 - 50),
            ("file", 30),
            ("shmem", -15 + 25),
            ("text", 0),
            ("data", 0),
        ] {
            let by = resident(&own, name) - resident(&before, name);
            assert_eq!(by, more, "{name}");
        }
        let by = resident(&own, "stack") - resident(&before, "stack");
        // Where in a page it begins is not known, nor how much of it was in use.
        assert!((400 - 16..=400 + 16).contains(&by), "{by}");
        let seen = summary.certificate.segments.context("no word")?;
        assert!(seen.images == 1, "{seen:?}");
    }
    Ok(())
}

/// The numbers of a recording: at its end, while the process goes on with less than it had.
#[test]
fn a_recording_has_them_at_any_moment() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for resolution in ["0", "10ms"] {
        let words = format!("{BEFORE} {AFTER} anon 500 smaps @top unmap smaps @now say done hear");
        let mut workload = begin(&lab, &words)?;
        workload.expect("ready")?;
        let file = lab.path("file.memtrace").display().to_string();
        let recorded = ["-o", &file, "--force", "--resolution", resolution];
        let options = [&["--segments"][..], &recorded].concat();
        let attached = Attached::to(&lab, &[workload.pid().to_string()], &options)?;
        workload.tell()?;
        workload.expect("done")?;
        attached.memtrace().signal(Signal::SIGINT)?;
        let summary = attached.finish()?;
        summary.assert_exact();
        assert_peak(&lab, summary.root()?.last_image()?, "before")?;
        let mut own = smaps::read(&lab.path("now"), workloads::SCRIPT)?;
        assert!(!own.is_empty());
        if !smaps::is_mixed(&lab.path("now"))? {
            let line = ["maps", &file, "--at", "end", "--json", "-"];
            assert_eq!(maps(&lab, &line)?, pages(&own), "{resolution}");
            let last = Recorded::read(Path::new(&file))?.last.context("an end")?;
            let record = last.segments.first().context("a living image")?;
            let image = last.images.first().context("a living image")?;
            let sum: i64 = record.cur.iter().flatten().sum();
            assert_eq!(sum, image.cur.iter().sum::<i64>());
        }
        if resolution == "0" {
            own = smaps::read(&lab.path("before"), workloads::SCRIPT)?;
            if !smaps::is_mixed(&lab.path("before"))? {
                let line = ["maps", &file, "--at", "peak", "--json", "-"];
                // The peak is what was there, before that was told apart.
                let all: i64 = maps(&lab, &line)?.iter().map(|(_, pages)| pages).sum();
                assert_eq!(all, pages(&own).iter().map(|(_, pages)| pages).sum::<i64>());
            }
        }
        let mut report = Command::new(memtrace()?);
        report.args(["report", &file, "--json", "-"]);
        let report = lab.to_end(&mut report)?.success()?;
        let live = std::fs::read_to_string(lab.path("summary.json"))?;
        assert_eq!(report.stdout, live, "--resolution {resolution}");
        workload.tell()?;
        workload.finish()?;
    }
    Ok(())
}

/// Resident pages by segment, as `memtrace maps` says.
fn maps(lab: &Lab, line: &[&str]) -> Result<Vec<(String, i64)>> {
    let mut command = Command::new(memtrace()?);
    command.args(line);
    let said = lab.to_end(&mut command)?.success()?;
    let doc: serde_json::Value = serde_json::from_str(&said.stdout)?;
    let mut all = Vec::new();
    for row in doc["segments"].as_array().context("rows")? {
        let name = row["segment"].as_str().context("a name")?;
        let bytes = row["resident_bytes"].as_i64().context("bytes")?;
        if bytes != 0 {
            all.push((name.to_owned(), bytes / page().cast_signed()));
        }
    }
    all.sort();
    Ok(all)
}

/// The same of what a workload wrote.
fn pages(own: &Segments) -> Vec<(String, i64)> {
    let all = own.iter().filter(|(_, held)| held.resident != 0);
    all.map(|(name, held)| ((*name).to_owned(), held.resident.cast_signed()))
        .collect()
}

/// A child that is forked afterwards has what its parent had before.
#[test]
fn a_child_has_what_its_parent_had_before() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "anon 200 shmem 30 brk 70 descend 200 anon 100 smaps @before say ready hear \
        fork{ unmap brk-down 20 anon 400 smaps @child } wait unmap anon 900 smaps @top say done hear";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let attached = Attached::to(&lab, &[workload.pid().to_string()], &["--segments"])?;
    let summary = to_the_end(workload, attached)?;
    assert_eq!(summary.tree.images, 2);
    assert_peak(&lab, summary.root()?.last_image()?, "top")?;
    let mut images = summary.processes.iter().flat_map(|one| &one.images);
    let child = images.find(|image| image.kind == "fork");
    let own = assert_peak(&lab, child.context("no child")?, "child")?;
    let before = smaps::read(&lab.path("before"), workloads::SCRIPT)?;
    assert_eq!(resident(&own, "heap"), resident(&before, "heap") - 20);
    assert_eq!(resident(&own, "anon"), resident(&before, "anon") + 300);
    Ok(())
}

/// Descendants that were there, each with its own.
#[test]
fn everyone_who_is_taken_in_has_segments() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "pipe 0 pipe 1 anon 200 \
        fork{ anon 70 brk 30 smaps @inherited post 1 await 0 anon 600 smaps @child post 1 await 0 } \
        await 1 say ready hear post 0 await 1 brk 40 anon 800 smaps @top say done hear post 0 wait";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let attached = Attached::to(&lab, &[workload.pid().to_string()], &["--segments"])?;
    let root = workload.pid();
    let summary = to_the_end(workload, attached)?;
    assert_peak(&lab, process(&summary, root)?.last_image()?, "top")?;
    let child = summary.processes.iter().find(|one| one.pid != root);
    assert_peak(&lab, child.context("no child")?.last_image()?, "child")?;
    Ok(())
}

/// Who ends, or executes another program, before it is found out what its pages are for: that is unknown, and said.
#[test]
fn what_ends_too_early_is_not_called_exact() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "anon 300 brk 50 say ready hear exec{ SELF anon 700 smaps @top say done hear }";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let targets = [workload.pid().to_string()];
    let attached = Attached::meanwhile(&lab, &targets, &["--segments"], || {
        workload.tell()?;
        workload.expect("done")
    })?;
    workload.tell()?;
    workload.finish()?;
    let summary = attached.finish()?;
    summary.assert_exact();
    let images = &summary.root()?.images;
    ensure!(images.len() == 2, "{images:?}");
    let within = images[0].segments_within_bytes;
    assert!(
        within.is_none_or(|bytes| bytes >= 350 * page()),
        "{within:?}"
    );
    let unknown = images[0]
        .segments
        .iter()
        .find(|one| one.segment == "unknown");
    let unknown = unknown.context("nothing is unknown")?;
    assert!(unknown.at_peak.resident_bytes >= 350 * page().cast_signed());
    assert_peak(&lab, &images[1], "top")?;
    Ok(())
}

/// A process that does not hold still: what cannot be told has a bound, and that holds.
#[test]
fn whenever_it_attaches_the_bound_holds() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "anon 100 brk 20 loop{ 400 say round anon 30 brk 10 anon 10 unmap brk-down 10 descend 40 unmap } \
        say last hear anon 9000 smaps @top say done hear";
    for time in 0..load(40, scaled(10, 4)) {
        let mut workload = begin(&lab, words)?;
        for _ in 0..=time % 7 {
            workload.expect("round")?;
        }
        let attached = Attached::to(&lab, &[workload.pid().to_string()], &["--segments"])?;
        while workload.line()? != "last" {}
        let summary = to_the_end(workload, attached)?;
        assert_bound(&lab, &summary)?;
    }
    Ok(())
}

/// Where the heap begins right behind the bss, smaps may not tell one from the other.
#[test]
fn what_smaps_does_not_tell_has_a_bound() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words =
        "anon 100 brk 20 smaps @before say ready hear brk 10 anon 900 smaps @top say done hear";
    // Without address randomisation.
    let mut workload = memtrace_tests::begin(&lab, words)?;
    workload.expect("ready")?;
    let attached = Attached::to(&lab, &[workload.pid().to_string()], &["--segments"])?;
    let summary = to_the_end(workload, attached)?;
    let within = assert_bound(&lab, &summary)?;
    assert_eq!(within > 0, smaps::is_mixed(&lab.path("before"))?);
    Ok(())
}

/// Two that have one address space can change it at the same moment: where that is not noticed, there is no bound.
#[test]
fn who_shares_an_address_space_may_have_no_bound() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for (beside, wait) in [("thread{", ""), ("clonevm{", "wait")] {
        let words = format!(
            "pipe 0 pipe 1 {beside} anon 50 post 0 await 1 anon 40 post 0 await 1 }} await 0 brk 30 say ready hear \
             post 1 await 0 brk 10 anon 900 smaps @top say done hear post 1 {wait}"
        );
        let mut workload = begin(&lab, &words)?;
        workload.expect("ready")?;
        let attached = Attached::to(&lab, &[workload.pid().to_string()], &["--segments"])?;
        let summary = to_the_end(workload, attached)?;
        let seen = summary.certificate.segments.as_ref().context("no word")?;
        let mut images = summary.processes.iter().flat_map(|one| &one.images);
        let image = images.next().context("no image")?;
        if seen.by != "functions" || threads_hold_back_changes() {
            assert_eq!(image.segments_within_bytes, None, "{beside}");
        }
        // They took turns.
        let own = smaps::read(&lab.path("top"), workloads::SCRIPT)?;
        assert_within(image, &own, 0)?;
    }
    Ok(())
}

/// No segment of the workload's at its peak is further from smaps than is said, which is given.
fn assert_bound(lab: &Lab, summary: &Summary) -> Result<u64> {
    let image = summary.root()?.last_image()?;
    let own = smaps::read(&lab.path("top"), workloads::SCRIPT)?;
    let within = image.segments_within_bytes.context("no bound")?;
    assert_within(image, &own, within)?;
    Ok(within)
}

/// No segment at the image's peak is wrong by more.
fn assert_within(image: &Image, own: &Segments, bytes: u64) -> Result<()> {
    for one in &image.segments {
        let own = match own.get(&*one.segment) {
            Some(Held { resident, .. }) => i64::try_from(resident * page())?,
            None => 0,
        };
        let found = one.at_peak.resident_bytes;
        assert!(found.abs_diff(own) <= bytes, "{one:?}: {own}, {bytes}");
    }
    let sum: i64 = image
        .segments
        .iter()
        .map(|one| one.at_peak.resident_bytes)
        .sum();
    assert_eq!(sum, i64::try_from(image.peak_rss_bytes)?);
    Ok(())
}
