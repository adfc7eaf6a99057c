//! What is wrong with a file, in sentences.

use crate::units::seconds;

/// How many places are told one by one.
const MOST: usize = 20;

/// A place that cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damage {
    pub(super) at: u64,
    /// 0: nothing is there, and something is missing.
    pub(super) len: u64,
    /// Time of the last whole block before, 0 if there is none.
    pub(super) from: u64,
    /// Time of the first one after.
    pub(super) until: u64,
    /// It may have held more than the timeline.
    pub(super) life: bool,
}

impl Damage {
    /// Times are since `zero`.
    pub(super) fn sentence(&self, zero: u64) -> String {
        let Self {
            at,
            len,
            from,
            until,
            life: _,
        } = *self;
        let between = format!(
            "between +{} and +{}",
            seconds(from.saturating_sub(zero)),
            seconds(until.saturating_sub(zero))
        );
        if len == 0 {
            format!("damaged: blocks are missing at offset {at}, {between}")
        } else {
            format!("damaged: {len} bytes at offset {at} skipped, {between}")
        }
    }
}

/// Where the file ends although the recording does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Time of the last whole block.
    pub(super) after: u64,
    /// Bytes behind it.
    pub(super) tail: u64,
}

/// Everything that is wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    places: Vec<Damage>,
    more: u64,
    /// Numbers of processes, peaks and the like may be missing.
    pub(super) life: bool,
    pub(super) cut: Option<Cut>,
    /// Bytes behind the recording's end.
    pub(super) after_end: u64,
}

impl Notes {
    pub(super) fn damaged(&mut self, damage: Damage) {
        self.life |= damage.life;
        if self.places.len() < MOST {
            self.places.push(damage);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// When something is missing.
    pub(super) fn times(&self) -> Vec<(u64, u64)> {
        let places = self.places.iter();
        places.map(|damage| (damage.from, damage.until)).collect()
    }

    /// One sentence each. Times are since `zero`.
    pub(super) fn sentences(&self, zero: u64) -> Vec<String> {
        let time = |at: u64| seconds(at.saturating_sub(zero));
        let mut sentences = Vec::new();
        sentences.extend(self.places.iter().map(|damage| damage.sentence(zero)));
        if self.more > 0 {
            sentences.push(format!("damaged: {} more places skipped", self.more));
        }
        if let Some(Cut { after, tail }) = self.cut {
            let rest = match tail {
                0 => String::new(),
                tail => format!(" ({tail} bytes behind that are no whole block)"),
            };
            sentences.push(format!(
                "cut after +{}{rest}: memtrace was killed, or the disk was full",
                time(after)
            ));
        }
        if self.after_end > 0 {
            sentences.push(format!(
                "damaged: {} bytes behind the recording's end skipped",
                self.after_end
            ));
        }
        sentences
    }
}
