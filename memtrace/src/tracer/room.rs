//! Room for tracing, whatever limits the command is to run under.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

/// What this process needs: more descriptors than the maps, programs and links of one run,
/// and, before Linux 5.11, locked memory for the maps (`bpf_charge_memlock()`,
/// kernel/bpf/syscall.c), of which most systems allow 64 KiB to root as well.
const NEEDED: [(Resource, rlim_t); 2] = [
    (Resource::RLIMIT_NOFILE, 256),
    (Resource::RLIMIT_MEMLOCK, RLIM_INFINITY),
];

/// Limits that were raised; they are put back when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    before: Vec<(Resource, rlim_t, rlim_t)>,
}

impl Room {
    /// Raises the limits that are too low. Call it when the command is already forked: it
    /// keeps the limits that it was started with.
    ///
    /// A limit that cannot be raised is no failure here; not to have enough is one.
    pub(super) fn make() -> Self {
        let before = NEEDED.into_iter().filter_map(|(resource, needed)| {
            let (soft, hard) = getrlimit(resource).ok()?;
            if soft >= needed {
                return None;
            }
            // The hard limit is for root to raise, and not for every root.
            let raised = setrlimit(resource, needed, needed.max(hard)).is_ok()
                || setrlimit(resource, needed.min(hard), hard).is_ok();
            raised.then_some((resource, soft, hard))
        });
        Self {
            before: before.collect(),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for (resource, soft, hard) in &self.before {
            // Lowering a limit is always allowed.
            let _ = setrlimit(*resource, *soft, *hard);
        }
    }
}
