//! A reader for BTF, the kernel's description of its own types, because offsets
//! of struct fields differ from kernel to kernel and aya keeps what it parses private.
//!
//! Built for two things. It is *total*: any input gives an answer or an error,
//! in time and memory proportional to its size; nothing in it is trusted, neither
//! offsets nor type references, which may form cycles. And it is *fast*: one pass over
//! the records remembers where each begins and puts those with a name that can be asked
//! for into a hash table; nothing else is decoded until it is asked for.
//!
//! Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h of the kernel.

mod error;
mod names;
mod query;
mod raw;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;

use std::{fs::File, io::Read, ops::Range, path::Path};

pub use error::BtfError;
use names::Names;
pub use query::{Field, Shape};
use raw::{Header, Layouts, Record};

/// Where the kernel exposes the BTF of itself, without modules.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// No kernel's BTF comes near this; anything larger is refused unread.
const MAX_SIZE: u64 = 256 << 20;

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
    data: Vec<u8>,
    types: Range<usize>,
    strings: Range<usize>,
    layouts: Layouts,
    /// Where each record begins in the type section; index 0 is type 1.
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
        let read = |source| BtfError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        if size > MAX_SIZE {
            return Err(BtfError::TooLarge { size, limit: MAX_SIZE });
        }
        // A size that is exact saves a reallocation; one byte more lets the read
        // that finds the end of the file do so without growing the buffer.
        let mut data = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
        let taken = file.by_ref().take(MAX_SIZE + 1).read_to_end(&mut data).map_err(read)?;
        if taken as u64 > MAX_SIZE {
            return Err(BtfError::TooLarge { size: taken as u64, limit: MAX_SIZE });
        }
        Self::parse(data)
    }

    /// Takes BTF as bytes, checks the extent of every record and indexes the names.
    ///
    /// # Errors
    /// If the data is not BTF version 1 of this machine's byte order, if a section
    /// or record reaches beyond the data, or if there is a kind of record
    /// whose size is unknown.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let header = Header::parse(&data)?;
        let types = data.get(header.types.clone()).ok_or(BtfError::Section { section: "type" })?;
        let strings = data.get(header.strings.clone()).ok_or(BtfError::Section { section: "string" })?;
        let layouts = Layouts::parse(data.get(header.layouts.clone()).unwrap_or_default());

        // The records that can exist, at most; a tighter guess saves memory that is
        // zeroed for nothing: vmlinux has 25 bytes per type.
        let mut offsets = Vec::with_capacity(types.len() / 24);
        let mut named = Vec::new();
        let mut enums = Vec::new();
        let mut position = 0;
        while position < types.len() {
            let id = offsets.len() as u32 + 1;
            let (record, next) = Record::at(types, position, &layouts, id)?;
            let indexed = match record.kind {
                raw::STRUCT | raw::UNION | raw::TYPEDEF => true,
                raw::ENUM | raw::ENUM64 => {
                    enums.push(id);
                    true
                }
                _ => false,
            };
            if indexed && record.name != 0 {
                named.push((id, record.name));
            }
            // Sections are at most MAX_SIZE long, or given by a 32-bit length.
            offsets.push(position as u32);
            position = next;
        }
        let names = Names::new(&named, strings);
        Ok(Self { types: header.types, strings: header.strings, data, layouts, offsets, names, enums })
    }

    /// Number of types, `void` not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are no types at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The first type of this kind and name.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<TypeId> {
        let matches = |id: &u32| {
            self.record(TypeId(*id)).is_ok_and(|r| kind.matches(r.kind) && self.is_named(r.name, name))
        };
        // Entries come in descending order of id; libbpf and the kernel take the lowest.
        self.names.candidates(name).filter(matches).last().map(TypeId)
    }

    /// Whether there is a type of this kind and name.
    #[must_use]
    pub fn contains(&self, kind: Kind, name: &str) -> bool {
        self.find(kind, name).is_some()
    }

    fn type_section(&self) -> &[u8] {
        self.data.get(self.types.clone()).unwrap_or_default()
    }

    fn string_section(&self) -> &[u8] {
        self.data.get(self.strings.clone()).unwrap_or_default()
    }

    /// The record of a type other than `void`.
    fn record(&self, id: TypeId) -> Result<Record<'_>, BtfError> {
        let missing = BtfError::NoSuchType { id: id.0 };
        let Some(index) = (id.0 as usize).checked_sub(1) else { return Err(missing) };
        let Some(&offset) = self.offsets.get(index) else { return Err(missing) };
        Record::at(self.type_section(), offset as usize, &self.layouts, id.0).map(|(record, _)| record)
    }

    /// Whether the string at `offset` is `name`.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        names::is(self.string_section(), offset, name.as_bytes())
    }

    /// The string at `offset`.
    fn string(&self, offset: u32) -> Result<&str, BtfError> {
        let bad = BtfError::Name { offset };
        let Some(rest) = self.string_section().get(offset as usize..) else { return Err(bad) };
        let Some(end) = rest.iter().position(|byte| *byte == 0) else { return Err(bad) };
        str::from_utf8(rest.get(..end).unwrap_or_default()).map_err(|_| bad)
    }
}

impl std::fmt::Debug for Btf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Btf").field("bytes", &self.data.len()).field("types", &self.len()).finish()
    }
}
