//! The summary for programs: the contract `memtrace.summary/1`.
//!
//! Bytes and nanoseconds, named as such. Fields may be added within version 1,
//! never renamed or removed. Strings are UTF-8; where the kernel's bytes are not,
//! each bad sequence becomes U+FFFD and a field `*_raw` holds the bytes in hex.
//!
//! An image of kind `shared` repeats the numbers of the image that is shared, with
//! its `id` and the `owner_pid`: deduplicate by `id` before summing over processes.

use std::io;

use serde::Serialize;

use crate::model::{
    Amounts, Certificate, Holder, ImageSummary, ImageUse, Outcome, PeakRange, ProcessSummary,
    Program, Summary, TreeSummary, UseKind, Verdict, VmMeans, VmPeaks,
};

/// Name and version of the contract.
pub const SCHEMA: &str = "memtrace.summary/1";

/// Writes the summary as one line of JSON with a newline.
///
/// # Errors
///
/// Those of the writer.
pub fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Document::new(summary)).map_err(io::Error::from)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    #[serde(flatten)]
    command: Strings,
    exit_status: Option<u8>,
    signal: Option<u8>,
    wall_ns: u64,
    user_ns: u64,
    system_ns: u64,
    start_unix_ns: Option<u64>,
    page_size_bytes: u64,
    kernel_maxrss_bytes: Option<u64>,
    certificate: CertificateDoc,
    tree: TreeDoc,
    processes: Vec<ProcessDoc>,
    /// Images that belong to no known process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_images: Vec<ImageDoc>,
}

/// A list of strings and, where that loses anything, their bytes.
#[derive(Serialize)]
struct Strings {
    command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_raw: Option<Vec<String>>,
}

