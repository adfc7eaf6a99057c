//! Without BPF: recordings, screens, and what runs already. Numbers are samples, which tests wait for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use memtrace::{event::Event, model::Amounts};
use memtrace_tests::{
    Attached, ENTERS, LEAVES, Lab, OnTerminal, Partner, Recorded, Summary, await_until, begin,
    held_at, memtrace, page, require, run_to_end,
    tier_p::{AS_NOBODY, PTRACE, as_nobody, check, nobody},
};
use nix::sys::signal::Signal;

const POLL: [&str; 2] = ["--backend", "poll"];

/// Options that have each sample written to a file.
fn live(lab: &Lab) -> (PathBuf, [String; 3]) {
    let path = lab.path("live");
    let _ = fs::remove_file(&path);
    let to = path.display().to_string();
    (path, ["--live=0.02".to_owned(), "--live-to".to_owned(), to])
}

/// The sum of RSS in the last whole line, bytes.
fn latest(live: &Path) -> Option<u64> {
    let text = fs::read_to_string(live).ok()?;
    let (whole, _) = text.rsplit_once('\n')?;
    let line = whole.lines().next_back()?;
    let kib: u64 = line.split_whitespace().nth(13)?.parse().ok()?;
    Some(kib * 1024)
}

/// Waits until a sample has more than so many pages, or fewer.
fn await_sample(live: &Path, is: impl Fn(u64) -> bool) -> Result<()> {
    await_until("a sample", || {
        latest(live).is_some_and(|bytes| is(bytes / page()))
    })
}

fn report(lab: &Lab, recording: &Path, options: &[&str]) -> Result<String> {
    let mut command = Command::new(memtrace()?);
    command.arg("report").arg(recording).args(options);
    Ok(run_to_end(&mut command, lab.dir())?.success()?.stdout)
}

/// What is recorded of samples gives the text and the JSON of the run, and in its timeline what was held when,
/// which sums to the tree at every moment.
#[test]
fn a_recording_tells_what_the_run_told() -> Result<()> {
    for backend in [PTRACE, POLL] {
        let lab = Lab::new()?;
        let (file, recorded) = (
            lab.path("it.memtrace"),
            lab.path("it.memtrace").display().to_string(),
        );
        let (samples, live) = live(&lab);
        let text = lab.path("it.txt").display().to_string();
        let mut options = vec!["-o", &recorded, "--text", &text];
        options.extend(live.iter().map(String::as_str));
        options.extend(backend);
        let mut job = lab.converse(
            &options,
            "anon 20000 say grown hear unmap say shrunk hear fork{ anon 10000 say child hear } wait",
        )?;
        job.expect("grown")?;
        await_sample(&samples, |pages| pages > 18_000)?;
        job.tell()?;
        job.expect("shrunk")?;
        await_sample(&samples, |pages| pages < 5000)?;
        job.tell()?;
        job.expect("child")?;
        await_sample(&samples, |pages| pages > 9000)?;
        job.tell()?;
        let (status, _) = job.finish()?;
        ensure!(status.success(), "{status}");
        let summary = Summary::read(&lab.path("summary.json"))?;
        check(&summary);
        assert_eq!(report(&lab, &file, &[])?, fs::read_to_string(&text)?);
        assert_eq!(
            report(&lab, &file, &["--json", "-"])?,
            fs::read_to_string(lab.path("summary.json"))?
        );

        let recorded = Recorded::read(&file)?;
        ensure!(recorded.notes.is_empty(), "{:?}", recorded.notes);
        let (summary, timeline) = recorded.timeline(None, usize::MAX)?;
        let mut steps = [
            |pages: u64| pages > 18_000,
            |pages: u64| pages < 5000,
            |pages: u64| pages > 9000,
        ]
        .into_iter()
        .peekable();
        for span in &timeline.tree {
            if steps.peek().is_some_and(|is| is(span.max_rss / page())) {
                steps.next();
            }
            let sum = |sum: Amounts, spans: &Vec<_>| sum.plus(&held_at(spans, span.start_ns));
            let held = timeline.images.iter().fold(Amounts::default(), sum);
            assert_eq!(held, span.at_max, "{span:?}");
            assert!(span.max_rss <= summary.tree.peak_rss);
        }
        assert_eq!(steps.count(), 0, "{backend:?}: {:?}", timeline.tree);
        for (image, spans) in summary.images.iter().zip(&timeline.images) {
            let largest = spans.iter().map(|span| span.max_rss).max();
            assert!(largest <= Some(image.peak_rss), "{image:?}");
            let last = spans.last().map(|span| span.last.rss());
            assert_eq!(last.filter(|_| image.end_ns.is_some()).unwrap_or(0), 0);
        }
    }
    Ok(())
}

