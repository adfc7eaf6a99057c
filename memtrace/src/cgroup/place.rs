//! Where this process is in the hierarchy of version 2.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use super::OwnCgroupError;
use crate::targets::{Hierarchy, Places, TargetsError, Version};

/// A cgroup in which a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its directory.
    pub(super) directory: PathBuf,
    /// Its path from the root of the hierarchy, as the process sees that.
    pub(super) path: PathBuf,
    /// The process, as `cgroup.procs` has it.
    pub(super) own: i32,
}

impl Place {
    /// That of the process whose `/proc` this is.
    ///
    /// # Errors
    ///
    /// When there is no hierarchy of version 2, this process is elsewhere, or the memory controller is with version 1.
    pub(super) fn find(places: &Places) -> Result<Self, OwnCgroupError> {
        let all = match places.hierarchies() {
            Ok(all) => all,
            Err(TargetsError::NotMounted) => return Err(OwnCgroupError::NotMounted),
            Err(error) => return Err(error.into()),
        };
        // A controller is with one hierarchy at a time.
        if let Some(old) = all.iter().find(|one| one.has("memory")) {
            return Err(OwnCgroupError::Version1 {
                mount: old.mount.clone(),
            });
        }
        let mut unified = all.iter().filter(|one| one.version == Version::V2);
        let first = unified.next().ok_or(OwnCgroupError::NotMounted)?;
        let file = places.proc().join("self/cgroup");
        let told =
            fs::read(&file).map_err(|source| OwnCgroupError::system("read", &file, source))?;
        let path = path_in(&told).ok_or(OwnCgroupError::NotMounted)?;
        // It may be mounted more than once, a part of it here and another there.
        let directory = std::iter::once(first)
            .chain(unified)
            .find_map(|one| directory(one, path));
        let directory = directory.ok_or_else(|| OwnCgroupError::Outside {
            path: path.to_path_buf(),
            mount: first.mount.clone(),
        })?;
        Ok(Self {
            directory,
            path: path.to_path_buf(),
            own: places.own(),
        })
    }
}

/// The path in the hierarchy of version 2 (`cgroups(7)`: the line that begins with `0::`).
fn path_in(told: &[u8]) -> Option<&Path> {
    let mut lines = told.split(|&byte| byte == b'\n');
    let path = lines.find_map(|line| line.strip_prefix(b"0::"))?;
    Some(Path::new(OsStr::from_bytes(path)))
}

/// Where a cgroup is in the file system. `None`: outside of what is mounted, as it is, too, of a cgroup beside or above
/// the root of the cgroup namespace (`/..`).
fn directory(hierarchy: &Hierarchy, path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(&hierarchy.root).ok()?;
    let goes_up = below.components().any(|part| part == Component::ParentDir);
    if goes_up {
        return None;
    }
    let mut directory = hierarchy.mount.clone();
    // Joining nothing would leave a slash at the end.
    if !below.as_os_str().is_empty() {
        directory.push(below);
    }
    directory.is_dir().then_some(directory)
}
