//! Finding the tree in /proc where nobody may be traced: descendants as long as their
//! parents live, and whoever was found once for as long as it lives.
//!
//! What is created and gone between two looks is not seen, nor is a process whose parent
//! ended before the next look.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    sync::Mutex,
    time::{Duration, Instant},
};

use memtrace_ebpf::COMM_LEN;

use super::{
    follow::{lock, now, ticks},
    sample,
    status::{self, Stat},
    sys,
    tree::Tree,
};
use crate::model::Origin;

/// A member of the tree.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// When it was created: a pid can be used again.
    started: u64,
    /// Its name tells that it has executed something.
    comm: [u8; COMM_LEN],
}

/// Knows which processes belong to the tree.
#[derive(Debug)]
pub(super) struct Poller {
    /// Those that are not over.
    roots: HashSet<i32>,
    members: HashMap<i32, Known>,
    /// Processes that do not belong to the tree and never will.
    foreign: HashSet<i32>,
    /// Everybody belongs to it.
    everybody: bool,
}

impl Poller {
    /// For the tree below a process that is about to become the command.
    pub(super) fn of_command(root: i32, tree: &Mutex<Tree>) -> Self {
        lock(tree).root(root, now());
        let mut poller = Self {
            roots: HashSet::from([root]),
            members: HashMap::new(),
            foreign: pids().unwrap_or_default().into_iter().collect(),
            everybody: false,
        };
        poller.foreign.remove(&root);
        let stat = status::stat(root).unwrap_or_default();
        poller.know(root, &stat);
        poller
    }

    /// For processes that run already, with the times of their creation, and all below them; nobody of it is
    /// this process. Who has ended by now is left out. With `everybody` nobody who comes is left out, whoever created
    /// them.
    pub(super) fn of_living(roots: &[(i32, u64)], everybody: bool, tree: &Mutex<Tree>) -> Self {
        let own = std::process::id().cast_signed();
        let mut poller = Self {
            roots: HashSet::new(),
            members: HashMap::new(),
            foreign: HashSet::from([own]),
            everybody,
        };
        for &(pid, started) in roots {
            let Some(stat) = living(pid).filter(|stat| stat.started == started) else {
                continue;
            };
            if poller.join(pid, &stat, true, tree) {
                poller.roots.insert(pid);
            }
        }
        if let Ok(pids) = pids() {
            poller.update(&pids, true, tree);
        }
        poller
    }

    fn know(&mut self, pid: i32, stat: &Stat) {
        let Stat { started, comm, .. } = *stat;
        self.members.insert(pid, Known { started, comm });
    }

    /// Takes in who came and who went, and reads everything; returns when to do it next.
    pub(super) fn look(&mut self, tree: &Mutex<Tree>) -> Duration {
        let started = Instant::now();
        if let Ok(pids) = pids() {
            self.update(&pids, false, tree);
        }
        let cost = started.elapsed() * 20;
        let pause = cost.max(sample::all(tree));
        let unnamed = std::mem::take(&mut lock(tree).unnamed);
        for pid in unnamed {
            let program = status::program(pid);
            let mut tree = lock(tree);
            if let Some(process) = tree.find(pid) {
                tree.runs(process, program);
            }
        }
        pause
    }