/// A recording without an end has what was sampled until then, and says that nothing bounds it.
#[test]
fn what_is_killed_leaves_what_was_sampled() -> Result<()> {
    for backend in [PTRACE, POLL] {
        let lab = Lab::new()?;
        let file = lab.path("it.memtrace");
        let recorded = file.display().to_string();
        let options = [&["-o", &recorded][..], &backend].concat();
        let mut job = lab.converse(&options, "anon 20000 say grown hear say goes-on")?;
        job.expect("grown")?;
        let is_large =
            |event: &Event| matches!(event, Event::Change(change) if change.value > 18_000);
        await_until("what is held to be written", || {
            Recorded::read(&file).is_ok_and(|recorded| recorded.events.iter().any(is_large))
        })?;
        job.signal(Signal::SIGKILL)?;
        job.tell()?;
        job.expect("goes-on")?;
        job.finish()?;
        let recorded = Recorded::read(&file)?;
        assert!(recorded.last.is_none());
        assert!(
            recorded.notes.iter().any(|note| note.starts_with("cut")),
            "{:?}",
            recorded.notes
        );
        let text = report(&lab, &file, &[])?;
        for part in [
            "sampled",
            "at an unknown distance",
            "NO, and without a bound",
            "cut after",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        let summary = Summary::parse(&report(&lab, &file, &["--json", "-"])?)?;
        assert_eq!(summary.certificate.verdict, "incomplete");
        let reasons = &summary.certificate.reasons;
        assert!(
            reasons.iter().all(|reason| reason.contains(": ")),
            "{reasons:?}"
        );
        assert!(
            summary.tree.peak_rss_bytes / page() > 20_000,
            "{:?}",
            summary.tree
        );
    }
    Ok(())
}

/// Of a process that runs already its peak is what it was since, not the kernel's of before; what it creates is found.
#[test]
fn what_runs_already_is_sampled() -> Result<()> {
    let lab = Lab::new()?;
    let (samples, live) = live(&lab);
    let mut options = POLL.to_vec();
    options.extend(live.iter().map(String::as_str));
    let mut workload = begin(
        &lab,
        "anon 20000 unmap say ready hear fork{ anon 6000 status @child say child hear } wait exit 3",
    )?;
    workload.expect("ready")?;
    let pid = workload.pid();
    let attached = Attached::to(&lab, &[pid.to_string()], &options)?;
    workload.tell()?;
    workload.expect("child")?;
    await_sample(&samples, |pages| pages > 5000)?;
    workload.tell()?;
    let (status, _) = workload.finish()?;
    assert_eq!(status.code(), Some(3), "it goes on as if nothing was");
    let summary = attached.finish()?;
    check(&summary);
    assert_eq!(summary.certificate.verdict, "incomplete");
    assert_eq!(summary.processes.len(), 2);
    let root = summary.process(pid)?;
    let own = root.last_image()?;
    assert!(own.peak_rss_bytes / page() < 10_000, "{own:?}");
    let said = root.before.as_ref().context("it ran before")?;
    // The kernel's own mark, which its approximate counters make.
    assert!(said.kernel_hiwater_rss_bytes / page() > 19_000, "{said:?}");
    let child = lab.status("child")?;
    let held = child.rss()?;
    let image = summary.process(child.pid()?)?.last_image()?;
    assert!(
        image.peak_rss_low_bytes.is_some_and(|low| low <= held),
        "{image:?}"
    );
    assert!(image.peak_rss_bytes / page() > 5000, "{image:?}");
    Ok(())
}

/// A limit is about what is held from now on, so that nobody is ended for what he held before.
#[test]
fn nobody_is_ended_for_what_he_held_before() -> Result<()> {
    let lab = Lab::new()?;
    let mut workload = begin(
        &lab,
        "anon 20000 unmap say ready hear say goes-on hear exit 3",
    )?;
    workload.expect("ready")?;
    let (samples, live) = live(&lab);
    let limit = (10_000 * page()).to_string();
    let mut options = [&POLL[..], &["--max-peak", &limit, "--kill"]].concat();
    options.extend(live.iter().map(String::as_str));
    let attached = Attached::to(&lab, &[workload.pid().to_string()], &options)?;
    await_sample(&samples, |pages| pages < 10_000)?;
    workload.tell()?;
    workload.expect("goes-on")?;
    workload.tell()?;
    assert_eq!(workload.finish()?.0.code(), Some(3));
    let (status, summary) = attached.finish_anyhow()?;
    assert_eq!(status, Some(0));
    assert!(
        summary.tree.peak_rss_bytes / page() < 10_000,
        "{:?}",
        summary.tree
    );
    Ok(())
}

/// Who takes another name runs what it ran before.
#[test]
fn another_name_is_no_other_program() -> Result<()> {
    let lab = Lab::new()?;
    let script = "echo ready; read word; echo other >/proc/self/comm; echo renamed; read word";
    let mut workload = Partner::start(Command::new("sh").args(["-c", script]))?;
    workload.expect("ready")?;
    let pid = workload.pid().to_string();
    let top = memtrace()?.display().to_string();
    let line = [
        &top,
        "attach",
        "-q",
        "--json",
        "summary.json",
        "--live=0.02",
        "--live-to",
        "live",
    ];
    let line = [&line[..], &POLL, &[pid.as_str()]].concat();
    let attach = Partner::start(&mut lab.fixed(&line))?;
    let samples = lab.path("live");
    await_sample(&samples, |_| true)?;
    workload.tell()?;
    workload.expect("renamed")?;
    // Whoever looks for names has looked since.
    let lines = || fs::read_to_string(&samples).map_or(0, |text| text.lines().count());
    let before = lines();
    await_until("further samples", || lines() > before + 10)?;
    workload.tell()?;
    workload.finish()?;
    let (status, _) = attach.finish()?;
    assert!(status.success());
    let summary = Summary::read(&lab.path("summary.json"))?;
    assert_eq!(
        (summary.tree.processes, summary.tree.images),
        (1, 1),
        "{summary:?}"
    );
    Ok(())
}

/// What a process holds whose first thread has ended, and what a child of vfork has of its creator.
#[test]
fn memory_is_where_it_is() -> Result<()> {
    let lab = Lab::new()?;
    for (words, processes) in [
        (
            "thread{ await-leader anon 9000 say ready hear exit 0 } exit-thread",
            1,
        ),
        ("anon 9000 vfork{ say ready hear exec{ NOTHING } } wait", 2),
    ] {
        let mut workload = begin(&lab, words)?;
        workload.expect("ready")?;
        let pid = workload.pid();
        let attached = Attached::to(&lab, &[pid.to_string()], &POLL)?;
        workload.tell()?;
        workload.finish()?;
        let summary = attached.finish()?;
        check(&summary);
        assert_eq!(summary.tree.processes, processes, "{words}");
        let pages = summary.tree.peak_rss_bytes / page();
        assert!((8500..13_000).contains(&pages), "{words}: {pages}");
        let own = summary.process(pid)?.last_image()?.peak_rss_bytes;
        assert!(own / page() >= 8500, "{words}: {own}");
    }
    Ok(())
}

/// `top` shows what runs, what it executes, and that it has ended; then it ends.
#[test]
fn top_samples_what_runs() -> Result<()> {
    let lab = Lab::new()?;
    let shell = ["sh", "-c", "echo ready; read word; exec cat"];
    let mut workload = Partner::start(Command::new(shell[0]).args(&shell[1..]))?;
    workload.expect("ready")?;
    let pid = workload.pid().to_string();
    let top = memtrace()?.display().to_string();
    let line = [&top, "top", "--batch", "--interval", "50ms"];
    let line = [&line[..], &POLL, &[pid.as_str()]].concat();
    let mut top = Partner::start(&mut lab.fixed(&line))?;
    let has = |lines: &[String], command: &str| {
        let shows =
            |line: &String| line.split_whitespace().next() == Some(&pid) && line.ends_with(command);
        lines.iter().any(shows)
    };
    let first = top.paragraph()?;
    assert!(
        first[1].starts_with("1 process alive, 0 ended, sampled; not exact"),
        "{first:?}"
    );
    assert!(
        has(&first, "sh -c echo ready; read word; exec cat"),
        "{first:?}"
    );
    workload.tell()?;
    while !has(&top.paragraph()?, " cat") {}
    workload.end_input();
    workload.finish()?;
    let mut last = top.paragraph()?;
    while !last[1].starts_with("0 processes alive, 1 ended") {
        last = top.paragraph()?;
    }
    let (status, _) = top.finish()?;
    assert!(status.success());
    Ok(())
}

/// The screen of a run shows samples, and the result comes after it.
#[test]
fn a_screen_shows_samples() -> Result<()> {
    let lab = Lab::new()?;
    nix::unistd::mkfifo(&lab.path("fifo"), nix::sys::stat::Mode::S_IRWXU)?;
    let line = [
        "run",
        "--tui",
        "--backend",
        "ptrace",
        "--",
        "sh",
        "-c",
        "read word <fifo; exit 3",
    ];
    let mut run = OnTerminal::start_session(&lab, &line)?;
    run.await_text(ENTERS)?;
    run.await_text("COMMAND")?;
    assert!(run.shown().contains("sampled"), "{}", run.shown());
    run.forget();
    fs::write(lab.path("fifo"), "go\n")?;
    run.await_text(LEAVES)?;
    run.await_text("the true peak is between")?;
    assert_eq!(run.end()?.code(), Some(3));
    Ok(())
}

/// Whoever has no privileges gets samples by default, and is told why; who insists on BPF gets an error.
#[test]
fn without_privileges_what_runs_is_sampled() -> Result<()> {
    require!(nobody());
    let lab = Lab::new()?;
    as_nobody(&lab, &[], &[])?;
    let own = lab.path("memtrace").display().to_string();
    // More than is asked for below, because up to 6.1 /proc lacks up to 64 changes of each thread.
    let mut workload = begin(&lab, "anon 600 say ready hear")?;
    workload.expect("ready")?;
    let pid = workload.pid().to_string();
    let ask = |words: &[&str]| {
        let line = [&AS_NOBODY[..], &[own.as_str()], words, &[pid.as_str()]].concat();
        lab.to_end(&mut lab.fixed(&line))
    };
    let attached = ask(&["attach", "--duration", "100ms", "--json", "-"])?;
    assert_eq!(attached.code(), Some(0), "{attached:?}");
    assert!(
        attached.stderr.starts_with("memtrace: no BPF: "),
        "{attached:?}"
    );
    let summary = Summary::parse(&attached.stdout)?;
    check(&summary);
    assert_eq!(summary.tree.survivors, 1);
    assert!(summary.tree.peak_rss_bytes / page() >= 500);
    let top = ask(&["top", "--batch", "--count", "1"])?;
    assert_eq!(top.code(), Some(0), "{top:?}");
    assert!(top.stdout.contains("sampled; not exact"), "{top:?}");
    for words in [&["attach"][..], &["top", "--batch"]] {
        let refused = ask(&[words, &["--backend", "bpf"]].concat())?;
        assert_eq!(refused.code(), Some(125), "{refused:?}");
        assert!(refused.stderr.contains("CAP_BPF"), "{refused:?}");
    }
    workload.tell()?;
    workload.finish()?;
    Ok(())
}
