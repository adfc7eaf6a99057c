//! The tree as the tracer or the poller knows it, for whoever looks at it while it runs.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{follow::lock, poll::Poller, status, tree::Tree};
use crate::attend::{Member, Subject, Totals};

/// How a process is known to be of the tree.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof<'a> {
    /// This program traces it; the flag keeps the tracer going until all have ended.
    Traced(&'a AtomicBool),
    /// It was created when the member was.
    Started(&'a Poller),
}

/// A tree in tier P.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampled<'a> {
    pub(super) tree: &'a Mutex<Tree>,
    pub(super) proof: Proof<'a>,
}

impl Subject for Sampled<'_> {
    fn totals(&self) -> Option<Totals> {
        let tree = lock(self.tree);
        Some(Totals {
            rss: tree.latest_rss,
            peak_rss: tree.best.rss.max(tree.highest.0),
            processes: tree.living() as u64,
        })
    }

    fn members(&self) -> Vec<Member> {
        let member = |pid, started| Member {
            pid,
            key: 0,
            started,
        };
        let mut members: Vec<Member> = match self.proof {
            Proof::Traced(_) => lock(self.tree)
                .pids()
                .map(|(pid, start)| member(pid, start))
                .collect(),
            Proof::Started(known) => known
                .members()
                .map(|(pid, started)| member(pid, started))
                .collect(),
        };
        members.retain(|member| self.owns(member));
        members
    }

    fn owns(&self, member: &Member) -> bool {
        match self.proof {
            Proof::Traced(_) => is_traced_by_us(member.pid),
            Proof::Started(_) => status::stat(member.pid)
                .is_ok_and(|stat| stat.started == member.started && !stat.is_over()),
        }
    }

    fn hold(&self) {
        if let Proof::Traced(hold) = self.proof {
            hold.store(true, Ordering::SeqCst);
        }
    }
}

/// Whether a process's tracer is a thread of this program, and it has not ended.
fn is_traced_by_us(pid: i32) -> bool {
    let Ok(text) = fs::read(format!("/proc/{pid}/status")) else {
        return false;
    };
    let field = |name: &[u8]| {
        text.split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(name))
            .map(<[u8]>::trim_ascii)
            .unwrap_or_default()
    };
    let ended = matches!(field(b"State:").first(), Some(b'Z' | b'X') | None);
    let tracer = field(b"TracerPid:");
    let Some(tracer) = std::str::from_utf8(tracer)
        .ok()
        .filter(|tracer| *tracer != "0")
    else {
        return false;
    };
    !ended && !tracer.is_empty() && Path::new("/proc/self/task").join(tracer).exists()
}
