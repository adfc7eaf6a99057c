//! memtrace's JSON, schema `memtrace.summary/1`.
//!
//! Written from the contract and independent of memtrace's own types, so that a field
//! that is renamed or missing there fails here.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{announced, requirements::is_lacking};

/// The whole document.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Summary {
    pub schema: String,
    pub command: Vec<String>,
    pub exit_status: Option<i32>,
    pub signal: Option<i32>,
    pub wall_ns: u64,
    /// Not of what was attached to.
    pub user_ns: Option<u64>,
    pub system_ns: Option<u64>,
    pub kernel_maxrss_bytes: Option<u64>,
    pub certificate: Certificate,
    pub tree: Tree,
    pub processes: Vec<Process>,
}

/// How exact the numbers are.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Certificate {
    pub verdict: String,
    pub within_bytes: u64,
    pub reasons: Vec<String>,
    pub tier: String,
    pub events: u64,
    pub lost: Lost,
    pub residual_bytes: i64,
    pub cross_checks: CrossChecks,
    pub virtual_sizes: VirtualSizes,
    /// What each kind of number is worth, by its name.
    pub quantities: BTreeMap<String, Worth>,
    /// Only with `--segments`.
    pub segments: Option<SegmentsSeen>,
}

/// What a kind of number is worth.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Worth {
    pub verdict: String,
    pub within_bytes: Option<u64>,
    pub seen: Option<String>,
}

/// Whether peaks of virtual sizes are exact, or when they were looked at.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct VirtualSizes {
    pub size: String,
    pub stack: String,
    pub data: String,
    pub heap: String,
    pub averages: String,
}

/// What was lost, by reason.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Lost {
    pub ring: u64,
    pub maps_full: u64,
    pub recursion: u64,
}

/// Comparisons with `/proc`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct CrossChecks {
    pub count: u64,
    pub largest_difference_bytes: u64,
}

/// Sizes of virtual memory.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Virtual {
    pub peak_size_bytes: u64,
    pub peak_data_bytes: u64,
    pub peak_stack_bytes: u64,
    pub peak_text_bytes: u64,
    pub peak_lib_bytes: u64,
    pub peak_heap_bytes: u64,
    pub peak_page_tables_bytes: u64,
    pub average_size_bytes: u64,
    pub average_data_bytes: u64,
    pub average_heap_bytes: Option<u64>,
    pub average_text_bytes: Option<u64>,
}

/// One segment of an image.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Segment {
    pub segment: String,
    pub at_peak: SegmentAtPeak,
    pub peak_resident_bytes: u64,
    pub peak_swapped_bytes: u64,
    pub peak_virtual_bytes: Option<u64>,
}

/// What it held when its image was at its peak.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct SegmentAtPeak {
    pub virtual_bytes: Option<u64>,
    pub resident_bytes: i64,
    pub anon_bytes: i64,
    pub swapped_bytes: i64,
}

/// What segments are worth.
#[derive(Clone, Debug, Deserialize)]
pub struct SegmentsSeen {
    pub by: String,
    pub verdict: String,
    pub within_bytes: Option<u64>,
    pub exact_images: u64,
    pub images: u64,
    pub compared_with_smaps: u64,
}

/// Totals of the tree.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Tree {
    pub processes: u64,
    pub images: u64,
    pub survivors: u64,
    pub peak_rss_bytes: u64,
    pub peak_at_ns: u64,
    pub peak_anon_bytes: u64,
    pub peak_file_bytes: u64,
    pub peak_shmem_bytes: u64,
    pub peak_swap_bytes: u64,
    /// Not in the contract's first form.
    pub peak_rss_swap_bytes: Option<u64>,
    #[serde(default)]
    pub peak_hugetlb_bytes: u64,
    /// Only where the peak is not known exactly.
    pub peak_rss_low_bytes: Option<u64>,
    /// The same; null where there is no bound.
    pub peak_rss_high_bytes: Option<u64>,
    pub average_rss_bytes: u64,
    pub peak_footprint_low_bytes: u64,
    pub peak_footprint_high_bytes: u64,
    pub peak_footprint_at_ns: u64,
    pub at_peak: Vec<AtPeak>,
    /// Only of several that were attached to.
    #[serde(default)]
    pub roots: Vec<Root>,
    /// Only where some were taken.
    #[serde(default)]
    pub snapshots: Vec<Snapshot>,
    /// The same.
    pub pss_at_peak: Option<PssAtPeak>,
}

/// One of several roots with its descendants.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Root {
    pub name: Option<String>,
    pub pids: Vec<u32>,
    pub processes: u64,
    pub peak_rss_bytes: u64,
    pub peak_at_ns: u64,
    pub own_peak: Amounts,
    pub at_tree_peak_rss_bytes: u64,
}

/// What the kernel said about the tree's share of memory.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Snapshot {
    pub at_ns: u64,
    pub pss_bytes: u64,
    pub uss_bytes: u64,
    pub rss_bytes: u64,
}

