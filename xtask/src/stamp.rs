//! What the committed object was built from: kept beside it, so that anyone can tell
//! whether it belongs to the sources without being able to build it.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// Packages whose version decides about the object, by the start of their name.
const LOCKED: [&str; 3] = ["aya-ebpf", "aya-log-ebpf", "aya-log-common"];

/// Hashes of inputs and output, and the compiler.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Of the sources and of the locked packages they use.
    pub(crate) sources: String,
    /// Of the object.
    pub(crate) object: String,
    /// Compiler and linker.
    pub(crate) toolchain: String,
}

impl Stamp {
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let Self {
            sources,
            object,
            toolchain,
        } = self;
        fs::write(
            path,
            format!("sources {sources}\nobject {object}\ntoolchain {toolchain}\n"),
        )
        .with_context(|| format!("failed to write {}", path.display()))
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let field = |name: &str| -> Result<String> {
            match text.lines().find_map(|line| line.strip_prefix(name)) {
                Some(value) => Ok(value.trim().to_owned()),
                None => bail!("{} has no line `{name}`", path.display()),
            }
        };
        Ok(Self {
            sources: field("sources ")?,
            object: field("object ")?,
            toolchain: field("toolchain ")?,
        })
    }
}

/// The hash of everything that the object is made from.
pub(crate) fn sources(root: &Path) -> Result<String> {
    let package = root.join("memtrace-ebpf");
    let mut files = vec![package.join("Cargo.toml")];
    collect(&package.join("src"), &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file);
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update([0]);
        let text = fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.update(locked(&root.join("Cargo.lock"))?);
    Ok(hex(&hash.finalize()))
}

/// The entries of Cargo.lock that concern the object.
fn locked(lock: &Path) -> Result<String> {
    let text =
        fs::read_to_string(lock).with_context(|| format!("failed to read {}", lock.display()))?;
    let mut entries: Vec<&str> = text
        .split("[[package]]")
        .filter(|entry| {
            LOCKED
                .iter()
                .any(|name| entry.trim_start().starts_with(&format!("name = \"{name}")))
        })
        .collect();
    entries.sort_unstable();
    Ok(entries.concat())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = || format!("failed to list {}", directory.display());
    for entry in fs::read_dir(directory).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The hash of some bytes.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
