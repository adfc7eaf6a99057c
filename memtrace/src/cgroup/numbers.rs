//! The files of a cgroup that have numbers in them.

use std::{fs, path::Path};

use crate::model::{CgroupEvents, CgroupStat, OwnCgroup};

/// What a cgroup tells now. What this kernel has no file or line for is `None`.
pub(super) fn read(directory: &Path, path: &Path) -> OwnCgroup {
    let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    let number = |name: &str| text(name).trim().parse().ok();
    OwnCgroup {
        path: path.as_os_str().as_encoded_bytes().to_vec(),
        peak: number("memory.peak"),
        current: number("memory.current"),
        swap_peak: number("memory.swap.peak"),
        stat: stat(&text("memory.stat")),
        events: events(&text("memory.events")),
        remains: false,
    }
}

/// The number after a key, in a file of lines with both.
fn value(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.find(|(found, _)| *found == key)?;
    value.trim().parse().ok()
}

/// From `memory.stat`.
pub(super) fn stat(text: &str) -> CgroupStat {
    let value = |key| value(text, key);
    CgroupStat {
        anon: value("anon"),
        file: value("file"),
        shmem: value("shmem"),
        file_mapped: value("file_mapped"),
        kernel: value("kernel"),
        slab: value("slab"),
        kernel_stack: value("kernel_stack"),
        page_tables: value("pagetables"),
        percpu: value("percpu"),
        sock: value("sock"),
    }
}

/// From `memory.events`.
pub(super) fn events(text: &str) -> CgroupEvents {
    let value = |key| value(text, key);
    CgroupEvents {
        high: value("high"),
        max: value("max"),
        oom: value("oom"),
        oom_kill: value("oom_kill"),
    }
}
