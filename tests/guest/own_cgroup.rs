//! `run --own-cgroup`: what the kernel says of a cgroup that the command has to itself.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use memtrace_tests::{Cgroup, Lab, Partner, lacks, memtrace, page};
use serde_json::Value;

const ROOT: &str = "/sys/fs/cgroup";

/// What the last run says.
fn told(lab: &Lab) -> Result<Value> {
    let summary: Value = serde_json::from_str(&fs::read_to_string(lab.path("summary.json"))?)?;
    let told = summary.get("own_cgroup").context("nothing was told")?;
    Ok(told.clone())
}

fn number(told: &Value, pointer: &str) -> Result<u64> {
    let number = told.pointer(pointer).and_then(Value::as_u64);
    number.with_context(|| format!("no {pointer} in {told}"))
}

/// Whether memtrace left a cgroup behind.
fn is_left(below: &Path) -> Result<bool> {
    let mut names =
        fs::read_dir(below)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.any(|name| name.starts_with("memtrace-") && !name.starts_with("memtrace-tests-")))
}

/// The line that runs memtrace in a cgroup.
fn within(lab: &Lab, group: &Cgroup, words: &str) -> Result<Vec<String>> {
    let enter = [
        "sh",
        "-c",
        "echo 0 >\"$0/cgroup.procs\" && exec \"$@\"",
        &group.path().display().to_string(),
    ];
    let mut line: Vec<String> = enter.map(str::to_owned).to_vec();
    line.extend(lab.memtrace_run(&["--own-cgroup"])?);
    line.extend(lab.script(words));
    Ok(line)
}

/// The kernel's peak has every page that the command touched, and what has ended is no longer charged as
/// anonymous memory. A recording has the same.
#[test]
fn own_cgroup_has_what_the_command_touched() -> Result<()> {
    const PAGES: u64 = 6400;
    let lab = Lab::new()?;
    let recording = lab.path("run.memtrace").display().to_string();
    let options = ["--own-cgroup", "-o", &recording];
    let run = lab.run(&options, &lab.script(&format!("anon {PAGES}")))?;
    run.summary.assert_exact();
    let told = told(&lab)?;
    assert!(
        number(&told, "/stat/anon_bytes")? < PAGES * page() / 2,
        "{told}"
    );
    assert_eq!(number(&told, "/events/oom_kill")?, 0, "{told}");
    assert_eq!(told["remains"], false, "{told}");
    assert!(!is_left(Path::new(ROOT))?);
    // It came when memory.reclaim did.
    if !lacks("memory.reclaim") {
        assert!(number(&told, "/peak_bytes")? >= PAGES * page(), "{told}");
    }

    let report = [
        &memtrace()?.display().to_string(),
        "report",
        "--json",
        "-",
        &recording,
    ];
    let output = lab.to_end(&mut lab.fixed(&report))?.success()?;
    let again: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!(again["own_cgroup"], told);
    Ok(())
}

/// Alone in a cgroup that is not the root, memtrace makes room, the limits of that hold, and it goes back.
#[test]
fn own_cgroup_is_below_the_limits_of_memtraces() -> Result<()> {
    const LIMIT: u64 = 128 << 20;
    let lab = Lab::new()?;
    let group = Cgroup::with_memory_limit(LIMIT).map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let pages = 2 * LIMIT / page();
    let finished = lab.to_end(&mut lab.fixed(&within(&lab, &group, &format!("anon {pages}"))?))?;
    assert_eq!(finished.signal(), Some(9), "{}", finished.stderr);
    let told = told(&lab)?;
    assert_eq!(number(&told, "/events/oom_kill")?, 1, "{told}");
    let name = group.path().file_name().and_then(|name| name.to_str());
    let above = format!("/{}/memtrace-", name.context("no name")?);
    assert!(
        told["path"]
            .as_str()
            .is_some_and(|path| path.starts_with(&above)),
        "{told}"
    );
    assert_eq!(told["remains"], false, "{told}");
    assert!(!is_left(group.path())?);
    Ok(())
}

/// With others in its cgroup it says what to do, before the command runs, and leaves nothing.
#[test]
fn own_cgroup_beside_others_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let group =
        Cgroup::with_memory_limit(512 << 20).map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let words = format!("cgroup {} say ready hear", group.path().display());
    let mut other = Partner::start(&mut lab.fixed(&lab.script(&words)))?;
    other.expect("ready")?;
    let finished = lab.to_end(&mut lab.fixed(&within(&lab, &group, "status @ran")?))?;
    assert_eq!(finished.code(), Some(125), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("systemd-run --scope"),
        "{}",
        finished.stderr
    );
    assert!(!lab.has("ran"));
    assert!(!is_left(group.path())?);
    other.finish()?;
    Ok(())
}
