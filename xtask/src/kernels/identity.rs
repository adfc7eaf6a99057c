//! What a boot was made with: the BPF objects and the day, so that a table can say which
//! programs its cells are about.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::debian::run;
use crate::stamp;

/// Where the committed objects are, below the repository's root.
const COMMITTED: &str = "memtrace-ebpf/object";

/// How much of a hash is enough to tell objects apart.
const SHORT: usize = 12;

/// A BPF object by the name of its file and the start of its SHA-256.
pub(crate) type Object = (String, String);

/// The directory of the objects that a build of memtrace embeds.
pub(crate) fn directory(root: &Path) -> PathBuf {
    env::var_os("MEMTRACE_BPF_OBJECTS").map_or_else(|| root.join(COMMITTED), PathBuf::from)
}

/// The objects of a directory, by name.
pub(crate) fn objects(dir: &Path) -> Result<Vec<Object>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".bpf.o") {
            let mut hash = sha256_of(&entry.path())?;
            hash.truncate(SHORT);
            found.push((name, hash));
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "{} has no BPF objects", dir.display());
    Ok(found)
}

/// Today, in UTC.
pub(crate) fn today() -> Result<String> {
    let date = run(Command::new("date").args(["-u", "+%F"]))?;
    Ok(date.trim().to_owned())
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(stamp::hash(&bytes))
}
