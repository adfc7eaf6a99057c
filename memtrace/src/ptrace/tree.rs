//! What is known of the tree: processes, their address spaces and what was read of them.
//!
//! Pure bookkeeping without system calls. Two sources feed it: the tracer, which is told
//! of every process, program and end, and reads at those moments; and the sampler, which
//! looks at everything that lives now and then. Times are `CLOCK_BOOTTIME`, nanoseconds.

mod births;
mod looks;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    image::Image,
    slots::Slots,
    status::{Look, Memory},
    unseen::Faults,
};
use crate::model::{Amounts, Origin, Program, Usage, UseKind};

/// A process's use of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) image: usize,
    pub(super) kind: UseKind,
    pub(super) start: u64,
    pub(super) end: Option<u64>,
}

/// One thread group.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) ns_pid: i32,
    pub(super) ppid: i32,
    pub(super) creator: Option<usize>,
    pub(super) root: bool,
    pub(super) comm: Vec<u8>,
    pub(super) start: u64,
    pub(super) end: Option<u64>,
    pub(super) status: Option<i32>,
    pub(super) usage: Option<Usage>,
    /// `ru_maxrss` of the process and the children it waited for, bytes: an upper bound of
    /// everything it was, its images before exec too.
    pub(super) maxrss: Option<u64>,
    pub(super) uses: Vec<Use>,
    /// Threads that have not begun to exit.
    pub(super) live: BTreeSet<i32>,
    pub(super) threads_ever: u32,
    /// When one of its threads was last let go on.
    resumed: u64,
    /// Whether it shares its creator's memory was not to be told.
    guessed: bool,
    /// Somebody was told of it as it was known then.
    told: bool,
    /// It ran before it was looked at first.
    pub(super) attached: bool,
}

/// The largest sum of one look at everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// The how manieth it is of such sums.
    pub(super) number: u64,
    pub(super) at: u64,
    pub(super) rss: u64,
    pub(super) parts: Vec<(usize, Amounts)>,
}

/// What was read of all images in one look.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) at: u64,
    pub(super) parts: Vec<(usize, Memory)>,
}

/// The fork that a parent told of before the child was seen.
#[derive(Clone, Copy, Debug)]
struct Announced {
    creator: usize,
    earliest: u64,
    vfork: bool,
}

/// What to read in one look: the process, its image at that time, and a thread to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) process: usize,
    pub(super) image: usize,
    pub(super) tid: i32,
}

/// Everything known.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) processes: Slots<Process>,
    pub(super) images: Slots<Image>,
    by_pid: HashMap<i32, usize>,
    /// The process of every living thread, and when the thread was last let go on.
    threads: HashMap<i32, (usize, u64)>,
    announced: HashMap<i32, Announced>,
    /// Seen before their parent told of them.
    unannounced: HashMap<i32, usize>,
    pub(super) best: Sample,
    /// The sum of the latest look.
    pub(super) latest_rss: u64,
    /// The largest peak of a single image, and when it was read.
    pub(super) highest: (u64, u64),
    pub(super) samples: u64,
    /// Nanoseconds that the longest look at everything took.
    pub(super) longest_sample: u64,
    /// When everything was last looked at.
    pub(super) sampled_at: u64,
    /// Largest sums of each kind, and of RSS + swap.
    pub(super) peak: Amounts,
    pub(super) peak_rss_swap: u64,
    /// When the first program of the tree was there.
    pub(super) zero: Option<u64>,
    /// Programs that would have had privileges, but for being traced.
    pub(super) unprivileged: Vec<Vec<u8>>,
    /// Processes that ended without a last reading.
    pub(super) unread: u64,
    /// What tells of processes that are not followed.
    pub(super) faults: Faults,
    /// Readings are wanted one by one, and these are new.
    pub(super) recorded: bool,
    pub(super) readings: Vec<Reading>,
    /// Nobody tells of programs that are executed; those that were found out, by pid, until somebody knows what
    /// they are.
    pub(super) polled: bool,
    pub(super) unnamed: Vec<i32>,
}

impl Tree {
    /// Nothing is known yet. With `recorded` each reading is kept until somebody takes it.
    pub(super) fn new(recorded: bool) -> Self {
        Self {
            recorded,
            ..Self::default()
        }
    }

