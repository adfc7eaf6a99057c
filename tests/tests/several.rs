//! `memtrace attach` to several processes: each is a tree of its own, and all of them together are one.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use memtrace_tests::{
    Attached, Cgroup, Lab, Partner, Recorded, Root, Summary, attach_refused, begin, exact_status,
    memtrace, page, require, require_privileges, skip, workloads,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The root that the process is.
fn root_of(summary: &Summary, pid: u32) -> Result<&Root> {
    let mut roots = summary.tree.roots.iter();
    roots
        .find(|root| root.pids == [pid])
        .with_context(|| format!("no root {pid}: {:?}", summary.tree.roots))
}

/// Whichever programs are used.
const WAYS: [&[&str]; 3] = [&[], &["--handler", "locked"], &["--handler", "plain"]];

/// Each has its own peak, at its own time, and the sum of both had another.
#[test]
fn each_of_several_has_its_peak_and_so_has_their_sum() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for options in WAYS {
        let first = "anon 300 say ready hear anon 900 status @first-top unmap status @first say done hear exit 3";
        let second = "pipe 0 pipe 1 anon 100 fork{ anon 60 post 1 await 0 anon 500 status @child post 1 await 0 unmap } \
            await 1 say ready hear post 0 await 1 status @second say done hear post 0 wait";
        let (mut first, mut second) = (begin(&lab, first)?, begin(&lab, second)?);
        first.expect("ready")?;
        second.expect("ready")?;
        let pids = [first.pid(), second.pid()];
        let attached = Attached::to(&lab, &pids.map(|pid| pid.to_string()), options)?;
        first.tell()?;
        first.expect("done")?;
        second.tell()?;
        second.expect("done")?;
        for mut workload in [first, second] {
            workload.tell()?;
            workload.finish()?;
        }
        let summary = attached.finish()?;
        summary.assert_exact();
        let rss = |name: &str| lab.status(name)?.rss();
        let one = root_of(&summary, pids[0])?;
        assert_eq!((one.peak_rss_bytes, one.processes), (rss("first-top")?, 1));
        let other = root_of(&summary, pids[1])?;
        let both = rss("second")? + rss("child")?;
        assert_eq!((other.peak_rss_bytes, other.processes), (both, 2));
        assert_eq!(other.own_peak.anon_bytes + other.own_peak.file_bytes, both);
        // The first one's peak is the larger one, and the second's had not begun then.
        let peak = summary.tree.peak_rss_bytes;
        assert_eq!(peak, rss("first-top")? + both - 500 * page(), "{options:?}");
        let held: u64 = summary
            .tree
            .roots
            .iter()
            .map(|root| root.at_tree_peak_rss_bytes)
            .sum();
        assert_eq!(held, peak);
        // Of several nobody has the exit status.
        assert_eq!(summary.exit_status, None);
        assert_eq!(summary.command, pids.map(|pid| format!("process {pid}")));
    }
    Ok(())
}

/// It goes on until the last has ended, whichever that is.
#[test]
fn it_ends_with_the_last_of_them() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut workloads = Vec::new();
        for _ in 0..3 {
            let mut workload = begin(&lab, "anon 10 say ready hear anon 200 unmap")?;
            workload.expect("ready")?;
            workloads.push(Some(workload));
        }
        let pids = workloads.iter().flatten().map(|one| one.pid().to_string());
        let attached = Attached::to(&lab, &pids.collect::<Vec<_>>(), &[])?;
        for which in order {
            let mut workload = workloads[which].take().context("ended twice")?;
            workload.tell()?;
            workload.finish()?;
        }
        let summary = attached.finish()?;
        summary.assert_exact();
        assert_eq!(summary.tree.roots.len(), 3);
        assert_eq!(summary.tree.survivors, 0);
        for root in &summary.tree.roots {
            assert!(root.own_peak.anon_bytes >= 210 * page());
        }
    }
    Ok(())
}

/// A root that another one created counts for itself.
#[test]
fn a_root_below_another_one_is_its_own() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "pipe 0 pipe 1 pipe 2 anon 100 \
        fork{ fork{ anon 70 status @grandchild post 1 await 0 } anon 40 status @child await 1 post 2 await 0 wait } \
        await 2 status @root say ready hear post 0 post 0 wait";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let child = lab.status("child")?.pid()?;
    let root = workload.pid();
    let targets = [root.to_string(), child.to_string()];
    let attached = Attached::to(&lab, &targets, &[])?;
    workload.tell()?;
    workload.finish()?;
    let summary = attached.finish()?;
    summary.assert_exact();
    let rss = |name: &str| lab.status(name)?.rss();
    let (outer, inner) = (root_of(&summary, root)?, root_of(&summary, child)?);
    assert_eq!((outer.peak_rss_bytes, outer.processes), (rss("root")?, 1));
    assert_eq!(inner.peak_rss_bytes, rss("child")? + rss("grandchild")?);
    assert_eq!(inner.processes, 2);
    assert_eq!(
        summary.tree.peak_rss_bytes,
        outer.peak_rss_bytes + inner.peak_rss_bytes
    );
    Ok(())
}

