//! The kernels of the matrix, and what each of them is there for.

use super::arch::Arch;

/// One kernel of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// What `cargo xtask kernels` calls it.
    pub(crate) name: &'static str,
    pub(crate) arch: Arch,
    /// Why it is in the matrix.
    pub(crate) purpose: &'static str,
    /// Debian suites that may have it; the newest package of all of them is taken.
    pub(crate) suites: &'static [&'static str],
    /// How the release starts: `6.12.`, `7.`.
    pub(crate) release: &'static str,
    /// Debian's flavour, which ends with [`Kernel::arch`]: `cloud-amd64`, `rt-amd64`.
    pub(crate) flavour: &'static str,
    /// Oracles and facilities that this kernel cannot have, so that the tests that need
    /// them do not apply. Everything else that a test misses is a failure.
    pub(crate) lacks: &'static [&'static str],
    /// Further words for its command line.
    pub(crate) append: &'static str,
}

/// Up to 6.1 the tracepoint's own value leaves out what threads hold back.
const NO_EXACT_TRACEPOINT: &str = "exact-tracepoint";

/// Before 5.11 BPF maps count against `RLIMIT_MEMLOCK`, which takes a further capability
/// (`CAP_SYS_RESOURCE`) to raise.
const NO_FREE_MAPS: &str = "free-maps";
/// `memory.reclaim` of cgroup v2 came with 5.19.
const NO_RECLAIM_FILE: &str = "memory.reclaim";
/// `MADV_COLLAPSE` came with 6.1.
const NO_COLLAPSE: &str = "madv-collapse";
/// Anonymous folios between a page and a huge page came with 6.8.
const NO_LARGE_FOLIOS: &str = "mthp";
/// `PREEMPT_RT` excludes `TRANSPARENT_HUGEPAGE`.
const NO_HUGE_PAGES: &str = "thp";

/// Since 7.0 tracepoints can be preempted, and programs skipped: results say so then.
const NO_UNDISTURBED_PROGRAMS: &str = "undisturbed-programs";

/// All of them, oldest first.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        arch: Arch::Amd64,
        purpose: "the oldest supported; no fetching BPF atomics, no mmap:exit_mmap",
        suites: &["bullseye"],
        release: "5.10.",
        flavour: "cloud-amd64",
        lacks: &[
            NO_EXACT_TRACEPOINT,
            NO_FREE_MAPS,
            NO_RECLAIM_FILE,
            NO_COLLAPSE,
            NO_LARGE_FOLIOS,
        ],
        append: "",
    },
    Kernel {
        name: "6.1",
        arch: Arch::Amd64,
        purpose: "the last with task-local counter caches",
        suites: &["bookworm"],
        release: "6.1.",
        flavour: "cloud-amd64",
        lacks: &[NO_EXACT_TRACEPOINT, NO_LARGE_FOLIOS],
        append: "",
    },
    Kernel {
        name: "6.12",
        arch: Arch::Amd64,
        purpose: "per-CPU counters; sched_process_exit after exit_mm",
        suites: &["trixie"],
        release: "6.12.",
        flavour: "cloud-amd64",
        lacks: &[],
        append: "",
    },
    Kernel {
        name: "6.12-rt",
        arch: Arch::Amd64,
        purpose: "PREEMPT_RT",
        suites: &["trixie"],
        release: "6.12.",
        flavour: "rt-amd64",
        lacks: &[NO_HUGE_PAGES, NO_COLLAPSE, NO_LARGE_FOLIOS],
        append: "",
    },
    Kernel {
        name: "6.18",
        arch: Arch::Amd64,
        purpose: "sched_process_exit before exit_mm",
        suites: &["trixie-backports"],
        release: "6.18.",
        flavour: "cloud-amd64",
        lacks: &[],
        append: "",
    },
    Kernel {
        name: "7",
        arch: Arch::Amd64,
        purpose: "the newest; tracepoints can be preempted",
        suites: &["trixie-backports", "sid"],
        release: "7.",
        flavour: "cloud-amd64",
        lacks: &[NO_UNDISTURBED_PROGRAMS],
        // Where tracepoints can be preempted, they shall be.
        append: "preempt=full",
    },
    Kernel {
        name: "6.12-arm64",
        arch: Arch::Arm64,
        purpose: "another instruction set, for what is counted there",
        suites: &["trixie"],
        release: "6.12.",
        flavour: "cloud-arm64",
        lacks: &[],
        append: "",
    },
];

/// A further boot of a kernel, with some of the tests only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot {
    /// The [`Kernel::name`].
    pub(crate) kernel: &'static str,
    /// What distinguishes it.
    pub(crate) name: &'static str,
    /// Its CPUs.
    pub(crate) cpus: u32,
    /// Test programs, each with what its tests' names contain.
    pub(crate) programs: &'static [(&'static str, &'static str)],
}

/// Tests for which the number of CPUs matters.
const MANY_CPUS: &[(&str, &str)] = &[
    ("counts", "changing_cpus"),
    ("threads", "threads_that"),
    ("guest", "cpus::"),
];

/// More CPUs than the two of the first boot.
pub(crate) const BOOTS: &[Boot] = &[
    Boot {
        kernel: "6.1",
        name: "4 CPUs",
        cpus: 4,
        programs: MANY_CPUS,
    },
    Boot {
        kernel: "6.18",
        name: "8 CPUs",
        cpus: 8,
        programs: MANY_CPUS,
    },
    Boot {
        kernel: "7",
        name: "8 CPUs",
        cpus: 8,
        programs: MANY_CPUS,
    },
];

/// Tests that have to notice wrong counting (`--broken`).
pub(crate) const SENSITIVE: &[(&str, &str)] = &[
    ("counts", "changing_cpus"),
    ("guest", "fentry::what_threads"),
    ("spawns", "storm"),
];

/// Test programs about command lines, forms of output and exit statuses, which no kernel
/// changes: on the newest only, unless one is asked for by name, or on none.
const ANY_KERNEL: &[&str] = &[
    "budgets",
    "gnu_time",
    "hostile",
    "launch",
    "live",
    "maps",
    "starved",
    "workloads",
];

/// Test programs about processes, calls and `/proc`, in which only the layout of the counters makes a
/// difference: on the oldest and the newest.
const ANY_COUNTERS: &[&str] = &[
    "events",
    "handlers",
    "lineage",
    "nested",
    "signals",
    "snapshots",
    "unprivileged",
    "unprivileged_life",
];

/// Test programs about counting, which the instruction set of a kernel may make a difference to.
const COUNTING: &[&str] = &[
    "check",
    "counts",
    "ends",
    "footprint",
    "forks",
    "moments",
    "segments",
    "several",
    "spawns",
    "storms",
    "threads",
    "timeline",
    "virtual_sizes",
];

/// Whether a run of all tests, or of all in which kernels make a difference, has this program
/// run on that kernel.
pub(crate) fn is_due(program: &str, kernel: &Kernel, kernel_tests: bool) -> bool {
    let is = |other: Option<&Kernel>| other.is_some_and(|other| other.name == kernel.name);
    let newest = KERNELS.iter().rfind(|kernel| kernel.arch == Arch::Amd64);
    if kernel.arch != Arch::Amd64 {
        COUNTING.contains(&program)
    } else if ANY_KERNEL.contains(&program) {
        !kernel_tests && is(newest)
    } else if ANY_COUNTERS.contains(&program) {
        is(KERNELS.first()) || is(newest)
    } else {
        true
    }
}
