//! Where the bytes come from.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::super::ReadError;

/// Bytes that can be read at any place.
#[derive(Debug)]
pub(super) enum Source {
    File { file: File, len: u64 },
    Memory(Vec<u8>),
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Open {
            path: path.to_owned(),
            source,
        };
        // A FIFO without a writer must not hold us up.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let kind = metadata.file_type();
        let what = if kind.is_file() {
            None
        } else if kind.is_dir() {
            Some("a directory")
        } else if kind.is_fifo() {
            Some("a pipe, in which nothing can be looked up")
        } else {
            Some("no regular file")
        };
        if let Some(what) = what {
            return Err(ReadError::NotAFile {
                path: path.to_owned(),
                what,
            });
        }
        Ok(Self::File {
            file,
            len: metadata.len(),
        })
    }

    /// As it was when it was opened: it may be growing.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File { len, .. } => *len,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Fills as much of `buffer` as there is from `at` on; gives how much that is.
    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::File { file, .. } => {
                let mut done = 0;
                while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
                    match file.read_at(rest, at.saturating_add(done as u64)) {
                        Ok(0) => break,
                        Ok(more) => done += more,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(done)
            }
            Self::Memory(bytes) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let there = bytes.get(from..).unwrap_or_default();
                let len = there.len().min(buffer.len());
                for (to, from) in buffer.iter_mut().zip(there) {
                    *to = *from;
                }
                Ok(len)
            }
        }
    }
}
