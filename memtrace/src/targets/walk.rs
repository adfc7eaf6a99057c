//! Going through the directories of a hierarchy.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{TargetsError, process::is_gone};

/// The cgroups right below one; none if it is removed meanwhile.
pub(super) fn children(directory: &Path) -> Result<Vec<PathBuf>, TargetsError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut children = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                children.push(entry.path());
            }
        }
        children.sort();
        Ok(children)
    };
    match list() {
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        other => other.map_err(|error| TargetsError::reading(directory, error)),
    }
}

/// All cgroups below one, those above before those below.
pub(super) fn below(root: &Path) -> Result<Vec<PathBuf>, TargetsError> {
    let mut all = children(root)?;
    let mut next = 0;
    while let Some(directory) = all.get(next) {
        let more = children(directory)?;
        all.extend(more);
        next += 1;
    }
    Ok(all)
}
