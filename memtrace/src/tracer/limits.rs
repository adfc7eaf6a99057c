//! What the kernel's features mean for the certificate.

use memtrace_ebpf::MAX_CPUS;

use crate::{kernel, model};

/// A limit of this kernel, as the certificate states it.
pub(super) fn of_kernel(limit: &kernel::Limit) -> model::Limit {
    let bound_bytes = match limit {
        // No numbers change: the counters' other events cover it, or a field is left out.
        kernel::Limit::NoNewtask
        | kernel::Limit::NoProcessFork
        | kernel::Limit::NoExitMmap
        | kernel::Limit::NoOomEvent
        | kernel::Limit::NoField { .. }
        // The tracepoint's own value is the kernel's exact sum.
        | kernel::Limit::UnknownCounters { .. } => Some(0),
        _ => None,
    };
    model::Limit {
        reason: limit.to_string(),
        bound_bytes,
    }
}

/// Shares of CPUs beyond what the programs can sum over would be missing.
pub(super) fn of_machine(cpus: u32) -> Option<model::Limit> {
    (cpus as usize > MAX_CPUS).then(|| model::Limit {
        reason: format!(
            "this machine may have {cpus} CPUs, but shares are summed over {MAX_CPUS} only"
        ),
        bound_bytes: None,
    })
}