    /// The command's process, before its exec.
    pub(super) fn root(&mut self, pid: i32, now: u64) {
        let process = self.add(pid, pid, None, now);
        if let Some(process) = self.processes.get_mut(process) {
            process.root = true;
        }
    }

    fn add(&mut self, pid: i32, ns_pid: i32, creator: Option<usize>, now: u64) -> usize {
        let ppid = creator.and_then(|creator| self.processes.get(creator));
        let index = self.processes.push(Process {
            pid,
            ns_pid,
            ppid: ppid.map_or(0, |parent| parent.pid),
            creator,
            root: false,
            comm: Vec::new(),
            start: now,
            end: None,
            status: None,
            usage: None,
            maxrss: None,
            uses: Vec::new(),
            live: BTreeSet::from([pid]),
            threads_ever: 1,
            resumed: now,
            guessed: false,
            told: false,
            attached: false,
        });
        self.by_pid.insert(pid, index);
        self.threads.insert(pid, (index, now));
        index
    }

    /// How many processes live.
    pub(super) fn living(&self) -> usize {
        self.by_pid.len()
    }

    /// The living processes: pid, and when it was first seen.
    pub(super) fn pids(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        self.by_pid.iter().map(|(&pid, &index)| {
            let start = self.processes.get(index).map_or(0, |process| process.start);
            (pid, start)
        })
    }

    /// The living process with this pid.
    pub(super) fn find(&self, pid: i32) -> Option<usize> {
        self.by_pid.get(&pid).copied()
    }

    /// The process that a thread belongs to.
    pub(super) fn process_of(&self, tid: i32) -> Option<usize> {
        self.threads.get(&tid).map(|(process, _)| *process)
    }

    /// The pid of a process.
    pub(super) fn pid(&self, process: usize) -> Option<i32> {
        self.processes.get(process).map(|process| process.pid)
    }

    /// The image that a process uses.
    pub(super) fn image_of(&self, process: usize) -> Option<usize> {
        let last = self.processes.get(process)?.uses.last()?;
        last.end.is_none().then_some(last.image)
    }

    /// Whether a process runs this program, as far as the file that it is from tells.
    pub(super) fn is_running(&self, pid: i32, program: &Program) -> bool {
        let image = self.find(pid).and_then(|process| self.image_of(process));
        let image = image.and_then(|image| self.images.get(image));
        // Of others' processes that is not to be read.
        image.is_none_or(|image| {
            let known = &image.program.path;
            known.is_empty() || program.path.is_empty() || *known == program.path
        })
    }

    /// Living processes that have another one's address space.
    pub(super) fn borrowers(&self) -> Vec<(i32, i32)> {
        let borrower = |process: &Process| {
            let used = process
                .uses
                .last()
                .filter(|used| used.kind == UseKind::Shared)?;
            let owner = self.images.get(used.image)?.owner;
            Some((process.pid, self.pid(owner)?))
        };
        let living = self.by_pid.values();
        living
            .filter_map(|place| borrower(self.processes.get(*place)?))
            .collect()
    }

    /// A thread is let go on.
    pub(super) fn resumed(&mut self, tid: i32, now: u64) {
        if let Some((process, at)) = self.threads.get_mut(&tid) {
            *at = now;
            if let Some(process) = self.processes.get_mut(*process) {
                process.resumed = now;
            }
        }
    }

    /// What runs in a process, and its name.
    pub(super) fn runs(&mut self, process: usize, program: Program) {
        let image = self.image_of(process);
        if let Some(process) = self.processes.get_mut(process) {
            process.comm.clone_from(&program.comm);
        }
        if let Some(image) = image.and_then(|image| self.images.get_mut(image)) {
            image.program = Arc::new(program);
        }
    }

    /// A new thread of a known process.
    pub(super) fn thread(&mut self, tid: i32, process: usize, now: u64) {
        self.threads.insert(tid, (process, now));
        self.announced.remove(&tid);
        let image = self.image_of(process);
        if let Some(process) = self.processes.get_mut(process) {
            process.live.insert(tid);
            process.threads_ever = process.threads_ever.saturating_add(1);
            let live = u32::try_from(process.live.len()).unwrap_or(u32::MAX);
            if let Some(image) = image.and_then(|image| self.images.get_mut(image)) {
                image.threads = image.threads.max(live);
            }
        }
    }

