//! Several memtrace at the same time: each has its own view, and all of them are right.

use anyhow::{Result, ensure};
use memtrace_tests::{
    Lab, Partner, Summary, announced, exact_status, load, memtrace, page, require,
    require_privileges,
};

/// The words of a script that runs another memtrace on a script of its own.
fn another(json: &str, words: &str) -> Result<String> {
    let memtrace = memtrace()?.display();
    Ok(format!(
        "exec{{ {memtrace} run -q --json @{json} -- SELF {words} }}"
    ))
}

const FAMILY: &str = "pipe 0 pipe 1 anon 1000 fork{ anon 500 exec{ SELF anon 3000 status @child post 0 await 1 } } \
    await 0 status @parent post 1 wait";

/// memtrace under memtrace: the inner one is exact, and the outer one, which sees the inner one
/// too, agrees with it on every process.
#[test]
fn a_traced_memtrace_and_its_tracer_agree() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    lab.alone(FAMILY)?;
    let outer = lab.trace(&another("inner.json", FAMILY)?)?.summary;
    outer.assert_exact();
    let inner = Summary::read(&lab.path("inner.json"))?;
    inner.assert_exact();
    let (parent, child) = (lab.status("parent")?, lab.status("child")?);
    assert_eq!(inner.tree.peak_rss_bytes, parent.rss()? + child.rss()?);
    assert_eq!(inner.processes.len(), 2);
    assert_eq!(outer.processes.len(), 3, "memtrace itself and its two");
    for seen in &inner.processes {
        let same = outer.process(seen.pid)?;
        let peaks = |process: &memtrace_tests::Process| -> Vec<(String, u64)> {
            let own = process.images.iter().filter(|image| image.ran);
            own.map(|image| (image.kind.clone(), image.peak_rss_bytes))
                .collect()
        };
        let (mut theirs, ours) = (peaks(same), peaks(seen));
        // The root's image before its exec is a copy of the inner memtrace, for the outer one.
        if theirs.len() > ours.len() {
            theirs.remove(0);
        }
        assert_eq!(theirs, ours, "process {}", seen.pid);
        assert_eq!(same.exit_status, Some(0));
    }
    assert!(outer.tree.peak_rss_bytes > inner.tree.peak_rss_bytes);
    Ok(())
}

/// A tree, a part of which another memtrace traces: both are exact about their own.
#[test]
fn overlapping_trees_are_each_exact() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let storm = "loop{ 200 fork{ anon 50 } vfork{ exec{ NOTHING } } wait wait }";
    let inner = format!("{storm} anon 4000 status @inner");
    let words = format!(
        "fork{{ {} }} fork{{ {storm} anon 2000 status @other }} {storm} wait wait",
        another("inner.json", &inner)?
    );
    let outer = lab.trace(&words)?.summary;
    outer.assert_exact();
    let inner = Summary::read(&lab.path("inner.json"))?;
    inner.assert_exact();
    assert_eq!(inner.processes.len(), 401);
    assert_eq!(outer.processes.len(), 1 + 1 + 1 + 2 * 400 + 401);
    let status = lab.status("inner")?;
    assert_eq!(inner.tree.peak_rss_bytes, status.rss()?);
    let same = outer.process(status.pid()?)?.last_image()?;
    assert_eq!(same.peak_rss_bytes, status.rss()?);
    let other = lab.status("other")?;
    let image = outer.process(other.pid()?)?.last_image()?;
    assert_eq!(image.peak_rss_bytes, other.rss()?);
    Ok(())
}

/// Several that have nothing to do with each other do not disturb each other: each begins its work
/// when all of them trace.
#[test]
fn several_at_once_are_as_exact_as_one_alone() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let empty = lab.trace("anon 0000")?.summary.tree.peak_rss_bytes;
    let count = announced("memtrace at once", load(6, 3));
    let json = |i: u64| lab.path(&format!("{i}.json"));
    let mut running = Vec::new();
    for i in 0..count {
        let mut line = vec![memtrace()?.display().to_string()];
        let file = json(i).display().to_string();
        line.extend(["run", "-q", "--json", &file, "--"].map(str::to_owned));
        let pages = 1000 + i;
        line.extend(lab.script(&format!(
            "say ready hear loop{{ 300 fork{{ anon 10 }} wait }} anon {pages:04}"
        )));
        running.push(Partner::start(&mut lab.fixed(&line))?);
    }
    for partner in &mut running {
        partner.expect("ready")?;
    }
    for partner in &mut running {
        partner.end_input();
    }
    for (i, partner) in (0..).zip(running) {
        let (status, _) = partner.finish()?;
        ensure!(status.success(), "memtrace {i} ended with {status}");
        let summary = Summary::read(&json(i))?;
        summary.assert_exact();
        assert_eq!(summary.processes.len(), 301);
        let peak = summary.root()?.last_image()?.peak_rss_bytes;
        assert_eq!(peak - empty, (1000 + i) * page(), "memtrace {i}");
    }
    Ok(())
}
