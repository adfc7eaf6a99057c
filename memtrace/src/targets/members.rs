//! The processes of cgroups.
//!
//! Processes are created while the list is read, in several reads and of several
//! cgroups, and ids are used again. Two readings that agree on ids and on the times of
//! creation are right: whoever has the id at both has had it at the second list between.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Findings, Found, Places, TargetsError,
    process::{self, Process, is_gone},
    walk,
};

/// After as many readings processes come and go faster than they are read.
const READINGS: usize = 20;

/// How a file of a cgroup is read.
pub(super) type Read<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// What one reading gave.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reading {
    /// When each was created.
    processes: BTreeMap<i32, u64>,
    /// Listed, and not in `/proc`: ended meanwhile, or hidden there.
    unseen: BTreeSet<i32>,
    /// Listed as 0: without an id in this PID namespace (`task_tgid_vnr()`,
    /// kernel/cgroup/cgroup.c).
    elsewhere: usize,
}

/// All processes of these cgroups and of those below; `asked` is what they are called in
/// messages.
pub(super) fn of(
    places: &Places,
    cgroups: &[PathBuf],
    asked: &Path,
) -> Result<Findings, TargetsError> {
    let findings = settled(places, cgroups, &|path: &Path| fs::read(path))?;
    let cgroup = asked.to_path_buf();
    match findings.hidden {
        _ if !findings.processes.is_empty() => Ok(findings),
        0 => Err(TargetsError::EmptyCgroup(cgroup)),
        hidden => Err(TargetsError::Hidden { cgroup, hidden }),
    }
}

/// Reads until it is sure; there may be none.
pub(super) fn settled(
    places: &Places,
    cgroups: &[PathBuf],
    read: Read<'_>,
) -> Result<Findings, TargetsError> {
    let mut last = reading(places, cgroups, read)?;
    let mut settled = false;
    for _ in 1..READINGS {
        let next = reading(places, cgroups, read)?;
        settled = next == last;
        last = next;
        if settled {
            break;
        }
    }
    let found = |(&pid, &started)| Found { pid, started };
    // Who is missing in /proc twice is hidden there; once, it may just have ended.
    let unseen = if settled { last.unseen.len() } else { 0 };
    Ok(Findings {
        processes: process::in_order(last.processes.iter().map(found).collect()),
        hidden: last.elsewhere + unseen,
        settled,
    })
}

fn reading(places: &Places, cgroups: &[PathBuf], read: Read<'_>) -> Result<Reading, TargetsError> {
    let mut reading = Reading::default();
    for cgroup in cgroups {
        reading.add(places, cgroup, read)?;
        for below in walk::below(cgroup)? {
            reading.add(places, &below, read)?;
        }
    }
    Ok(reading)
}

impl Reading {
    fn add(&mut self, places: &Places, cgroup: &Path, read: Read<'_>) -> Result<(), TargetsError> {
        for pid in list(places.proc(), cgroup, read)? {
            if pid == 0 {
                self.elsewhere += 1;
            } else if pid == places.own() {
                // It would measure itself.
            } else if let Some(process) = Process::read(places.proc(), pid)? {
                if process.measurable {
                    self.processes.insert(pid, process.started);
                }
            } else {
                self.unseen.insert(pid);
            }
        }
        Ok(())
    }
}

/// What is listed for a cgroup alone; nothing if it is removed meanwhile.
fn list(proc: &Path, cgroup: &Path, read: Read<'_>) -> Result<Vec<i32>, TargetsError> {
    let procs = cgroup.join("cgroup.procs");
    match read(&procs) {
        Ok(text) => Ok(ids(&text)),
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        // A threaded cgroup has threads only (`cgroup_procs_start()`, kernel/cgroup/cgroup.c;
        // "Threads" in Documentation/admin-guide/cgroup-v2.rst).
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => threads(proc, cgroup, read),
        Err(error) => Err(TargetsError::reading(&procs, error)),
    }
}

/// The processes of the threads of a cgroup.
fn threads(proc: &Path, cgroup: &Path, read: Read<'_>) -> Result<Vec<i32>, TargetsError> {
    let path = cgroup.join("cgroup.threads");
    match read(&path) {
        Ok(text) => {
            // One that is not in /proc stands for itself: ended, or hidden there.
            let process = |tid| match tid {
                0 => 0,
                _ => process::process_of(proc, tid).unwrap_or(tid),
            };
            Ok(ids(&text).into_iter().map(process).collect())
        }
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(TargetsError::reading(&path, error)),
    }
}

fn ids(text: &[u8]) -> Vec<i32> {
    text.split(|&byte| byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok()?.trim().parse().ok())
        .collect()
}
