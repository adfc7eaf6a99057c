//! Counts what has ended and is of no more interest, and forgets it, so that a tree of any number of processes
//! takes bounded memory.
//!
//! What is forgotten is what no result names but a list of all processes: it has ended as processes do, all that was
//! said of it fits together, it held nothing at the tree's peak, none of its descendants is left, and others
//! were larger. Everything else, and with it whatever is wrong, is kept and judged at the end as without this.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use memtrace_ebpf::{ImageKind, ImageState, MEMBERS, ProcessFlags, rss};

use super::{
    measured::Measured,
    numbers::Numbers,
    story::{Birth, Story, Told},
    summary::Outcome,
};
use crate::event::Event;

/// Ended processes that are let come together before any is forgotten: going through them pays only if
/// there are many.
const BATCH: usize = 4096;

/// What was forgotten.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    /// Numbers of processes.
    pub(super) processes: Numbers,
    /// Ids of images.
    pub(super) images: Numbers,
    /// Images that they named, and that had not ended then.
    pub(super) named: BTreeSet<u64>,
    /// When the last of the images ended.
    pub(super) last_end: u64,
    /// The largest peak number of the tree that one of them knew.
    pub(super) last_seq: u64,
    /// By how many pages the members at one's peak differ from that peak at most.
    pub(super) own_peak_difference: u64,
    /// One of the processes had threads.
    pub(super) several_threads: bool,
    /// How many must have ended before it is looked for those that can be forgotten.
    next: usize,
    batch: usize,
}

impl Folded {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self::in_batches(BATCH)
    }

    /// The same, and looks each time that `batch` processes more have ended than were left.
    pub(super) fn in_batches(batch: usize) -> Self {
        Self {
            processes: Numbers::default(),
            images: Numbers::default(),
            named: BTreeSet::new(),
            last_end: 0,
            last_seq: 0,
            own_peak_difference: 0,
            several_threads: false,
            next: batch,
            batch,
        }
    }

    /// Whether a record only says again that a forgotten process was created or ended, maybe with newer totals; or
    /// what is told of single processes alone.
    pub(super) fn knows(&mut self, event: &Event) -> bool {
        match event {
            Event::Fork(fork) => self.processes.contains(fork.process),
            Event::Exit(exit) if self.processes.contains(exit.process) => {
                self.several_threads |= exit.threads > 1;
                true
            }
            Event::Freed(_) => true,
            _ => false,
        }
    }

    /// After a record: forgets what can be, if enough has ended for that.
    pub(super) fn look(&mut self, story: &mut Story, ended: &mut BTreeMap<u64, Measured>) {
        if story.ended() < self.next {
            return;
        }
        let found = Found::new(story, ended);
        for process in found.forgettable(story, ended) {
            self.forget(&found, process, story, ended);
        }
        self.named
            .retain(|id| !ended.contains_key(id) && !self.images.contains(*id));
        // What is left costs a look each time: as many more again have to end.
        self.next = story.ended().saturating_mul(2).saturating_add(self.batch);
    }

    fn forget(
        &mut self,
        found: &Found,
        process: u64,
        story: &mut Story,
        ended: &mut BTreeMap<u64, Measured>,
    ) {
        let told = story.told(process);
        self.processes.insert(process);
        self.named
            .extend(told.birth.iter().map(|birth| birth.image));
        self.named.extend(
            told.execs
                .iter()
                .flat_map(|exec| [exec.image, exec.old_image]),
        );
        self.named.remove(&0);
        self.several_threads |= told.exits.iter().any(|exit| exit.threads > 1);
        story.forget(process);
        for id in found.images_of(process) {
            let Some(image) = ended.remove(id) else {
                continue;
            };
            self.images.insert(*id);
            if image.parent != 0 {
                self.named.insert(image.parent);
            }
            self.last_end = self.last_end.max(image.until);
            self.last_seq = self.last_seq.max(image.seq);
            if image.counted() {
                let own = rss(&image.own_peak).abs_diff(image.peak_rss);
                self.own_peak_difference = self.own_peak_difference.max(own);
            }
        }
    }
}

/// Who has which images.
struct Found {
    /// By process, ids of images that its records name, or that name it.
    of: BTreeMap<u64, Vec<u64>>,
    /// Processes that are wanted for one that is largest in something.
    largest: BTreeSet<u64>,
    /// Images that a record names, and its process; those that two name are of nobody.
    claims: BTreeMap<u64, Option<u64>>,
    /// The largest number of the tree's peak that is known.
    last_seq: u64,
}

