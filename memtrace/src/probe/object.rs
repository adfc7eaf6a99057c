//! The BPF object that this build carries.

/// The compiled BPF programs, as committed, or freshly built where the variable
/// `MEMTRACE_BPF_OBJECT` named another file at build time.
pub(super) const OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MEMTRACE_BPF_OBJECT_PATH"));
