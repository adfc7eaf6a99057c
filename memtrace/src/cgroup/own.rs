//! Making a cgroup for the command, and removing it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{OwnCgroupError, numbers, place::Place};
use crate::{model::OwnCgroup, targets::Places};

/// How many of our names may be taken: by those that were left, or of other PID namespaces.
const NAMES: u32 = 1000;

/// How long is waited for processes that are listed and may be about to end.
const LISTED: Duration = Duration::from_millis(50);

/// How long for those that have ended: newer kernels let go of them a little later (`cgroup_task_dead()`).
const ENDED: Duration = Duration::from_secs(1);

/// A cgroup that was made for a command. Dropping it removes it, if no process is in it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directory: PathBuf,
    path: PathBuf,
    /// Where this process was and where it is now, if it had to make room.
    moved: Option<Moved>,
    done: bool,
}

/// This process was alone in a cgroup, and is in one below it.
#[derive(Debug)]
struct Moved {
    from: PathBuf,
    to: PathBuf,
    own: i32,
}

impl Cgroup {
    /// A new one below that of this process. If this process is alone there and it is not the root, it makes room by
    /// going to another one below (the kernel accounts memory only of cgroups whose parent has no processes).
    ///
    /// Not one beside that of this process: there the command would be out of reach of the limits that hold here.
    ///
    /// # Errors
    ///
    /// When that is not possible or not permitted here; nothing is left of it then.
    pub(crate) fn make() -> Result<Self, OwnCgroupError> {
        Self::make_at(&Place::find(&Places::of_this_system()?)?)
    }

    pub(super) fn make_at(place: &Place) -> Result<Self, OwnCgroupError> {
        let at = &place.directory;
        let no_controller = || OwnCgroupError::NoController {
            directory: at.clone(),
        };
        if !has_memory(&at.join("cgroup.controllers"))? {
            return Err(no_controller());
        }
        let control = at.join("cgroup.subtree_control");
        let moved = if has_memory(&control)? {
            None
        } else {
            let moved = make_room(place)?;
            if let Err(source) = write(&control, "+memory") {
                if let Some(moved) = &moved {
                    moved.undo();
                }
                return Err(if source.raw_os_error() == Some(libc::EBUSY) {
                    OwnCgroupError::Occupied {
                        directory: at.clone(),
                    }
                } else {
                    OwnCgroupError::system("let the memory controller in by", &control, source)
                });
            }
            moved
        };
        let made = make_directory(at, "memtrace", place.own);
        let directory = match made {
            Ok(directory) => directory,
            Err(error) => {
                if let Some(moved) = &moved {
                    moved.undo();
                }
                return Err(error);
            }
        };
        let path = place.path.join(directory.file_name().unwrap_or_default());
        let cgroup = Self {
            directory,
            path,
            moved,
            done: false,
        };
        // Below a threaded cgroup, for one, there are none.
        if !cgroup.directory.join("memory.current").exists() {
            return Err(no_controller());
        }
        Ok(cgroup)
    }

    /// Moves a process into it. What it has in memory stays charged to where it was.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn take_in(&self, pid: i32) -> Result<(), OwnCgroupError> {
        let file = self.directory.join("cgroup.procs");
        write(&file, &pid.to_string())
            .map_err(|source| OwnCgroupError::system("move the command by", &file, source))
    }

    /// What it tells, as the last thing: it is removed, unless somebody is in it.
    pub(crate) fn finish(mut self) -> OwnCgroup {
        let mut told = numbers::read(&self.directory, &self.path);
        self.done = true;
        told.remains = !self.remove();
        told
    }

    /// Removes it before this process ends without dropping it.
    pub(crate) fn abandon(&self) {
        self.remove();
    }

    /// Whether it is gone.
    fn remove(&self) -> bool {
        let began = Instant::now();
        while let Err(error) = fs::remove_dir(&self.directory) {
            match error.raw_os_error() {
                Some(libc::ENOENT) => break,
                Some(libc::EBUSY) => {}
                _ => return self.left(&error),
            }
            let patience = if self.is_in_use() { LISTED } else { ENDED };
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return self.left(&error);
            }
            wait_for_change(&self.directory, left);
        }
        if let Some(moved) = &self.moved {
            moved.undo();
        }
        true
    }

    fn left(&self, error: &io::Error) -> bool {
        log::info!("{} was not removed: {error}", self.directory.display());
        false
    }

    /// Processes are in it, or other cgroups.
    fn is_in_use(&self) -> bool {
        let procs = fs::read(self.directory.join("cgroup.procs"));
        let has_cgroups = fs::read_dir(&self.directory).is_ok_and(|entries| {
            let mut kinds = entries.filter_map(|entry| entry.ok()?.file_type().ok());
            kinds.any(|kind| kind.is_dir())
        });
        procs.is_ok_and(|listed| !listed.is_empty()) || has_cgroups
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !self.done {
            self.remove();
        }
    }
}

