//! The BPF objects that this build carries: the committed ones, or freshly built ones
//! where the variable `MEMTRACE_BPF_OBJECTS` named their directory at build time.

use aya::{Ebpf, EbpfLoader};
use memtrace_ebpf::{COMM_LEN, Config, CounterLayout, MAX_CPUS};

use super::{Options, ProbeError, load};
use crate::kernel::Features;

/// The programs.
const OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MEMTRACE_BPF_OBJECT_PATH"));

/// The same for kernels whose BPF has no atomics that return something (before 5.12).
const PLAIN_OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MEMTRACE_BPF_PLAIN_OBJECT_PATH"));

/// Tries the atomics. Loads only where the kernel has them all.
pub(super) const CHECK_ATOMICS: &str = "check_atomics";

/// Creates the maps of the object that suits this kernel; its programs can be loaded then.
pub(super) fn open(
    features: &Features,
    options: &Options,
    layout: CounterLayout,
    root_name: [u8; COMM_LEN],
) -> Result<Ebpf, ProbeError> {
    let settings = Settings {
        features,
        options,
        config: Config {
            layout: layout as u32,
            scheme: options.scheme() as u32,
            cpus: options.cpus.min(MAX_CPUS as u32),
            page_shift: options.page_size.trailing_zeros(),
            root_name,
            classic_size: options.classic_size.unwrap_or(0),
        },
    };
    let mut ebpf = settings.open(OBJECT)?;
    // Every kernel with counters per CPU (6.2) is younger than the atomics.
    if features.layout != CounterLayout::Atomic || load::run_once(&mut ebpf, CHECK_ATOMICS).is_ok()
    {
        return Ok(ebpf);
    }
    log::debug!("this kernel refuses atomics that return something");
    drop(ebpf);
    settings.open(PLAIN_OBJECT)
}

struct Settings<'a> {
    features: &'a Features,
    options: &'a Options,
    config: Config,
}

impl Settings<'_> {
    fn open(&self, object: &[u8]) -> Result<Ebpf, ProbeError> {
        let Self {
            features,
            options,
            config,
        } = self;
        let log_level: u8 = if options.log {
            aya_log::Level::Debug as u8
        } else {
            0
        };
        EbpfLoader::new()
            // Nothing in the object is to be relocated by type.
            .btf(None)
            .override_global("OFFSETS", &features.offsets, true)
            .override_global("CONFIG", config, true)
            // A constant for the verifier, which drops the logging where it is 0.
            .override_global(aya_log::LEVEL, &log_level, true)
            .map_max_entries("IMAGES", options.max_images)
            .map_max_entries("PROCESSES", options.max_processes)
            .map_max_entries("EVENTS", options.ring_bytes)
            .map_max_entries(
                "CACHES",
                if features.task_caches {
                    options.max_threads
                } else {
                    1
                },
            )
            .load(object)
            .map_err(|source| ProbeError::Object {
                source: Box::new(source),
            })
    }
}
