//! A history in which each process made a call when it began to use each of its address spaces.

use memtrace_ebpf::CallKind;

use crate::{
    model::{Summary, UseKind},
    recording::CallRecord,
};

/// The call and the pid of who made it.
pub(super) fn made(summary: &Summary) -> Vec<(u32, CallRecord)> {
    let uses = summary.processes.iter().flat_map(|process| {
        let own = process
            .images
            .iter()
            .filter(|used| !matches!(used.kind, UseKind::Shared | UseKind::Failed));
        own.map(|used| (process.pid, used))
    });
    uses.map(|(pid, used)| {
        let call = CallRecord {
            image: used.image,
            tid: pid + 1,
            kind: CallKind::Munmap,
            at_ns: used.start_ns,
            duration_ns: 0,
            address: 0x7fff_ffff_f000,
            len: 4096,
            argument: 0,
            flags: 0,
            result: 0,
            rss_change: -4096,
        };
        (pid, call)
    })
    .collect()
}
