//! The footprint's bounds hold the truth, whoever forks, writes and ends in what order.
//! Truth is arithmetic: each scenario says how many MiB its processes need at most.

use anyhow::Result;
use memtrace_tests::{Lab, mib, require_privileges};

const MIB: u64 = 1 << 20;

/// Runs a script and checks that what it needs at most, `truth` MiB and a few pages of its
/// own, is within the bounds.
fn holds(words: &str, truth: u64) -> Result<()> {
    let lab = Lab::new()?;
    lab.alone(words)?;
    let summary = lab.trace_with(&["--wait-tree"], words)?.summary;
    summary.assert_exact();
    let tree = &summary.tree;
    let (low, high) = (
        tree.peak_footprint_low_bytes,
        tree.peak_footprint_high_bytes,
    );
    // The scripts' own pages and page tables of several processes: far below a MiB each.
    assert!(
        low <= (truth + 2) * MIB && truth * MIB <= high,
        "{truth} MiB are not within {low} and {high}: {words}"
    );
    assert!(high <= tree.peak_rss_bytes, "{high}");
    Ok(())
}

/// A daemon's grandchild, whose parent ended, still shares with its grandparent.
#[test]
fn a_grandchild_shares_with_its_grandparent() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 anon {} fork{{ fork{{ await-orphan post 0 }} exit 0 }} reap await 0",
        mib(100)
    );
    holds(&words, 100)
}

/// What the first of a family rewrote before its heirs' parent ended is theirs alone.
#[test]
fn a_grandchild_keeps_what_its_grandparent_rewrote() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 pipe 1 anon {0} fork{{ fork{{ await-orphan anon {1} post 0 }} await 1 exit 0 }} \
         nap-us 20000 touch {0} anon 1 unmap post 1 reap await 0",
        mib(100),
        mib(150)
    );
    // 100 of the parent, the 100 before its rewriting in the grandchild, 150 more.
    holds(&words, 350)
}

/// Pages written without any counter change count for the moment of the peak, not for the
/// moment at which they are noticed.
#[test]
fn silent_writes_count_at_the_peak_that_they_preceded() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 pipe 1 pipe 2 anon {0} fork{{ await 0 anon {1} unmap post 1 await 2 }} \
         touch {0} post 0 await 1 anon 1 post 2 wait",
        mib(100),
        mib(150)
    );
    holds(&words, 350)
}

/// A worker that shares the whole address space writes for its creator.
#[test]
fn a_clone_vm_workers_writes_count() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 anon {0} fork{{ await 0 }} clonevm{{ touch {0} }} wait post 0 wait",
        mib(100)
    );
    holds(&words, 200)
}

/// The younger sibling of a child that took over keeps what it had from the parent alone.
#[test]
fn a_younger_sibling_keeps_what_only_the_parent_shared() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 pipe 1 anon {0} fork{{ await 0 }} touch {0} anon 1 unmap \
         fork{{ await-orphan anon {1} post 0 }} exit 0",
        mib(100),
        mib(150)
    );
    // The elder child has the 100 from before the rewriting, the younger those after it.
    holds(&words, 350)
}
