//! Everything that is followed as it is now, for who looks on: no result is made of it.
//!
//! Records tell who came, what each executes and who ended with what peak; what processes hold now is
//! read from the maps. Of those that have ended nothing is kept once it was told, so that this can go on for as long
//! as one likes.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use memtrace_ebpf::{
    Image, ImageState, Member, Pages, Process as Entry, ProcessFlags, Tree, VmMean,
    event::{Exit, Fork},
};

use crate::{
    event::Event,
    model::{program_of, until_nul},
    screen::{Look, Process},
};

/// What the maps hold at about one moment.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) tree: Tree,
    pub(crate) images: Vec<Image>,
    pub(crate) processes: Vec<Entry>,
    /// Records, images and processes that were lost so far.
    pub(crate) lost: u64,
    /// By how much sums can be wrong, bytes.
    pub(crate) off: u64,
    /// Nothing is counted.
    pub(crate) sampled: bool,
}

/// A process of which not all is told yet.
#[derive(Clone, Debug, Default)]
struct Life {
    tgid: u32,
    ns_tgid: u32,
    parent: Option<u64>,
    name: String,
    command: String,
    started_at: u64,
    exited_at: Option<u64>,
    /// The largest RSS of its images, pages.
    peak: i64,
    peak_at: u64,
    /// It was there, or had ended already, before the maps were read.
    is_known: bool,
    has_ended: bool,
}

/// Who is followed, and who has ended since it was last asked for.
#[derive(Debug)]
pub(crate) struct Overview {
    /// By number.
    lives: BTreeMap<u64, Life>,
    page_size: u64,
    /// When it began, `CLOCK_BOOTTIME`.
    began_at: u64,
    /// Ids here are those of the initial PID namespace.
    same_ids: bool,
    ended: u64,
}

impl Overview {
    pub(crate) const fn new(page_size: u64, began_at: u64, same_ids: bool) -> Self {
        Self {
            lives: BTreeMap::new(),
            page_size,
            began_at,
            same_ids,
            ended: 0,
        }
    }

