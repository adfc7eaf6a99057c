//! A reader for BTF, the kernel's description of its own types, because offsets
//! of struct fields differ from kernel to kernel and aya keeps what it parses private.
//!
//! Built for two things. It is *total*: any input gives an answer or an error,
//! in time and memory proportional to its size; nothing in it is trusted, neither
//! offsets nor type references, which may form cycles. And it is *fast*: one pass over
//! the records remembers where they begin and puts those with a name that can be asked
//! for into a hash table; nothing else is decoded until it is asked for. Most of the
//! time goes into page faults for memory, so the kernel's own is used where that can be
//! mapped, and tables are kept small.
//!
//! Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h of the kernel.

mod data;
mod error;
mod functions;
mod names;
mod query;
mod raw;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;

use std::{ops::Range, path::Path};

use data::Data;
pub use error::BtfError;
use functions::Functions;
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
    data: Data,
    /// Where the records are.
    types: Range<usize>,
    /// Where the strings are.
    strings: Range<usize>,
    layouts: Layouts,
    /// Number of types.
    len: usize,
    /// Where records 1, 1 + [`STRIDE`], 1 + 2 [`STRIDE`], ... begin.
    offsets: Vec<u32>,
    names: Names,
    /// Types of kind `ENUM` and `ENUM64`, whose enumerators C puts into one name space.
    enums: Vec<u32>,
    functions: Functions,
}

impl Btf {
    /// Reads the running kernel's BTF from [`VMLINUX`].
    ///
    /// # Errors
    /// [`BtfError::Read`] if there is none (`CONFIG_DEBUG_INFO_BTF` is off) or it
    /// cannot be read; otherwise as [`Btf::parse`].
    pub fn from_sys_fs() -> Result<Self, BtfError> {
        let path = Path::new(VMLINUX);
        Self::load(
            Data::of_kernel(path, MAX_SIZE).map_err(|source| BtfError::Read {
                path: path.to_owned(),
                source,
            })?,
        )
    }

    /// Reads BTF from a file that contains nothing else.
    ///
    /// # Errors
    /// [`BtfError::Read`], [`BtfError::TooLarge`]; otherwise as [`Btf::parse`].
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        Self::load(Data::read(path, MAX_SIZE).map_err(|source| BtfError::Read {
            path: path.to_owned(),
            source,
        })?)
    }

    /// Takes BTF as bytes, checks the extent of every record and indexes the names.
    ///
    /// # Errors
    /// If the data is not BTF version 1 of this machine's byte order, if a section
    /// or record reaches beyond the data, or if there is a kind of record
    /// whose size is unknown.
    pub fn parse(data: &[u8]) -> Result<Self, BtfError> {
        Self::load(Data::Read(data.to_vec()))
    }

    fn load(data: Data) -> Result<Self, BtfError> {
        let size = data.len();
        if size as u64 > MAX_SIZE {
            return Err(BtfError::TooLarge {
                size: size as u64,
                limit: MAX_SIZE,
            });
        }
        // Within the data: `Header::parse` has checked that.
        let part = |range: &Range<usize>| data.get(range.clone()).unwrap_or_default();
        let header = Header::parse(part(&(0..size.min(Header::MAX))), size)?;
        let layouts = Layouts::parse(part(&header.layouts));
        let (types, strings) = (part(&header.types), part(&header.strings));

        // vmlinux has 25 bytes per type, and 6 of 7 have no name that can be asked for.
        let mut offsets = Vec::with_capacity(types.len() / (24 * STRIDE));
        let mut names = Vec::with_capacity(types.len() / 128);
        let mut enums = Vec::new();
        let mut functions = Vec::with_capacity(types.len() / 64);
        let (mut len, mut position) = (0_usize, 0_usize);
        while position < types.len() {
            // At most MAX_SIZE / 12: fits.
            let id = len as u32 + 1;
            let (record, next) = Record::at(types, position, &layouts, id)?;
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
            if record.kind == raw::FUNC {
                functions.push((id, record.name));
            }
            len += 1;
            position = next;
        }

        // The first string is empty, the last one ends (btf_parse_str_sec(), kernel/bpf/btf.c).
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            return Err(BtfError::Section { section: "string" });
        }
        let functions = Functions::new(&functions, strings);
        let names = Names::new(names, strings);
        Ok(Self {
            types: header.types,
            strings: header.strings,
            data,
            layouts,
            len,
            offsets,
            names,
            enums,
            functions,
        })
    }

    fn types(&self) -> &[u8] {
        self.data.get(self.types.clone()).unwrap_or_default()
    }

    fn strings(&self) -> &[u8] {
        self.data.get(self.strings.clone()).unwrap_or_default()
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

    /// The number of one of the few functions that memtrace asks for: only those are known.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<TypeId> {
        self.functions.get(name)
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
            position = Record::at(self.types(), position, &self.layouts, id.0)?.1;
        }
        Ok(Record::at(self.types(), position, &self.layouts, id.0)?.0)
    }

    /// Whether the string at `offset` is `name`.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        names::is(self.strings(), offset, name.as_bytes())
    }

    /// The string at `offset`.
    fn string(&self, offset: u32) -> Result<&str, BtfError> {
        let bad = BtfError::Name { offset };
        let Some(rest) = self.strings().get(offset as usize..) else {
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
