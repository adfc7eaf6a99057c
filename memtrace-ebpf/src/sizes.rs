//! Virtual sizes of an image, and its huge pages: what has no event of its own and is looked at with
//! others.

use memtrace_ebpf::{ABSENT, Image, Integral, Tree, VM_MEANS, VmMean};

use crate::{
    ends::event_reason::ENDED,
    envelope,
    kernel::{Address, Struct, config, key, offset},
    moment, state,
};

/// Completes the averages of virtual sizes of the image of `mm` up to `at`, and takes in what they are
/// now. Seldom enough for a function of its own, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sizes_change(mm: u64, at: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    let fields = Address::new(mm);
    // Read within it, though that takes a little longer: eight numbers are much for a stack.
    moment::begin(tree);
    // SAFETY: a map value.
    unsafe {
        integrate(image, at);
        let set = |size: VmMean, value: u64| set_size(image, size, value);
        set(VmMean::Size, fields.load(offset!(mm_total_vm)));
        set(VmMean::Data, fields.load(offset!(mm_data_vm)));
        set(VmMean::Stack, fields.load(offset!(mm_stack_vm)));
        set(VmMean::Exec, fields.load(offset!(mm_exec_vm)));
        set(VmMean::Heap, heap(fields));
        set(VmMean::PageTables, fields.load(offset!(mm_pgtables_bytes)));
        set(VmMean::Locked, fields.load(offset!(mm_locked_vm)));
        set(VmMean::Pinned, fields.load(offset!(mm_pinned_vm)));
        envelope::sizes_changed(image, tree, at);
    }
    moment::end(tree);
    0
}

/// [`sizes_change`] where only page tables have: a copied address space gets them one after the other, and each
/// of the other numbers is a call of the helper.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn page_tables_change(mm: u64, at: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    moment::begin(tree);
    // SAFETY: a map value.
    unsafe {
        integrate(image, at);
        let bytes = Address::new(mm).load(offset!(mm_pgtables_bytes));
        set_size(image, VmMean::PageTables, bytes);
        envelope::sizes_changed(image, tree, at);
    }
    moment::end(tree);
    0
}

/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
unsafe fn set_size(image: *mut Image, size: VmMean, value: u64) {
    let index = size as usize;
    // SAFETY: the caller vouches for the pointer; indices are below the lengths.
    unsafe {
        *(&raw mut (*image).vm_cur).cast::<u64>().add(index) = value;
        // The peak of the whole is the kernel's own.
        if index > 0 {
            let peak = (&raw mut (*image).vm_peak).cast::<u64>().add(index - 1);
            if value > *peak {
                *peak = value;
            }
        }
    }
}

/// Completes the averages of virtual sizes.
#[inline(always)]
pub(crate) unsafe fn integrate(image: *mut Image, at: u64) {
    // SAFETY: `image` is a map value, see `note_sizes`; indices are below the length.
    unsafe {
        let until = (*image).vm_integral_at;
        if at <= until {
            return;
        }
        (*image).vm_integral_at = at;
        for size in 0..VM_MEANS {
            let pages = *(&raw const (*image).vm_cur).cast::<u64>().add(size);
            (*(&raw mut (*image).vm_integral).cast::<Integral>().add(size))
                .add(pages as i64, at - until);
        }
    }
}

/// Raises the peaks of the image's virtual sizes.
///
/// The fields are read at every update: page-table, stack and data growth precede
/// the update of the fault that needed them. Sizes that grow and shrink without a
/// fault in between are seen only in `hiwater_vm`, which the kernel keeps exactly, and
/// at the ends of system calls where those are looked at (`programs::syscalls`).
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_sizes(image: *mut Image, mm: impl Struct, at: u64) {
    // SAFETY: `image` as the caller vouches.
    unsafe {
        raise_whole(image, whole(image, mm));
        note_others(image, mm, || key(image), at);
    }
}

/// The largest that the whole has been.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn whole(image: *mut Image, mm: impl Struct) -> u64 {
    let total: u64 = mm.load(offset!(mm_total_vm));
    let mut hiwater: u64 = mm.load(offset!(mm_hiwater_vm));
    // SAFETY: as the caller vouches.
    if config!(attached) != 0 && hiwater == unsafe { (*image).vm_before } {
        // From before.
        hiwater = 0;
    }
    if hiwater > total { hiwater } else { total }
}

