//! Reads a recording: one pass, little memory, whatever the file has been through.

mod blocks;
mod group;
mod notes;
mod source;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

pub(super) use self::blocks::Place;
use self::{
    blocks::Blocks,
    group::Group,
    notes::{Cut, Damage},
    source::Source,
};
use super::{
    Head, Loss, ReadError, State,
    columns::Records,
    format::{HEADER_LEN, MAGIC, PREAMBLE_LEN, Preamble, VERSION, flag, kind},
    identities::Identities,
    last::read_final,
    life,
    varint::Malformed,
};
use crate::{event::Event, model::Final};

/// What a recording consists of.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A record, as it came while the run was recorded and in the same order. Addresses of
    /// kernel memory, and notes that the kernel side keeps for itself, are 0.
    Event(Event),
    /// The kernel side's state at that point.
    Checkpoint(Box<State>),
    /// Records that are missing.
    Loss(Loss),
    /// What was known at the end; the last entry.
    End(Box<Final>),
}

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    blocks: Blocks,
    head: Head,
    timeline_use: TimelineUse,
    /// Where the timeline and its snapshots are, if they are only to be found.
    places: Vec<Place>,
    /// A block that was read before its turn.
    pushed_back: Option<(Place, Vec<u8>)>,
    /// What belongs together and is not complete yet.
    group: Option<Group>,
    /// Records of the stretch that is being read.
    timeline: Option<Records>,
    /// How many of them were given.
    position: u32,
    life: VecDeque<(u32, Event)>,
    /// Of processes in recordings that have no numbers for them.
    identities: Identities,
    losses: VecDeque<Loss>,
    /// Records that the writer left out, those of processes among them.
    unwritten: u64,
    /// When the tree started, as far as known: the zero of all times that are shown.
    zero: u64,
    state: Progress,
}

/// What becomes of the blocks of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimelineUse {
    /// Their records are given.
    Give,
    /// They are read and checked, and nothing else.
    Check,
    /// Only their places are noted.
    Find,
}

/// How far it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Reading,
    /// The end was given.
    Ended,
    /// The file is over without one.
    Cut,
}

