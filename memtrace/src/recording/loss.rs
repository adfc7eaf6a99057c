//! Records that are missing.

use super::{
    items::{Parts, next_item, text},
    varint::{Bytes, Malformed, put, put_bytes},
};

/// Records that were lost on the way into the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Not before this, `CLOCK_BOOTTIME` in nanoseconds.
    pub from: u64,
    /// Not after this.
    pub until: u64,
    /// How many records.
    pub records: u64,
    /// Whether records of processes and of ends of images are among them; otherwise
    /// they are all of the timeline, on which no peak depends.
    pub life: bool,
    /// Why, as a clause.
    pub reason: String,
}

/// Lost before they came to the writer: what was printed after the run knows of it.
const BEFORE: u64 = 1;
/// Lost by the writer: what was printed after the run is not touched by it.
const WRITING: u64 = 2;

impl Loss {
    /// Items of a loss, by the writer or before.
    pub(super) fn parts(&self, by_writer: bool) -> Parts {
        let Self {
            from,
            until,
            records,
            life,
            reason,
        } = self;
        let mut parts = Parts::default();
        parts.item(if by_writer { WRITING } else { BEFORE }, |body| {
            put(body, *from);
            put(body, until.saturating_sub(*from));
            put(body, *records);
            put(body, (*life).into());
            put_bytes(body, reason.as_bytes());
        });
        parts
    }

    /// All losses in a block, each with whether the writer lost them.
    pub(super) fn read(raw: &[u8]) -> Result<Vec<(Self, bool)>, Malformed> {
        let mut losses = Vec::new();
        let mut rest = Bytes(raw);
        while let Some((tag, mut body)) = next_item(&mut rest)? {
            if tag != BEFORE && tag != WRITING {
                continue;
            }
            let from = body.number()?;
            let loss = Self {
                from,
                until: from.saturating_add(body.number()?),
                records: body.number()?,
                life: body.number()? != 0,
                reason: text(Bytes(body.bytes()?)),
            };
            losses.push((loss, tag == WRITING));
        }
        Ok(losses)
    }
}
