//! Why BTF could not be read or a question about it has no answer.

use std::{io, path::PathBuf};

/// Why BTF could not be read or a question about it has no answer.
///
/// That a type or field does not exist is no error but an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BtfError {
    /// The file could not be read.
    #[error(
        "cannot read kernel type information (BTF) from {path}; it needs a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any BTF.
    #[error("BTF of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The data does not begin with the magic number.
    #[error("not BTF: the data begins with {magic:#06x}, not with 0xeb9f")]
    Magic {
        /// What it begins with; 0 if it is shorter than that.
        magic: u16,
    },
    /// The data is BTF for a machine of the other byte order.
    #[error("BTF of the other byte order, that is of another machine")]
    ForeignEndian,
    /// A version or flags that do not exist yet.
    #[error("BTF of unknown version {version}, flags {flags:#x}; a newer memtrace may know it")]
    Version {
        /// `btf_header.version`.
        version: u8,
        /// `btf_header.flags`.
        flags: u8,
    },
    /// The header is shorter than it says, or too short.
    #[error("damaged BTF: the header is cut short")]
    Header,
    /// A section reaches beyond the data or is not aligned.
    #[error("damaged BTF: the {section} section lies outside of the data or is malformed")]
    Section {
        /// Which one.
        section: &'static str,
    },
    /// A type's record reaches beyond its section.
    #[error("damaged BTF: type {id} is cut short")]
    Truncated {
        /// Its number.
        id: u32,
    },
    /// A kind of type whose record's size is unknown, so that nothing after it can be read.
    #[error("BTF type {id} is of the unknown kind {kind}; a newer memtrace may know it")]
    UnknownKind {
        /// The type's number.
        id: u32,
        /// Its kind.
        kind: u8,
    },
    /// A reference to a type that does not exist.
    #[error("damaged BTF: there is no type {id}")]
    NoSuchType {
        /// Its number.
        id: u32,
    },
    /// A name that lies outside of the string section or is not UTF-8.
    #[error("damaged BTF: no valid name at {offset} of the string section")]
    Name {
        /// Its offset.
        offset: u32,
    },
    /// References that go on for too long, most likely in a circle.
    #[error("damaged BTF: references from type {id} do not end")]
    Endless {
        /// Where they begin.
        id: u32,
    },
    /// A field lies in a place that no 32-bit offset can name.
    #[error("damaged BTF: offset or size of {of} overflows")]
    Overflow {
        /// The field or type.
        of: String,
    },
    /// A bit-field has no byte offset.
    #[error("{field} is a bit-field, which memtrace cannot read")]
    BitField {
        /// Its path.
        field: String,
    },
    /// A path goes through something that has no fields of its own.
    #[error("{path} has no fields: it is neither a struct nor a union")]
    NoFields {
        /// The part of the path.
        path: String,
    },
    /// A type is not what the question supposes.
    #[error("{name} is not {expected}")]
    Unexpected {
        /// The type.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
}
