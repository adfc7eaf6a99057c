//! Whether maps allocate their entries one by one or all at once.
//!
//! aya 0.14 takes a map's flags from the object, so a stand-in for them is replaced there before
//! it is loaded.

use memtrace_ebpf::ALLOCATION;

/// `BPF_F_NO_PREALLOC` (include/uapi/linux/bpf.h).
const NO_PREALLOC: u32 = 1;

/// The stand-in as the object's BTF has it: the length of an array.
const STAND_IN: [u8; 4] = (ALLOCATION as u32).to_le_bytes();

/// Entries are allocated when they are made, if `on_demand`; elsewhere the maps take the memory
/// for as many as they can have.
pub(super) fn bind(object: &mut [u8], on_demand: bool) {
    let flags = if on_demand { NO_PREALLOC } else { 0 };
    // The types are aligned to their words.
    for place in object.chunks_exact_mut(STAND_IN.len()) {
        if place == STAND_IN {
            place.copy_from_slice(&flags.to_le_bytes());
        }
    }
}

/// How many stand-ins there are.
#[cfg(test)]
pub(super) fn places(object: &[u8]) -> usize {
    let words = object.chunks_exact(STAND_IN.len());
    words.filter(|place| **place == STAND_IN).count()
}

#[cfg(test)]
mod tests {
    use super::{STAND_IN, bind, places};

    #[test]
    fn the_stand_in_becomes_the_flag_and_nothing_else_changes() {
        let object = [[1, 2, 3, 4], STAND_IN, [0, 0, 0, 0x7d], STAND_IN].concat();
        assert_eq!(places(&object), 2);
        let mut on_demand = object.clone();
        bind(&mut on_demand, true);
        let flag = [1, 0, 0, 0];
        assert_eq!(
            on_demand,
            [[1, 2, 3, 4], flag, [0, 0, 0, 0x7d], flag].concat()
        );
        let mut at_once = object;
        bind(&mut at_once, false);
        let none = [0; 4];
        assert_eq!(
            at_once,
            [[1, 2, 3, 4], none, [0, 0, 0, 0x7d], none].concat()
        );
    }
}