    /// Takes in a record.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Fork(fork) => self.created(fork),
            Event::Exec(exec) => {
                let life = self.life(exec.process, exec.tgid);
                let program = program_of(exec);
                life.name = text(&program.comm);
                life.command = command(&program.args);
            }
            Event::Exit(Exit {
                process,
                tgid,
                header,
                ..
            }) => self.life(*process, *tgid).exited_at = Some(header.at),
            Event::ImageEnd(image) if counts(image) => {
                let life = self.lives.get_mut(&image.process);
                if let Some(life) = life {
                    life.raise(image);
                }
            }
            _ => {}
        }
    }

    fn created(&mut self, fork: &Fork) {
        let parent = Some(fork.creator_process).filter(|id| *id != 0);
        let command = parent.and_then(|parent| self.lives.get(&parent));
        let command = command.map_or_else(String::new, |creator| creator.command.clone());
        let life = self.life(fork.process, fork.tgid);
        life.ns_tgid = fork.ns_tgid;
        life.parent = parent;
        life.name = text(until_nul(&fork.comm));
        life.command = command;
        life.started_at = fork.started_at;
    }

    fn life(&mut self, id: u64, tgid: u32) -> &mut Life {
        self.lives.entry(id).or_insert_with(|| Life {
            tgid,
            ns_tgid: tgid,
            ..Life::default()
        })
    }

    /// The maps are about to be read: all that was told before is in what is read, or over.
    pub(crate) fn begin_reading(&mut self) {
        for life in self.lives.values_mut() {
            life.is_known = true;
            life.has_ended = life.exited_at.is_some();
        }
    }

    /// All of it at the time `at`. What was sent before the maps were read must have been taken in.
    pub(crate) fn look(&mut self, reading: &Reading, at: u64) -> Look {
        let images: HashMap<u64, &Image> = reading
            .images
            .iter()
            .map(|image| (image.id, image))
            .collect();
        let living = reading.processes.iter();
        let living: HashMap<u64, &Entry> = living
            .filter(|process| process.flags & ProcessFlags::EXITED == 0)
            .map(|process| (process.id, process))
            .collect();
        let owners: HashSet<u64> = reading.images.iter().map(|image| image.process).collect();
        for image in reading.images.iter().filter(|image| counts(image)) {
            if let Some(life) = self.lives.get_mut(&image.process) {
                life.raise(image);
            }
        }
        let over = |(id, life): &(&u64, &Life)| {
            // Where the record of its end was lost nothing is left of it either.
            let is_lost = reading.lost > 0 && life.is_known && life.exited_at.is_none();
            let has_ended = life.has_ended || is_lost;
            has_ended && !living.contains_key(*id) && !owners.contains(*id)
        };
        let over: Vec<u64> = self.lives.iter().filter(over).map(|(id, _)| *id).collect();
        let mut newly_ended = Vec::with_capacity(over.len());
        for id in over {
            if let Some(life) = self.lives.remove(&id) {
                let ended_at = life.exited_at.unwrap_or(at);
                newly_ended.push(Process {
                    ended_ns: Some(self.since(ended_at)),
                    ..self.process(id, &life, None)
                });
            }
        }
        self.ended += newly_ended.len() as u64;
        let held = |id: &u64| {
            let used = living.get(id).and_then(|entry| images.get(&entry.image));
            used.copied().filter(|image| counts(image))
        };
        let processes = self.lives.iter();
        let processes: Vec<Process> = processes
            .map(|(id, life)| self.process(*id, life, held(id)))
            .collect();
        let tree = &reading.tree;
        Look {
            at_ns: self.since(at),
            rss: self.bytes(tree.rss),
            // Not of one moment: the peak may not have been raised yet.
            peak_rss: self.bytes(tree.peak_rss.max(tree.rss)),
            peak_at_ns: self.since(tree.peak_rss_at),
            limit: None,
            alive: processes.len() as u64,
            ended: self.ended,
            updates: (!reading.sampled).then_some(tree.events),
            lost: reading.lost,
            off: reading.off,
            processes,
            newly_ended,
        }
    }

    fn process(&self, id: u64, life: &Life, image: Option<&Image>) -> Process {
        let pages = image.map_or([0; 4], |image| image.cur);
        let shared = pages[Member::File as usize].saturating_add(pages[Member::Shmem as usize]);
        let virt = image.map_or(0, |image| image.vm_cur[VmMean::Size as usize]);
        let pid = if self.same_ids {
            life.tgid
        } else {
            life.ns_tgid
        };
        let res = self.bytes(rss(&pages));
        Process {
            id,
            pid: pid.cast_signed(),
            parent: life.parent,
            name: life.name.clone(),
            command: life.command.clone(),
            started_ns: self.since(life.started_at),
            before_ns: self.began_at.saturating_sub(life.started_at),
            ended_ns: None,
            res,
            shr: self.bytes(shared),
            swap: self.bytes(pages[Member::Swap as usize]),
            virt: virt.saturating_mul(self.page_size),
            peak: self.bytes(life.peak).max(res),
            peak_at_ns: self.since(life.peak_at),
        }
    }

    /// Since it began.
    const fn since(&self, at: u64) -> u64 {
        at.saturating_sub(self.began_at)
    }

    fn bytes(&self, pages: i64) -> u64 {
        let pages = u64::try_from(pages).unwrap_or(0);
        pages.saturating_mul(self.page_size)
    }
}

impl Life {
    fn raise(&mut self, image: &Image) {
        if image.peak_rss > self.peak {
            self.peak = image.peak_rss;
            self.peak_at = image.peak_rss_at;
        }
    }
}

/// Whether a process uses it, or used it.
const fn counts(image: &Image) -> bool {
    image.state == ImageState::Active as u32
}

const fn rss(pages: &Pages) -> i64 {
    let [file, anon, _, shmem] = *pages;
    file.saturating_add(anon).saturating_add(shmem)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn command(args: &[Vec<u8>]) -> String {
    let words: Vec<String> = args.iter().map(|word| text(word)).collect();
    words.join(" ")
}
