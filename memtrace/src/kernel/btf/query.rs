//! Questions: where a field is, how large a type is, what a function takes.

use super::{
    Btf, BtfError, Kind, MAX_CHAIN, TypeId,
    raw::{self, Record, word},
};

/// Members that one search may visit. `mm_struct` and `task_struct` have about 250; anonymous
/// structs that contain one another twice each would otherwise take exponential time.
const MAX_VISITS: usize = 1 << 18;

/// How deep anonymous structs may nest.
const MAX_DEPTH: usize = 32;

/// A field of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the beginning of the outermost struct.
    pub offset: u32,
    /// Its type.
    pub of: TypeId,
}

/// What a type is, once typedefs and qualifiers are taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape<'a> {
    /// `void`.
    Void,
    /// An integer, character or boolean.
    Int {
        /// Bytes.
        size: u32,
        /// Bits it uses; less than all in the old encoding of bit-fields.
        bits: u32,
    },
    /// An enum.
    Enum {
        /// Bytes.
        size: u32,
    },
    /// A pointer to this type.
    Pointer(TypeId),
    /// An array.
    Array {
        /// Type of one element.
        element: TypeId,
        /// Number of elements; 0 for a flexible array.
        length: u32,
    },
    /// A struct.
    Struct {
        /// Its name, empty for an anonymous one.
        name: &'a str,
        /// Bytes.
        size: u32,
    },
    /// A union.
    Union {
        /// Its name, empty for an anonymous one.
        name: &'a str,
        /// Bytes.
        size: u32,
    },
    /// A function's type.
    Function,
    /// Anything that no field or parameter of interest can be: floats, declarations.
    Other,
}

impl Btf {
    /// Takes typedefs, `const`, `volatile`, `restrict` and type tags off a type.
    ///
    /// # Errors
    /// On references that lead nowhere or in a circle.
    pub fn strip(&self, id: TypeId) -> Result<TypeId, BtfError> {
        let mut at = id;
        for _ in 0..MAX_CHAIN {
            if at.0 == 0 {
                return Ok(at);
            }
            let record = self.record(at)?;
            match record.kind {
                raw::TYPEDEF | raw::VOLATILE | raw::CONST | raw::RESTRICT | raw::TYPE_TAG => {
                    at = TypeId(record.size_or_type);
                }
                _ => return Ok(at),
            }
        }
        Err(BtfError::Endless { id: id.0 })
    }