/// Nobody wrote a command, and yet each output says what it is about.
#[test]
fn every_output_says_what_was_attached_to() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut workloads = Vec::new();
    for _ in 0..2 {
        let mut workload = begin(&lab, "anon 10 say ready hear")?;
        workload.expect("ready")?;
        workloads.push(workload);
    }
    let pids: Vec<String> = workloads.iter().map(|one| one.pid().to_string()).collect();
    let file = lab.path("file.memtrace").display().to_string();
    Attached::to(&lab, &pids, &["-o", &file, "--duration", "1ms"])?.finish()?;
    let asked = format!("processes {}, {}", pids[0], pids[1]);
    let page = lab.path("page.html").display().to_string();
    let trace = lab.path("trace.perfetto").display().to_string();
    let table = lab.path("tree.parquet").display().to_string();
    for (line, output, words) in [
        (
            vec!["report", &file, "--html", &page],
            &page,
            format!("<title>{asked} - memory</title>"),
        ),
        (
            vec!["export", &file, "--format", "perfetto", "-o", &trace],
            &trace,
            format!("memtrace: {asked}"),
        ),
        (
            vec![
                "export", &file, "--format", "parquet", "--table", "tree", "-o", &table,
            ],
            &table,
            asked.clone(),
        ),
    ] {
        let mut command = std::process::Command::new(memtrace()?);
        command.args(&line);
        lab.to_end(&mut command)?.success()?;
        let written = fs::read(output)?;
        let written = String::from_utf8_lossy(&written);
        assert!(written.contains(&words), "{line:?}: no {words:?}");
    }
    for mut workload in workloads {
        workload.tell()?;
        workload.finish()?;
    }
    Ok(())
}

/// By the name of its program, which nobody else has.
#[test]
fn every_process_of_a_name_is_found() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let name = format!("mt-named-{}", std::process::id());
    let program = lab.path(&name);
    fs::copy(workloads::SCRIPT, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let start = |words: &str| {
        let mut line = lab.script(words);
        line[0] = program.display().to_string();
        Partner::start(&mut lab.fixed(&line))
    };
    let finished = attach_refused(&lab, &["--name", &name])?;
    assert!(
        finished
            .stderr
            .contains(&format!("no process is called \"{name}\"")),
        "{}",
        finished.stderr
    );
    let mut first = start("anon 300 fork{ anon 50 hear } status @first say ready wait")?;
    let mut second = start("anon 40 status @second say ready hear")?;
    first.expect("ready")?;
    second.expect("ready")?;
    let (first_pid, second_pid) = (first.pid(), second.pid());
    let targets = ["--name".to_owned(), name];
    let attached = Attached::to(&lab, &targets, &[])?;
    first.tell()?;
    first.finish()?;
    second.tell()?;
    second.finish()?;
    let summary = attached.finish()?;
    summary.assert_exact();
    // A child is no root, though it has the name too.
    assert_eq!(summary.tree.roots.len(), 2);
    let one = root_of(&summary, first_pid)?;
    assert_eq!(one.processes, 2);
    assert!(one.peak_rss_bytes >= lab.status("first")?.rss()? + 350 * page());
    assert_eq!(
        root_of(&summary, second_pid)?.peak_rss_bytes,
        lab.status("second")?.rss()?
    );
    Ok(())
}

