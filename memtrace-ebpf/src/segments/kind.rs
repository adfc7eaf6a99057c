//! Which segment a mapping belongs to.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use memtrace_ebpf::{Segment, VmField};

use crate::{
    kernel::{Address, Struct as _, config, offset},
    state,
};

/// `VM_GROWSDOWN` (include/linux/mm.h).
const GROWS_DOWN: u64 = 0x100;

/// `VM_ACCOUNT`: a private mapping that is or once was writable. `mprotect_fixup()` (mm/mprotect.c) keeps
/// it for files, so that what the loader makes read-only after relocation stays data.
const ACCOUNT: u64 = 0x10_0000;

/// `TMPFS_MAGIC` (include/uapi/linux/magic.h): also of memfds, of `SysV` and of shared anonymous memory.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// How much of a file's name is looked at.
const NAME_LEN: usize = 48;

/// The [`Segment`] of the mapping at `vma` around `address`; see there for what decides. A function
/// of its own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn segment_of(vma: u64, address: u64) -> u64 {
    let vma = Address::new(vma);
    let flags: u64 = vma.load(offset!(vma_flags));
    if flags & GROWS_DOWN != 0 {
        return Segment::Stack as u64;
    }
    let mm = vma.follow(offset!(vma_mm));
    let file = vma.follow(offset!(vma_file));
    let segment = if file.address() != 0 {
        of_file(mm, file, flags, address)
    } else if vma.load::<u64>(offset!(vma_ops)) != 0 {
        // What the kernel maps by itself ([vdso]): its pages count as those of files.
        Segment::File
    } else {
        without_file(mm, address)
    };
    segment as u64
}

/// The same for a part of the mapping, [`Segment::Unknown`] if several have a share in it: the bss, the
/// heap and what lies behind it can be one mapping where nothing lies between them.
#[inline(always)]
pub(super) fn segment_of_part(vma: u64, address: u64, end: u64) -> u64 {
    let fields = Address::new(vma);
    if fields.load::<u64>(offset!(vma_file)) == 0 {
        let mm = fields.follow(offset!(vma_mm));
        let heap: u64 = mm.load(offset!(mm_start_brk));
        let behind = heap + heap_size(mm, heap);
        if (address < heap && end > heap) || (address < behind && end > behind) {
            return Segment::Unknown as u64;
        }
    }
    segment_of(vma, address)
}

/// The largest size of the heap that begins at `heap`: `brk()` lowers `mm->brk` before it unmaps what is above.
#[inline(always)]
fn heap_size(mm: Address, heap: u64) -> u64 {
    if heap == 0 {
        return 0;
    }
    let mut largest = mm.load::<u64>(offset!(mm_brk)).wrapping_sub(heap);
    if let Some(image) = state::image(mm.address()) {
        // SAFETY: a map value; the index is below the length.
        let peak = unsafe {
            *(&raw const (*image).vm_peak)
                .cast::<u64>()
                .add(VmField::Heap as usize)
        };
        if peak > largest {
            largest = peak;
        }
    }
    // The page that it ends in is its own.
    let page = (1_u64 << config!(page_shift)) - 1;
    (largest + page) & !page
}

#[inline(always)]
fn without_file(mm: Address, address: u64) -> Segment {
    let heap: u64 = mm.load(offset!(mm_start_brk));
    if address < heap {
        // What is mapped between the end of the data's page and the heap is the bss.
        let data: u64 = mm.load(offset!(mm_end_data));
        let page = (1_u64 << config!(page_shift)) - 1;
        if data != 0 && address >= data & !page {
            return Segment::Data;
        }
        return Segment::Anon;
    }
    let largest = heap_size(mm, heap);
    if heap != 0 && address - heap < largest {
        return Segment::Heap;
    }
    Segment::Anon
}

#[inline(always)]
fn of_file(mm: Address, file: Address, flags: u64, address: u64) -> Segment {
    let program = mm.follow(offset!(mm_exe_file));
    let inode = file.follow(offset!(file_inode));
    let same = inode.address() == program.follow(offset!(file_inode)).address();
    if same || is_near_text(mm, address) {
        return if flags & ACCOUNT != 0 {
            Segment::Data
        } else {
            Segment::Text
        };
    }
    let magic: u64 = inode
        .follow(offset!(inode_super))
        .load(offset!(super_magic));
    if magic == TMPFS_MAGIC {
        return Segment::Shmem;
    }
    let dentry = file.follow(offset!(file_dentry));
    let length: u32 = dentry.load(offset!(dentry_name_len));
    let name = dentry.follow(offset!(dentry_name)).address();
    if is_library(name, length.into()) {
        Segment::Lib
    } else {
        Segment::File
    }
}

/// Whether an address lies where the program itself is: overlayfs (`ovl_mmap()`, fs/overlayfs/file.c) maps
/// another file than the one that was executed. The program comes before the heap, libraries
/// come far behind it.
#[inline(always)]
fn is_near_text(mm: Address, address: u64) -> bool {
    /// More than any program has before its code.
    const BEFORE: u64 = 1 << 30;
    let (code, end, heap): (u64, u64, u64) = (
        mm.load(offset!(mm_start_code)),
        mm.load(offset!(mm_end_code)),
        mm.load(offset!(mm_start_brk)),
    );
    code != 0 && heap > end && address + BEFORE > code && address < heap
}

/// Whether a file has the name of a shared library: `.so` at its end or before a dot. Of a long name the end
/// is looked at.
#[inline(always)]
fn is_library(name: u64, length: u64) -> bool {
    let most = NAME_LEN as u64 - 1;
    let name = if length > most {
        name + (length - most)
    } else {
        name
    };
    let mut bytes = [0_u64; NAME_LEN / 8];
    // SAFETY: the helper checks the address; the destination is on the stack.
    unsafe {
        bpf_probe_read_kernel_str((&raw mut bytes).cast(), NAME_LEN as u32, name as *const _);
    }
    let bytes = (&raw const bytes).cast::<u8>();
    let mut last = 0_u32;
    for index in 0..NAME_LEN {
        // SAFETY: below the length.
        let byte = unsafe { bytes.add(index).read_volatile() };
        last = last << 8 | u32::from(byte);
        if last == u32::from_be_bytes(*b".so\0") || last == u32::from_be_bytes(*b".so.") {
            return true;
        }
        if byte == 0 {
            return false;
        }
    }
    false
}
