//! What needs an atomic operation that returns something.
//!
//! The kernel has those since 5.12. Before, updating a hash map with `BPF_NOEXIST` is one:
//! of two programs that insert the same key, one fails. Slower, so only the object for
//! those kernels (feature `plain`) does it.

#[cfg(not(feature = "plain"))]
pub(crate) use fetching::{give, next, take};
#[cfg(feature = "plain")]
pub(crate) use plain::{give, next, take};

#[cfg(not(feature = "plain"))]
mod fetching {
    use memtrace_ebpf::Tree;

    use crate::atomic;

    /// Takes the tree's lock; false if someone has it.
    ///
    /// # Safety
    ///
    /// `tree` must point at a map value.
    #[inline(always)]
    pub(crate) unsafe fn take(tree: *mut Tree) -> bool {
        // SAFETY: the caller vouches for the pointer.
        unsafe { atomic::replace(&raw mut (*tree).lock, 0, 1) }
    }

    /// Gives the lock back if `held` is 1, does nothing if it is 0.
    ///
    /// # Safety
    ///
    /// As for [`take`].
    #[inline(always)]
    pub(crate) unsafe fn give(tree: *mut Tree, held: u64) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { atomic::add(&raw mut (*tree).lock, held.wrapping_neg()) };
    }

    /// Counts the word at `at` up by one; no two calls return the same.
    ///
    /// # Safety
    ///
    /// `at` must point into a map value, 8-byte aligned. Not under a tree's lock.
    #[inline(always)]
    pub(crate) unsafe fn next(at: *mut u64) -> u64 {
        // SAFETY: the caller vouches for the pointer.
        unsafe { atomic::fetch_add(at, 1) + 1 }
    }
}

#[cfg(feature = "plain")]
mod plain {
    use aya_ebpf::{btf_maps::HashMap, macros::btf_map};
    use memtrace_ebpf::{MAX_TREES, Stat, Tree};

    use crate::state;

    /// Holds a tree's index while its lock is taken.
    #[btf_map]
    static LOCKS: HashMap<u32, u32, { MAX_TREES as usize }> = HashMap::new();

    const BPF_NOEXIST: u64 = 1;

    /// As in `fetching`; the word tells userspace.
    #[inline(always)]
    pub(crate) unsafe fn take(tree: *mut Tree) -> bool {
        // SAFETY: the caller vouches for the pointer.
        unsafe {
            let taken = LOCKS.insert((*tree).index as u32, 1, BPF_NOEXIST).is_ok();
            if taken {
                core::ptr::write_volatile(&raw mut (*tree).lock, 1);
            }
            taken
        }
    }

    /// As in `fetching`.
    #[inline(always)]
    pub(crate) unsafe fn give(tree: *mut Tree, held: u64) {
        if held == 0 {
            return;
        }
        // SAFETY: the caller vouches for the pointer.
        let index = unsafe {
            core::ptr::write_volatile(&raw mut (*tree).lock, 0);
            (*tree).index as u32
        };
        if LOCKS.remove(index).is_err() {
            state::count(Stat::MapBusy);
        }
    }

    /// As in `fetching`; the numbers are common to all trees, and the first one's lock serves them.
    #[inline(always)]
    pub(crate) unsafe fn next(at: *mut u64) -> u64 {
        let Some(tree) = state::tree(0) else {
            return 0;
        };
        let held = state::lock(tree);
        // SAFETY: the caller vouches for the pointer.
        let number = unsafe {
            let number = core::ptr::read_volatile(at) + 1;
            core::ptr::write_volatile(at, number);
            number
        };
        state::unlock(tree, held);
        number
    }
}
