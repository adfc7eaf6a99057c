//! The type ids that `tp_btf` and `fexit` programs attach to.
//!
//! aya looks a tracepoint's typedef up in a parsed copy of the kernel's BTF, and
//! parsing all 5 MB of it takes about 30 ms. Only the ids matter, so it is given a
//! table that has the typedefs at their places and nothing of interest elsewhere.

use crate::kernel::{
    Btf,
    btf::{Kind, TypeId},
};

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: u32 = 24;
/// `BTF_KIND_FWD`: a forward declaration, the shortest type there is.
const FORWARD: u32 = 7 << 24;
/// `BTF_KIND_TYPEDEF`.
const TYPEDEF: u32 = 8 << 24;
/// `BTF_KIND_FUNC`.
const FUNCTION: u32 = 12 << 24;

/// A BTF blob in which `btf_trace_NAME`, for each of `hooks`, has the id that it has
/// in `btf`. A hook that the kernel does not have is left out.
pub(super) fn table(btf: &Btf, hooks: &[&str]) -> Vec<u8> {
    let found = hooks.iter().filter_map(|hook| {
        let name = format!("btf_trace_{hook}");
        btf.find(Kind::Typedef, &name).map(|TypeId(id)| (id, name))
    });
    blob(found.collect(), TYPEDEF)
}

/// A BTF blob in which a function has this id.
pub(super) fn function(TypeId(id): TypeId, name: &str) -> Vec<u8> {
    blob(vec![(id, name.to_owned())], FUNCTION)
}

/// A BTF blob with types of one kind at their places.
fn blob(mut found: Vec<(u32, String)>, kind: u32) -> Vec<u8> {
    found.sort();
    found.dedup();

    let mut types: Vec<u8> = Vec::new();
    let mut strings: Vec<u8> = vec![0];
    let mut push = |name: usize, info: u32| {
        // name_off, info, and size or type: types refer to nothing here (void).
        let name = u32::try_from(name).unwrap_or(0);
        for word in [name, info, 0] {
            types.extend_from_slice(&word.to_ne_bytes());
        }
    };
    let mut next = 1;
    for (id, name) in found {
        while next < id {
            push(0, FORWARD);
            next += 1;
        }
        push(strings.len(), kind);
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
        next += 1;
    }
    assemble(&types, &strings)
}

/// `struct btf_header`, then types, then strings (Documentation/bpf/btf.rst).
fn assemble(types: &[u8], strings: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut blob = Vec::with_capacity(types.len() + strings.len() + 24);
    blob.extend_from_slice(&MAGIC.to_ne_bytes());
    blob.extend_from_slice(&[1, 0]); // version, flags
    for word in [HEADER_LEN, 0, length(types), length(types), length(strings)] {
        blob.extend_from_slice(&word.to_ne_bytes());
    }
    blob.extend_from_slice(types);
    blob.extend_from_slice(strings);
    blob
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use aya::Endianness;

    use super::{function, table};
    use crate::kernel::{Btf, btf::Kind};

    /// Read back by our own reader and by aya, the ids are the kernel's.
    #[test]
    fn hooks_have_the_ids_that_the_kernel_gives_them() {
        let Ok(kernel) = Btf::from_sys_fs() else {
            assert!(
                std::env::var_os("MEMTRACE_REQUIRE_ALL").is_none(),
                "this kernel has no BTF"
            );
            eprintln!("skipped: this kernel has no BTF");
            return;
        };
        let hooks = [
            "rss_stat",
            "sched_process_exec",
            "task_rename",
            "no_such_hook",
        ];
        let blob = table(&kernel, &hooks);
        let own = Btf::parse(&blob).unwrap();
        for hook in hooks {
            let name = format!("btf_trace_{hook}");
            assert_eq!(
                own.find(Kind::Typedef, &name),
                kernel.find(Kind::Typedef, &name),
                "{name}"
            );
        }
        assert!(own.find(Kind::Typedef, "btf_trace_rss_stat").is_some());
        // A function at its place, and aya can read that.
        let name = "handle_mm_fault";
        let found = kernel.function(name).unwrap();
        let blob = function(found, name);
        assert_eq!(Btf::parse(&blob).unwrap().len(), found.0 as usize);
        aya::Btf::parse(&blob, Endianness::default()).unwrap();
        aya::Btf::parse(&blob, Endianness::default()).unwrap();
    }
}