impl Strings {
    fn new(args: &[Vec<u8>]) -> Self {
        let lossless = args.iter().all(|arg| std::str::from_utf8(arg).is_ok());
        Self {
            command: args.iter().map(|arg| lossy(arg)).collect(),
            command_raw: (!lossless).then(|| args.iter().map(|arg| hex(arg)).collect()),
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bytes in hex if they are not UTF-8.
fn raw(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('?');
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

#[derive(Serialize)]
struct CertificateDoc {
    verdict: &'static str,
    within_bytes: u64,
    reasons: Vec<String>,
    remarks: Vec<String>,
    tier: String,
    events: u64,
    lost: LostDoc,
    residual_bytes: u64,
    breakdown_difference_bytes: u64,
    cross_checks: CrossChecksDoc,
}

#[derive(Serialize)]
struct LostDoc {
    ring: u64,
    maps_full: u64,
    recursion: u64,
    map_busy: u64,
    read_failed: u64,
    undecodable: u64,
}

#[derive(Serialize)]
struct CrossChecksDoc {
    count: u64,
    largest_difference_bytes: u64,
}

impl From<&Certificate> for CertificateDoc {
    fn from(certificate: &Certificate) -> Self {
        let Certificate {
            verdict,
            reasons,
            remarks,
            tier,
            events,
            lost,
            ..
        } = certificate;
        Self {
            verdict: verdict.name(),
            within_bytes: if let Verdict::Within(bytes) = verdict {
                *bytes
            } else {
                0
            },
            reasons: reasons.clone(),
            remarks: remarks.clone(),
            tier: tier.clone(),
            events: *events,
            lost: LostDoc {
                ring: lost.ring,
                maps_full: lost.maps_full,
                recursion: lost.recursion,
                map_busy: lost.map_busy,
                read_failed: lost.read_failed,
                undecodable: lost.undecodable,
            },
            residual_bytes: certificate.residual_bytes,
            breakdown_difference_bytes: certificate.breakdown_difference_bytes,
            cross_checks: CrossChecksDoc {
                count: certificate.cross_checks.count,
                largest_difference_bytes: certificate.cross_checks.largest_difference_bytes,
            },
        }
    }
}

#[derive(Serialize)]
struct TreeDoc {
    processes: usize,
    images: usize,
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
    average_rss_bytes: u64,
    average: AmountsDoc,
    peak_footprint_low_bytes: u64,
    peak_footprint_high_bytes: u64,
    /// When the low bound had its peak.
    peak_footprint_at_ns: u64,
    peak_footprint_high_at_ns: u64,
    average_footprint_low_bytes: u64,
    at_peak: Vec<HolderDoc>,
}

/// Where the true peak of RSS lies; only in tier P.
#[derive(Serialize)]
struct RangeDoc {
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
struct AmountsDoc {
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

#[derive(Serialize)]
struct ProcessDoc {
    pid: u32,
    ns_pid: u32,
    /// The creator, whoever the parent is by now.
    ppid: u32,
    root: bool,
    comm: String,
    start_ns: u64,
    end_ns: Option<u64>,
    lifetime_ns: u64,
    exit_status: Option<u8>,
    signal: Option<u8>,
    core_dumped: bool,
    oom_killed: bool,
    survivor: bool,
    #[serde(flatten)]
    usage: Option<UsageDoc>,
    images: Vec<ImageDoc>,
}

#[derive(Serialize)]
struct UsageDoc {
    user_ns: u64,
    system_ns: u64,
    minor_faults: u64,
    major_faults: u64,
    threads: u32,
}

#[derive(Serialize)]
struct ImageDoc {
    id: u64,
    kind: &'static str,
    /// False for what was left of a fork or execve that failed or was not done.
    ran: bool,
    owner_pid: u32,
    parent_image: Option<u64>,
    #[serde(flatten)]
    command: Strings,
    command_truncated: bool,
    exe: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe_raw: Option<String>,
    comm: String,
    start_ns: u64,
    end_ns: Option<u64>,
    lifetime_ns: u64,
    events: u64,
    peak_rss_bytes: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    peak_range: Option<RangeDoc>,
    peak_at_ns: u64,
    peak_anon_bytes: u64,
    peak_file_bytes: u64,
    peak_shmem_bytes: u64,
    peak_swap_bytes: u64,
    peak_rss_swap_bytes: u64,
    peak_vm_bytes: u64,
    average_rss_bytes: u64,
    average: AmountsDoc,
    at_own_peak: AmountsDoc,
    at_tree_peak: AmountsDoc,
    inherited_bytes: u64,
    vm_peaks: VmDoc,
    vm_averages: VmMeansDoc,
    residual_bytes: i64,
    kernel: KernelDoc,
}

#[derive(Serialize)]
struct VmDoc {
    data_bytes: u64,
    stack_bytes: u64,
    exec_bytes: u64,
    text_bytes: u64,
    lib_bytes: u64,
    heap_bytes: u64,
    page_tables_bytes: u64,
    locked_bytes: u64,
}

#[derive(Serialize)]
struct VmMeansDoc {
    size_bytes: u64,
    data_bytes: u64,
    stack_bytes: u64,
}

impl From<VmMeans> for VmMeansDoc {
    fn from(vm: VmMeans) -> Self {
        let VmMeans { size, data, stack } = vm;
        Self {
            size_bytes: size,
            data_bytes: data,
            stack_bytes: stack,
        }
    }
}

impl From<VmPeaks> for VmDoc {
    fn from(vm: VmPeaks) -> Self {
        let VmPeaks {
            size: _,
            data,
            stack,
            exec,
            text,
            lib,
            heap,
            page_tables,
            locked,
        } = vm;
        Self {
            data_bytes: data,
            stack_bytes: stack,
            exec_bytes: exec,
            text_bytes: text,
            lib_bytes: lib,
            heap_bytes: heap,
            page_tables_bytes: page_tables,
            locked_bytes: locked,
        }
    }
}

/// The kernel's own, approximate numbers.
#[derive(Serialize)]
struct KernelDoc {
    /// Null while the image lives: it is read when its end begins.
    hiwater_rss_bytes: Option<u64>,
    /// Of the process up to the end of this image; null if it still runs.
    maxrss_bytes: Option<u64>,
}

impl Document {
    fn new(summary: &Summary) -> Self {
        let (exit_status, signal) = status(summary.outcome);
        let homeless = summary.images.iter().filter(|image| image.owner.is_none());
        Self {
            schema: SCHEMA,
            command: Strings::new(&summary.command),
            exit_status,
            signal,
            wall_ns: summary.wall_ns,
            user_ns: summary.user_ns,
            system_ns: summary.system_ns,
            start_unix_ns: summary.started_unix_ns,
            page_size_bytes: summary.page_size,
            kernel_maxrss_bytes: summary.kernel_maxrss,
            certificate: CertificateDoc::from(&summary.certificate),
            tree: TreeDoc::new(summary),
            processes: summary
                .processes
                .iter()
                .map(|p| ProcessDoc::new(summary, p))
                .collect(),
            other_images: homeless.map(|image| ImageDoc::new(image, None)).collect(),
        }
    }
}

impl TreeDoc {
    fn new(summary: &Summary) -> Self {
        let tree: &TreeSummary = &summary.tree;
        Self {
            processes: summary.processes.len(),
            images: summary.images.len(),
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
        }
    }
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

impl ProcessDoc {
    fn new(summary: &Summary, process: &ProcessSummary) -> Self {
        let (exit_status, signal) = status(process.outcome);
        let images = process.images.iter();
        Self {
            pid: process.pid,
            ns_pid: process.ns_pid,
            ppid: process.ppid,
            root: process.root,
            comm: lossy(&process.comm),
            start_ns: process.start_ns,
            end_ns: process.end_ns,
            lifetime_ns: process.lifetime_ns,
            exit_status,
            signal,
            core_dumped: process.outcome.is_some_and(|outcome| outcome.core_dumped),
            oom_killed: process.oom_killed,
            survivor: process.survivor,
            usage: process.usage.map(|usage| UsageDoc {
                user_ns: usage.user_ns,
                system_ns: usage.system_ns,
                minor_faults: usage.minor_faults,
                major_faults: usage.major_faults,
                threads: usage.threads,
            }),
            images: images
                .filter_map(|used| Some((summary.images.get(used.image)?, used)))
                .map(|(image, used)| ImageDoc::new(image, Some(used)))
                .collect(),
        }
    }
}

impl ImageDoc {
    fn new(image: &ImageSummary, used: Option<&ImageUse>) -> Self {
        let program: &Program = &image.program;
        let shared = used.filter(|used| used.kind == UseKind::Shared);
        Self {
            id: image.id,
            kind: if shared.is_some() {
                "shared"
            } else {
                origin(image)
            },
            ran: image.ran(),
            owner_pid: image.pid,
            parent_image: image.parent,
            command: Strings::new(&program.args),
            command_truncated: program.truncated,
            exe: lossy(&program.path),
            exe_raw: raw(&program.path),
            comm: lossy(&program.comm),
            start_ns: shared.map_or(image.start_ns, |used| used.start_ns),
            end_ns: shared.map_or(image.end_ns, |used| used.end_ns),
            lifetime_ns: image.lifetime_ns,
            events: image.events,
            peak_rss_bytes: image.peak_rss,
            peak_range: image.peak_range.map(RangeDoc::from),
            peak_at_ns: image.peak_at_ns,
            peak_anon_bytes: image.peak.anon,
            peak_file_bytes: image.peak.file,
            peak_shmem_bytes: image.peak.shmem,
            peak_swap_bytes: image.peak.swap,
            peak_rss_swap_bytes: image.peak_rss_swap,
            peak_vm_bytes: image.vm.size,
            average_rss_bytes: image.average_rss,
            average: image.average.into(),
            at_own_peak: image.own_peak.into(),
            at_tree_peak: image.at_tree_peak.into(),
            inherited_bytes: image.inherited,
            vm_peaks: image.vm.into(),
            vm_averages: image.vm_average.into(),
            residual_bytes: image.residual,
            kernel: KernelDoc {
                hiwater_rss_bytes: image.end_ns.map(|_| image.kernel_hiwater_rss),
                maxrss_bytes: used.and_then(|used| used.kernel_maxrss),
            },
        }
    }
}

const fn origin(image: &ImageSummary) -> &'static str {
    match image.origin {
        crate::model::Origin::Fork => "fork",
        crate::model::Origin::Exec => "exec",
        crate::model::Origin::Found => "found",
    }
}

fn status(outcome: Option<Outcome>) -> (Option<u8>, Option<u8>) {
    outcome.map_or((None, None), |outcome| {
        (outcome.exit_status, outcome.signal)
    })
}
