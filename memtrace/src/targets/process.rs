//! What is asked of one process in `/proc`.
//!
//! Not [`crate::ptrace`]'s reader, which knows one `/proc` only and leaves out the name.

use std::{
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use super::{Found, Places, TargetsError};

/// `PF_KTHREAD` (include/linux/sched.h).
const PF_KTHREAD: u64 = 0x20_0000;

/// Of `/proc/PID/stat` (`proc_pid_stat(5)`), all of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// The kernel's name of it, not longer than [`COMM`](super::name::COMM).
    pub(super) comm: Vec<u8>,
    pub(super) ppid: i32,
    /// Clock ticks since boot.
    pub(super) started: u64,
    /// Whether it has memory to be measured: no thread of the kernel, and not ended. A
    /// process whose first thread has ended is a zombie to `stat`, and goes on.
    pub(super) measurable: bool,
}

impl Process {
    /// `None` if it is not there (any more).
    pub(super) fn read(proc: &Path, pid: i32) -> Result<Option<Self>, TargetsError> {
        let path = directory(proc, pid).join("stat");
        match fs::read(&path) {
            Ok(text) => Ok(Self::parse(pid, &text)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(TargetsError::reading(&path, error)),
        }
    }

    /// The name can hold anything, brackets and newlines too: the last bracket ends it.
    fn parse(pid: i32, text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let comm = text.get(open + 1..close)?.to_vec();
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields are numbered from 1 in the manual; the third comes first here.
        let field = |n: usize| fields.get(n - 3).copied();
        let number = |n: usize| field(n)?.parse::<u64>().ok();
        let ended = matches!(field(3)?, "Z" | "X") && number(20)? <= 1;
        Some(Self {
            pid,
            comm,
            ppid: field(4)?.parse().ok()?,
            started: number(22)?,
            measurable: number(9)? & PF_KTHREAD == 0 && !ended,
        })
    }

    pub(super) const fn found(&self) -> Found {
        Found {
            pid: self.pid,
            started: self.started,
        }
    }
}

/// Sorted by creation.
pub(super) fn in_order(mut all: Vec<Found>) -> Vec<Found> {
    all.sort_unstable_by_key(|found| (found.started, found.pid));
    all.dedup();
    all
}

/// The process of this id.
pub(super) fn one(places: &Places, pid: i32) -> Result<Found, TargetsError> {
    Process::read(places.proc(), pid)?
        .map(|process| process.found())
        .ok_or(TargetsError::NoProcess(pid))
}

/// All that have memory, without this one.
pub(super) fn every(places: &Places) -> Result<Vec<Found>, TargetsError> {
    let all = all(places.proc())?;
    let others = all
        .iter()
        .filter(|process| process.measurable && process.pid != places.own());
    Ok(in_order(others.map(Process::found).collect()))
}

/// All that `/proc` lists.
pub(super) fn all(proc: &Path) -> Result<Vec<Process>, TargetsError> {
    let reading = |error| TargetsError::reading(proc, error);
    let mut all = Vec::new();
    for entry in fs::read_dir(proc).map_err(reading)? {
        let name = entry.map_err(reading)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        all.extend(Process::read(proc, pid)?);
    }
    Ok(all)
}

/// The file of its program. `None` if it may not be read (`ptrace(2)`, access mode) or
/// is gone.
pub(super) fn executable(proc: &Path, pid: i32) -> Option<PathBuf> {
    let path = fs::read_link(directory(proc, pid).join("exe")).ok()?;
    let mut bytes = path.into_os_string().into_vec();
    // d_path() of a file that was removed or replaced, as by an update (fs/d_path.c).
    if bytes.ends_with(b" (deleted)") {
        bytes.truncate(bytes.len() - b" (deleted)".len());
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// Its first two arguments; empty ones if there are none.
pub(super) fn arguments(proc: &Path, pid: i32) -> [Vec<u8>; 2] {
    let line = fs::read(directory(proc, pid).join("cmdline")).unwrap_or_default();
    let mut arguments = line.split(|&byte| byte == 0).map(<[u8]>::to_vec);
    [(); 2].map(|()| arguments.next().unwrap_or_default())
}

/// The process of a thread.
pub(super) fn process_of(proc: &Path, tid: i32) -> Option<i32> {
    let status = fs::read(directory(proc, tid).join("status")).ok()?;
    let line = status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

fn directory(proc: &Path, pid: i32) -> PathBuf {
    proc.join(pid.to_string())
}

/// Whether a process, or a cgroup, ended before or while it was read: `ENOENT`, `ESRCH`
/// of files in `/proc`, `ENODEV` of those of a cgroup (`kernfs_fop_open()`, `kernfs_seq_start()`).
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ESRCH | libc::ENODEV)
    )
}
