//! Opens the files that results go to, before the command runs.
//!
//! Under sudo the file is opened with the rights of the user who called sudo
//! and belongs to them: `sudo memtrace` must neither leave root's files in
//! their directory nor write where they may not. In directories where everyone
//! may create files, a name may be another user's trap; see [`OutputError`].

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::{Gid, Uid, User, ftruncate, getgrouplist, getgroups};

use super::distinct::SameFile;
use super::error::strerror;

mod claim;
pub use claim::{Claim, Made, claim_output, create_output};

/// What to do with a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// Fail, unless it is empty or not a regular file.
    Refuse,
    /// Fail, whatever it is, a link too.
    New,
    /// Replace what is in it.
    Overwrite,
    /// Leave what is in it for now: who writes replaces it.
    Keep,
    /// Write after what is in it.
    Append,
}

/// An output file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// It has contents, and nobody said to replace them.
    #[error("{} already exists: remove it, choose another name, or use --force", .0.display())]
    Exists(PathBuf),
    /// A link in a directory where everyone may create files: someone may have
    /// put it there to have another file overwritten.
    #[error(
        "{} is a symbolic link in a directory that everyone can write to, and is not followed: \
         give the path that it points to", .0.display()
    )]
    SharedLink(PathBuf),
    /// A file of another user, or one with a second name, in such a directory.
    #[error(
        "{} belongs to another user or has a second name, in a directory that everyone can \
         write to: choose another name or directory", .0.display()
    )]
    SharedFile(PathBuf),
    /// Another output, or an input, is the same file.
    #[error(transparent)]
    Same(#[from] SameFile),
    /// The kernel refused.
    #[error("{}: {}{}", path.display(), strerror(source), remedy(*sudo_uid, source))]
    Open {
        /// The path as given.
        path: PathBuf,
        /// The user who called sudo, with whose rights it was tried.
        sudo_uid: Option<u32>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The rights of the user who called sudo could not be taken.
    #[error("cannot {operation} to open {} as the user who called sudo: {source}", path.display())]
    Rights {
        /// The path as given.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The end of a message: how to get past a refusal.
fn remedy(sudo_uid: Option<u32>, source: &io::Error) -> String {
    match (source.raw_os_error(), sudo_uid) {
        (Some(libc::EACCES | libc::EPERM), Some(uid)) => format!(
            " for user {uid}, who called sudo: choose a directory of theirs, or run \
             `sudo env -u SUDO_UID memtrace ...` to write as root"
        ),
        (Some(libc::EACCES | libc::EPERM | libc::EROFS), _) => {
            " (choose a file or directory that you may write to)".to_owned()
        }
        (Some(libc::ENOENT), _) => " (does its directory exist?)".to_owned(),
        _ => String::new(),
    }
}

impl OutputError {
    /// What GNU time would say: the path and the reason, without a remedy.
    #[must_use]
    pub fn gnu_message(&self) -> String {
        match self {
            Self::Open { path, source, .. } => format!("{}: {}", path.display(), strerror(source)),
            other => other.to_string(),
        }
    }
}

/// Opens a file for writing; creates it if there is none.
///
/// # Errors
///
/// When it may not be written, or should not be; the message says what to do.
pub fn open_output(path: &Path, if_exists: IfExists) -> Result<File, OutputError> {
    Ok(open_anyhow(path, if_exists)?.file)
}

/// A file that was opened, and what it was before.
#[derive(Debug)]
struct Opened {
    file: File,
    was: Before,
}

/// What there was before an output was opened.
#[derive(Debug)]
enum Before {
    /// Nothing: it was made, in this directory with this name.
    Nothing { directory: OwnedFd, name: OsString },
    /// A regular file.
    File,
    /// Something without contents of its own: a device, a pipe, a stream of ours.
    Stream,
}

fn open_anyhow(path: &Path, if_exists: IfExists) -> Result<Opened, OutputError> {
    if let Some(stream) = own_stream(path) {
        // Opened anew, a file behind it would be cut, and written from its beginning.
        let duplicate = match stream {
            OwnStream::Output => io::stdout().as_fd().try_clone_to_owned(),
            OwnStream::Error => io::stderr().as_fd().try_clone_to_owned(),
        };
        return duplicate
            .map(|stream| Opened {
                file: File::from(stream),
                was: Before::Stream,
            })
            .map_err(|source| OutputError::Open {
                path: path.to_owned(),
                sudo_uid: None,
                source,
            });
    }
    let Some(caller) = sudo_caller() else {
        return open_as_is(path, if_exists, None);
    };
    let rights = Rights::take(&caller).map_err(|(operation, source)| OutputError::Rights {
        path: path.to_owned(),
        operation,
        source: source.into(),
    })?;
    let result = open_as_is(path, if_exists, Some(caller.uid.as_raw()));
    drop(rights);
    result
}

/// A standard stream to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnStream {
    Output,
    Error,
}

/// The stream of this process that a path is a name of.
pub(super) fn own_stream(path: &Path) -> Option<OwnStream> {
    match path.as_os_str().as_bytes() {
        b"/dev/stdout" | b"/dev/fd/1" | b"/proc/self/fd/1" => Some(OwnStream::Output),
        b"/dev/stderr" | b"/dev/fd/2" | b"/proc/self/fd/2" => Some(OwnStream::Error),
        _ => None,
    }
}

/// Makes a directory to open outputs in, unless it is there.
///
/// # Errors
///
/// When it cannot be made, or is another user's trap: in a directory where everyone may
/// create files, one that belongs to somebody else, or a link.
pub fn output_directory(path: &Path) -> Result<(), OutputError> {
    let Some(caller) = sudo_caller() else {
        return directory_as_is(path, None);
    };
    let rights = Rights::take(&caller).map_err(|(operation, source)| OutputError::Rights {
        path: path.to_owned(),
        operation,
        source: source.into(),
    })?;
    let result = directory_as_is(path, Some(caller.uid.as_raw()));
    drop(rights);
    result
}

fn directory_as_is(path: &Path, sudo_uid: Option<u32>) -> Result<(), OutputError> {
    let failed = |error: Errno| OutputError::Open {
        path: path.to_owned(),
        sudo_uid,
        source: error.into(),
    };
    let lookup = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Some(name) = path.file_name() else {
        // `/` or `..`: it is there, or nothing can be done.
        return open(path, lookup, Mode::empty()).map(drop).map_err(failed);
    };
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let parent = open(parent, lookup, Mode::empty()).map_err(failed)?;
    let parent_stat = fstat(&parent).map_err(failed)?;
    match mkdirat(&parent, name, Mode::from_bits_truncate(0o777)) {
        Ok(()) => return Ok(()),
        Err(Errno::EEXIST) => {}
        Err(error) => return Err(failed(error)),
    }
    if !is_shared(&parent_stat) {
        return openat(&parent, name, lookup, Mode::empty())
            .map(drop)
            .map_err(failed);
    }
    let found = match openat(&parent, name, lookup | OFlag::O_NOFOLLOW, Mode::empty()) {
        Ok(found) => found,
        Err(Errno::ENOTDIR | Errno::ELOOP) if path.is_symlink() => {
            return Err(OutputError::SharedLink(path.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    let me = sudo_uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
    let owner = fstat(&found).map_err(failed)?.st_uid;
    if owner != me && owner != parent_stat.st_uid {
        return Err(OutputError::SharedFile(path.to_owned()));
    }
    Ok(())
}

/// Everyone may create files in the directory, but remove only their own.
const fn is_shared(directory: &FileStat) -> bool {
    let bits = libc::S_ISVTX | libc::S_IWOTH;
    directory.st_mode & bits == bits
}

/// Opens with the rights that the calling thread has.
fn open_as_is(
    path: &Path,
    if_exists: IfExists,
    sudo_uid: Option<u32>,
) -> Result<Opened, OutputError> {
    let failed = |error: Errno| OutputError::Open {
        path: path.to_owned(),
        sudo_uid,
        source: error.into(),
    };
    let (directory, name) = split(path).ok_or_else(|| failed(Errno::EISDIR))?;
    let lookup = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(directory, lookup, Mode::empty()).map_err(failed)?;
    let directory_stat = fstat(&directory).map_err(failed)?;
    let shared = is_shared(&directory_stat);

    let mut flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    if if_exists == IfExists::Append {
        flags |= OFlag::O_APPEND;
    }
    if shared {
        flags |= OFlag::O_NOFOLLOW;
    }
    let (file, existed) = match create_new(&directory, name, flags) {
        Ok(file) => (file, false),
        Err(Errno::EEXIST) if if_exists == IfExists::New => {
            return Err(OutputError::Exists(path.to_owned()));
        }
        Err(Errno::EEXIST) => {
            // Not O_CREAT: the kernel then does not refuse devices and pipes
            // of others in shared directories, which hold nothing to lose.
            match openat(&directory, name, flags, Mode::empty()) {
                Ok(file) => (file, true),
                Err(Errno::ELOOP) if shared => {
                    return Err(OutputError::SharedLink(path.to_owned()));
                }
                // A link to a file that is not there yet.
                Err(Errno::ENOENT) if !shared => {
                    let flags = flags | OFlag::O_CREAT;
                    (
                        openat(&directory, name, flags, mode()).map_err(failed)?,
                        true,
                    )
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Err(error) => return Err(failed(error)),
    };
    let mut was = Before::Stream;
    if existed {
        let stat = fstat(&file).map_err(failed)?;
        if stat.st_mode & libc::S_IFMT == libc::S_IFREG {
            if shared && !is_mine(&stat, &directory_stat, sudo_uid) {
                return Err(OutputError::SharedFile(path.to_owned()));
            }
            match if_exists {
                IfExists::Refuse if stat.st_size > 0 => {
                    return Err(OutputError::Exists(path.to_owned()));
                }
                IfExists::Refuse | IfExists::New | IfExists::Keep | IfExists::Append => {}
                IfExists::Overwrite => ftruncate(&file, 0).map_err(failed)?,
            }
            was = Before::File;
        }
    } else {
        let name = name.to_owned();
        was = Before::Nothing { directory, name };
    }
    Ok(Opened {
        file: File::from(file),
        was,
    })
}

fn mode() -> Mode {
    // Less the umask, as for any file that a shell creates.
    Mode::from_bits_truncate(0o666)
}

fn create_new(directory: impl AsFd, name: &OsStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_CREAT | OFlag::O_EXCL;
    openat(directory, name, flags, mode())
}

/// Directory and name; `None` when the path can only be a directory's.
fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    if path.as_os_str().is_empty() {
        // The kernel says ENOENT to an empty name.
        return Some((Path::new("."), OsStr::new("")));
    }
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return None;
    }
    let name = path.file_name()?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    Some((directory.unwrap_or(Path::new(".")), name))
}

/// The rule of `fs.protected_regular` and `fs.protected_hardlinks`, which not
/// every system has switched on.
fn is_mine(file: &FileStat, directory: &FileStat, sudo_uid: Option<u32>) -> bool {
    let me = sudo_uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
    (file.st_uid == me || file.st_uid == directory.st_uid) && file.st_nlink == 1
}

/// A user with the groups that count for file access.
#[derive(Debug)]
struct Caller {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// Who called sudo, if this process has root's rights through it.
fn sudo_caller() -> Option<Caller> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    caller_from(env::var_os("SUDO_UID"), env::var_os("SUDO_GID"))
}

fn caller_from(uid: Option<OsString>, gid: Option<OsString>) -> Option<Caller> {
    let number = |value: Option<OsString>| {
        let number = value?.to_str()?.parse::<u32>().ok()?;
        // -1 means "no change" to the kernel.
        (number != u32::MAX).then_some(number)
    };
    let uid = Uid::from_raw(number(uid)?);
    if uid.is_root() {
        return None;
    }
    let gid = Gid::from_raw(number(gid)?);
    let groups = User::from_uid(uid)
        .ok()
        .flatten()
        .and_then(|user| CString::new(user.name).ok())
        .and_then(|name| getgrouplist(&name, gid).ok())
        .unwrap_or_else(|| vec![gid]);
    Some(Caller { uid, gid, groups })
}

/// The calling thread's file-system rights are those of a [`Caller`] until this
/// is dropped. Only this thread: the C library would change the groups of all.
struct Rights {
    groups: Vec<Gid>,
    uid: u32,
    gid: u32,
}

impl Rights {
    fn take(caller: &Caller) -> Result<Self, (&'static str, Errno)> {
        let groups = getgroups().map_err(|error| ("read the groups", error))?;
        set_thread_groups(&caller.groups).map_err(|error| ("set the groups", error))?;
        // From here on dropping this puts everything back.
        let rights = Self {
            groups,
            gid: set_fs_gid(caller.gid.as_raw()),
            uid: set_fs_uid(caller.uid.as_raw()),
        };
        // These calls have no error; they return what was before.
        if set_fs_gid(u32::MAX) != caller.gid.as_raw() {
            return Err(("set the group id", Errno::EPERM));
        }
        if set_fs_uid(u32::MAX) != caller.uid.as_raw() {
            return Err(("set the user id", Errno::EPERM));
        }
        Ok(rights)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        set_fs_uid(self.uid);
        set_fs_gid(self.gid);
        // It was allowed a moment ago, and nothing here gave the right away.
        let _ = set_thread_groups(&self.groups);
    }
}

/// setfsuid(2): returns the id before; -1 changes nothing.
fn set_fs_uid(uid: u32) -> u32 {
    // SAFETY: no memory is involved; the call changes only this thread.
    unsafe { libc::setfsuid(uid) }.cast_unsigned()
}

/// setfsgid(2), likewise.
fn set_fs_gid(gid: u32) -> u32 {
    // SAFETY: as above.
    unsafe { libc::setfsgid(gid) }.cast_unsigned()
}

/// setgroups(2) for this thread alone.
fn set_thread_groups(groups: &[Gid]) -> Result<(), Errno> {
    let raw: Vec<libc::gid_t> = groups.iter().map(|gid| gid.as_raw()).collect();
    // SAFETY: the pointer is to that many live group ids.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, raw.len(), raw.as_ptr()) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests;
