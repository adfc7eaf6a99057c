//! The BPF programs, maps and links of one process, and what the kernel still has of them.

use std::{collections::BTreeSet, fs, io};

use anyhow::{Context as _, Result};

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
        let live = |kind| ids(kind).unwrap_or_default();
        let live = Self {
            programs: live(Kind::Programs),
            maps: live(Kind::Maps),
            links: live(Kind::Links),
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
        .with_context(|| format!("it has {:?}", self.still_there()))
    }
}

/// Objects of which the kernel has a list, with the command of bpf(2) that goes through it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// `BPF_PROG_GET_NEXT_ID`.
    Programs = 11,
    /// `BPF_MAP_GET_NEXT_ID`.
    Maps = 12,
    /// `BPF_LINK_GET_NEXT_ID`, since Linux 5.8.
    Links = 31,
}

/// The ids of all of a kind. Nothing is opened for that: whoever opens an array of programs that is just being
/// freed, and closes it again, can keep it for ever (`prog_array_map_clear()`, kernel/bpf/arraymap.c, up to 7.3 at
/// least, takes a reference for work that is queued already).
fn ids(kind: Kind) -> io::Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    // start_id, next_id, open_flags of `union bpf_attr`.
    let mut attr = [0_u32; 3];
    loop {
        // SAFETY: the command reads and writes the attribute, of the size that is given.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                kind as libc::c_long,
                attr.as_mut_ptr(),
                size_of_val(&attr),
            )
        };
        if done != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOENT) => Ok(ids),
                _ => Err(error),
            };
        }
        ids.insert(attr[1]);
        attr[0] = attr[1];
    }
}

/// Whether the kernel can list its objects.
///
/// # Errors
/// What it says.
pub fn can_list_objects() -> Result<(), crate::Missing> {
    for kind in [Kind::Programs, Kind::Maps, Kind::Links] {
        ids(kind).map_err(|error| {
            crate::Missing(format!("the kernel does not list its BPF objects: {error}"))
        })?;
    }
    Ok(())
}
