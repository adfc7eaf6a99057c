//! Items: a tag, a length and that many bytes. Readers skip tags that they do not know,
//! and what follows the fields that they know.

use super::{
    format::BLOCK_LEN,
    varint::{Bytes, Malformed, put},
};

/// Appends one item.
pub(super) fn put_item(out: &mut Vec<u8>, tag: u64, body: &[u8]) {
    put(out, tag);
    put(out, body.len() as u64);
    out.extend_from_slice(body);
}

/// Takes the next item off: its tag and body.
pub(super) fn next_item<'a>(bytes: &mut Bytes<'a>) -> Result<Option<(u64, Bytes<'a>)>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let tag = bytes.number()?;
    let body = bytes.bytes()?;
    Ok(Some((tag, Bytes(body))))
}

/// Contents that may need several blocks.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Contents and number of items of each.
    pub(super) parts: Vec<(Vec<u8>, u32)>,
    body: Vec<u8>,
}

impl Parts {
    /// Appends one item.
    pub(super) fn item(&mut self, tag: u64, fill: impl FnOnce(&mut Vec<u8>)) {
        self.body.clear();
        fill(&mut self.body);
        let room = self
            .parts
            .last_mut()
            .filter(|part| part.0.len() < BLOCK_LEN);
        if let Some((part, count)) = room {
            put_item(part, tag, &self.body);
            *count = count.saturating_add(1);
        } else {
            let mut part = Vec::with_capacity(self.body.len() + 16);
            put_item(&mut part, tag, &self.body);
            self.parts.push((part, 1));
        }
    }

    /// The same for one number.
    pub(super) fn number(&mut self, tag: u64, value: u64) {
        self.item(tag, |body| put(body, value));
    }

    /// The same for bytes as they are.
    pub(super) fn bytes(&mut self, tag: u64, value: &[u8]) {
        self.item(tag, |body| body.extend_from_slice(value));
    }
}

pub(super) fn text(bytes: Bytes<'_>) -> String {
    String::from_utf8_lossy(bytes.0).into_owned()
}

/// All items of all parts.
pub(super) fn each_item(
    parts: &[Vec<u8>],
    mut take: impl FnMut(u64, Bytes<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    for part in parts {
        let mut rest = Bytes(part);
        while let Some((tag, body)) = next_item(&mut rest)? {
            take(tag, body)?;
        }
    }
    Ok(())
}