/// A cgroup is one tree, whoever created its processes, and what they create belongs to it, wherever that goes.
#[test]
fn a_cgroup_is_one_tree() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let group = match Cgroup::with_memory_limit(1 << 30) {
        Ok(group) => group,
        Err(missing) => {
            skip(&missing);
            return Ok(());
        }
    };
    let mut outside = begin(&lab, "anon 70 say ready hear")?;
    outside.expect("ready")?;
    let words = [
        "anon 300 status @first say ready hear",
        "anon 40 say ready hear pipe 0 fork{ anon 20 status @child post 0 hear } \
            await 0 status @second say ready wait",
    ];
    let mut inside = Vec::new();
    for words in words {
        let mut workload = begin(&lab, words)?;
        workload.expect("ready")?;
        group.set("cgroup.procs", &workload.pid().to_string())?;
        inside.push(workload);
    }
    inside[1].tell()?;
    inside[1].expect("ready")?;
    let path = group.path().display().to_string();
    let file = lab.path("file.memtrace").display().to_string();
    let options = ["-o", &file, "--force"];
    for targets in [
        vec!["--cgroup".to_owned(), path.clone()],
        vec![
            "--cgroup".to_owned(),
            path.clone(),
            outside.pid().to_string(),
        ],
    ] {
        let several = targets.len() > 2;
        let attached = Attached::to(
            &lab,
            &targets,
            &[&options[..], &["--duration", "30ms"]].concat(),
        )?;
        let summary = attached.finish()?;
        summary.assert_exact();
        let rss = |name: &str| lab.status(name)?.rss();
        let sum = rss("first")? + rss("second")? + rss("child")?;
        if several {
            assert_eq!(summary.tree.roots.len(), 2);
            let all = summary
                .tree
                .roots
                .iter()
                .find(|root| root.name.is_some())
                .context("the cgroup")?;
            assert_eq!(all.name.as_deref(), Some(format!("cgroup {path}").as_str()));
            assert_eq!(all.peak_rss_bytes, sum);
        } else {
            assert!(summary.tree.roots.is_empty());
            assert_eq!(
                (summary.tree.processes, summary.tree.peak_rss_bytes),
                (3, sum)
            );
        }
        let mut report = std::process::Command::new(memtrace()?);
        report.args(["report", &file, "--json", "-"]);
        let report = lab.to_end(&mut report)?.success()?;
        let live = fs::read_to_string(lab.path("summary.json"))?;
        assert_eq!(report.stdout, live);
        Recorded::read(Path::new(&file))?;
    }
    outside.tell()?;
    outside.finish()?;
    for mut workload in inside {
        workload.tell()?;
        workload.finish()?;
    }
    let finished = attach_refused(&lab, &["--cgroup", &path])?;
    assert!(
        finished.stderr.contains("no process that can be measured"),
        "{}",
        finished.stderr
    );
    Ok(())
}

/// A descendant can have memory that is its creator's creator's, who was not asked for: that is said, and what it
/// executes is followed.
#[test]
fn who_has_an_outsiders_memory_is_followed_without_it() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "anon 500 clonevm{ \
            clonevm{ hear exec{ SELF anon 300 status @program say runs hear } } \
            exec{ SELF anon 100 status @root say ready nap-us 60000000 } \
        } wait";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let root = lab.status("root")?.pid()?;
    let attached = Attached::to(&lab, &[root.to_string()], &[])?;
    workload.tell()?;
    workload.expect("runs")?;
    kill(Pid::from_raw(root.cast_signed()), Signal::SIGKILL)?;
    workload.tell()?;
    workload.finish()?;
    let summary = attached.finish()?;
    assert_eq!(summary.certificate.verdict, "incomplete");
    let reasons = &summary.certificate.reasons;
    assert!(
        reasons.iter().any(|reason| reason.contains("has the memory of one that does not belong to the tree")),
        "{reasons:?}"
    );
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert_eq!(summary.tree.processes, 2);
    let (own, other) = (lab.status("root")?, lab.status("program")?);
    let peak = |pid: u32| -> Result<u64> {
        let process = summary.processes.iter().find(|process| process.pid == pid);
        Ok(process.context("a process")?.last_image()?.peak_rss_bytes)
    };
    assert_eq!(peak(own.pid()?)?, own.rss()?);
    assert_eq!(peak(other.pid()?)?, other.rss()?);
    Ok(())
}

#[test]
fn what_is_asked_for_twice_or_not_there_is_named() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut workload = begin(&lab, "say ready hear")?;
    workload.expect("ready")?;
    let pid = workload.pid().to_string();
    for (targets, words) in [
        (
            vec![pid.as_str(), pid.as_str()],
            "is asked for more than once",
        ),
        (
            vec![pid.as_str(), "2147483647"],
            "there is no process 2147483647",
        ),
        (vec!["--cgroup", "/memtrace/none"], "there is no cgroup"),
        (vec!["--name", "memtrace-none"], "no process is called"),
        (vec![], "required"),
    ] {
        let finished = attach_refused(&lab, &targets)?;
        assert!(
            finished.code().is_some_and(|code| code != 0),
            "{finished:?}"
        );
        assert!(
            finished.stderr.contains(words),
            "{targets:?}: {}",
            finished.stderr
        );
    }
    workload.tell()?;
    workload.finish()?;
    Ok(())
}
