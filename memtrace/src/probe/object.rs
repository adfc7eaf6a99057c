//! The BPF objects that this build carries: the committed ones, or freshly built ones
//! where the variable `MEMTRACE_BPF_OBJECTS` named their directory at build time.

use aya::Ebpf;
use memtrace_ebpf::{COMM_LEN, Config, CounterLayout, MAX_CPUS, PID_LIMIT, SegmentHooks, Timeline};

use super::{
    Fentry, Handler, Options, ProbeError, Resolution, allocation,
    choice::Choice,
    functions, lines, load,
    loader::Ahead,
    locks::{self, TreeLock},
};
use crate::kernel::Features;

/// The programs.
pub(super) const OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MEMTRACE_BPF_OBJECT_PATH"));

/// The same without what recordings, segments, the log and older kernels need: the kernel reads, verifies and
/// removes it at each start.
pub(super) const LEAN_OBJECT: &[u8] =
    aya::include_bytes_aligned!(env!("MEMTRACE_BPF_LEAN_OBJECT_PATH"));

/// The same for kernels whose BPF has no atomics that return something (before 5.12).
pub(super) const PLAIN_OBJECT: &[u8] =
    aya::include_bytes_aligned!(env!("MEMTRACE_BPF_PLAIN_OBJECT_PATH"));

/// Userspace looks at the timeline's ring now and then; it is woken early when this part
/// of the ring is full.
const WAKE_AT: u32 = 4;

/// How many processes can have ended that the kernel has not let go of: zombies, and those of one grace period.
const MOST_ENDED: u32 = 8192;

/// The ring for their CPU times: room for 4,600 of them until userspace, which looks at it with the other ring, does.
const FREED_BYTES: u32 = 256 << 10;

/// The ring for the programs' own log lines, where they write any.
const LOG_BYTES: u32 = 128 << 10;

/// Whether a CPU of this architecture reads in the order of the program (Documentation/memory-barriers.txt).
const KEEPS_LOADS_IN_ORDER: bool = cfg!(any(target_arch = "x86_64", target_arch = "s390x"));

/// Tries the atomics. Loads only where the kernel has them all.
pub(super) const CHECK_ATOMICS: &str = "check_atomics";

/// Creates the maps of the object that suits this kernel; its programs can be loaded then.
pub(super) fn open(
    features: &Features,
    options: &Options,
    layout: CounterLayout,
    root_name: [u8; COMM_LEN],
    choice: Choice,
    ahead: &mut Ahead,
) -> Result<Ebpf, ProbeError> {
    let settings = Settings {
        choice,
        features,
        options,
        config: Config {
            layout: layout as u32,
            scheme: options.scheme() as u32,
            cpus: options
                .cpus
                .max(options.simulated_cpus)
                .min(MAX_CPUS as u32),
            real_cpus: options.cpus.min(MAX_CPUS as u32),
            page_shift: options.page_size.trailing_zeros(),
            root_name,
            classic_size: options.classic_size.unwrap_or(0),
            timeline: match options.timeline {
                None => Timeline::Off,
                Some(Resolution::EveryChange) => Timeline::EveryChange,
                Some(Resolution::Window(_)) => Timeline::Windows,
            } as u32,
            timeline_wake: options.timeline_bytes() / WAKE_AT,
            ends_at_exit_mmap: u32::from(
                features.has_exit_mmap && !features.preemptible_tracepoints,
            ),
            share_type: choice.functions.share_type(),
            segments: choice.segments as u32,
            root_tree: options.root_tree,
            fences: u32::from(options.handler == Handler::Fenced || !KEEPS_LOADS_IN_ORDER),
            spin_lock: choice.lock.config(),
            attached: u32::from(options.attached > 0),
            branches: options.branches,
            cpu_times: u32::from(options.cpu_times),
            reserved: 0,
            window_ns: options.timeline.map_or(0, Resolution::width_ns),
        },
    };
    if options.handler == Handler::Plain {
        return settings.open(PLAIN_OBJECT, ahead);
    }
    if settings.needs_little() {
        return settings.open(LEAN_OBJECT, ahead);
    }
    let mut ebpf = settings.open(OBJECT, ahead)?;
    // Every kernel with counters per CPU (6.2) is younger than the atomics.
    if features.layout != CounterLayout::Atomic || load::run_once(&mut ebpf, CHECK_ATOMICS).is_ok()
    {
        return Ok(ebpf);
    }
    log::debug!("this kernel refuses atomics that return something");
    drop(ebpf);
    settings.open(PLAIN_OBJECT, ahead)
}

