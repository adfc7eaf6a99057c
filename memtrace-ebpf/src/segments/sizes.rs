//! Address space by segment: all mappings are looked at, when there are others than before.
//!
//! Heap and stack have fields of their own, and text stays, so that only what `mmap` and its like change is
//! looked at anew: with the first change of a counter after it, if that is a peak, else not more often
//! than each millisecond. Where the kernel keeps mappings in another tree (before 6.1), only heap and
//! stack are known.

use memtrace_ebpf::{ABSENT, SEGMENTS, Segment, SegmentsRecord};

use super::{find, index, kind};
use crate::{
    kernel::{Address, Struct as _, config, offset},
    words,
};

/// Mappings and holes that are looked at; with more it is not known.
const STEPS: u32 = 512;

/// How often to look where there is no peak, nanoseconds.
const PAUSE: u64 = 1_000_000;

/// Looks at the sizes of the image of `mm`, if there is any need.
///
/// # Safety
///
/// `segments` must point at a map value.
#[inline(always)]
pub(super) unsafe fn look(mm: u64, segments: *mut SegmentsRecord, peak: bool, at: u64) {
    let fields = Address::new(mm);
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let shift = config!(page_shift);
        let total: u64 = fields.load(offset!(mm_total_vm));
        let stack: u64 = fields.load(offset!(mm_stack_vm));
        let start: u64 = fields.load(offset!(mm_start_brk));
        let end: u64 = fields.load(offset!(mm_brk));
        let heap = if start != 0 && end > start {
            (end - start + (1 << shift) - 1) >> shift
        } else {
            0
        };
        // Other mappings of the same size are other ones.
        let others = total.wrapping_sub(heap).wrapping_sub(stack)
            ^ fields.load::<u64>(offset!(mm_data_vm)).rotate_left(20)
            ^ fields.load::<u64>(offset!(mm_exec_vm)).rotate_left(40)
            ^ u64::from(fields.load::<u32>(offset!(mm_map_count))).rotate_left(50);
        let due = peak || at > (*segments).looked_at + PAUSE;
        if others != (*segments).looked_for && due && offset!(mm_mt_root) != ABSENT {
            (*segments).looked_for = others;
            (*segments).looked_at = at;
            let known = add_up(mm, segments);
            // Once there were too many, peaks are not known.
            if (*segments).mapped_known != 2 {
                (*segments).mapped_known = known;
            }
        }
        set(segments, Segment::Heap, heap);
        set(segments, Segment::Stack, stack);
        if peak {
            let to = &raw mut (*segments).mapped_at_peak;
            words::copy(to, &raw const (*segments).mapped);
        }
    }
}

/// # Safety
///
/// `segments` must point at a map value.
#[inline(always)]
unsafe fn set(segments: *mut SegmentsRecord, segment: Segment, pages: u64) {
    // SAFETY: the caller vouches for the pointer; the index is below the length.
    unsafe {
        let place = segment as usize;
        *(&raw mut (*segments).mapped).cast::<u64>().add(place) = pages;
        let peak = (&raw mut (*segments).peak_mapped).cast::<u64>().add(place);
        if pages > *peak {
            *peak = pages;
        }
    }
}

/// Adds up all mappings: 1, or 2 if there are too many.
///
/// # Safety
///
/// `segments` must point at a map value.
#[inline(always)]
unsafe fn add_up(mm: u64, segments: *mut SegmentsRecord) -> u64 {
    // SAFETY: the caller vouches for the pointer; indices are masked.
    unsafe {
        let shift = config!(page_shift);
        let mapped = (&raw mut (*segments).mapped).cast::<u64>();
        words::clear(&raw mut (*segments).mapped);
        let mut address = 0;
        let mut known = 2;
        for _ in 0..STEPS {
            let vma = find::walk(mm, address);
            if vma == 0 {
                known = 1;
                break;
            }
            if vma & 1 != 0 {
                address = vma.wrapping_add(1);
                continue;
            }
            let fields = Address::new(vma);
            let start: u64 = fields.load(offset!(vma_start));
            let end: u64 = fields.load(offset!(vma_end));
            if end <= address {
                // Of a mapping that is just going.
                break;
            }
            let segment = kind::segment_of(vma, start) as u32;
            *mapped.add(index(segment)) += (end - start) >> shift;
            address = end;
        }
        for segment in 0..SEGMENTS {
            let peak = (&raw mut (*segments).peak_mapped)
                .cast::<u64>()
                .add(segment);
            let pages = *mapped.add(segment);
            if pages > *peak {
                *peak = pages;
            }
        }
        known
    }
}
