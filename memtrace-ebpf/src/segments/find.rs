//! Finding the mapping at an address, as `mtree_load()` does (`lib/maple_tree.c`, since 6.1).
//!
//! A node's address carries its type in bits 3 to 6. Pivots are the last address of each slot;
//! one that is 0, but for the first, ends them. Nodes are freed after an RCU grace period, and a tracing
//! program is within one.

use memtrace_ebpf::Segment;

use super::kind;
use crate::kernel::{Address, Struct as _, config, offset};

/// `maple_leaf_64`, `maple_range_64` and `maple_arange_64` of `enum maple_type`.
const LEAF: u64 = 1;
const ARANGE: u64 = 3;

/// Levels of a tree: of nodes with ten or more slots, five hold 65,530 mappings (`vm.max_map_count`).
const LEVELS: u32 = 8;

/// Mappings that one range may span.
const MAPPINGS: u32 = 8;

/// Slots that are looked through in one node: the pivots of `maple_range_64`.
const PIVOTS: u64 = 15;

/// The segment at `address` of `mm`.
#[inline(always)]
pub(super) fn segment_at(mm: u64, address: u64) -> u64 {
    let vma = walk(mm, address);
    if is_hole(vma) {
        Segment::Unknown as u64
    } else {
        kind::segment_of(vma, address)
    }
}

/// The segment of all of a range, [`Segment::Unknown`] if there are several.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segment_of_range(mm: u64, address: u64, len: u64) -> u64 {
    let page = (1_u64 << config!(page_shift)) - 1;
    let end = address.wrapping_add(len).wrapping_add(page) & !page;
    let mut at = address;
    let mut found = Segment::Unknown as u64;
    for _ in 0..MAPPINGS {
        if at >= end {
            return found;
        }
        let mut vma = walk(mm, at);
        if vma & 1 != 0 {
            at = vma.wrapping_add(1);
            if at >= end {
                return found;
            }
            vma = walk(mm, at);
        }
        if is_hole(vma) {
            break;
        }
        let segment = kind::segment_of(vma, at);
        if found != Segment::Unknown as u64 && found != segment {
            break;
        }
        found = segment;
        at = Address::new(vma).load(offset!(vma_end));
    }
    if at >= end {
        found
    } else {
        Segment::Unknown as u64
    }
}

/// Whether [`walk`] found no mapping.
#[inline(always)]
const fn is_hole(vma: u64) -> bool {
    vma == 0 || vma & 1 != 0
}

/// The mapping at `address`; else the last address of the hole there, which is odd, or 0 if no mapping
/// follows or that is not known.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn walk(mm: u64, address: u64) -> u64 {
    let mut node = Address::new(mm).follow(offset!(mm_mt_root)).address();
    // xa_is_node(): only the root is marked as one.
    if node & 3 != 2 {
        return 0;
    }
    for _ in 0..LEVELS {
        // The least address of a node; what is below is none.
        if node <= 4096 {
            return 0;
        }
        let next = descend(node, address);
        if kind_of(node) <= LEAF {
            return next;
        }
        node = next;
    }
    0
}

#[inline(always)]
const fn kind_of(node: u64) -> u64 {
    node >> 3 & 15
}

/// What a node has for `address`; a hole in a leaf as [`walk`] gives it.
#[inline(always)]
fn descend(node: u64, address: u64) -> u64 {
    let slot = slot(node, address);
    let (pivots, slots) = layout(node);
    let start = Address::new(node & !0xff);
    let entry = start.follow(slots.wrapping_add(8 * slot as u32)).address();
    if entry == 0 && slot < PIVOTS {
        let last: u64 = start.load(pivots.wrapping_add(8 * slot as u32));
        // Behind the last mapping the hole has no end.
        return if last == u64::MAX { 0 } else { last };
    }
    entry
}

/// Where a node has its pivots and slots.
#[inline(always)]
fn layout(node: u64) -> (u32, u32) {
    if kind_of(node) == ARANGE {
        (offset!(arange_pivots), offset!(arange_slots))
    } else {
        (offset!(range_pivots), offset!(range_slots))
    }
}

/// The slot of a node that `address` lies in. A function of its own for the verifier, which need not
/// know which of them it is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn slot(node: u64, address: u64) -> u64 {
    let (pivots, slots) = layout(node);
    let count = u64::from(slots.wrapping_sub(pivots) / 8);
    let start = Address::new(node & !0xff);
    for index in 0..PIVOTS {
        if index >= count {
            return count;
        }
        let pivot: u64 = start.load(pivots.wrapping_add(8 * index as u32));
        if address <= pivot || pivot == 0 && index > 0 {
            return index;
        }
    }
    PIVOTS
}