impl Reader {
    /// Opens a recording.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is no recording of a version that is known.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        Self::new(path.to_owned(), Source::open(path)?)
    }

    /// The same for the contents of a file. Errors name `path`.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`].
    pub fn from_bytes(path: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self, ReadError> {
        Self::new(path.into(), Source::Memory(bytes))
    }

    fn new(path: PathBuf, source: Source) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Read {
            path: path.clone(),
            source,
        };
        let len = source.len();
        if len == 0 {
            return Err(ReadError::Empty(path));
        }
        let mut bytes = [0; PREAMBLE_LEN];
        let read = source.read_at(&mut bytes, 0).map_err(failed)?;
        let magic = MAGIC.iter().zip(&bytes).take(read).all(|(a, b)| a == b);
        if read < PREAMBLE_LEN {
            return Err(if magic {
                ReadError::NothingRecorded(path)
            } else {
                ReadError::NotARecording(path)
            });
        }
        let preamble = Preamble::parse(&bytes);
        if let Some(Preamble { version, .. }) = preamble
            && version > VERSION
        {
            return Err(ReadError::Newer { path, version });
        }
        let mut blocks = Blocks::new(source);
        if preamble.is_none() {
            // Still a recording, if a block follows.
            if !magic && !blocks.begins().map_err(failed)? {
                return Err(ReadError::NotARecording(path));
            }
            blocks.notes.damaged(Damage {
                at: 0,
                len: PREAMBLE_LEN as u64,
                from: 0,
                until: 0,
                life: false,
            });
        }
        let mut reader = Self {
            path,
            blocks,
            head: Head::default(),
            timeline_use: TimelineUse::Give,
            places: Vec::new(),
            pushed_back: None,
            group: None,
            timeline: None,
            position: 0,
            life: VecDeque::new(),
            identities: Identities::default(),
            losses: VecDeque::new(),
            unwritten: 0,
            zero: 0,
            state: Progress::Reading,
        };
        reader.read_head()?;
        Ok(reader)
    }

    fn read_head(&mut self) -> Result<(), ReadError> {
        while let Some((place, raw)) = self.block()? {
            if place.header.kind != kind::HEAD {
                self.pushed_back = Some((place, raw));
                break;
            }
            if let Some(parts) = self.collect(place, raw) {
                match Head::read(&parts) {
                    Ok(head) => self.head = head,
                    Err(Malformed) => self.malformed(place, false),
                }
                break;
            }
        }
        self.zero = self.head.created_at;
        Ok(())
    }

    /// Leaves the records of the timeline out: only whether they are whole is looked at.
    #[must_use]
    pub fn without_timeline(mut self) -> Self {
        self.timeline_use = TimelineUse::Check;
        self
    }

    /// Leaves the records of the timeline out and does not even read them.
    pub(super) fn finding_timeline(mut self) -> Self {
        self.timeline_use = TimelineUse::Find;
        self
    }

    /// Where blocks of the timeline and of snapshots are, in order, as far as they were
    /// passed.
    pub(super) fn take_places(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.places)
    }

    /// The contents of a block, if they are whole. Where reading goes on is lost.
    pub(super) fn contents(&mut self, place: Place) -> Result<Option<Vec<u8>>, ReadError> {
        self.blocks.seek(place);
        self.blocks
            .contents(place)
            .map_err(|source| ReadError::Read {
                path: self.path.clone(),
                source,
            })
    }

    /// Whether the recording's end was given.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == Progress::Ended
    }

    /// What was known before the run. If that is damaged, nothing is known.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The next entry, `None` after the last one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read. Damage is no error, see [`Reader::notes`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        let mut entry = self.recorded_entry()?;
        if let Some(entry) = &mut entry {
            self.identities.complete(entry);
        }
        Ok(entry)
    }

    /// The same as it was recorded.
    fn recorded_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            if let Some(event) = self.next_of_stretch() {
                return Ok(Some(Entry::Event(event)));
            }
            if let Some(loss) = self.losses.pop_front() {
                return Ok(Some(Entry::Loss(loss)));
            }
            if self.state != Progress::Reading {
                return Ok(None);
            }
            let Some((place, raw)) = self.block()? else {
                self.state = Progress::Cut;
                let tail = self.blocks.tail();
                self.blocks.notes.cut = Some(Cut {
                    after: self.blocks.until(),
                    tail,
                });
                return Ok(None);
            };
            if let Some(entry) = self.entry_of(place, raw)? {
                return Ok(Some(entry));
            }
        }
    }

    /// All entries that were not given yet.
    pub const fn entries(&mut self) -> Entries<'_> {
        Entries {
            reader: self,
            failed: false,
        }
    }

    /// What is wrong with the file, as far as it was read: one sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.blocks.notes.sentences(self.zero)
    }

    /// Between which times something is missing because of damage, as far as it was read:
    /// the first places only, if there are many.
    pub(super) fn damage(&self) -> Vec<(u64, u64)> {
        self.blocks.notes.times()
    }

    /// Whether more than records of the timeline may be missing because of damage.
    #[must_use]
    pub const fn lacks_life(&self) -> bool {
        self.blocks.notes.life
    }

    /// How many records the writer left out where some were of processes, as far as it was
    /// read.
    pub(super) const fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// The greatest time in what was read so far, `CLOCK_BOOTTIME` in nanoseconds.
    #[must_use]
    pub const fn until(&self) -> u64 {
        self.blocks.until()
    }

    /// Records of the stretch in the order in which they came.
    fn next_of_stretch(&mut self) -> Option<Event> {
        let due = |&(position, _): &(u32, Event)| position <= self.position;
        if self.life.front().is_some_and(due) || self.timeline.is_none() {
            return self.life.pop_front().map(|(_, event)| event);
        }
        match self.timeline.as_mut()?.next() {
            Ok(Some(event)) => {
                self.position = self.position.saturating_add(1);
                Some(event)
            }
            ended => {
                if ended.is_err() {
                    self.blocks.notes.damaged(Damage {
                        at: self.blocks.at(),
                        len: 0,
                        from: self.blocks.until(),
                        until: self.blocks.until(),
                        life: false,
                    });
                }
                self.timeline = None;
                self.life.pop_front().map(|(_, event)| event)
            }
        }
    }

    fn entry_of(&mut self, place: Place, raw: Vec<u8>) -> Result<Option<Entry>, ReadError> {
        let header = place.header;
        match header.kind {
            kind::PROCS => {
                match life::read(&raw) {
                    Ok(life) => self.life = life,
                    Err(Malformed) => self.malformed(place, true),
                }
                self.position = 0;
                if header.has(flag::JOINED)
                    && let Some((next, raw)) = self.block()?
                {
                    let joined = next.header.kind == kind::EVENTS
                        && next.header.has(flag::JOINED)
                        && next.header.sequence == header.sequence.wrapping_add(1);
                    if joined {
                        self.begin_timeline(next, raw);
                    } else {
                        self.pushed_back = Some((next, raw));
                    }
                }
            }
            kind::EVENTS => self.begin_timeline(place, raw),
            kind::LOSS => match Loss::read(&raw) {
                Ok(losses) => {
                    for (loss, by_writer) in losses {
                        if by_writer && loss.life {
                            self.unwritten = self.unwritten.saturating_add(loss.records);
                        }
                        self.losses.push_back(loss);
                    }
                }
                Err(Malformed) => self.malformed(place, false),
            },
            kind::CHECKPOINT => {
                if let Some(parts) = self.collect(place, raw) {
                    match State::read(&parts) {
                        Ok(state) => {
                            self.begin_at(state.tree.started_at);
                            return Ok(Some(Entry::Checkpoint(Box::new(state))));
                        }
                        Err(Malformed) => self.malformed(place, false),
                    }
                }
            }
            kind::END => {
                if let Some(parts) = self.collect(place, raw) {
                    match read_final(&parts) {
                        Ok(last) => {
                            self.begin_at(last.tree.started_at);
                            self.state = Progress::Ended;
                            self.blocks.notes.after_end = self.blocks.tail();
                            return Ok(Some(Entry::End(Box::new(last))));
                        }
                        Err(Malformed) => self.malformed(place, true),
                    }
                }
            }
            // Snapshots are for those who begin in the middle; what is unknown is newer.
            _ => {}
        }
        Ok(None)
    }

    /// Times that are shown count from here, unless it is 0.
    pub(super) const fn begin_at(&mut self, started_at: u64) {
        if started_at > 0 {
            self.zero = started_at;
        }
    }

    fn begin_timeline(&mut self, place: Place, raw: Vec<u8>) {
        self.position = 0;
        if self.timeline_use != TimelineUse::Give {
            return;
        }
        match Records::new(raw, place.header.count) {
            Ok(records) => self.timeline = Some(records),
            Err(Malformed) => self.malformed(place, false),
        }
    }

    /// Adds a part to those that belong together; gives all of them with the last one.
    fn collect(&mut self, place: Place, raw: Vec<u8>) -> Option<Vec<Vec<u8>>> {
        let group = Group::add(self.group.take(), &place.header, raw)?;
        if place.header.has(flag::CONTINUED) {
            self.group = Some(group);
            None
        } else {
            Some(group.parts)
        }
    }

    /// The next whole block with its contents.
    fn block(&mut self) -> Result<Option<(Place, Vec<u8>)>, ReadError> {
        if let Some(block) = self.pushed_back.take() {
            return Ok(Some(block));
        }
        self.whole_block().map_err(|source| ReadError::Read {
            path: self.path.clone(),
            source,
        })
    }

    fn whole_block(&mut self) -> io::Result<Option<(Place, Vec<u8>)>> {
        while let Some(place) = self.blocks.next()? {
            let header = place.header;
            if self.timeline_use == TimelineUse::Find
                && matches!(header.kind, kind::EVENTS | kind::SNAPSHOT)
            {
                self.blocks.accept(&header);
                self.places.push(place);
                continue;
            }
            if let Some(raw) = self.blocks.contents(place)? {
                return Ok(Some((place, raw)));
            }
        }
        Ok(None)
    }

    /// A sentence on a block that cannot be read.
    pub(super) fn block_note(&self, place: Place) -> String {
        let header = place.header;
        let damage = Damage {
            at: place.at,
            len: header.block_len(),
            from: header.first_at,
            until: header.last_at,
            life: false,
        };
        damage.sentence(self.zero)
    }

    /// Notes that a block is whole and its contents make no sense.
    fn malformed(&mut self, place: Place, life: bool) {
        let header = place.header;
        self.blocks.notes.damaged(Damage {
            at: place.at + HEADER_LEN as u64,
            len: header.stored_len.into(),
            from: header.first_at,
            until: header.last_at,
            life,
        });
    }
}

/// Iterator over the entries of a recording; ends after the first error.
#[derive(Debug)]
pub struct Entries<'a> {
    reader: &'a mut Reader,
    failed: bool,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.reader.next_entry();
        self.failed = entry.is_err();
        entry.transpose()
    }
}
