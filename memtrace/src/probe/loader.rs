//! aya's loader, made without the kernel's BTF.
//!
//! `EbpfLoader::new()` reads and parses all of it, before it can be told that nothing in the
//! object is relocated by type: more than a third of a start. It goes without where it cannot
//! open the file, so it is made by a thread that has another root directory.

use std::{
    path::Path,
    thread::{self, JoinHandle},
};

use aya::EbpfLoader;
use nix::{
    sched::{CloneFlags, unshare},
    unistd::chroot,
};

/// Where the kernel's BTF is not below.
const ELSEWHERE: &str = "/proc/self/fdinfo";

/// What of loading needs nothing to be known of the kernel's types, done by another thread while
/// they are read: the loader, and aya's trials of what the kernel can, some twenty system calls.
#[derive(Debug, Default)]
pub struct Ahead {
    making: Option<JoinHandle<Option<EbpfLoader<'static>>>>,
}

impl Ahead {
    /// Begins. Not before limits are raised: the trials need locked memory up to 5.10.
    #[must_use]
    pub fn begin() -> Self {
        let making = thread::Builder::new().spawn(|| {
            let loader = elsewhere();
            // Kept by aya.
            let _ = aya::features();
            loader
        });
        Self {
            making: making.ok(),
        }
    }

    /// A loader; without `CAP_SYS_CHROOT` it takes its time.
    pub(super) fn loader(&mut self) -> EbpfLoader<'static> {
        self.making
            .take()
            // A second object is tried where the kernel refuses the first.
            .or_else(|| Self::begin().making)
            .and_then(|making| making.join().ok().flatten())
            .unwrap_or_default()
    }
}

/// Makes the loader in a thread that ends then. The root directory of a thread is its own once
/// it is unshared: that of the process stays what it is.
fn elsewhere() -> Option<EbpfLoader<'static>> {
    let made = unshare(CloneFlags::CLONE_FS).and_then(|()| chroot(Path::new(ELSEWHERE)));
    if let Err(error) = made {
        log::debug!("the kernel's BTF is parsed once more than needed: {error}");
        return None;
    }
    Some(EbpfLoader::new())
}

#[cfg(test)]
mod tests {
    use super::Ahead;

    /// The process has its root directory afterwards.
    #[test]
    fn the_root_directory_stays() {
        let before = std::fs::read_link("/proc/self/root").ok();
        let _ = Ahead::begin().loader();
        assert!(std::path::Path::new("/proc/self/exe").exists());
        assert_eq!(std::fs::read_link("/proc/self/root").ok(), before);
    }
}