/// The snapshot closest to the peak.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct PssAtPeak {
    pub pss_bytes: u64,
    pub uss_bytes: u64,
    pub at_ns: u64,
    pub distance_ns: u64,
    pub rss_distance_bytes: u64,
}

/// What one image held at the tree's peak.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct AtPeak {
    pub pid: u32,
    pub image: u64,
    pub command: Vec<String>,
    pub rss_bytes: u64,
    pub anon_bytes: u64,
    pub file_bytes: u64,
    pub shmem_bytes: u64,
    pub inherited_bytes: u64,
}

/// One process.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Process {
    pub pid: u32,
    pub ppid: u32,
    pub start_ns: u64,
    pub end_ns: Option<u64>,
    pub exit_status: Option<i32>,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// Only of one that ended.
    pub user_ns: Option<u64>,
    pub system_ns: Option<u64>,
    pub cpu_exact: Option<bool>,
    /// Only of one that was attached to.
    pub before: Option<Before>,
    pub images: Vec<Image>,
}

/// What is known of a process from before it was attached to.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Before {
    pub age_ns: u64,
    pub kernel_hiwater_rss_bytes: u64,
}

/// One address space of a process.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Image {
    pub id: u64,
    pub kind: String,
    /// Whether a process ran in it: not so for what a refused fork or exec had begun.
    pub ran: bool,
    pub command: Vec<String>,
    pub exe: Option<String>,
    pub start_ns: u64,
    pub end_ns: Option<u64>,
    pub lifetime_ns: u64,
    pub peak_rss_bytes: u64,
    pub peak_at_ns: u64,
    pub peak_anon_bytes: u64,
    pub peak_file_bytes: u64,
    pub peak_shmem_bytes: u64,
    pub peak_swap_bytes: u64,
    /// Not in the contract's first form.
    pub peak_rss_swap_bytes: Option<u64>,
    #[serde(default)]
    pub peak_hugetlb_bytes: u64,
    /// Only where the peak is not known exactly.
    pub peak_rss_low_bytes: Option<u64>,
    /// The same; null where there is no bound.
    pub peak_rss_high_bytes: Option<u64>,
    pub peak_vm_bytes: u64,
    pub vm: Virtual,
    /// Only with `--segments`.
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// The same.
    #[serde(default)]
    pub segments_within_bytes: Option<u64>,
    /// The same.
    #[serde(default)]
    pub segments_left_bytes: u64,
    pub average_rss_bytes: u64,
    pub at_tree_peak: Amounts,
    pub kernel: Kernel,
}

/// Amounts of one moment.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Amounts {
    pub anon_bytes: u64,
    pub file_bytes: u64,
    pub shmem_bytes: u64,
}

/// The kernel's own, approximate idea.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Kernel {
    pub hiwater_rss_bytes: Option<u64>,
    pub maxrss_bytes: Option<u64>,
}

