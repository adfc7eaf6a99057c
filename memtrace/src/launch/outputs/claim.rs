//! Files that are taken back if nothing comes of them: whoever asked for a recording of what never
//! began has the directory as it was.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Before, IfExists, Opened, OutputError, Rights, open_anyhow, sudo_caller};

/// An output whose contents, if it has any, are there still.
#[derive(Debug)]
pub struct Claim {
    /// To write to.
    pub file: File,
    /// There was a regular file: it has to be emptied before it is written to.
    pub replaces: bool,
    /// What was made, if it was not there.
    pub made: Option<Made>,
}

/// A file that was made.
#[derive(Debug)]
pub struct Made {
    directory: OwnedFd,
    name: OsString,
    identity: Option<(u64, u64)>,
}

/// Opens a file as [`open_output`](super::open_output) does, but leaves what is in it, also with `replace`.
///
/// # Errors
///
/// As there.
pub fn claim_output(path: &Path, replace: bool) -> Result<Claim, OutputError> {
    let if_exists = if replace {
        IfExists::Keep
    } else {
        IfExists::Refuse
    };
    let Opened { file, was } = open_anyhow(path, if_exists)?;
    let (replaces, made) = match was {
        Before::Nothing { directory, name } => {
            let made = Made::new(&file, directory, name);
            (false, Some(made))
        }
        Before::File => (true, None),
        Before::Stream => (false, None),
    };
    Ok(Claim {
        file,
        replaces,
        made,
    })
}

/// Makes a file that was not there.
///
/// # Errors
///
/// [`OutputError::Exists`] if there is anything of that name, a link too; else as
/// [`open_output`](super::open_output).
pub fn create_output(path: &Path) -> Result<(File, Made), OutputError> {
    let Opened { file, was } = open_anyhow(path, IfExists::New)?;
    let Before::Nothing { directory, name } = was else {
        return Err(OutputError::Exists(path.to_owned()));
    };
    let made = Made::new(&file, directory, name);
    Ok((file, made))
}

impl Made {
    fn new(file: &File, directory: OwnedFd, name: OsString) -> Self {
        let identity = fstat(file).ok().as_ref().map(identity);
        Self {
            directory,
            name,
            identity,
        }
    }

    /// Takes it away, with the rights that it was made with, unless the name is another file's by now. Where that
    /// cannot be done it stays.
    pub fn remove(&self) {
        let _rights = match sudo_caller().as_ref().map(Rights::take) {
            Some(Err(_)) => return,
            Some(Ok(rights)) => Some(rights),
            None => None,
        };
        let name = self.name.as_os_str();
        let there = fstatat(&self.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        if self.identity.is_some() && there.ok().as_ref().map(identity) == self.identity {
            // Whoever took it away before did what is to be done.
            let _ = unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

const fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
