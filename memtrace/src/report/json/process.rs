//! Processes, and the images that they were.

use serde::Serialize;

use super::{
    segments::SegmentDoc,
    status,
    strings::{Strings, exact, lossy, raw},
    tree::{AmountsDoc, RangeDoc},
};
use crate::model::{
    Amounts, ImageSummary, ImageUse, Origin, ProcessSummary, Program, Summary, UseKind, VmMeans,
    VmPeaks,
};

#[derive(Serialize)]
pub(super) struct ProcessDoc {
    pid: u32,
    ns_pid: u32,
    /// The creator, whoever the parent is by now.
    ppid: u32,
    root: bool,
    comm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_bytes: Option<String>,
    start_ns: u64,
    end_ns: Option<u64>,
    lifetime_ns: u64,
    exit_status: Option<u8>,
    signal: Option<u8>,
    core_dumped: bool,
    oom_killed: bool,
    survivor: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<BeforeDoc>,
    #[serde(flatten)]
    usage: Option<UsageDoc>,
    images: Vec<ImageDoc>,
}

impl ProcessDoc {
    pub(super) fn new(summary: &Summary, process: &ProcessSummary) -> Self {
        let (exit_status, signal) = status(process.outcome);
        let images = process.images.iter();
        Self {
            pid: process.pid,
            ns_pid: process.ns_pid,
            ppid: process.ppid,
            root: process.root,
            comm: lossy(&process.comm),
            comm_bytes: exact(&process.comm),
            start_ns: process.start_ns,
            end_ns: process.end_ns,
            lifetime_ns: process.lifetime_ns,
            exit_status,
            signal,
            core_dumped: process.outcome.is_some_and(|outcome| outcome.core_dumped),
            oom_killed: process.oom_killed,
            survivor: process.survivor,
            before: process.before.map(|before| BeforeDoc {
                age_ns: before.age_ns,
                kernel_hiwater_rss_bytes: before.kernel_hiwater_rss,
            }),
            usage: process.usage.map(|usage| UsageDoc {
                user_ns: usage.user_ns,
                system_ns: usage.system_ns,
                cpu_exact: usage.cpu_exact,
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

/// Of a process that ran before it was attached to.
#[derive(Serialize)]
struct BeforeDoc {
    age_ns: u64,
    kernel_hiwater_rss_bytes: u64,
}

#[derive(Serialize)]
struct UsageDoc {
    user_ns: u64,
    system_ns: u64,
    cpu_exact: bool,
    minor_faults: u64,
    major_faults: u64,
    threads: u32,
}

#[derive(Serialize)]
pub(super) struct ImageDoc {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    exe_bytes: Option<String>,
    comm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_bytes: Option<String>,
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
    peak_hugetlb_bytes: u64,
    peak_vm_bytes: u64,
    average_rss_bytes: u64,
    average: AmountsDoc,
    at_own_peak: AmountsDoc,
    at_tree_peak: AmountsDoc,
    inherited_bytes: u64,
    vm: VirtualDoc,
    vm_peaks: VmDoc,
    vm_averages: VmMeansDoc,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<Vec<SegmentDoc>>,
    /// Null without a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    segments_within_bytes: Option<Option<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments_left_bytes: Option<u64>,
    residual_bytes: i64,
    kernel: KernelDoc,
}

impl ImageDoc {
    pub(super) fn new(image: &ImageSummary, used: Option<&ImageUse>) -> Self {
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
            exe_bytes: exact(&program.path),
            comm: lossy(&program.comm),
            comm_bytes: exact(&program.comm),
            start_ns: shared.map_or(image.start_ns, |used| used.start_ns),
            end_ns: shared.map_or(image.end_ns, |used| used.end_ns),
            lifetime_ns: shared
                .and_then(|used| Some(used.end_ns?.saturating_sub(used.start_ns)))
                .unwrap_or(image.lifetime_ns),
            events: image.events,
            peak_rss_bytes: image.peak_rss,
            peak_range: image.peak_range.map(RangeDoc::from),
            peak_at_ns: image.peak_at_ns,
            peak_anon_bytes: image.peak.anon,
            peak_file_bytes: image.peak.file,
            peak_shmem_bytes: image.peak.shmem,
            peak_swap_bytes: image.peak.swap,
            peak_rss_swap_bytes: image.peak_rss_swap,
            peak_hugetlb_bytes: image.peak_huge,
            peak_vm_bytes: image.vm.size,
            average_rss_bytes: image.average_rss,
            average: image.average.into(),
            at_own_peak: image.own_peak.into(),
            // What several processes share is its owner's, so that all images sum to the peak.
            at_tree_peak: match shared {
                None => image.at_tree_peak.into(),
                Some(_) => Amounts::default().into(),
            },
            inherited_bytes: image.inherited,
            vm: VirtualDoc::new(image),
            vm_peaks: image.vm.into(),
            vm_averages: image.vm_average.into(),
            segments: image.segments.as_deref().map(SegmentDoc::all),
            segments_within_bytes: image.segments.as_ref().map(|s| s.within),
            segments_left_bytes: image.segments.as_ref().map(|s| s.left),
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
        Origin::Fork => "fork",
        Origin::Exec => "exec",
        Origin::Found => "found",
    }
}

/// Sizes of virtual memory.
#[derive(Serialize)]
struct VirtualDoc {
    peak_size_bytes: u64,
    peak_data_bytes: u64,
    peak_stack_bytes: u64,
    peak_text_bytes: u64,
    peak_lib_bytes: u64,
    peak_heap_bytes: u64,
    peak_page_tables_bytes: u64,
    peak_locked_bytes: u64,
    peak_pinned_bytes: u64,
    average_size_bytes: u64,
    average_data_bytes: u64,
    average_stack_bytes: u64,
    average_text_bytes: Option<u64>,
    average_lib_bytes: Option<u64>,
    average_heap_bytes: Option<u64>,
    average_page_tables_bytes: Option<u64>,
    average_locked_bytes: Option<u64>,
    average_pinned_bytes: Option<u64>,
}

impl VirtualDoc {
    fn new(image: &ImageSummary) -> Self {
        let (peak, average) = (&image.vm, &image.vm_average);
        Self {
            peak_size_bytes: peak.size,
            peak_data_bytes: peak.data,
            peak_stack_bytes: peak.stack,
            peak_text_bytes: peak.text,
            peak_lib_bytes: peak.lib,
            peak_heap_bytes: peak.heap,
            peak_page_tables_bytes: peak.page_tables,
            peak_locked_bytes: peak.locked,
            average_size_bytes: average.size,
            average_data_bytes: average.data,
            average_stack_bytes: average.stack,
            average_text_bytes: known(average.text, peak.text),
            average_lib_bytes: known(average.lib, peak.lib),
            average_heap_bytes: known(average.heap, peak.heap),
            average_page_tables_bytes: known(average.page_tables, peak.page_tables),
            average_locked_bytes: known(average.locked, peak.locked),
            average_pinned_bytes: known(average.pinned, peak.pinned),
            peak_pinned_bytes: peak.pinned,
        }
    }
}

/// A mean that the first recordings do not have.
const fn known(average: u64, peak: u64) -> Option<u64> {
    if average == 0 && peak > 0 {
        None
    } else {
        Some(average)
    }
}

/// The same as in earlier versions, in two objects.
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
            pinned: _,
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

#[derive(Serialize)]
struct VmMeansDoc {
    size_bytes: u64,
    data_bytes: u64,
    stack_bytes: u64,
}

impl From<VmMeans> for VmMeansDoc {
    fn from(vm: VmMeans) -> Self {
        let VmMeans {
            size, data, stack, ..
        } = vm;
        Self {
            size_bytes: size,
            data_bytes: data,
            stack_bytes: stack,
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
