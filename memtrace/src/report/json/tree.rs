//! The tree: its peaks, who held them, and what the kernel said of its shares.

use serde::Serialize;

use super::strings::Strings;
use crate::model::{Amounts, BranchSummary, Holder, PeakRange, PssSnapshot, Summary, TreeSummary};

#[derive(Serialize)]
pub(super) struct TreeDoc {
    processes: u64,
    images: u64,
    survivors: usize,
    duration_ns: u64,
    peak_rss_bytes: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    peak_range: Option<RangeDoc>,
    peak_at_ns: u64,
    peak_anon_bytes: u64,
    peak_file_bytes: u64,
    peak_shmem_bytes: u64,
    peak_swap_bytes: u64,
    peak_rss_swap_bytes: u64,
    /// Pages of hugetlbfs, which are not in RSS.
    peak_hugetlb_bytes: u64,
    average_rss_bytes: u64,
    average: AmountsDoc,
    peak_footprint_low_bytes: u64,
    peak_footprint_high_bytes: u64,
    /// When the low bound had its peak.
    peak_footprint_at_ns: u64,
    peak_footprint_high_at_ns: u64,
    average_footprint_low_bytes: u64,
    at_peak: Vec<HolderDoc>,
    /// Only of several that were attached to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roots: Vec<RootDoc>,
    /// Only where some were taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    snapshots: Vec<SnapshotDoc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pss_at_peak: Option<PssDoc>,
}

impl TreeDoc {
    pub(super) fn new(summary: &Summary) -> Self {
        let tree: &TreeSummary = &summary.tree;
        Self {
            processes: summary.counts().processes,
            images: summary.counts().images,
            survivors: summary.survivors().count(),
            duration_ns: tree.duration_ns,
            peak_rss_bytes: tree.peak_rss,
            peak_range: tree.peak_range.map(RangeDoc::from),
            peak_at_ns: tree.peak_at_ns,
            peak_anon_bytes: tree.peak.anon,
            peak_file_bytes: tree.peak.file,
            peak_shmem_bytes: tree.peak.shmem,
            peak_swap_bytes: tree.peak.swap,
            peak_rss_swap_bytes: tree.peak_rss_swap,
            peak_hugetlb_bytes: tree.peak_huge,
            average_rss_bytes: tree.average_rss,
            average: tree.average.into(),
            peak_footprint_low_bytes: tree.footprint.low,
            peak_footprint_high_bytes: tree.footprint.high,
            peak_footprint_at_ns: tree.footprint.low_at_ns,
            peak_footprint_high_at_ns: tree.footprint.high_at_ns,
            average_footprint_low_bytes: tree.footprint.average_low,
            at_peak: tree
                .at_peak
                .iter()
                .filter_map(|h| HolderDoc::new(summary, h))
                .collect(),
            roots: tree
                .branches
                .iter()
                .map(|branch| RootDoc::new(summary, branch))
                .collect(),
            snapshots: tree.snapshots.iter().map(SnapshotDoc::from).collect(),
            pss_at_peak: PssDoc::new(tree),
        }
    }
}

#[derive(Serialize)]
struct HolderDoc {
    pid: u32,
    image: u64,
    #[serde(flatten)]
    command: Strings,
    rss_bytes: u64,
    #[serde(flatten)]
    held: AmountsDoc,
    /// What of it may still have been shared with relatives by fork, at most.
    inherited_bytes: u64,
}

impl HolderDoc {
    fn new(summary: &Summary, holder: &Holder) -> Option<Self> {
        let image = summary.images.get(holder.image)?;
        Some(Self {
            pid: image.pid,
            image: image.id,
            command: Strings::new(&image.program.args),
            rss_bytes: holder.held.rss(),
            held: holder.held.into(),
            inherited_bytes: holder.shared,
        })
    }
}

/// One of several roots with its descendants.
#[derive(Serialize)]
struct RootDoc {
    name: Option<String>,
    pids: Vec<u32>,
    processes: usize,
    peak_rss_bytes: u64,
    peak_at_ns: u64,
    own_peak: AmountsDoc,
    at_tree_peak_rss_bytes: u64,
}

impl RootDoc {
    fn new(summary: &Summary, branch: &BranchSummary) -> Self {
        let pid = |root: &usize| summary.processes.get(*root).map(|root| root.pid);
        Self {
            name: branch.name.clone(),
            pids: branch.roots.iter().filter_map(pid).collect(),
            processes: branch.processes,
            peak_rss_bytes: branch.peak_rss,
            peak_at_ns: branch.peak_at_ns,
            own_peak: branch.own_peak.into(),
            at_tree_peak_rss_bytes: branch.at_tree_peak,
        }
    }
}

/// Where the true peak of RSS lies; only in tier P.
#[derive(Serialize)]
pub(super) struct RangeDoc {
    peak_rss_low_bytes: u64,
    peak_rss_high_bytes: Option<u64>,
}

impl From<PeakRange> for RangeDoc {
    fn from(PeakRange { low, high }: PeakRange) -> Self {
        Self {
            peak_rss_low_bytes: low,
            peak_rss_high_bytes: high,
        }
    }
}

#[derive(Serialize)]
pub(super) struct AmountsDoc {
    anon_bytes: u64,
    file_bytes: u64,
    shmem_bytes: u64,
    swap_bytes: u64,
}

impl From<Amounts> for AmountsDoc {
    fn from(
        Amounts {
            anon,
            file,
            shmem,
            swap,
        }: Amounts,
    ) -> Self {
        Self {
            anon_bytes: anon,
            file_bytes: file,
            shmem_bytes: shmem,
            swap_bytes: swap,
        }
    }
}

/// What the kernel said about the tree's share of memory; not exact.
#[derive(Serialize)]
struct SnapshotDoc {
    at_ns: u64,
    pss_bytes: u64,
    uss_bytes: u64,
    /// The tree's RSS then.
    rss_bytes: u64,
}

impl From<&PssSnapshot> for SnapshotDoc {
    fn from(snapshot: &PssSnapshot) -> Self {
        let PssSnapshot {
            at_ns,
            pss,
            uss,
            rss,
        } = *snapshot;
        Self {
            at_ns,
            pss_bytes: pss,
            uss_bytes: uss,
            rss_bytes: rss,
        }
    }
}

/// The snapshot that is closest to the peak in RSS, and how close that is.
#[derive(Serialize)]
struct PssDoc {
    pss_bytes: u64,
    uss_bytes: u64,
    at_ns: u64,
    /// From the peak.
    distance_ns: u64,
    /// The peak of RSS and the RSS at the snapshot differ by that.
    rss_distance_bytes: u64,
}

impl PssDoc {
    fn new(tree: &TreeSummary) -> Option<Self> {
        let snapshot = tree.snapshot_at_peak()?;
        Some(Self {
            pss_bytes: snapshot.pss,
            uss_bytes: snapshot.uss,
            at_ns: snapshot.at_ns,
            distance_ns: snapshot.at_ns.abs_diff(tree.peak_at_ns),
            rss_distance_bytes: snapshot.rss.abs_diff(tree.peak_rss),
        })
    }
}
