//! Processes by the path of a cgroup.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{
    Findings, Places, TargetsError, members,
    places::{Hierarchy, Version},
};

/// How often hierarchies of version 1 are compared: processes come and go between.
const COMPARISONS: usize = 5;

/// All processes of a cgroup and of those below.
pub(super) fn find(places: &Places, asked: &Path) -> Result<Findings, TargetsError> {
    if asked.as_os_str().is_empty() {
        return Err(TargetsError::Empty("path of the cgroup"));
    }
    let mut found = directories(places, asked)?;
    if let [only] = found.as_slice() {
        return members::of(places, std::slice::from_ref(only), asked);
    }
    // The same path in several hierarchies of version 1 is one cgroup to those who made
    // it, as long as the same processes are in it.
    for _ in 0..COMPARISONS {
        let mut distinct: Vec<(PathBuf, Findings)> = Vec::new();
        for directory in &found {
            match members::of(places, std::slice::from_ref(directory), asked) {
                Ok(findings) => distinct.push((directory.clone(), findings)),
                Err(TargetsError::EmptyCgroup(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let Some((_, first)) = distinct.first() else {
            return Err(TargetsError::EmptyCgroup(asked.to_path_buf()));
        };
        if distinct
            .iter()
            .all(|(_, other)| other.processes == first.processes)
        {
            return Ok(first.clone());
        }
        found = distinct
            .into_iter()
            .map(|(directory, _)| directory)
            .collect();
    }
    Err(TargetsError::AmbiguousCgroup {
        cgroup: asked.to_path_buf(),
        found,
    })
}

/// Every directory that is meant, each once.
fn directories(places: &Places, asked: &Path) -> Result<Vec<PathBuf>, TargetsError> {
    let all = places.hierarchies()?;
    let mut looked = Vec::new();
    if asked.is_absolute() {
        if let Some(directory) = cgroup_at(all, asked)? {
            return Ok(vec![directory]);
        }
        looked.push(asked.to_path_buf());
    }
    let (chosen, path) = match line(asked.as_os_str()) {
        Some((controllers, path)) => (
            all.iter().filter(|one| is_of(one, controllers)).collect(),
            path,
        ),
        None => (all.iter().collect::<Vec<_>>(), asked),
    };
    let mut found: Vec<(PathBuf, (u64, u64))> = Vec::new();
    for candidate in chosen.into_iter().flat_map(|one| candidates(one, path)) {
        if looked.contains(&candidate) {
            continue;
        }
        if let Some(directory) = cgroup_at(all, &candidate)? {
            let metadata = fs::metadata(&directory)
                .map_err(|error| TargetsError::reading(&directory, error))?;
            // A hierarchy may be mounted twice: the inode is the cgroup's id.
            let identity = (metadata.dev(), metadata.ino());
            if found.iter().all(|(_, known)| *known != identity) {
                found.push((directory, identity));
            }
        }
        looked.push(candidate);
    }
    if found.is_empty() {
        return Err(TargetsError::NoCgroup {
            cgroup: asked.to_path_buf(),
            looked,
        });
    }
    Ok(found.into_iter().map(|(directory, _)| directory).collect())
}

/// Where a path would be that is not one in the file system.
fn candidates(hierarchy: &Hierarchy, path: &Path) -> Vec<PathBuf> {
    let mount = &hierarchy.mount;
    let mut all = vec![mount.join(path.strip_prefix("/").unwrap_or(path))];
    // Where only a part of the tree is mounted, as in containers without a cgroup namespace.
    if hierarchy.root != Path::new("/")
        && let Ok(below) = path.strip_prefix(&hierarchy.root)
    {
        all.push(mount.join(below));
    }
    // From the directory in which the hierarchies of version 1 are.
    if !path.is_absolute()
        && let Some(above) = mount.parent()
    {
        all.push(above.join(path));
    }
    all
}

/// The cgroup at a path in the file system, without symbolic links (`/sys/fs/cgroup/cpu`
/// is one); `None` if there is nothing, or what is there is no cgroup.
fn cgroup_at(all: &[Hierarchy], path: &Path) -> Result<Option<PathBuf>, TargetsError> {
    match path.canonicalize() {
        Ok(real) if real.is_dir() && all.iter().any(|one| real.starts_with(&one.mount)) => {
            Ok(Some(real))
        }
        Ok(_) => Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(TargetsError::reading(path, error)),
    }
}

/// A whole line of `/proc/PID/cgroup` (`cgroups(7)`), as `4:memory:/path`: controllers
/// and path.
fn line(asked: &OsStr) -> Option<(&str, &Path)> {
    let mut parts = asked.as_bytes().splitn(3, |&byte| byte == b':');
    let id = parts.next()?;
    let controllers = std::str::from_utf8(parts.next()?).ok()?;
    let path = Path::new(OsStr::from_bytes(parts.next()?));
    let numbered = !id.is_empty() && id.iter().all(u8::is_ascii_digit);
    (numbered && path.is_absolute()).then_some((controllers, path))
}

fn is_of(hierarchy: &Hierarchy, controllers: &str) -> bool {
    if controllers.is_empty() {
        return hierarchy.version == Version::V2;
    }
    controllers.split(',').all(|one| hierarchy.has(one))
}