    /// A process executed a program, in the thread that had the id `former`.
    pub(super) fn exec(&mut self, pid: i32, former: i32, now: u64) -> Option<usize> {
        let index = self.find(pid)?;
        let since = self.threads.get(&former).map(|(_, resumed)| *resumed);
        // Every other thread is gone, the one that led the group too.
        let process = self.processes.get_mut(index)?;
        for tid in std::mem::take(&mut process.live) {
            self.threads.remove(&tid);
        }
        self.threads.remove(&former);
        process.live.insert(pid);
        let since = since.unwrap_or(process.resumed);
        self.threads.insert(pid, (index, now));
        let old = self.image_of(index);
        self.end_use(index, false, now);
        let earliest = if old.is_some() { since } else { now };
        let new = self.new_image(Origin::Exec, index, earliest, now);
        if let Some(old) = old.and_then(|old| self.images.get_mut(old))
            && old.end.is_some()
        {
            old.replaced_by = Some(new);
        }
        self.begin_use(index, new, UseKind::Exec, now);
        self.zero.get_or_insert(now);
        Some(index)
    }

    /// Takes out those that are over, which nobody needs any more.
    pub(super) fn forget(&mut self, processes: &[usize], images: &[usize]) {
        for place in processes {
            self.processes.remove(*place);
        }
        for place in images {
            self.images.remove(*place);
        }
    }

    /// A thread is about to end, and this was read of it. `true` if it was the last.
    pub(super) fn exiting(&mut self, tid: i32, look: Option<&Look>, now: u64) -> bool {
        let Some(process) = self.process_of(tid) else {
            return false;
        };
        if let Some(look) = look {
            self.observe(process, look, now);
        }
        let image = self.image_of(process);
        let Some(process) = self.processes.get_mut(process) else {
            return false;
        };
        process.live.remove(&tid);
        let last = process.live.is_empty();
        if last
            && let Some(memory) = look.and_then(|look| look.memory.as_ref())
            && let Some(image) = image.and_then(|image| self.images.get_mut(image))
        {
            image.read_at_end(memory.hwm);
        }
        last
    }

    /// A thread other than the leader is gone.
    pub(super) fn thread_ended(&mut self, tid: i32) {
        let Some((process, _)) = self.threads.remove(&tid) else {
            self.announced.remove(&tid);
            self.faults.ended_unseen();
            return;
        };
        if let Some(process) = self.processes.get_mut(process) {
            process.live.remove(&tid);
        }
    }

    /// A process is gone.
    pub(super) fn ended(&mut self, pid: i32, now: u64) -> Option<&mut Process> {
        let index = self.by_pid.remove(&pid)?;
        self.threads.remove(&pid);
        self.announced.remove(&pid);
        let process = self.processes.get_mut(index)?;
        let unread = !process.live.is_empty();
        for tid in std::mem::take(&mut process.live) {
            self.threads.remove(&tid);
        }
        process.end = Some(now);
        self.end_use(index, unread, now);
        self.processes.get_mut(index)
    }

    fn new_image(&mut self, origin: Origin, owner: usize, earliest: u64, now: u64) -> usize {
        self.images.push(Image::new(origin, owner, earliest, now))
    }

    fn begin_use(&mut self, process: usize, image: usize, kind: UseKind, now: u64) {
        if let Some(image) = self.images.get_mut(image) {
            image.users.insert(process);
            // Whoever still uses it reads it later.
            image.read_at_end = false;
        }
        if let Some(process) = self.processes.get_mut(process) {
            process.uses.push(Use {
                image,
                kind,
                start: now,
                end: None,
            });
        }
    }

    fn end_use(&mut self, process: usize, unread: bool, now: u64) {
        let Some(used) = self
            .processes
            .get_mut(process)
            .and_then(|process| process.uses.last_mut())
            .filter(|used| used.end.is_none())
        else {
            return;
        };
        used.end = Some(now);
        if let Some(image) = self.images.get_mut(used.image) {
            image.users.remove(&process);
            if image.users.is_empty() {
                image.end = Some(now);
                if unread {
                    image.read_at_end = false;
                }
                self.unread += u64::from(unread);
            } else {
                image.read_at_end = false;
            }
        }
    }
}
