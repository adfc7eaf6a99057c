//! Contents of several blocks.

use super::super::format::{BlockHeader, MAX_GROUP_LEN, flag};

/// Blocks that belong together, as far as they were read.
#[derive(Debug)]
pub(super) struct Group {
    kind: u8,
    next: u32,
    len: usize,
    pub(super) parts: Vec<Vec<u8>>,
}

impl Group {
    /// Adds one more, or begins anew; nothing if its beginning is missing.
    pub(super) fn add(group: Option<Self>, header: &BlockHeader, raw: Vec<u8>) -> Option<Self> {
        let mut group = if header.has(flag::CONTINUES) {
            group.filter(|group| group.kind == header.kind && group.next == header.sequence)?
        } else {
            Self {
                kind: header.kind,
                next: header.sequence,
                len: 0,
                parts: Vec::new(),
            }
        };
        group.len = group.len.saturating_add(raw.len());
        if group.len > MAX_GROUP_LEN {
            return None;
        }
        group.next = header.sequence.wrapping_add(1);
        group.parts.push(raw);
        Some(group)
    }
}
