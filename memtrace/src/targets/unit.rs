//! Processes by unit of systemd.
//!
//! systemd puts the processes of a unit into a cgroup of its name, below those of its
//! slice (`systemd.slice(5)`); no question to systemd is needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::{Findings, Places, TargetsError, members, walk};

/// Kinds of units (`systemd.unit(5)`).
const SUFFIXES: [&str; 11] = [
    ".service",
    ".scope",
    ".slice",
    ".socket",
    ".mount",
    ".swap",
    ".target",
    ".device",
    ".automount",
    ".timer",
    ".path",
];

/// All processes of a unit.
pub(super) fn find(places: &Places, asked: &str) -> Result<Findings, TargetsError> {
    if asked.is_empty() {
        return Err(TargetsError::Empty("name of the unit"));
    }
    let unit = full_name(asked);
    let mut hierarchies = places.hierarchies()?.to_vec();
    hierarchies.retain(super::places::Hierarchy::is_of_systemd);
    if hierarchies.is_empty() {
        return Err(TargetsError::NoSystemd);
    }
    // In the hybrid layout a unit is in both hierarchies, at the same path.
    let mut found: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let mut near = BTreeSet::new();
    let stem = stem(&unit).to_lowercase();
    for hierarchy in &hierarchies {
        if unit == "-.slice" {
            // The root of all.
            let path = hierarchy.root.clone();
            found.entry(path).or_default().push(hierarchy.mount.clone());
            continue;
        }
        for directory in walk::below(&hierarchy.mount)? {
            let Some(name) = unit_of(&directory) else {
                continue;
            };
            if name == unit {
                let path = hierarchy.path_of(&directory);
                found.entry(path).or_default().push(directory);
            } else if name.to_lowercase().contains(&stem) {
                near.insert((name.len(), name.to_owned()));
            }
        }
    }
    // One below another of the same name is a part of it.
    let outer: Vec<PathBuf> = found
        .keys()
        .filter(|path| {
            path.ancestors()
                .skip(1)
                .all(|above| !found.contains_key(above))
        })
        .cloned()
        .collect();
    match outer.as_slice() {
        [] => Err(TargetsError::NoUnit {
            unit,
            looked: hierarchies.into_iter().map(|one| one.mount).collect(),
            near: near.into_iter().map(|(_, name)| name).collect(),
        }),
        [only] => {
            let directories = found.remove(only).unwrap_or_default();
            members::of(places, &directories, only)
        }
        _ => Err(TargetsError::AmbiguousUnit { unit, found: outer }),
    }
}

/// The unit whose cgroup this is, if it can be one.
fn unit_of(directory: &Path) -> Option<&str> {
    let name = directory.file_name()?.to_str()?;
    stem_and_suffix(name)?;
    // Names that a file of a cgroup could have, as memory.service, get an underscore
    // before them, and those with one another (`cg_escape()`, src/basic/cgroup-util.c).
    Some(name.strip_prefix('_').unwrap_or(name))
}

/// With the suffix of a service if it has none, and with characters escaped that a name
/// of a unit cannot have, as systemctl does (`unit_name_mangle()`, src/basic/unit-name.c).
fn full_name(asked: &str) -> String {
    let mut name = String::with_capacity(asked.len());
    for byte in asked.bytes() {
        match byte {
            b'/' => name.push('-'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'-' | b'_' | b'.' | b'\\' | b'@' => {
                name.push(char::from(byte));
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(name, "\\x{byte:02x}");
            }
        }
    }
    if stem_and_suffix(&name).is_none() {
        name.push_str(".service");
    }
    name
}

fn stem_and_suffix(unit: &str) -> Option<(&str, &str)> {
    SUFFIXES.iter().find_map(|&suffix| {
        let stem = unit.strip_suffix(suffix).filter(|stem| !stem.is_empty())?;
        Some((stem, suffix))
    })
}

fn stem(unit: &str) -> &str {
    stem_and_suffix(unit).map_or(unit, |(stem, _)| stem)
}