impl Summary {
    /// Reads one from a file.
    ///
    /// # Errors
    /// The file is missing or is not what the contract says.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("read memtrace's JSON {}", path.display()))?;
        Self::parse(&text)
    }

    /// Takes one from text.
    ///
    /// # Errors
    /// It is not what the contract says.
    pub fn parse(text: &str) -> Result<Self> {
        let summary: Self = serde_json::from_str(text)
            .with_context(|| format!("memtrace's JSON breaks the contract: {text}"))?;
        if summary.schema != "memtrace.summary/1" {
            bail!("schema is {:?}", summary.schema);
        }
        Ok(summary)
    }

    /// The process with this pid.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn process(&self, pid: u32) -> Result<&Process> {
        let mut found = self.processes.iter().filter(|process| process.pid == pid);
        match (found.next(), found.next()) {
            (Some(process), None) => Ok(process),
            (None, _) => bail!("no process {pid} in {self:#?}"),
            _ => bail!("two processes {pid} in {self:#?}"),
        }
    }

    /// The process that memtrace started.
    ///
    /// # Errors
    /// There is no process at all.
    pub fn root(&self) -> Result<&Process> {
        self.processes
            .iter()
            .min_by_key(|process| process.start_ns)
            .context("no process in the summary")
    }

    /// All images made by exec, over all processes.
    pub fn exec_images(&self) -> impl Iterator<Item = &Image> {
        self.processes
            .iter()
            .flat_map(|process| process.images.iter())
            .filter(|image| image.kind == "exec")
    }

    /// The exec images of one program, by its first argument.
    pub fn images_of(&self, program: &str) -> Vec<&Image> {
        self.exec_images()
            .filter(|image| image.command.first().is_some_and(|first| first == program))
            .collect()
    }

    /// The one exec image whose command line contains a word.
    ///
    /// # Errors
    /// None or several contain it.
    pub fn image_with(&self, word: &str) -> Result<&Image> {
        let mut found = self
            .exec_images()
            .filter(|image| image.command.iter().any(|argument| argument == word));
        match (found.next(), found.next()) {
            (Some(image), None) => Ok(image),
            (None, _) => bail!("no exec image with {word:?} in {self:#?}"),
            _ => bail!("several exec images with {word:?} in {self:#?}"),
        }
    }

    /// Checks all that a certificate "exact" promises.
    ///
    /// Where tracepoints can be preempted (7.0 and later; the kernel matrix says so), a result
    /// may be incomplete because the kernel skipped programs, also those that told of an
    /// image's birth. What follows in the test still compares its numbers.
    ///
    /// # Panics
    /// When something is not so.
    #[track_caller]
    pub fn assert_exact(&self) {
        let Certificate {
            verdict,
            within_bytes,
            reasons,
            tier: _,
            events,
            lost,
            residual_bytes,
            cross_checks,
            virtual_sizes: _,
            quantities: _,
            segments: _,
        } = &self.certificate;
        let skips = |reason: &String| reason.starts_with("the kernel skipped program ");
        if is_lacking("undisturbed-programs")
            && verdict == "incomplete"
            && reasons.iter().any(skips)
        {
            assert!(lost.recursion > 0, "lost: {lost:?}");
            assert_eq!((lost.ring, lost.maps_full), (0, 0), "lost: {lost:?}");
            let _ = announced(&reasons.join("; "), lost.recursion);
            self.assert_consistent();
            return;
        }
        assert_eq!(verdict, "exact", "reasons: {reasons:?}");
        assert_eq!(*within_bytes, 0);
        assert_eq!(
            (lost.ring, lost.maps_full, lost.recursion),
            (0, 0, 0),
            "lost: {lost:?}"
        );
        assert_eq!(*residual_bytes, 0);
        assert!(*events > 0, "no event was seen");
        assert_eq!(
            cross_checks.largest_difference_bytes, 0,
            "cross-checks with /proc: {cross_checks:?}"
        );
        self.assert_consistent();
    }

    /// Checks what must agree within one summary, whatever the certificate says.
    ///
    /// # Panics
    /// When something does not agree.
    #[track_caller]
    pub fn assert_consistent(&self) {
        let sum: u64 = self.tree.at_peak.iter().map(|part| part.rss_bytes).sum();
        assert_eq!(
            sum, self.tree.peak_rss_bytes,
            "the parts at the peak: {:#?}",
            self.tree.at_peak
        );
        for part in &self.tree.at_peak {
            assert_eq!(
                part.anon_bytes + part.file_bytes + part.shmem_bytes,
                part.rss_bytes,
                "{part:?}"
            );
            assert!(part.inherited_bytes <= part.rss_bytes, "{part:?}");
        }
        let tree = &self.tree;
        assert!(
            tree.peak_footprint_low_bytes <= tree.peak_footprint_high_bytes,
            "{tree:?}"
        );
        assert!(
            tree.peak_footprint_high_bytes <= tree.peak_rss_bytes,
            "{tree:?}"
        );
        assert!(tree.average_rss_bytes <= tree.peak_rss_bytes, "{tree:?}");
        assert_eq!(
            tree.processes,
            self.processes.len() as u64,
            "tree.processes and the table differ"
        );
        let images = self.processes.iter().flat_map(|process| &process.images);
        let held = images.map(|image| image.at_tree_peak);
        let sum: u64 = held
            .map(|held| held.anon_bytes + held.file_bytes + held.shmem_bytes)
            .sum();
        assert_eq!(
            sum, tree.peak_rss_bytes,
            "what all images held at the tree's peak: {:#?}",
            self.processes
        );
        for process in &self.processes {
            for image in &process.images {
                if let Some(end) = image.end_ns {
                    assert_eq!(image.lifetime_ns, end - image.start_ns, "{image:?}");
                }
                assert!(
                    image.peak_rss_bytes <= tree.peak_rss_bytes,
                    "{image:?} above the tree's {}",
                    tree.peak_rss_bytes
                );
                assert!(image.average_rss_bytes <= image.peak_rss_bytes, "{image:?}");
                if !image.segments.is_empty() {
                    let segments = image.segments.iter();
                    let sum: i64 = segments.map(|one| one.at_peak.resident_bytes).sum();
                    assert_eq!(sum.cast_unsigned(), image.peak_rss_bytes, "{image:?}");
                }
                let parts = image.peak_anon_bytes + image.peak_file_bytes + image.peak_shmem_bytes;
                assert!(image.peak_rss_bytes <= parts, "{image:?}");
            }
        }
    }
}

impl Process {
    /// Its images made by exec, in order.
    #[must_use]
    pub fn execs(&self) -> Vec<&Image> {
        self.images
            .iter()
            .filter(|image| image.kind == "exec")
            .collect()
    }

    /// Its last image.
    ///
    /// # Errors
    /// It has none.
    pub fn last_image(&self) -> Result<&Image> {
        self.images
            .last()
            .with_context(|| format!("process {} has no image", self.pid))
    }
}
