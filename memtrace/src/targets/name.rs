//! Processes by name.

use std::{
    collections::{BTreeSet, HashMap},
    os::unix::ffi::OsStrExt,
};

use super::{
    Found, Places, TargetsError,
    process::{self, Process},
};

/// What the kernel keeps of a name: `TASK_COMM_LEN` less the zero at its end
/// (include/linux/sched.h).
pub(super) const COMM: usize = 15;

/// The topmost processes of this name.
pub(super) fn find(places: &Places, name: &str) -> Result<Vec<Found>, TargetsError> {
    if name.is_empty() {
        return Err(TargetsError::Empty("name"));
    }
    let all = process::all(places.proc())?;
    let others = || {
        all.iter()
            .filter(|process| process.measurable && process.pid != places.own())
    };
    let mut matches = HashMap::new();
    for process in others() {
        if is_called(places, process, name.as_bytes())? {
            matches.insert(process.pid, process);
        }
    }
    if matches.is_empty() {
        return Err(TargetsError::NoName {
            name: name.to_owned(),
            near: near(places, &others().collect::<Vec<_>>(), name),
        });
    }
    let every = all.iter().map(|process| (process.pid, process)).collect();
    let topmost = matches
        .values()
        .filter(|process| !descends(process, &every, &matches))
        .map(|process| process.found());
    Ok(process::in_order(topmost.collect()))
}

type ByPid<'a> = HashMap<i32, &'a Process>;

/// Whether a process has an ancestor among `matches`.
fn descends(process: &Process, every: &ByPid<'_>, matches: &ByPid<'_>) -> bool {
    let mut child = process;
    // Bounded: what was not read at one moment could go round in circles.
    for _ in 0..every.len() {
        let Some(parent) = every.get(&child.ppid) else {
            return false;
        };
        // A parent is older; a younger one has only got the id of one that ended meanwhile.
        if parent.started > child.started || parent.pid == process.pid {
            return false;
        }
        if matches.contains_key(&parent.pid) {
            return true;
        }
        child = parent;
    }
    false
}

/// Whether this is a name of the process: the kernel's, its program's, or, of names that
/// are too long for the kernel, that in its arguments.
fn is_called(places: &Places, process: &Process, name: &[u8]) -> Result<bool, TargetsError> {
    if process.comm == name {
        return Ok(true);
    }
    let (proc, pid) = (places.proc(), process.pid);
    let executable = process::executable(proc, pid);
    let mut called = executable
        .as_deref()
        .and_then(|path| path.file_name())
        .is_some_and(|file| file.as_bytes() == name);
    if !called && name.len() > COMM {
        let [zeroth, first] = process::arguments(proc, pid);
        // Of a script with `#!` the interpreter is the zeroth argument and the script the
        // first, and the kernel has named the process after the script (fs/exec.c).
        let script = name.get(..COMM) == Some(&process.comm);
        called = base(&zeroth) == name || script && base(&first) == name;
    }
    // Those were read later than `stat`: the id may have become another process's.
    Ok(called && Process::read(proc, pid)?.is_some_and(|now| now.started == process.started))
}

/// What follows the last slash.
fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// Names that contain this one, whatever the case; the shortest first.
fn near(places: &Places, all: &[&Process], name: &str) -> Vec<String> {
    let wanted = name.to_lowercase();
    let mut near = BTreeSet::new();
    for process in all {
        let executable = process::executable(places.proc(), process.pid);
        let file = executable.as_deref().and_then(|path| path.file_name());
        for known in [Some(process.comm.as_slice()), file.map(OsStrExt::as_bytes)] {
            let known = String::from_utf8_lossy(known.unwrap_or_default()).into_owned();
            if known.to_lowercase().contains(&wanted) {
                near.insert((known.len(), known));
            }
        }
    }
    near.into_iter().map(|(_, name)| name).collect()
}
