//! Blocks that wait for the disk, and what is left out when it is too slow.

use std::collections::VecDeque;

use super::super::{
    Loss,
    format::{MAX_GROUP_LEN, flag, kind},
    items::Parts,
};

/// How much may wait before blocks of the timeline, snapshots and checkpoints are left out.
const MAX_WAITING: usize = 8 << 20;
/// How much may wait at all.
const MAX_LIFE_WAITING: usize = 32 << 20;

/// A block before it is compressed.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: u8,
    pub(super) flags: u16,
    pub(super) count: u32,
    pub(super) first_at: u64,
    pub(super) last_at: u64,
    pub(super) raw: Vec<u8>,
}

/// Blocks in the order in which they will stand in the file.
#[derive(Debug, Default)]
pub(super) struct Queue {
    blocks: VecDeque<Block>,
    /// Bytes of them.
    waiting: usize,
    /// What was left out since the last block of losses.
    lost: Option<Loss>,
    /// The next block belongs to the one before.
    inside: bool,
    /// Records left out here since the beginning.
    pub(super) dropped: u64,
}

/// What was left out of the file.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) first_at: u64,
    pub(super) last_at: u64,
    /// 0 if it was no record, but a snapshot or the like.
    pub(super) records: u64,
    pub(super) life: bool,
    pub(super) reason: String,
}

impl Lost {
    pub(super) fn of(block: &Block, reason: &str) -> Self {
        let records = matches!(block.kind, kind::EVENTS | kind::PROCS);
        Self {
            first_at: block.first_at,
            last_at: block.last_at,
            records: if records { block.count.into() } else { 0 },
            life: block.kind == kind::PROCS,
            reason: reason.to_owned(),
        }
    }
}

impl Queue {
    /// Appends a block, or leaves it out.
    pub(super) fn push(&mut self, block: Block) {
        let len = block.raw.len();
        match block.kind {
            kind::END => {}
            kind::PROCS | kind::LOSS => {
                while self.waiting + len > MAX_LIFE_WAITING && self.drop_one() {}
                if self.waiting + len > MAX_LIFE_WAITING {
                    self.drop_block(&block);
                    return;
                }
            }
            _ => {
                if self.waiting + len > MAX_WAITING {
                    self.drop_block(&block);
                    return;
                }
            }
        }
        self.waiting += len;
        self.blocks.push_back(block);
    }

    /// Leaves out the oldest block of the timeline that waits, if there is one.
    fn drop_one(&mut self) -> bool {
        let droppable = |block: &Block| block.kind == kind::EVENTS;
        let Some(block) = self
            .blocks
            .iter()
            .position(droppable)
            .and_then(|index| self.blocks.remove(index))
        else {
            return false;
        };
        self.waiting = self.waiting.saturating_sub(block.raw.len());
        self.drop_block(&block);
        true
    }

    fn drop_block(&mut self, block: &Block) {
        let lost = Lost::of(block, "the disk was slower than they came");
        self.dropped = self.dropped.saturating_add(lost.records);
        self.lost(&lost);
    }

    /// Appends what needs several blocks: all or nothing of it.
    pub(super) fn group(&mut self, kind: u8, parts: Parts, at: u64) {
        let parts = parts.parts;
        let len: usize = parts.iter().map(|part| part.0.len()).sum();
        let fits = match kind {
            kind::END => true,
            kind::LOSS => self.waiting + len <= MAX_LIFE_WAITING,
            _ => self.waiting + len <= MAX_WAITING && len <= MAX_GROUP_LEN,
        };
        if !fits {
            return;
        }
        let all = parts.len();
        for (index, (raw, count)) in parts.into_iter().enumerate() {
            self.waiting += raw.len();
            self.blocks.push_back(Block {
                kind,
                flags: flag::of_part(index, all),
                count,
                first_at: at,
                last_at: at,
                raw,
            });
        }
    }

    /// Counts what was left out.
    pub(super) fn lost(&mut self, lost: &Lost) {
        if lost.records == 0 {
            return;
        }
        match &mut self.lost {
            Some(loss) if loss.reason == lost.reason => {
                loss.from = loss.from.min(lost.first_at);
                loss.until = loss.until.max(lost.last_at);
                loss.records = loss.records.saturating_add(lost.records);
                loss.life |= lost.life;
            }
            Some(loss) => {
                // Rare enough for one block each.
                let earlier = loss.clone();
                self.lost = Some(new_loss(lost));
                self.group(kind::LOSS, earlier.parts(true), earlier.until);
            }
            None => self.lost = Some(new_loss(lost)),
        }
    }

    /// The next block to write.
    pub(super) fn pop(&mut self) -> Option<Block> {
        // Where blocks belong together, nothing may come between.
        if !self.inside
            && let Some(loss) = self.lost.take()
            && let Some((raw, count)) = loss.parts(true).parts.pop()
        {
            return Some(Block {
                kind: kind::LOSS,
                flags: 0,
                count,
                first_at: loss.from,
                last_at: loss.until,
                raw,
            });
        }
        self.inside = false;
        let block = self.blocks.pop_front()?;
        self.waiting = self.waiting.saturating_sub(block.raw.len());
        self.inside = block.flags & flag::CONTINUED != 0
            || block.kind == kind::PROCS && block.flags & flag::JOINED != 0;
        Some(block)
    }
}

fn new_loss(lost: &Lost) -> Loss {
    Loss {
        from: lost.first_at,
        until: lost.last_at,
        records: lost.records,
        life: lost.life,
        reason: lost.reason.clone(),
    }
}
