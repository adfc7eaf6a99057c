//! The bytes of BTF: read into memory, or the kernel's own pages.

use std::{
    fs,
    fs::File,
    io::{self, Read as _},
    ops::Deref,
    path::Path,
};

use memmap2::{Mmap, MmapOptions};

/// The bytes.
pub(super) enum Data {
    /// In memory of our own.
    Read(Vec<u8>),
    /// Where the kernel has them.
    Mapped(Mmap),
}

impl Data {
    /// A file of at most `limit` bytes; one that is larger is cut there, and one byte more.
    pub(super) fn read(path: &Path, limit: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(size.min(limit) as usize + 1);
        file.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(Self::Read(bytes))
    }

    /// A file of sysfs, mapped where the kernel lets it be (since 6.16):
    /// reading it costs copies of a page each, and as many page faults.
    pub(super) fn of_kernel(path: &Path, limit: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        if fs::metadata(path)?.len() <= limit {
            // SAFETY: the file is a part of the kernel's image, which nobody can change or cut
            // off (btf_sysfs_vmlinux_mmap(), kernel/bpf/sysfs_btf.c).
            let mapped = unsafe { MmapOptions::new().map_copy_read_only(&file) };
            if let Ok(mapped) = mapped {
                return Ok(Self::Mapped(mapped));
            }
        }
        Self::read(path, limit)
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{super::VMLINUX, Data, Path, fs};

    #[test]
    fn mapped_or_read_the_bytes_are_the_same() {
        let path = Path::new(VMLINUX);
        let Ok(read) = fs::read(path) else {
            assert!(
                std::env::var_os("MEMTRACE_REQUIRE_ALL").is_none(),
                "this kernel has no BTF"
            );
            eprintln!("skipped: this kernel has no BTF");
            return;
        };
        assert!(*Data::of_kernel(path, 1 << 30).unwrap() == *read);
        assert!(*Data::read(path, 1 << 30).unwrap() == *read);
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_to_its_end() {
        let path = Path::new("/proc/self/exe");
        assert_eq!(Data::read(path, 100).unwrap().len(), 101);
    }
}
