//! Reading the kernel's structs at the offsets that userspace found in BTF.
//!
//! Pointers that come from a `tp_btf` context are typed: the verifier checks each
//! load against the kernel's own BTF and the CPU recovers from a bad address, so
//! they are plain loads. Pointers that went through a map are plain numbers and
//! need `bpf_probe_read_kernel`.

#[cfg(feature = "plain")]
use aya_ebpf::helpers::generated::bpf_get_current_task;
#[cfg(not(feature = "plain"))]
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use aya_ebpf::helpers::{bpf_probe_read_kernel, generated};
use memtrace_ebpf::{ABSENT, Config, Offsets};

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::UNKNOWN;

#[unsafe(no_mangle)]
static CONFIG: Config = Config::UNSET;

/// A field of [`OFFSETS`], read so that the compiler cannot assume the value in
/// the object file: userspace replaces it before load.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::constant(&raw const (*$crate::kernel::offsets()).$field)
    };
}

/// A field of [`CONFIG`], likewise.
macro_rules! config {
    ($field:ident) => {
        $crate::kernel::constant(&raw const (*$crate::kernel::settings()).$field)
    };
}

pub(crate) use {config, offset};

#[inline(always)]
pub(crate) fn offsets() -> *const Offsets {
    &raw const OFFSETS
}

#[inline(always)]
pub(crate) fn settings() -> *const Config {
    &raw const CONFIG
}

/// Reads a field of read-only data.
///
/// # Safety
///
/// `field` must point into [`OFFSETS`] or [`CONFIG`].
#[inline(always)]
pub(crate) unsafe fn constant<T: Copy>(field: *const T) -> T {
    // SAFETY: the caller vouches for the pointer.
    unsafe { core::ptr::read_volatile(field) }
}

/// A pointer that the verifier knows to be a kernel struct.
#[derive(Clone, Copy)]
pub(crate) struct Typed(*const u8);

impl Typed {
    /// Wraps a tracepoint argument.
    #[inline(always)]
    pub(crate) const fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    /// The current task, which has no type before 5.11.
    #[cfg(feature = "plain")]
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: the helper has no preconditions.
        Self(unsafe { bpf_get_current_task() } as *const u8)
    }

    /// The current task.
    #[cfg(not(feature = "plain"))]
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: the helper has no preconditions.
        Self(unsafe { bpf_get_current_task_btf() }.cast())
    }

    /// The pointer itself.
    #[inline(always)]
    pub(crate) fn pointer(self) -> *const u8 {
        self.0
    }

    /// Its address.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    /// The field at `offset`; 0 if the kernel has no such field.
    #[inline(always)]
    pub(crate) fn load<T: Copy + Default>(self, offset: u32) -> T {
        if offset == ABSENT {
            return T::default();
        }
        if cfg!(feature = "plain") {
            return probe(self.address(), offset).unwrap_or_default();
        }
        // `mm->owner` can be null; verifiers of 7.x want to see that it was looked at.
        if self.0.is_null() {
            return T::default();
        }
        // SAFETY: the verifier accepts the load only inside the struct, and a
        // fault at run time yields 0.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast::<T>()) }
    }

    /// The struct that the pointer at `offset` points to.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u32) -> Self {
        if cfg!(feature = "plain") {
            return Self(self.load::<u64>(offset) as *const u8);
        }
        if self.0.is_null() {
            return self;
        }
        // SAFETY: as in `load`; an absent field gives a null pointer, whose fields read 0.
        Self(unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast::<*const u8>()) })
    }
}

/// Reads the field at `address + offset` of a struct whose pointer has no type.
#[inline(always)]
pub(crate) fn probe<T>(address: u64, offset: u32) -> Option<T> {
    if offset == ABSENT || address == 0 {
        return None;
    }
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_kernel((address + u64::from(offset)) as *const T) }.ok()
}

/// The pointer as a number. The verifier does not let a pointer be stored in a map
/// or computed with freely; read back from the stack it has no type any more.
#[inline(always)]
pub(crate) fn as_number(pointer: *const u8) -> Option<u64> {
    let mut spilled = pointer;
    let mut number = 0_u64;
    // SAFETY: both are on this program's stack.
    unsafe {
        core::ptr::write_volatile(&raw mut spilled, pointer);
        generated::bpf_probe_read_kernel((&raw mut number).cast(), 8, (&raw const spilled).cast());
    }
    if number == 0 { None } else { Some(number) }
}