    /// What a type is, behind typedefs and qualifiers.
    ///
    /// # Errors
    /// On references that lead nowhere or in a circle, and on names that are not UTF-8.
    pub fn shape(&self, id: TypeId) -> Result<Shape<'_>, BtfError> {
        let id = self.strip(id)?;
        if id.0 == 0 {
            return Ok(Shape::Void);
        }
        let record = self.record(id)?;
        let cut = || BtfError::Truncated { id: id.0 };
        let size = record.size_or_type;
        Ok(match record.kind {
            raw::INT => Shape::Int {
                size,
                bits: word(record.tail, 0).ok_or_else(cut)? & 0xff,
            },
            raw::ENUM | raw::ENUM64 => Shape::Enum { size },
            raw::PTR => Shape::Pointer(TypeId(size)),
            raw::ARRAY => Shape::Array {
                element: TypeId(word(record.tail, 0).ok_or_else(cut)?),
                length: word(record.tail, 8).ok_or_else(cut)?,
            },
            raw::STRUCT => Shape::Struct {
                name: self.string(record.name)?,
                size,
            },
            raw::UNION => Shape::Union {
                name: self.string(record.name)?,
                size,
            },
            raw::FUNC_PROTO => Shape::Function,
            _ => Shape::Other,
        })
    }

    /// Size of a type in bytes. Pointers have 8: memtrace needs a 64-bit kernel.
    ///
    /// # Errors
    /// On types without a size (functions, declarations), on damaged references and on overflow.
    pub fn size_of(&self, id: TypeId) -> Result<u32, BtfError> {
        let mut at = id;
        let mut count = 1_u32;
        let overflow = || BtfError::Overflow {
            of: format!("type {}", id.0),
        };
        for _ in 0..MAX_CHAIN {
            let size = match self.shape(at)? {
                Shape::Int { size, .. }
                | Shape::Enum { size }
                | Shape::Struct { size, .. }
                | Shape::Union { size, .. } => size,
                Shape::Pointer(_) => 8,
                Shape::Array { element, length } => {
                    count = count.checked_mul(length).ok_or_else(overflow)?;
                    at = element;
                    continue;
                }
                Shape::Void | Shape::Function | Shape::Other => {
                    return Err(BtfError::Unexpected {
                        name: format!("type {}", at.0),
                        expected: "a type with a size",
                    });
                }
            };
            return size.checked_mul(count).ok_or_else(overflow);
        }
        Err(BtfError::Endless { id: id.0 })
    }

    /// Name of the struct or union that a type is, or is an array of; `None` if it is
    /// neither. Anonymous ones have an empty name.
    ///
    /// # Errors
    /// On damaged references.
    pub fn struct_name(&self, id: TypeId) -> Result<Option<&str>, BtfError> {
        let mut at = id;
        for _ in 0..MAX_CHAIN {
            match self.shape(at)? {
                Shape::Struct { name, .. } | Shape::Union { name, .. } => return Ok(Some(name)),
                Shape::Array { element, .. } => at = element,
                _ => return Ok(None),
            }
        }
        Err(BtfError::Endless { id: id.0 })
    }

    /// Name of the struct that a type points to; `None` if it is not such a pointer.
    ///
    /// # Errors
    /// On damaged references.
    pub fn pointee(&self, id: TypeId) -> Result<Option<&str>, BtfError> {
        let Shape::Pointer(to) = self.shape(id)? else {
            return Ok(None);
        };
        let to = self.strip(to)?;
        if to.0 == 0 {
            return Ok(None);
        }
        let record = self.record(to)?;
        Ok(match record.kind {
            // A struct that is only declared here still is what the pointer points to.
            raw::STRUCT | raw::FWD => Some(self.string(record.name)?),
            _ => None,
        })
    }

    /// Finds `struct.field.field`, also where anonymous structs and unions lie between.
    /// Every part but the last must itself be a struct or union, not a pointer to one.
    /// `None` if the struct or one of the fields does not exist.
    ///
    /// # Errors
    /// [`BtfError::BitField`], [`BtfError::NoFields`], or damage.
    pub fn field(&self, path: &str) -> Result<Option<Field>, BtfError> {
        let Some((root, rest)) = path.split_once('.') else {
            return Err(BtfError::NoFields {
                path: path.to_owned(),
            });
        };
        let Some(id) = self
            .find(Kind::Struct, root)
            .or_else(|| self.find(Kind::Union, root))
        else {
            return Ok(None);
        };
        self.field_of(id, rest)
    }

    /// The same as [`Btf::field`] within a type that is known already.
    ///
    /// # Errors
    /// As [`Btf::field`].
    pub fn field_of(&self, id: TypeId, path: &str) -> Result<Option<Field>, BtfError> {
        let mut field = Field { offset: 0, of: id };
        for name in path.split('.') {
            let record = self.aggregate(field.of, path)?;
            let mut visits = 0;
            let Some(found) = self.member(record, name, &mut visits, 0)? else {
                return Ok(None);
            };
            let offset = field.offset.checked_add(found.offset);
            field = Field {
                offset: offset.ok_or_else(|| BtfError::Overflow {
                    of: path.to_owned(),
                })?,
                ..found
            };
        }
        Ok(Some(field))
    }

    /// The record behind a type that must be a struct or union.
    fn aggregate(&self, id: TypeId, path: &str) -> Result<Record<'_>, BtfError> {
        let id = self.strip(id)?;
        if id.0 != 0 {
            let record = self.record(id)?;
            if matches!(record.kind, raw::STRUCT | raw::UNION) {
                return Ok(record);
            }
        }
        Err(BtfError::NoFields {
            path: path.to_owned(),
        })
    }

    /// Finds a member by name, in depth first order through anonymous members.
    fn member(
        &self,
        of: Record<'_>,
        name: &str,
        visits: &mut usize,
        depth: usize,
    ) -> Result<Option<Field>, BtfError> {
        for member in of.members() {
            *visits += 1;
            if *visits > MAX_VISITS || depth > MAX_DEPTH {
                return Err(BtfError::Endless { id: member.of });
            }
            let here = Field {
                offset: member.bits / 8,
                of: TypeId(member.of),
            };
            if member.name != 0 {
                if self.is_named(member.name, name) {
                    return if self.is_bit_field(member)? {
                        Err(BtfError::BitField {
                            field: name.to_owned(),
                        })
                    } else {
                        Ok(Some(here))
                    };
                }
                continue;
            }
            // Unnamed members that are no structs are padding of bit-fields.
            let Ok(inner) = self.aggregate(here.of, name) else {
                continue;
            };
            if let Some(found) = self.member(inner, name, visits, depth + 1)? {
                let offset = here.offset.checked_add(found.offset);
                let offset = offset.ok_or_else(|| BtfError::Overflow {
                    of: name.to_owned(),
                })?;
                return Ok(Some(Field { offset, ..found }));
            }
        }
        Ok(None)
    }

    /// Whether a member does not begin or end on a byte.
    fn is_bit_field(&self, member: raw::Member) -> Result<bool, BtfError> {
        if member.width != 0 || !member.bits.is_multiple_of(8) {
            return Ok(true);
        }
        // The encoding before the flag: an integer type with fewer bits than its bytes have.
        // Booleans are described with all eight.
        Ok(match self.shape(TypeId(member.of))? {
            Shape::Int { size, bits } => u64::from(bits) < u64::from(size) * 8,
            _ => false,
        })
    }

    /// Types of the parameters of a tracepoint's programs, in order, without the leading
    /// `void *`: those of `typedef void (*btf_trace_EVENT)(void *, ...)`, which the
    /// kernel defines for every tracepoint (`include/trace/bpf_probe.h`). `None` if there
    /// is no such tracepoint.
    ///
    /// # Errors
    /// If the typedef is not of that form, or on damage.
    pub fn tracepoint(&self, event: &str) -> Result<Option<Vec<TypeId>>, BtfError> {
        let name = format!("btf_trace_{event}");
        let Some(id) = self.find(Kind::Typedef, &name) else {
            return Ok(None);
        };
        let unexpected = |name| BtfError::Unexpected {
            name,
            expected: "the type of a tracepoint's function",
        };
        let Shape::Pointer(to) = self.shape(id)? else {
            return Err(unexpected(name));
        };
        let to = self.strip(to)?;
        if to.0 == 0 {
            return Err(unexpected(name));
        }
        let record = self.record(to)?;
        if record.kind != raw::FUNC_PROTO {
            return Err(unexpected(name));
        }
        let mut parameters: Vec<_> = record
            .tail
            .chunks_exact(8)
            .filter_map(|bytes| word(bytes, 4))
            .map(TypeId)
            .collect();
        let is_context = match parameters.first() {
            Some(first) => matches!(self.shape(*first)?, Shape::Pointer(TypeId(0))),
            None => false,
        };
        if !is_context {
            return Err(unexpected(name));
        }
        parameters.remove(0);
        Ok(Some(parameters))
    }

    /// The value of an enumerator, in whichever enum it is; they share one name space in C.
    /// Unsigned values beyond `i64` wrap.
    ///
    /// # Errors
    /// On damage.
    pub fn enumerator(&self, name: &str) -> Result<Option<i64>, BtfError> {
        for &id in &self.enums {
            let record = self.record(TypeId(id))?;
            let value = if record.kind == raw::ENUM {
                record
                    .tail
                    .chunks_exact(8)
                    .find(|bytes| self.is_enumerator(bytes, name))
                    .and_then(|bytes| {
                        let value = word(bytes, 4)?;
                        // The flag says that the values are signed.
                        Some(if record.flag {
                            i64::from(value as i32)
                        } else {
                            i64::from(value)
                        })
                    })
            } else {
                record
                    .tail
                    .chunks_exact(12)
                    .find(|bytes| self.is_enumerator(bytes, name))
                    .and_then(|bytes| {
                        let (low, high) = (word(bytes, 4)?, word(bytes, 8)?);
                        Some((u64::from(high) << 32 | u64::from(low)) as i64)
                    })
            };
            if value.is_some() {
                return Ok(value);
            }
        }
        Ok(None)
    }

    fn is_enumerator(&self, bytes: &[u8], name: &str) -> bool {
        word(bytes, 0).is_some_and(|offset| self.is_named(offset, name))
    }
}