/// Raises the peak of the whole. To be called in a moment, or under the tree's lock.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn raise_whole(image: *mut Image, whole: u64) {
    // SAFETY: as the caller vouches.
    unsafe {
        if whole > (*image).hiwater_vm {
            (*image).hiwater_vm = whole;
        }
    }
}

/// Takes in the others where they are not those that the image has, of the image of the address space that
/// `number` gives.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_others(
    image: *mut Image,
    mm: impl Struct,
    number: impl Fn() -> u64,
    at: u64,
) {
    if offset!(mm_hugetlb_usage) != ABSENT {
        let huge: i64 = mm.load(offset!(mm_hugetlb_usage));
        // SAFETY: as the caller vouches.
        if huge != unsafe { (*image).huge } {
            huge_changed(number(), huge);
        }
    }
    // What is as it was cannot exceed its peak.
    if others_differ(image, mm) != 0 {
        sizes_change(number(), at);
    } else if page_tables_differ(image, mm) != 0 {
        page_tables_change(number(), at);
    }
}

/// The image of `mm` has `huge` pages of hugetlbfs now. Seldom enough for a function of its own, see
/// `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn huge_changed(mm: u64, huge: i64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        moment::begin(tree);
        // It can have ended since it was looked at, and then has none.
        if (*image).end_reason & ENDED == 0 {
            set_huge(image, tree, huge);
            if huge > (*image).peak_huge {
                (*image).peak_huge = huge;
            }
            if (*tree).huge > (*tree).peak_huge {
                (*tree).peak_huge = (*tree).huge;
            }
        }
        moment::end(tree);
    }
    0
}

/// Changes what the image has of huge pages, and with it the sum. To be called in a moment.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn set_huge(image: *mut Image, tree: *mut Tree, huge: i64) {
    // SAFETY: as the caller vouches.
    unsafe {
        (*tree).huge += huge - (*image).huge;
        (*image).huge = huge;
    }
}

/// [`note_sizes`] of the image of `mm`, as a function of its own for the verifier, see
/// `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn note_sizes_of(mm: u64, at: u64) -> u64 {
    if let Some(image) = state::image(mm) {
        // SAFETY: a map value.
        unsafe { note_sizes(image, Address::new(mm), at) };
    }
    0
}

/// `brk - start_brk`.
#[inline(always)]
fn heap(mm: impl Struct) -> u64 {
    let (start, end): (u64, u64) = (mm.load(offset!(mm_start_brk)), mm.load(offset!(mm_brk)));
    if end > start && start != 0 {
        end - start
    } else {
        0
    }
}

/// Whether [`note_sizes`] would find a size that it has not seen. `image` must point at a map value.
#[inline(always)]
#[cfg(not(test))]
pub(crate) fn sizes_differ(image: *mut Image, mm: impl Struct) -> bool {
    others_differ(image, mm) | page_tables_differ(image, mm) != 0
}

/// What is known of a size.
#[inline(always)]
fn known(image: *mut Image, size: VmMean) -> u64 {
    // SAFETY: a map value, see the callers; the index is below the length.
    unsafe {
        *(&raw const (*image).vm_cur)
            .cast::<u64>()
            .add(size as usize)
    }
}

/// Other than 0 if page tables are larger or smaller than is known.
#[inline(always)]
fn page_tables_differ(image: *mut Image, mm: impl Struct) -> u64 {
    mm.load::<u64>(offset!(mm_pgtables_bytes)) ^ known(image, VmMean::PageTables)
}

/// The same for all others.
#[inline(always)]
fn others_differ(image: *mut Image, mm: impl Struct) -> u64 {
    // One by one, for there is little room on the stack.
    (mm.load::<u64>(offset!(mm_total_vm)) ^ known(image, VmMean::Size))
        | (mm.load::<u64>(offset!(mm_data_vm)) ^ known(image, VmMean::Data))
        | (mm.load::<u64>(offset!(mm_stack_vm)) ^ known(image, VmMean::Stack))
        | (mm.load::<u64>(offset!(mm_exec_vm)) ^ known(image, VmMean::Exec))
        | (heap(mm) ^ known(image, VmMean::Heap))
        | (mm.load::<u64>(offset!(mm_locked_vm)) ^ known(image, VmMean::Locked))
        | (mm.load::<u64>(offset!(mm_pinned_vm)) ^ known(image, VmMean::Pinned))
}
