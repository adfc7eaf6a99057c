//! The records as they lie in the data: header, type records, and what follows them.

use std::ops::Range;

use super::BtfError;

pub(super) const INT: u8 = 1;
pub(super) const PTR: u8 = 2;
pub(super) const ARRAY: u8 = 3;
pub(super) const STRUCT: u8 = 4;
pub(super) const UNION: u8 = 5;
pub(super) const ENUM: u8 = 6;
pub(super) const FWD: u8 = 7;
pub(super) const TYPEDEF: u8 = 8;
pub(super) const VOLATILE: u8 = 9;
pub(super) const CONST: u8 = 10;
pub(super) const RESTRICT: u8 = 11;
pub(super) const FUNC: u8 = 12;
pub(super) const FUNC_PROTO: u8 = 13;
pub(super) const VAR: u8 = 14;
pub(super) const DATASEC: u8 = 15;
pub(super) const FLOAT: u8 = 16;
pub(super) const DECL_TAG: u8 = 17;
pub(super) const TYPE_TAG: u8 = 18;
pub(super) const ENUM64: u8 = 19;

const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_header` up to `str_len`.
const HEADER: usize = 24;
/// Bytes of `struct btf_type`.
const RECORD: usize = 12;

/// The word at `at`, in this machine's byte order.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// `struct btf_header`, as ranges of the data.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) types: Range<usize>,
    pub(super) strings: Range<usize>,
    /// Empty if there is none (kernels before `struct btf_layout`).
    pub(super) layouts: Range<usize>,
}

impl Header {
    /// As much of it as this reader knows.
    pub(super) const MAX: usize = HEADER + 8;

    /// From the first [`Header::MAX`] bytes of data that has `size` bytes.
    pub(super) fn parse(data: &[u8], size: usize) -> Result<Self, BtfError> {
        let magic = match data {
            [a, b, ..] => u16::from_ne_bytes([*a, *b]),
            _ => 0,
        };
        if magic == MAGIC.swap_bytes() {
            return Err(BtfError::ForeignEndian);
        }
        if magic != MAGIC {
            return Err(BtfError::Magic { magic });
        }
        let &[_, _, version, flags, ..] = data else {
            return Err(BtfError::Header);
        };
        if version != 1 || flags != 0 {
            return Err(BtfError::Version { version, flags });
        }
        let length = word(data, 4).ok_or(BtfError::Header)? as usize;
        let body = size.checked_sub(length).ok_or(BtfError::Header)?;
        if length < HEADER {
            return Err(BtfError::Header);
        }
        // Offsets in the header count from its end.
        let section = |at: usize, section| {
            let error = || BtfError::Section { section };
            let offset = word(data, at).ok_or_else(error)? as usize;
            let bytes = word(data, at + 4).ok_or_else(error)? as usize;
            let end = offset
                .checked_add(bytes)
                .filter(|end| *end <= body)
                .ok_or_else(error)?;
            Ok::<_, BtfError>(length + offset..length + end)
        };
        let types = section(8, "type")?;
        let strings = section(16, "string")?;
        let layouts = if length >= Self::MAX {
            section(24, "layout")?
        } else {
            0..0
        };
        Ok(Self {
            types,
            strings,
            layouts,
        })
    }
}

/// Sizes of the records of kinds that this reader does not know, from the section
/// that kernels since 7.1 may add (`struct btf_layout`) for this very purpose.
#[derive(Debug)]
pub(super) struct Layouts(Vec<(u8, u8)>);

impl Layouts {
    pub(super) fn parse(section: &[u8]) -> Self {
        // A kind has seven bits.
        Self(
            section
                .chunks_exact(4)
                .take(128)
                .map(|entry| (entry[0], entry[1]))
                .collect(),
        )
    }

    /// Bytes that follow `struct btf_type`.
    fn tail(&self, kind: u8, vlen: usize) -> Option<usize> {
        let (once, each) = match kind {
            PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => (0, 0),
            INT | VAR | DECL_TAG => (4, 0),
            ARRAY => (12, 0),
            STRUCT | UNION | DATASEC | ENUM64 => (0, 12),
            ENUM | FUNC_PROTO => (0, 8),
            0 => return None,
            _ => self
                .0
                .get(usize::from(kind))
                .map(|(once, each)| (usize::from(*once), usize::from(*each)))?,
        };
        // At most 255 + 2^24 * 255: no overflow.
        Some(once + vlen * each)
    }
}

/// `struct btf_type` with what follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// Offset of its name; 0 for none.
    pub(super) name: u32,
    pub(super) kind: u8,
    /// Its meaning depends on the kind.
    pub(super) flag: bool,
    /// Size in bytes or number of another type, depending on the kind.
    pub(super) size_or_type: u32,
    /// Members, parameters, enumerators, ...
    pub(super) tail: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at `position` and where the next one begins.
    #[inline]
    pub(super) fn at(
        types: &'a [u8],
        position: usize,
        layouts: &Layouts,
        id: u32,
    ) -> Result<(Self, usize), BtfError> {
        let cut = || BtfError::Truncated { id };
        let rest = types.get(position..).ok_or_else(cut)?;
        let (head, rest) = rest.split_first_chunk::<RECORD>().ok_or_else(cut)?;
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let info = word(4);
        // Seven bits of kind and 24 of vlen since 7.1; before, the upper ones were 0.
        let kind = (info >> 24 & 0x7f) as u8;
        let vlen = (info & 0x00ff_ffff) as usize;
        let size = layouts
            .tail(kind, vlen)
            .ok_or(BtfError::UnknownKind { id, kind })?;
        let tail = rest.get(..size).ok_or_else(cut)?;
        let record = Self {
            name: word(0),
            kind,
            flag: info >> 31 == 1,
            size_or_type: word(8),
            tail,
        };
        Ok((record, position + RECORD + size))
    }

    /// What follows, as triples of words: members of a struct or union.
    pub(super) fn members(self) -> impl Iterator<Item = Member> + 'a {
        let flag = self.flag;
        self.tail.chunks_exact(12).filter_map(move |bytes| {
            let place = word(bytes, 8)?;
            // With the flag, the upper eight bits are a bit-field's width.
            let (bits, width) = if flag {
                (place & 0x00ff_ffff, place >> 24)
            } else {
                (place, 0)
            };
            Some(Member {
                name: word(bytes, 0)?,
                of: word(bytes, 4)?,
                bits,
                width,
            })
        })
    }
}

/// `struct btf_member`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) name: u32,
    pub(super) of: u32,
    /// Offset in bits.
    pub(super) bits: u32,
    /// Width of a bit-field, or 0.
    pub(super) width: u32,
}
