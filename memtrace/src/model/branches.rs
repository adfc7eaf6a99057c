//! What each of several roots had.

use memtrace_ebpf::{MEMBERS, Pages};

use super::{
    build::Clock,
    certificate::Findings,
    final_state::{BranchState, Final},
    measured::{amounts, bytes, rss},
    summary::{BranchSummary, Holder, ImageSummary, ProcessSummary},
};

/// Checks that the parts are the whole, and none is impossible.
pub(super) fn check(last: &Final, findings: &mut Findings) {
    if last.branches.is_empty() {
        return;
    }
    let tree = &last.tree;
    let mut sum: Pages = [0; MEMBERS];
    for BranchState { totals, .. } in &last.branches {
        for (sum, own) in sum.iter_mut().zip(totals.cur) {
            *sum = sum.saturating_add(own);
        }
        let wrong = if totals.rss != rss(&totals.cur) || rss(&totals.at_peak) != totals.peak_rss {
            Some("a sum is not that of its members")
        } else if totals.peak_rss < totals.rss {
            Some("a peak is below a value that was reached")
        } else if totals.peak_rss > tree.peak_rss {
            Some("a part is above the whole")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            findings.gap("totals of roots that are impossible", || wrong.to_owned());
        }
    }
    // Nobody counts in a branch but where it counts in the tree.
    if sum != tree.cur {
        findings.gap("totals of roots that are impossible", || {
            "they do not add up to those of the tree".to_owned()
        });
    }
}

/// The branches; `places` tells each process's parent.
pub(super) fn summaries(
    last: &Final,
    clock: Clock,
    processes: &[ProcessSummary],
    images: &[ImageSummary],
    at_peak: &[Holder],
) -> Vec<BranchSummary> {
    let page = last.page_size;
    let branch_of = branches_of(&last.branches, processes);
    let held = |branch: usize| {
        let of = |holder: &&Holder| {
            let owner = images.get(holder.image).and_then(|image| image.owner);
            owner.and_then(|owner| branch_of.get(owner).copied().flatten()) == Some(branch)
        };
        at_peak
            .iter()
            .filter(of)
            .fold(0_u64, |sum, holder| sum.saturating_add(holder.held.rss()))
    };
    let summary = |(index, state): (usize, &BranchState)| BranchSummary {
        name: state.name.clone(),
        roots: roots_of(state, processes),
        processes: branch_of.iter().filter(|of| **of == Some(index)).count(),
        peak_rss: bytes(state.totals.peak_rss, page),
        peak_at_ns: clock.ns(state.totals.peak_rss_at),
        own_peak: amounts(&state.totals.at_peak, page),
        at_tree_peak: held(index),
    };
    last.branches.iter().enumerate().map(summary).collect()
}

/// The processes that ran before and are the branch's roots: no two of those have the same id.
fn roots_of(state: &BranchState, processes: &[ProcessSummary]) -> Vec<usize> {
    let is_root =
        |process: &ProcessSummary| process.before.is_some() && state.roots.contains(&process.pid);
    let found = processes
        .iter()
        .enumerate()
        .filter(|(_, process)| is_root(process));
    found.map(|(index, _)| index).collect()
}

/// The branch of each process: its own if it is a root, or else its creator's.
fn branches_of(branches: &[BranchState], processes: &[ProcessSummary]) -> Vec<Option<usize>> {
    let mut of: Vec<Option<usize>> = vec![None; processes.len()];
    for (branch, state) in branches.iter().enumerate() {
        for root in roots_of(state, processes) {
            if let Some(of) = of.get_mut(root) {
                *of = Some(branch);
            }
        }
    }
    for process in 0..processes.len() {
        let mut line = Vec::new();
        let mut next = Some(process);
        let mut found = None;
        while let Some(at) = next
            && line.len() <= processes.len()
        {
            found = of.get(at).copied().flatten();
            if found.is_some() {
                break;
            }
            line.push(at);
            next = processes.get(at).and_then(|process| process.parent);
        }
        for at in line {
            if let Some(of) = of.get_mut(at) {
                *of = found;
            }
        }
    }
    of
}
