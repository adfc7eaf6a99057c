//! Which lock orders the changes of a tree's numbers.

use memtrace_ebpf::CounterLayout;

use super::{Handler, Options};
use crate::kernel::Features;

/// What orders the changes of a tree's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeLock {
    /// `bpf_spin_lock()`, held for arithmetic only; nobody gives up waiting for it. What concerns several
    /// images takes the other one too.
    Spin,
    /// A word in the tree, which is held for a whole update, and which a program gives up waiting for after
    /// some tens of milliseconds.
    Word,
}

impl TreeLock {
    /// What to try first. Changes that threads hold back (up to 6.1) are read by helpers, which cannot be
    /// called under a spin lock, and the classic tracepoint's programs may not have one.
    pub(super) fn wanted(features: &Features, options: &Options) -> Self {
        let quick = matches!(options.handler, Handler::Optimised | Handler::Fenced);
        let per_cpu = features.layout == CounterLayout::PerCpu && options.classic_size.is_none();
        if quick && per_cpu {
            Self::Spin
        } else {
            Self::Word
        }
    }

    /// See [`Config`](memtrace_ebpf::Config)`::spin_lock`.
    pub(super) fn config(self) -> u32 {
        u32::from(self == Self::Spin)
    }
}

/// The type by whose name the kernel knows that a map's value has a lock.
const TYPE: &[u8] = b"\0bpf_spin_lock\0";
/// Of the same length, and of no meaning to it.
const OTHER: &[u8] = b"\0bpf_word_lock\0";

/// Where the lock is not used, its map is one like others: the kernel could refuse the map alone.
pub(super) fn bind(object: &mut [u8], lock: TreeLock) {
    if lock == TreeLock::Spin {
        return;
    }
    for start in places(object) {
        if let Some(place) = object.get_mut(start..start + OTHER.len()) {
            place.copy_from_slice(OTHER);
        }
    }
}

/// Where the type's name is.
fn places(object: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(object, TYPE).collect()
}

#[cfg(test)]
mod tests {
    use super::{TreeLock, bind, places};
    use crate::probe::object::{OBJECT, PLAIN_OBJECT};

    #[test]
    fn the_type_is_known_by_its_name() {
        assert!(!places(OBJECT).is_empty());
        assert!(places(PLAIN_OBJECT).is_empty());
        let mut object = OBJECT.to_vec();
        bind(&mut object, TreeLock::Spin);
        assert_eq!(object, OBJECT);
        bind(&mut object, TreeLock::Word);
        assert!(places(&object).is_empty());
        let changed = object.iter().zip(OBJECT).filter(|(a, b)| a != b).count();
        // "spin" and "word" have one letter in the same place.
        assert_eq!(changed, 4 * places(OBJECT).len());
    }
}
