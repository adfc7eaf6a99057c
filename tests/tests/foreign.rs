//! T4: changes to memory that are made by somebody else than its owner belong to the owner.

use std::{fs, path::Path};

use anyhow::Result;
use memtrace_tests::{Cgroup, Lab, Partner, exact_status, page, require, require_privileges, skip};

/// Where the receiver has its memory, far from everything else.
const ADDRESS: u64 = 1 << 40;

/// Writing into an untracked process adds nothing to the tracked one.
#[test]
fn pages_written_into_an_untracked_process_are_not_ours() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!("at {ADDRESS} 1000 status @before say ready hear status @after");
    let mut receiver = Partner::start(&mut lab.fixed(&lab.script(&words)))?;
    receiver.expect("ready")?;
    let pid = receiver.pid();
    let summary = lab
        .trace(&format!("vm-write {pid} {ADDRESS} 1000 status @writer"))?
        .summary;
    receiver.finish()?;
    let grown = lab.status("after")?.rss()? - lab.status("before")?.rss()?;
    assert_eq!(grown, 1000 * page(), "the workload");
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 1);
    assert_eq!(summary.tree.peak_rss_bytes, lab.status("writer")?.rss()?);
    Ok(())
}

/// Pages that an untracked process writes into a tracked one are the tracked one's.
#[test]
fn pages_that_an_untracked_process_writes_into_ours_count() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = format!("at {ADDRESS} 1000 status @before say ready hear status @after");
    let mut line = lab.memtrace_run(&[])?;
    line.extend(lab.script(&words));
    let mut receiver = Partner::start(&mut lab.fixed(&line))?;
    receiver.expect("ready")?;
    let pid = lab.status("before")?.pid()?;
    lab.alone(&format!("vm-write {pid} {ADDRESS} 1000"))?;
    let (status, _) = receiver.finish()?;
    assert!(status.success(), "{status}");
    let summary = memtrace_tests::Summary::read(&lab.path("summary.json"))?;
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 1);
    let (before, after) = (lab.status("before")?.rss()?, lab.status("after")?.rss()?);
    assert_eq!(after - before, 1000 * page(), "the workload");
    assert_eq!(summary.tree.peak_rss_bytes, after);
    Ok(())
}

/// A tracked process that must reclaim an untracked one's pages to get its own does not adopt
/// that process.
#[test]
fn pages_reclaimed_from_an_untracked_process_are_not_ours() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let group = match Cgroup::with_memory_limit(64 << 20) {
        Ok(group) => group,
        Err(missing) => {
            skip(&missing);
            return Ok(());
        }
    };
    // On the disk: pages of a tmpfs cannot be reclaimed without swap.
    let file =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("reclaim-{}", std::process::id()));
    let (group_dir, file_name) = (group.path().display(), file.display());
    let words = format!(
        "cgroup {group_dir} make-file {file_name} 12800 file {file_name} 12800 status @before say ready hear status @after"
    );
    let mut holder = Partner::start(&mut lab.fixed(&lab.script(&words)))?;
    let ready = holder.expect("ready");
    let run =
        ready.and_then(|()| lab.trace(&format!("cgroup {group_dir} anon 10240 status @ours")));
    let ended = holder.finish();
    fs::remove_file(&file)?;
    let summary = run?.summary;
    ended?;
    let (before, after) = (lab.status("before")?, lab.status("after")?);
    assert!(
        after.bytes("RssFile")? < before.bytes("RssFile")?,
        "the workload: nothing was reclaimed"
    );
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 1);
    assert_eq!(summary.tree.peak_rss_bytes, lab.status("ours")?.rss()?);
    Ok(())
}
