//! What the kernel's features mean for the certificate.

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