    /// `attached`: whoever is found ran before.
    fn update(&mut self, pids: &[i32], attached: bool, tree: &Mutex<Tree>) {
        let present: HashSet<i32> = pids.iter().copied().collect();
        self.foreign.retain(|pid| present.contains(pid));
        let members: Vec<(i32, Known)> = self.members.iter().map(|(&p, &s)| (p, s)).collect();
        for (pid, known) in members {
            match living(pid).filter(|stat| stat.started == known.started) {
                None => {
                    self.members.remove(&pid);
                    self.roots.remove(&pid);
                    lock(tree).ended(pid, now());
                }
                Some(stat) if stat.comm != known.comm => {
                    self.know(pid, &stat);
                    renamed(pid, tree);
                }
                Some(_) => {}
            }
        }
        // Whoever has its parent's address space may have executed a program since.
        let borrowers = lock(tree).borrowers();
        for (pid, owner) in borrowers {
            if sys::same_memory(owner, pid) == Some(false) {
                executed(pid, tree);
            }
        }
        // A parent can have a higher pid than its child.
        let mut unknown: Vec<(i32, Stat)> = pids
            .iter()
            .filter(|pid| !self.members.contains_key(pid) && !self.foreign.contains(pid))
            .filter_map(|&pid| Some((pid, status::stat(pid).ok()?)))
            .collect();
        loop {
            let before = unknown.len();
            unknown.retain(|(pid, stat)| {
                let ours = self.everybody || self.members.contains_key(&stat.ppid);
                if ours && !stat.is_over() && !self.join(*pid, stat, attached, tree) {
                    self.foreign.insert(*pid);
                }
                !ours
            });
            if unknown.len() == before {
                break;
            }
        }
        self.foreign.extend(unknown.into_iter().map(|(pid, _)| pid));
    }

    /// Takes a process in; false if it is gone.
    fn join(&mut self, pid: i32, stat: &Stat, attached: bool, tree: &Mutex<Tree>) -> bool {
        let Ok(look) = status::look_through(pid) else {
            return false;
        };
        // A thread of the kernel, or nearly gone.
        if look.memory.is_none() {
            return false;
        }
        let shares =
            self.members.contains_key(&look.ppid) && sys::same_memory(look.ppid, pid) == Some(true);
        self.know(pid, stat);
        let program = status::program(pid);
        let mut tree = lock(tree);
        let process = if shares {
            tree.found_with_parents(&look, now())
        } else if attached {
            tree.attached(&look, ticks(stat.started), now())
        } else {
            tree.found(&look, Origin::Found, now())
        };
        if !shares {
            tree.runs(process, program);
        }
        tree.observe(process, &look, now());
        true
    }

    /// The command has begun to run.
    pub(super) fn begin(&mut self, tree: &Mutex<Tree>) {
        let Some(&root) = self.roots.iter().next() else {
            return;
        };
        if let Ok(stat) = status::stat(root) {
            self.know(root, &stat);
        }
        let program = status::program(root);
        if let Ok(look) = status::look(root) {
            let mut tree = lock(tree);
            let process = tree.found(&look, Origin::Exec, now());
            tree.runs(process, program);
            tree.observe(process, &look, now());
        }
    }

    /// The command was reaped.
    pub(super) fn root_ended(&mut self, tree: &Mutex<Tree>, status: i32, maxrss: Option<u64>) {
        let mut tree = lock(tree);
        for root in self.roots.drain() {
            self.members.remove(&root);
            if let Some(process) = tree.ended(root, now()) {
                process.status = Some(status);
                process.maxrss = maxrss;
            }
        }
        tree.never_read(maxrss.unwrap_or(0));
    }

    /// The members, with the times of their creation in clock ticks since boot.
    pub(super) fn members(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        let members = self.members.iter();
        members.map(|(&pid, known)| (pid, known.started))
    }

    /// Nobody is left of those that the tree began with.
    pub(super) fn has_no_root(&self) -> bool {
        self.roots.is_empty()
    }

    /// No process of the tree is left, as far as they are known.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// A process that has not ended.
fn living(pid: i32) -> Option<Stat> {
    let stat = status::stat(pid).ok()?;
    (!stat.is_over()).then_some(stat)
}

/// A process has another name than before: it has executed a program, unless the file that it runs is the same.
/// Processes also rename themselves.
fn renamed(pid: i32, tree: &Mutex<Tree>) {
    if !lock(tree).is_running(pid, &status::program(pid)) {
        executed(pid, tree);
    }
}

/// A process has executed a program.
fn executed(pid: i32, tree: &Mutex<Tree>) {
    let program = status::program(pid);
    let Ok(look) = status::look(pid) else {
        return;
    };
    let mut tree = lock(tree);
    if let Some(process) = tree.exec(pid, pid, now()) {
        tree.runs(process, program);
        tree.observe(process, &look, now());
    }
}

fn pids() -> io::Result<Vec<i32>> {
    Ok(fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}
