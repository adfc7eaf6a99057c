//! The BPF programs, maps and links of one process, and what the kernel still has of them.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};

use crate::await_until;

/// Ids of kernel objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelObjects {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl KernelObjects {
    /// What a process holds by file descriptors, from `/proc/PID/fdinfo`. A process that
    /// is gone holds nothing.
    #[must_use]
    pub fn of_process(pid: u32) -> Self {
        let mut found = Self::default();
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
            return found;
        };
        for entry in entries.flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            for line in text.lines() {
                let Some((name, value)) = line.split_once(':') else {
                    continue;
                };
                let set = match name {
                    "prog_id" => &mut found.programs,
                    "map_id" => &mut found.maps,
                    "link_id" => &mut found.links,
                    _ => continue,
                };
                set.extend(value.trim().parse::<u32>());
            }
        }
        found
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.maps.is_empty() && self.links.is_empty()
    }

    /// How many programs are attached.
    #[must_use]
    pub fn attached(&self) -> usize {
        self.links.len()
    }

    /// Those that the kernel still has. A pin would keep its object, so this tells of
    /// pins as well. Ids are given out in ascending order and not used again soon
    /// (`idr_alloc_cyclic()`).
    #[must_use]
    pub fn still_there(&self) -> Self {
        // An object that vanishes during the walk ends with an error of its own.
        let live = Self {
            programs: loaded_programs().flatten().map(|p| p.id()).collect(),
            maps: loaded_maps().flatten().map(|m| m.id()).collect(),
            links: loaded_links().flatten().map(|l| l.id()).collect(),
        };
        let common = |a: &BTreeSet<u32>, b: &BTreeSet<u32>| a.intersection(b).copied().collect();
        Self {
            programs: common(&self.programs, &live.programs),
            maps: common(&self.maps, &live.maps),
            links: common(&self.links, &live.links),
        }
    }

    /// Waits until the kernel has none of them. It frees them some time after the last
    /// descriptor is closed, and a walk of another process may hold one for a moment.
    ///
    /// # Errors
    /// Some stay.
    pub fn await_gone(&self) -> Result<()> {
        await_until(
            "the kernel frees the BPF objects of a killed process",
            || self.still_there().is_empty(),
        )
        .with_context(|| {
            let left = self.still_there();
            let maps = loaded_maps().flatten();
            let names: Vec<String> = maps
                .filter(|map| left.maps.contains(&map.id()))
                .map(|map| String::from_utf8_lossy(map.name()).into_owned())
                .collect();
            format!("it has {left:?}, maps {names:?}")
        })
    }
}

/// Whether the kernel can list its objects.
///
/// # Errors
/// What it says.
pub fn can_list_objects() -> Result<(), crate::Missing> {
    let missing = |error: &dyn std::error::Error| {
        let mut source = error;
        while let Some(next) = source.source() {
            source = next;
        }
        crate::Missing(format!(
            "the kernel does not list its BPF objects: {source}"
        ))
    };
    for found in loaded_programs().take(1) {
        found.map_err(|error| missing(&error))?;
    }
    // BPF_LINK_GET_NEXT_ID is there since Linux 5.8.
    for found in loaded_links().take(1) {
        found.map_err(|error| missing(&error))?;
    }
    Ok(())
}
