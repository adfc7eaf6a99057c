//! The number of one function. Functions are half of all types, and only fexit programs
//! need one of them, on few kernels; so [`Btf`](super::Btf) leaves them out of its index.

use std::{fs, path::Path};

use super::{
    BtfError, MAX_SIZE, TypeId, VMLINUX, names,
    raw::{self, Header, Layouts, Record},
};

/// The number of a function of the running kernel; `None` if BTF does not have it.
///
/// # Errors
/// As [`Btf::from_sys_fs`](super::Btf::from_sys_fs).
pub fn function(name: &str) -> Result<Option<TypeId>, BtfError> {
    let path = Path::new(VMLINUX);
    let data = fs::read(path).map_err(|source| BtfError::Read {
        path: path.to_owned(),
        source,
    })?;
    find(&data, name)
}

fn find(data: &[u8], name: &str) -> Result<Option<TypeId>, BtfError> {
    if data.len() as u64 > MAX_SIZE {
        return Err(BtfError::TooLarge {
            size: data.len() as u64,
            limit: MAX_SIZE,
        });
    }
    let head = data.get(..data.len().min(Header::MAX)).unwrap_or_default();
    let header = Header::parse(head, data.len())?;
    let layouts = Layouts::parse(data.get(header.layouts).unwrap_or_default());
    let types = data.get(header.types).unwrap_or_default();
    let strings = data.get(header.strings).unwrap_or_default();
    let (mut id, mut position) = (1, 0);
    while position < types.len() {
        let (record, next) = Record::at(types, position, &layouts, id)?;
        if record.kind == raw::FUNC && names::is(strings, record.name, name.as_bytes()) {
            return Ok(Some(TypeId(id)));
        }
        id += 1;
        position = next;
    }
    Ok(None)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{find, function};

    #[test]
    fn a_function_of_this_kernel_is_found() {
        let Ok(found) = function("handle_mm_fault") else {
            assert!(
                std::env::var_os("MEMTRACE_REQUIRE_ALL").is_none(),
                "this kernel has no BTF"
            );
            eprintln!("skipped: this kernel has no BTF");
            return;
        };
        assert!(found.is_some());
        assert_eq!(function("no_such_function").unwrap(), None);
    }

    #[test]
    fn bytes_that_are_no_btf_are_an_error() {
        assert!(find(b"", "f").is_err());
        assert!(find(&[0xff; 64], "f").is_err());
    }
}