struct Settings<'a> {
    features: &'a Features,
    options: &'a Options,
    config: Config,
    choice: Choice,
}

impl Settings<'_> {
    /// Whether the lean object has all that is needed.
    fn needs_little(&self) -> bool {
        let Self {
            options, choice, ..
        } = self;
        let functions = matches!(options.fentry, Fentry::On | Fentry::Try);
        let more = functions || options.timeline.is_some() || options.events || options.log;
        choice.lock == TreeLock::Spin && choice.segments == SegmentHooks::Off && !more
    }

    fn open(&self, object: &[u8], ahead: &mut Ahead) -> Result<Ebpf, ProbeError> {
        let Self {
            features,
            options,
            config,
            choice,
        } = self;
        let followed = if choice.segments == SegmentHooks::Off {
            1
        } else {
            options.max_images
        };
        let acting = if choice.segments == SegmentHooks::Off {
            1
        } else {
            options.max_threads
        };
        let mut object = functions::bind(object, choice.functions);
        allocation::bind(&mut object, features.entries_on_demand);
        locks::bind(&mut object, choice.lock);
        if !options.log {
            lines::forget(&mut object);
        }
        let log_level: u8 = if options.log {
            aya_log::Level::Debug as u8
        } else {
            0
        };
        let trees = options.root_tree.saturating_add(1);
        // As small as a ring can be.
        let page = u32::try_from(options.page_size).unwrap_or(4096);
        ahead
            .loader()
            // Nothing in the object is to be relocated by type.
            .btf(None)
            .override_global("OFFSETS", &features.offsets, true)
            .override_global("CONFIG", config, true)
            // A constant for the verifier, which drops the logging where it is 0. Not every object logs.
            .override_global(aya_log::LEVEL, &log_level, options.log)
            .map_max_entries("TREES", trees)
            .map_max_entries("LINES", 2 * trees)
            .map_max_entries("WANTED", options.attached.max(1))
            .map_max_entries("BRANCHES", options.branches.max(1))
            .map_max_entries("IMAGES", options.max_images)
            .map_max_entries("PROCESSES", options.max_processes)
            .map_max_entries("ENDED", if options.cpu_times { MOST_ENDED } else { 1 })
            .map_max_entries("FREED", if options.cpu_times { FREED_BYTES } else { page })
            .map_max_entries("SEGMENTS_OF", followed)
            .map_max_entries("CONTEXTS", acting)
            .map_max_entries(
                "PENDING_CALLS",
                if options.events {
                    options.max_threads
                } else {
                    1
                },
            )
            .map_max_entries("EVENTS", options.ring_bytes)
            .map_max_entries("AYA_LOGS", if options.log { LOG_BYTES } else { page })
            .map_max_entries("TIMELINE", options.timeline_bytes())
            .map_max_entries(
                "CACHES",
                if features.task_caches {
                    options.max_threads
                } else {
                    1
                },
            )
            .map_max_entries(
                "EXITING",
                if features.preemptible_tracepoints {
                    PID_LIMIT / 64
                } else {
                    1
                },
            )
            .load(&object)
            .map_err(|source| ProbeError::Object {
                source: Box::new(source),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAN_OBJECT, OBJECT, PLAIN_OBJECT};
    use crate::probe::{allocation, functions};

    /// Every program that turns preemption off turns it on again.
    #[test]
    fn objects_have_places_for_the_guard() {
        for object in [OBJECT, LEAN_OBJECT, PLAIN_OBJECT] {
            let [off, on, cast] = functions::places(object);
            assert!(off > 0 && cast > 0);
            assert_eq!(off, on);
        }
    }

    /// As many as there are maps whose entries can be allocated one by one.
    #[test]
    fn objects_have_places_for_the_flags() {
        for object in [OBJECT, LEAN_OBJECT, PLAIN_OBJECT] {
            assert!(allocation::places(object) > 0);
        }
    }
}
