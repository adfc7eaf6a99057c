//! What the error of counters depends on.

use memtrace_ebpf::CounterLayout;

use crate::kernel::{Btf, Features, cpus};

/// How this kernel keeps its counters, if it says so.
pub(super) fn layout() -> Option<CounterLayout> {
    let btf = Btf::from_sys_fs().ok()?;
    Features::from_btf(&btf)
        .ok()
        .map(|features| features.layout)
}

/// CPUs that are online.
pub(super) fn online_cpus() -> u64 {
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN);
    let online = online.ok().flatten().and_then(|n| u64::try_from(n).ok());
    online.unwrap_or_else(|| cpus::possible().map_or(1, u64::from))
}
