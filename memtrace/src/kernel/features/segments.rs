//! What segments are told by, on request: offsets of mappings, and where the programs can see them.

use memtrace_ebpf::Offsets;

use super::{Event, Features, Parameter, exists};
use crate::kernel::{
    Btf, KernelError,
    btf::{BtfError, Shape},
};

/// What changes of counters can be told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSources {
    /// The kernel function that unmaps a range of one mapping, if all functions are there that
    /// programs on functions need.
    pub zap: Option<&'static str>,
    /// Page faults, system calls and the tree of mappings can be followed (x86-64, since 6.1).
    pub hints: bool,
}

/// Functions that programs are attached to, other than the one that unmaps.
pub(crate) const FUNCTIONS: [&str; 3] = ["handle_mm_fault", "copy_page_range", "try_to_unmap_one"];

/// The function that unmaps, from the newest: `(tlb, vma, start, ...)` in all of them.
const ZAP: [&str; 2] = ["__zap_vma_range", "unmap_page_range"];

const USER_FAULT: Event = Event {
    name: "exceptions:page_fault_user",
    meaning: "a page fault",
    parameters: FAULT,
    at_least: 3,
};
const KERNEL_FAULT: Event = Event {
    name: "exceptions:page_fault_kernel",
    meaning: "a page fault",
    parameters: FAULT,
    at_least: 3,
};
const FAULT: &[Parameter] = &[
    Parameter::Number,
    Parameter::To("pt_regs"),
    Parameter::Number,
];
const SYS_ENTER: Event = Event {
    name: "raw_syscalls:sys_enter",
    meaning: "a system call begins",
    parameters: &[Parameter::To("pt_regs"), Parameter::Number],
    at_least: 2,
};