impl Moved {
    /// Goes back. What does not work is left as it is: the cgroup below is empty when this process ends.
    fn undo(&self) {
        let Self { from, to, own } = self;
        // As long as controllers are given on, nobody can be here.
        let undone = write(&from.join("cgroup.subtree_control"), "-memory")
            .and_then(|()| write(&from.join("cgroup.procs"), &own.to_string()))
            .and_then(|()| fs::remove_dir(to));
        if let Err(error) = undone {
            log::info!("memtrace stays in {}: {error}", to.display());
        }
    }
}

/// Leaves a cgroup in which this process is alone, for one below it; not the root, whose processes are in nobody's way.
fn make_room(place: &Place) -> Result<Option<Moved>, OwnCgroupError> {
    let from = &place.directory;
    // The root of the hierarchy, not of a namespace, is what has none.
    if !from.join("cgroup.type").exists() {
        return Ok(None);
    }
    let procs = from.join("cgroup.procs");
    let listed = fs::read_to_string(&procs)
        .map_err(|source| OwnCgroupError::system("read", &procs, source))?;
    let own = place.own.to_string();
    if listed.lines().any(|pid| pid != own) {
        return Err(OwnCgroupError::Occupied {
            directory: from.clone(),
        });
    }
    let to = make_directory(from, "memtrace-itself", place.own)?;
    let file = to.join("cgroup.procs");
    if let Err(source) = write(&file, &own) {
        let _ = fs::remove_dir(&to);
        return Err(OwnCgroupError::system("move memtrace by", &file, source));
    }
    Ok(Some(Moved {
        from: from.clone(),
        to,
        own: place.own,
    }))
}

/// Makes a cgroup whose name nobody has.
fn make_directory(below: &Path, what: &str, own: i32) -> Result<PathBuf, OwnCgroupError> {
    let first = below.join(format!("{what}-{own}"));
    let further = (1..NAMES).map(|number| below.join(format!("{what}-{own}-{number}")));
    for path in std::iter::once(first.clone()).chain(further) {
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(OwnCgroupError::system("make the cgroup", &path, error)),
        }
    }
    let error = io::ErrorKind::AlreadyExists.into();
    Err(OwnCgroupError::system("make the cgroup", &first, error))
}

/// Whether memory is among the controllers that a file lists.
fn has_memory(file: &Path) -> Result<bool, OwnCgroupError> {
    let text =
        fs::read_to_string(file).map_err(|source| OwnCgroupError::system("read", file, source))?;
    Ok(text.split_ascii_whitespace().any(|one| one == "memory"))
}

/// Writes a file of the kernel's, which is there or not.
fn write(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(text.as_bytes())
}

/// Waits until the kernel says that the last process has left (`cgroup.events`), or for some time.
fn wait_for_change(directory: &Path, most: Duration) {
    let Ok(events) = File::open(directory.join("cgroup.events")) else {
        return;
    };
    // Looked at again now and then: what changed before it was opened is not told.
    let most = most.min(Duration::from_millis(5));
    let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::ZERO);
    let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
    let _ = poll(&mut fds, timeout);
}
