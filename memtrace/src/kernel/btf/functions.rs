//! The numbers of the few functions that are ever asked for.
//!
//! Functions are half of all types and have half of all names, so [`Btf`](super::Btf) keeps
//! neither: these are found while the data is read. Their names are searched in the strings
//! first, so that functions are told by a number and not by comparing names.

use memchr::memmem;

use super::TypeId;

/// The functions that can be asked for.
pub(super) const NAMES: [&str; 9] = [
    "__zap_vma_range",
    "bpf_iter_task",
    "bpf_preempt_disable",
    "bpf_preempt_enable",
    "bpf_rdonly_cast",
    "copy_page_range",
    "handle_mm_fault",
    "try_to_unmap_one",
    "unmap_page_range",
];

/// At so many places a name is looked for. In the BTF of a kernel every string is there once; what
/// repeats them must not take more time for it.
const PLACES: usize = 4;

/// The numbers of [`NAMES`], of those that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Functions([Option<TypeId>; NAMES.len()]);

impl Functions {
    /// Finds them among `(type, offset of its name)` pairs of functions, the first of each name.
    pub(super) fn new(functions: &[(u32, u32)], strings: &[u8]) -> Self {
        Self(NAMES.map(|name| {
            let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
            memmem::find_iter(strings, &wanted)
                .take(PLACES)
                .find_map(|at| {
                    let place = at as u32 + 1;
                    let (id, _) = functions.iter().find(|(_, name)| *name == place)?;
                    Some(TypeId(*id))
                })
        }))
    }

    /// The number of one of [`NAMES`].
    pub(super) fn get(&self, name: &str) -> Option<TypeId> {
        let index = NAMES.iter().position(|one| *one == name)?;
        self.0.get(index).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::Functions;
    use crate::kernel::{Btf, BtfError, btf::TypeId};

    #[test]
    fn functions_are_told_from_what_is_only_named_alike() {
        let strings = b"\0xbpf_rdonly_cast\0bpf_rdonly_cast\0bpf_rdonly_casts\0handle_mm_fault\0";
        let functions = [(3, 1), (5, 18), (7, 34), (9, 99), (u32::MAX, u32::MAX)];
        let found = Functions::new(&functions, strings);
        assert_eq!(found.get("bpf_rdonly_cast"), Some(TypeId(5)));
        // A name without a function of it.
        assert_eq!(found.get("handle_mm_fault"), None);
        assert_eq!(found.get("bpf_preempt_enable"), None);
        assert_eq!(found.get("other"), None);
    }

    #[test]
    fn functions_of_this_kernel_are_found() {
        let btf = match Btf::from_sys_fs() {
            Ok(btf) => btf,
            Err(BtfError::Read { .. }) => {
                assert!(
                    std::env::var_os("MEMTRACE_REQUIRE_ALL").is_none(),
                    "this kernel has no BTF"
                );
                eprintln!("skipped: this kernel has no BTF");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        assert!(btf.function("handle_mm_fault").is_some());
        assert_eq!(btf.function("no_such_function"), None);
    }
}