impl Found {
    fn new(story: &Story, ended: &BTreeMap<u64, Measured>) -> Self {
        let mut claims = BTreeMap::new();
        for (process, image) in story.claims() {
            claims
                .entry(image)
                .and_modify(|owner| *owner = None)
                .or_insert(Some(process));
        }
        let mut of: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for image in ended.values() {
            let claim = claims.get(&image.id).copied().flatten();
            of.entry(claim.unwrap_or(image.process))
                .or_default()
                .push(image.id);
        }
        let mut found = Self {
            of,
            largest: BTreeSet::new(),
            claims,
            last_seq: ended.values().map(|image| image.seq).max().unwrap_or(0),
        };
        found.largest = found.largest(ended);
        found
    }

    /// Results name the largest image, of equal ones the first, the last, or the last of a kind.
    fn largest(&self, ended: &BTreeMap<u64, Measured>) -> BTreeSet<u64> {
        let ran = || ended.values().filter(|image| self.ran(image.id));
        let programs = || ran().filter(|image| image.kind != Some(ImageKind::Fork));
        let all = [
            ran().max_by_key(|image| (image.peak_rss, Reverse(image.id))),
            programs().max_by_key(|image| image.peak_rss),
            programs().max_by_key(|image| image.hiwater_vm),
            ended.values().max_by_key(|image| image.peak_rss),
            // The footprint's bound, should its record be lost.
            ended
                .values()
                .filter(|image| image.counted())
                .max_by_key(|image| image.peak_rss),
        ];
        let owner = |image: &Measured| {
            let claim = self.claims.get(&image.id).copied().flatten();
            claim.unwrap_or(image.process)
        };
        all.into_iter().flatten().map(owner).collect()
    }

    /// A process ran in it.
    fn ran(&self, image: u64) -> bool {
        self.claims.contains_key(&image)
    }

    fn images_of(&self, process: u64) -> &[u64] {
        self.of.get(&process).map_or(&[], Vec::as_slice)
    }

    /// Those that can be forgotten.
    fn forgettable(&self, story: &Story, ended: &BTreeMap<u64, Measured>) -> Vec<u64> {
        let mut kept = BTreeSet::new();
        let mut gone = Vec::new();
        // Numbers are given in order of creation: who was created comes before who created it.
        for process in story.processes().rev() {
            let told = story.told(process);
            let creator = told.birth.map_or(0, |birth| birth.creator_process);
            let is_plain = creator < process
                && !kept.contains(&process)
                && !self.largest.contains(&process)
                && is_over(&told)
                && self.has_its_images(&told, process, ended);
            if is_plain {
                gone.push(process);
            } else {
                kept.insert(creator);
            }
        }
        gone
    }

    /// All images of which its records tell have ended, nobody else's do, and nothing is strange about them.
    fn has_its_images(
        &self,
        told: &Told<'_>,
        process: u64,
        ended: &BTreeMap<u64, Measured>,
    ) -> bool {
        let own = |id: u64| self.claims.get(&id) == Some(&Some(process)) && ended.contains_key(&id);
        let born = told
            .birth
            .is_some_and(|birth| birth.image != 0 && (birth.shares_image() || own(birth.image)));
        born && told.execs.iter().all(|exec| own(exec.image))
            && self
                .images_of(process)
                .iter()
                .filter_map(|id| ended.get(id))
                .all(|image| self.is_plain(image))
    }

    fn is_plain(&self, image: &Measured) -> bool {
        let is_active = image.state == Some(ImageState::Active);
        // One that is not claimed was built for a program that did not run.
        let has_meaning = if self.ran(image.id) {
            is_active && image.kind != Some(ImageKind::Found)
        } else {
            !is_active && image.kind == Some(ImageKind::Exec)
        };
        let holds_nothing_at_peak =
            image.seq < self.last_seq || image.at_peak == [0; MEMBERS] || !image.counted();
        has_meaning
            && holds_nothing_at_peak
            && !image.is_alive()
            && image.cur == [0; MEMBERS]
            && image.residual == 0
            && image.nonsense(u64::MAX).is_none()
    }
}

/// It came and went as processes do: nothing about its end has to be told.
fn is_over(told: &Told<'_>) -> bool {
    let born = told
        .birth
        .is_some_and(|birth: &Birth| !birth.is_root() && !birth.is_attached());
    let [exit] = &told.exits[..] else {
        return false;
    };
    let outcome = Outcome::from_wait_status(exit.wait_status);
    born && !told.oom
        && exit.flags & ProcessFlags::OOM_KILLED == 0
        && outcome.signal.is_none()
        && told.execs.iter().all(|exec| exec.at <= exit.header.at)
}
