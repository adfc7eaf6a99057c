//! Finds the blocks of a file, also where it is damaged.

use std::io;

use super::{
    super::format::{BlockHeader, HEADER_LEN, PREAMBLE_LEN, SYNC, codec},
    notes::{Damage, Notes},
    source::Source,
};

/// How much is searched at a time.
const SEARCH_LEN: usize = 64 << 10;

/// A block's place in the file.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Place {
    pub(in super::super) at: u64,
    pub(in super::super) header: BlockHeader,
}

/// The blocks of a file in order.
#[derive(Debug)]
pub(super) struct Blocks {
    source: Source,
    /// Where the next block should begin.
    at: u64,
    /// The number it should have.
    sequence: u32,
    /// The greatest time of all blocks so far.
    until: u64,
    /// Damage that no whole block followed yet.
    open: Option<Damage>,
    /// How many more bytes may be checked in vain: so that bytes that look like the headers
    /// of large blocks cannot make reading slow.
    patience: u64,
    /// What is wrong with the file.
    pub(super) notes: Notes,
}

impl Blocks {
    pub(super) fn new(source: Source) -> Self {
        let patience = source.len().saturating_mul(4).saturating_add(1 << 20);
        Self {
            source,
            at: PREAMBLE_LEN as u64,
            sequence: 0,
            until: 0,
            open: None,
            patience,
            notes: Notes::default(),
        }
    }

    /// The greatest time in all blocks so far.
    pub(super) const fn until(&self) -> u64 {
        self.until
    }

    /// Whether a block follows the preamble.
    pub(super) fn begins(&self) -> io::Result<bool> {
        self.header_at(PREAMBLE_LEN as u64)
            .map(|header| header.is_some())
    }

    /// Goes on with this block.
    pub(super) const fn seek(&mut self, place: Place) {
        self.at = place.at;
        self.sequence = place.header.sequence;
        self.open = None;
    }

    /// Where the next block should begin.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// The next block whose header is whole, without its contents; `None` at the end of
    /// what can be read. What is between is noted.
    pub(super) fn next(&mut self) -> io::Result<Option<Place>> {
        let len = self.source.len();
        loop {
            if self.at >= len {
                return Ok(None);
            }
            let found = self.header_at(self.at)?;
            let whole = found.filter(|header| self.at + header.block_len() <= len);
            if let Some(header) = whole {
                let place = Place {
                    at: self.at,
                    header,
                };
                self.at += header.block_len();
                return Ok(Some(place));
            }
            let from = self.at + 1;
            let next = self.search(from)?;
            self.skip(next.unwrap_or(len), false);
            if next.is_none() {
                return Ok(None);
            }
        }
    }

    /// The contents of a block that [`Blocks::next`] gave: `None` if they are damaged,
    /// which is noted.
    pub(super) fn contents(&mut self, place: Place) -> io::Result<Option<Vec<u8>>> {
        let header = place.header;
        let stored_len = usize::try_from(header.stored_len).unwrap_or(usize::MAX);
        let mut stored = vec![0; stored_len];
        let read = self
            .source
            .read_at(&mut stored, place.at + HEADER_LEN as u64)?;
        let raw = if read < stored_len || crc32c::crc32c(&stored) != header.payload_crc {
            None
        } else {
            unpack(stored, &header)
        };
        if raw.is_some() {
            self.accept(&header);
        } else {
            self.refuse(place)?;
        }
        Ok(raw)
    }

    /// Takes a block for whole without looking at its contents.
    pub(super) fn accept(&mut self, header: &BlockHeader) {
        let missing = header.sequence.wrapping_sub(self.sequence);
        if let Some(damage) = self.open.take() {
            self.notes.damaged(Damage {
                until: header.first_at,
                ..damage
            });
        } else if missing != 0 {
            self.notes.damaged(Damage {
                at: self.at.saturating_sub(header.block_len()),
                len: 0,
                from: self.until,
                until: header.first_at,
                life: true,
            });
        }
        self.sequence = header.sequence.wrapping_add(1);
        self.until = self.until.max(header.last_at);
    }

    /// Notes that the contents of a block are damaged, and finds where to go on.
    pub(super) fn refuse(&mut self, place: Place) -> io::Result<()> {
        let header = place.header;
        let len = self.source.len();
        let next = place.at + header.block_len();
        self.patience = self.patience.saturating_sub(header.block_len());
        // Usually bytes were changed, and none are missing.
        let follows = next == len || self.header_at(next)?.is_some();
        let next = if follows || self.patience == 0 {
            next
        } else {
            self.search(place.at + 1)?.unwrap_or(len)
        };
        self.at = place.at;
        let timeline_only = follows && header.kind == super::super::format::kind::EVENTS;
        self.skip(next, timeline_only);
        if follows {
            self.sequence = header.sequence.wrapping_add(1);
            self.until = self.until.max(header.last_at);
        }
        Ok(())
    }

    /// Leaves bytes out up to `next`.
    fn skip(&mut self, next: u64, timeline_only: bool) {
        let damage = self.open.get_or_insert(Damage {
            at: self.at,
            len: 0,
            from: self.until,
            until: 0,
            life: false,
        });
        damage.len = damage.len.saturating_add(next.saturating_sub(self.at));
        damage.life |= !timeline_only;
        self.at = next;
    }

    /// What of the end of the file is no whole block, in bytes.
    pub(super) fn tail(&mut self) -> u64 {
        let rest = self.source.len().saturating_sub(self.at);
        let damaged = self.open.take().map_or(0, |damage| damage.len);
        self.at = self.source.len();
        rest.saturating_add(damaged)
    }

    /// The header at a place, if there is one.
    fn header_at(&self, at: u64) -> io::Result<Option<BlockHeader>> {
        let mut bytes = [0; HEADER_LEN];
        let read = self.source.read_at(&mut bytes, at)?;
        Ok(if read == HEADER_LEN {
            BlockHeader::parse(&bytes)
        } else {
            None
        })
    }

    /// The next place from `from` on at which a header stands.
    fn search(&self, from: u64) -> io::Result<Option<u64>> {
        let mut buffer = vec![0; SEARCH_LEN];
        let mut from = from;
        loop {
            let read = self.source.read_at(&mut buffer, from)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.len() < HEADER_LEN {
                return Ok(None);
            }
            for (offset, window) in bytes.windows(HEADER_LEN).enumerate() {
                let header: Option<&[u8; HEADER_LEN]> = window.first_chunk();
                if window.starts_with(&SYNC)
                    && header.is_some_and(|bytes| BlockHeader::parse(bytes).is_some())
                {
                    return Ok(Some(from + offset as u64));
                }
            }
            // The last bytes may be the beginning of one.
            from += (bytes.len() - HEADER_LEN + 1) as u64;
        }
    }
}

/// The contents before compression; `None` if they are not what the header says.
fn unpack(stored: Vec<u8>, header: &BlockHeader) -> Option<Vec<u8>> {
    let raw_len = usize::try_from(header.raw_len).ok()?;
    match header.codec {
        codec::STORED => Some(stored),
        codec::ZSTD => {
            let raw = zstd::bulk::decompress(&stored, raw_len).ok()?;
            (raw.len() == raw_len).then_some(raw)
        }
        _ => None,
    }
}
