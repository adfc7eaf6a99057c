//! A reader for BTF, the kernel's description of its own types, because offsets
//! of struct fields differ from kernel to kernel and aya keeps what it parses private.
//!
//! Built for two things. It is *total*: any input gives an answer or an error,
//! in time and memory proportional to its size; nothing in it is trusted, neither
//! offsets nor type references, which may form cycles. And it is *fast*: one pass over
//! the records remembers where they begin and puts those with a name that can be asked
//! for into a hash table; nothing else is decoded until it is asked for. Most of the
//! time goes into page faults for the memory that the data is read into, so that
//! only strings that can be asked for are read, and tables are kept small.
//!
//! Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h of the kernel.

mod error;
mod function;
mod names;
mod query;
mod raw;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

pub use error::BtfError;
pub use function::function;
use names::Names;
pub use query::{Field, Shape};
use raw::{Header, Layouts, Record};

/// Where the kernel exposes the BTF of itself, without modules.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// No kernel's BTF comes near this; anything larger is refused unread.
const MAX_SIZE: u64 = 256 << 20;

/// Of every so many records the place is remembered; one between is found from there.
const STRIDE: usize = 8;

/// How many modifiers (`const`, `typedef`, ...), pointers or array dimensions may
/// follow one another. Real code stays below ten; a cycle reaches any limit.
const MAX_CHAIN: usize = 64;

/// Number of a type. 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// What can be looked up by name. C has separate name spaces for tags and typedefs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `struct NAME`, defined (not only declared).
    Struct,
    /// `union NAME`, defined.
    Union,
    /// `enum NAME`, of 32 or 64 bits.
    Enum,
    /// `typedef ... NAME`.
    Typedef,
}

impl Kind {
    const fn matches(self, kind: u8) -> bool {
        match self {
            Self::Struct => kind == raw::STRUCT,
            Self::Union => kind == raw::UNION,
            Self::Enum => kind == raw::ENUM || kind == raw::ENUM64,
            Self::Typedef => kind == raw::TYPEDEF,
        }
    }
}

/// BTF held in memory, ready to be asked.
pub struct Btf {
    types: Vec<u8>,
    /// Without names at the end that cannot be asked for.
    strings: Vec<u8>,
    layouts: Layouts,
    /// Number of types.
    len: usize,
    /// Where records 1, 1 + [`STRIDE`], 1 + 2 [`STRIDE`], ... begin.
    offsets: Vec<u32>,
    names: Names,
    /// Types of kind `ENUM` and `ENUM64`, whose enumerators C puts into one name space.
    enums: Vec<u32>,
}

impl Btf {
    /// Reads the running kernel's BTF from [`VMLINUX`].
    ///
    /// # Errors
    /// [`BtfError::Read`] if there is none (`CONFIG_DEBUG_INFO_BTF` is off) or it
    /// cannot be read; otherwise as [`Btf::parse`].
    pub fn from_sys_fs() -> Result<Self, BtfError> {
        Self::from_file(Path::new(VMLINUX))
    }

