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

use super::{
    follow::{lock, now},
    sample,
    status::{self, Stat},
    tree::Tree,
};
use crate::model::Origin;

/// Knows which processes belong to the tree.
#[derive(Debug)]
pub(super) struct Poller {
    root: i32,
    /// Members with the time of their creation: a pid can be used again.
    members: HashMap<i32, u64>,
    /// Processes that do not belong to the tree and never will.
    foreign: HashSet<i32>,
}

impl Poller {
    /// For the tree below a process that is about to become the command.
    pub(super) fn new(root: i32, tree: &Mutex<Tree>) -> Self {
        lock(tree).root(root, now());
        let started = status::stat(root).map_or(0, |stat| stat.started);
        let everybody = pids().unwrap_or_default();
        Self {
            root,
            members: HashMap::from([(root, started)]),
            foreign: everybody.into_iter().filter(|&pid| pid != root).collect(),
        }
    }

    /// Takes in who came and who went, and reads everything; returns when to do it next.
    pub(super) fn look(&mut self, tree: &Mutex<Tree>) -> Duration {
        let started = Instant::now();
        if let Ok(pids) = pids() {
            self.update(&pids, tree);
        }
        let cost = started.elapsed() * 20;
        cost.max(sample::all(tree))
    }

    fn update(&mut self, pids: &[i32], tree: &Mutex<Tree>) {
        let present: HashSet<i32> = pids.iter().copied().collect();
        self.foreign.retain(|pid| present.contains(pid));
        let members: Vec<(i32, u64)> = self.members.iter().map(|(&p, &s)| (p, s)).collect();
        for (pid, started) in members {
            let same = status::stat(pid)
                .is_ok_and(|stat| stat.started == started && !matches!(stat.state, b'Z' | b'X'));
            if !same {
                self.members.remove(&pid);
                lock(tree).ended(pid, now());
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
            unknown.retain(|&(pid, stat)| {
                let ours = self.members.contains_key(&stat.ppid);
                if ours && !matches!(stat.state, b'Z' | b'X') {
                    self.join(pid, stat.started, tree);
                }
                !ours
            });
            if unknown.len() == before {
                break;
            }
        }
        self.foreign.extend(unknown.into_iter().map(|(pid, _)| pid));
    }

    fn join(&mut self, pid: i32, started: u64, tree: &Mutex<Tree>) {
        let Ok(look) = status::look(pid) else {
            return;
        };
        self.members.insert(pid, started);
        let program = status::program(pid);
        let mut tree = lock(tree);
        let process = tree.found(&look, Origin::Found, now());
        tree.runs(process, program);
        tree.observe(process, &look, now());
    }

    /// The command has begun to run.
    pub(super) fn begin(&self, tree: &Mutex<Tree>) {
        let program = status::program(self.root);
        if let Ok(look) = status::look(self.root) {
            let mut tree = lock(tree);
            let process = tree.found(&look, Origin::Exec, now());
            tree.runs(process, program);
            tree.observe(process, &look, now());
        }
    }

    /// The command was reaped.
    pub(super) fn root_ended(&mut self, tree: &Mutex<Tree>, status: i32, maxrss: Option<u64>) {
        self.members.remove(&self.root);
        let mut tree = lock(tree);
        if let Some(process) = tree.ended(self.root, now()) {
            process.status = Some(status);
            process.maxrss = maxrss;
        }
        tree.never_read(maxrss.unwrap_or(0));
    }

    /// Members with the time of their creation.
    pub(super) const fn members(&self) -> &HashMap<i32, u64> {
        &self.members
    }

    /// No process of the tree is left, as far as they are known.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

fn pids() -> io::Result<Vec<i32>> {
    Ok(fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}