/// A place in [`Offsets`] and the path of the field that belongs there.
type Field = (fn(&mut Offsets) -> &mut u32, &'static str);

/// Of mappings, files and names; each eight bytes long.
const MAPPINGS: &[Field] = &[
    (|o| &mut o.vma_start, "vm_area_struct.vm_start"),
    (|o| &mut o.vma_end, "vm_area_struct.vm_end"),
    (|o| &mut o.vma_mm, "vm_area_struct.vm_mm"),
    (|o| &mut o.vma_flags, "vm_area_struct.vm_flags"),
    (|o| &mut o.vma_file, "vm_area_struct.vm_file"),
    (|o| &mut o.vma_ops, "vm_area_struct.vm_ops"),
    (|o| &mut o.mm_end_data, "mm_struct.end_data"),
    (|o| &mut o.mm_exe_file, "mm_struct.exe_file"),
    (|o| &mut o.file_inode, "file.f_inode"),
    (|o| &mut o.inode_super, "inode.i_sb"),
    (|o| &mut o.super_magic, "super_block.s_magic"),
    (|o| &mut o.file_dentry, "file.f_path.dentry"),
    (|o| &mut o.dentry_name, "dentry.d_name.name"),
];

/// The same, four bytes long.
const HALF_WORDS: &[Field] = &[
    (|o| &mut o.dentry_name_len, "dentry.d_name.len"),
    (|o| &mut o.task_flags, "task_struct.flags"),
    (|o| &mut o.mm_map_count, "mm_struct.map_count"),
];

/// Of the registers of a system call.
const REGISTERS: &[Field] = &[
    (|o| &mut o.regs_first, "pt_regs.di"),
    (|o| &mut o.regs_second, "pt_regs.si"),
    (|o| &mut o.regs_third, "pt_regs.dx"),
    (|o| &mut o.regs_fourth, "pt_regs.r10"),
];

/// Of an address space.
const TREE: &[Field] = &[(|o| &mut o.mm_mt_root, "mm_struct.mm_mt.ma_root")];

/// Of the nodes of that tree: arrays.
const NODES: &[Field] = &[
    (|o| &mut o.range_pivots, "maple_range_64.pivot"),
    (|o| &mut o.range_slots, "maple_range_64.slot"),
    (|o| &mut o.arange_pivots, "maple_arange_64.pivot"),
    (|o| &mut o.arange_slots, "maple_arange_64.slot"),
];

impl Features {
    /// Finds out what segments can be told by on this kernel.
    ///
    /// # Errors
    ///
    /// If the kernel's BTF cannot be read, or lacks what describes a mapping.
    pub fn find_segments(&mut self, btf: &Btf) -> Result<SegmentSources, KernelError> {
        let offsets = &mut self.offsets;
        for (place, path) in MAPPINGS {
            let found = word(btf, path)?.ok_or(KernelError::MissingField {
                field: path,
                meaning: "what a mapping is for",
            })?;
            *place(offsets) = found;
        }
        for (place, path) in HALF_WORDS {
            let found = number(btf, path)?.ok_or(KernelError::MissingField {
                field: path,
                meaning: "what a mapping is for",
            })?;
            *place(offsets) = found;
        }
        // What threads hold back there comes in the middle of another fault.
        let immediate = !self.task_caches;
        let offsets = &mut self.offsets;
        let functions = FUNCTIONS.iter().all(|name| btf.function(name).is_some());
        Ok(SegmentSources {
            zap: ZAP
                .into_iter()
                .find(|name| btf.function(name).is_some())
                .filter(|_| functions),
            hints: hints(btf, offsets)? && immediate,
        })
    }

    /// Whether calls that change mappings can be recorded with their arguments (x86-64).
    ///
    /// # Errors
    ///
    /// If the kernel's BTF cannot be read.
    pub fn find_calls(&mut self, btf: &Btf) -> Result<bool, KernelError> {
        Ok(calls(btf, &mut self.offsets)? && self.has_sys_exit)
    }
}

/// Whether page faults and arguments of system calls can be followed.
fn calls(btf: &Btf, offsets: &mut Offsets) -> Result<bool, KernelError> {
    for (place, path) in REGISTERS {
        match word(btf, path)? {
            Some(found) => *place(offsets) = found,
            None => return Ok(false),
        }
    }
    // Two bytes of it matter.
    match btf.field("pt_regs.cs")? {
        Some(field) => offsets.regs_cs = field.offset,
        None => return Ok(false),
    }
    Ok(exists(btf, &USER_FAULT)? && exists(btf, &KERNEL_FAULT)? && exists(btf, &SYS_ENTER)?)
}

/// The same, and the tree of mappings.
fn hints(btf: &Btf, offsets: &mut Offsets) -> Result<bool, KernelError> {
    for (place, path) in TREE {
        match word(btf, path)? {
            Some(found) => *place(offsets) = found,
            None => return Ok(false),
        }
    }
    for (place, path) in NODES {
        match array(btf, path)? {
            Some(found) => *place(offsets) = found,
            None => return Ok(false),
        }
    }
    calls(btf, offsets)
}

/// Where a field of eight bytes is, if there is one.
fn word(btf: &Btf, path: &str) -> Result<Option<u32>, BtfError> {
    let Some(field) = btf.field(path)? else {
        return Ok(None);
    };
    Ok((btf.size_of(field.of)? == 8).then_some(field.offset))
}

/// The same of four bytes.
fn number(btf: &Btf, path: &str) -> Result<Option<u32>, BtfError> {
    let Some(field) = btf.field(path)? else {
        return Ok(None);
    };
    Ok((btf.size_of(field.of)? == 4).then_some(field.offset))
}

/// Where an array of words is.
fn array(btf: &Btf, path: &str) -> Result<Option<u32>, BtfError> {
    let Some(field) = btf.field(path)? else {
        return Ok(None);
    };
    let Shape::Array { element, .. } = btf.shape(field.of)? else {
        return Ok(None);
    };
    Ok((btf.size_of(element)? == 8).then_some(field.offset))
}