    /// Reads BTF from a file that contains nothing else.
    ///
    /// # Errors
    /// [`BtfError::Read`], [`BtfError::TooLarge`]; otherwise as [`Btf::parse`].
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        let read = |source| BtfError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        Self::load(file, size, path)
    }

    /// Takes BTF as bytes, checks the extent of every record and indexes the names.
    ///
    /// # Errors
    /// If the data is not BTF version 1 of this machine's byte order, if a section
    /// or record reaches beyond the data, or if there is a kind of record
    /// whose size is unknown.
    pub fn parse(data: &[u8]) -> Result<Self, BtfError> {
        Self::load(Cursor::new(data), data.len() as u64, Path::new("memory"))
    }

    fn load(mut source: impl Read + Seek, size: u64, path: &Path) -> Result<Self, BtfError> {
        if size > MAX_SIZE {
            return Err(BtfError::TooLarge {
                size,
                limit: MAX_SIZE,
            });
        }
        let mut read = |range: Range<usize>| {
            part(&mut source, range).map_err(|source| BtfError::Read {
                path: path.to_owned(),
                source,
            })
        };
        let size = size as usize;
        let header = Header::parse(&read(0..size.min(Header::MAX))?, size)?;
        let layouts = Layouts::parse(&read(header.layouts)?);
        let types = read(header.types)?;

        // vmlinux has 25 bytes per type, and 6 of 7 have no name that can be asked for.
        let mut offsets = Vec::with_capacity(types.len() / (24 * STRIDE));
        let mut names = Vec::with_capacity(types.len() / 128);
        let mut enums = Vec::new();
        let mut last_name = 0;
        let (mut len, mut position) = (0_usize, 0_usize);
        while position < types.len() {
            // At most MAX_SIZE / 12: fits.
            let id = len as u32 + 1;
            let (record, next) = Record::at(&types, position, &layouts, id)?;
            if len.is_multiple_of(STRIDE) {
                offsets.push(position as u32);
            }
            if matches!(record.kind, raw::ENUM | raw::ENUM64) {
                enums.push(id);
            }
            if record.name != 0
                && matches!(
                    record.kind,
                    raw::STRUCT | raw::UNION | raw::TYPEDEF | raw::ENUM | raw::ENUM64
                )
            {
                names.push((id, record.name));
            }
            last_name = last_name.max(record.last_name());
            len += 1;
            position = next;
        }

        // Functions have about half of all strings, at the end as pahole writes them.
        let strings = read(askable(&header.strings, last_name))?;
        // The first string is empty, the last one ends (btf_parse_str_sec(), kernel/bpf/btf.c).
        let end = read(header.strings.end.saturating_sub(1)..header.strings.end)?;
        if header.strings.is_empty() || strings.first() != Some(&0) || end != [0] {
            return Err(BtfError::Section { section: "string" });
        }
        let names = Names::new(names, &strings);
        Ok(Self {
            types,
            strings,
            layouts,
            len,
            offsets,
            names,
            enums,
        })
    }

    /// Number of types, `void` not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no types at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first type of this kind and name.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<TypeId> {
        let matches = |id: &u32| {
            self.record(TypeId(*id))
                .is_ok_and(|r| kind.matches(r.kind) && self.is_named(r.name, name))
        };
        // Entries come in descending order of id; libbpf and the kernel take the lowest.
        self.names
            .candidates(name)
            .filter(matches)
            .last()
            .map(TypeId)
    }

    /// Whether there is a type of this kind and name.
    #[must_use]
    pub fn contains(&self, kind: Kind, name: &str) -> bool {
        self.find(kind, name).is_some()
    }

    /// The record of a type other than `void`.
    fn record(&self, id: TypeId) -> Result<Record<'_>, BtfError> {
        let missing = BtfError::NoSuchType { id: id.0 };
        let Some(index) = (id.0 as usize)
            .checked_sub(1)
            .filter(|index| *index < self.len)
        else {
            return Err(missing);
        };
        let Some(&offset) = self.offsets.get(index / STRIDE) else {
            return Err(missing);
        };
        let mut position = offset as usize;
        for _ in 0..index % STRIDE {
            position = Record::at(&self.types, position, &self.layouts, id.0)?.1;
        }
        Ok(Record::at(&self.types, position, &self.layouts, id.0)?.0)
    }

    /// Whether the string at `offset` is `name`.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        names::is(&self.strings, offset, name.as_bytes())
    }

    /// The string at `offset`.
    fn string(&self, offset: u32) -> Result<&str, BtfError> {
        let bad = BtfError::Name { offset };
        let Some(rest) = self.strings.get(offset as usize..) else {
            return Err(bad);
        };
        let Some(end) = rest.iter().position(|byte| *byte == 0) else {
            return Err(bad);
        };
        str::from_utf8(rest.get(..end).unwrap_or_default()).map_err(|_| bad)
    }
}

impl std::fmt::Debug for Btf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Btf")
            .field("bytes", &(self.types.len() + self.strings.len()))
            .field("types", &self.len())
            .finish()
    }
}

/// Reads the bytes `range` of `source`.
fn part(source: &mut (impl Read + Seek), range: Range<usize>) -> io::Result<Vec<u8>> {
    source.seek(SeekFrom::Start(range.start as u64))?;
    // A capacity that is exact saves a reallocation.
    let mut bytes = Vec::with_capacity(range.len());
    source.take(range.len() as u64).read_to_end(&mut bytes)?;
    if bytes.len() == range.len() {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The part of the string section that names up to that at `last` can be in. Identifiers
/// are much shorter than what is read beyond; a longer name is as good as none.
fn askable(strings: &Range<usize>, last: u32) -> Range<usize> {
    const LONGEST: usize = 4096;
    strings.start
        ..strings.end.min(
            strings
                .start
                .saturating_add(last as usize)
                .saturating_add(LONGEST),
        )
}
