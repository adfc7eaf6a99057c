//! Files that nobody else sees.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
};

/// A file in the directory for temporary ones that is gone with whoever has it open.
pub(super) fn nameless() -> io::Result<File> {
    let path = env::temp_dir().join(format!(
        "memtrace-{}-{:x}",
        std::process::id(),
        memtrace::kernel::clock::boottime().map_err(io::Error::other)?
    ));
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        // Not what somebody else has put there.
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
