//! Reading the kernel's structs at the offsets that userspace found in BTF.
//!
//! Pointers that come from a `tp_btf` context are typed: the verifier checks each
//! load against the kernel's own BTF and the CPU recovers from a bad address, so
//! they are plain loads. Pointers that went through a map, or were read from a struct, are
//! plain numbers and need `bpf_probe_read_kernel`.

#[cfg(feature = "plain")]
use aya_ebpf::helpers::generated::bpf_get_current_task;
#[cfg(not(feature = "plain"))]
use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use aya_ebpf::helpers::{bpf_probe_read_kernel, generated};
use memtrace_ebpf::{ABSENT, Image, RDONLY_CAST};
#[cfg(not(test))]
use memtrace_ebpf::{Config, Offsets};

#[cfg(not(test))]
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::UNKNOWN;

#[cfg(not(test))]
#[unsafe(no_mangle)]
static CONFIG: Config = Config::UNSET;

/// A field of [`OFFSETS`], read so that the compiler cannot assume the value in
/// the object file: userspace replaces it before load.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::constant(&$crate::kernel::offsets().$field)
    };
}

/// A field of [`CONFIG`], likewise.
macro_rules! config {
    ($field:ident) => {
        $crate::kernel::constant(&$crate::kernel::settings().$field)
    };
}

pub(crate) use {config, offset};

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn offsets() -> &'static Offsets {
    &OFFSETS
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn settings() -> &'static Config {
    &CONFIG
}

#[cfg(test)]
pub(crate) use crate::host::{offsets, settings};

/// Reads a field of [`OFFSETS`] or [`CONFIG`] as userspace set it, whatever the compiler knows of it.
#[inline(always)]
pub(crate) fn constant<T: Copy>(field: &'static T) -> T {
    // SAFETY: a reference is valid; volatile, because userspace replaces the value before load.
    unsafe { core::ptr::read_volatile(field) }
}

/// A struct of the kernel.
pub(crate) trait Struct: Copy {
    /// Its address.
    fn address(self) -> u64;

    /// The field at `offset`, which is no pointer to a struct; 0 if the kernel has no such field.
    fn load<T: Copy + Default>(self, offset: u32) -> T;

    /// The struct that the pointer at `offset` points to.
    ///
    /// Always read with the helper: for each load of a pointer from a struct that it
    /// trusts, the verifier searches all types of the kernel by name, several times
    /// (`btf_nested_type_is_trusted()`, kernel/bpf/btf.c), which takes milliseconds.
    #[inline(always)]
    fn follow(self, offset: u32) -> Address {
        Address(read_or_zero(self.address(), offset))
    }
}

/// A struct whose address is a plain number to the verifier.
#[derive(Clone, Copy)]
pub(crate) struct Address(u64);

impl Address {
    /// The struct at an address.
    #[inline(always)]
    pub(crate) const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The field at `offset`, if it can be read.
    #[inline(always)]
    pub(crate) fn read<T>(self, offset: u32) -> Option<T> {
        probe(self.0, offset)
    }
}

impl Struct for Address {
    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn load<T: Copy + Default>(self, offset: u32) -> T {
        read_or_zero(self.0, offset)
    }
}

/// The field at `address + offset`; 0 if there is none, or it cannot be read: the helper
/// clears what it cannot fill. Without a branch on that, so that the verifier does not follow two ways from each read.
#[inline(always)]
fn read_or_zero<T: Copy + Default>(address: u64, offset: u32) -> T {
    let mut value = T::default();
    if offset != ABSENT {
        // SAFETY: the helper checks the address; the destination is on the stack.
        unsafe {
            generated::bpf_probe_read_kernel(
                (&raw mut value).cast(),
                size_of::<T>() as u32,
                (address + u64::from(offset)) as *const _,
            );
            value = core::ptr::read_volatile(&raw const value);
        }
    }
    value
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
}

impl Struct for Typed {
    #[inline(always)]
    fn address(self) -> u64 {
        self.0 as u64
    }

    #[inline(always)]
    fn load<T: Copy + Default>(self, offset: u32) -> T {
        if offset == ABSENT {
            return T::default();
        }
        if cfg!(feature = "plain") {
            return read_or_zero(self.address(), offset);
        }
        // SAFETY: the verifier accepts the load only inside the struct, and a
        // fault at run time yields 0.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast::<T>()) }
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

/// The 32 bits at an address of the kernel's memory by a plain load, without the helper
/// that checks; 0 if there is nothing. `to` is [`Config::share_type`], not 0.
#[inline(always)]
pub(crate) fn load_32(address: u64, to: u32) -> i32 {
    // SAFETY: the call of a helper by its number, as aya's own bindings do it; userspace puts
    // bpf_rdonly_cast() in its place. The verifier takes the result for what cannot be trusted
    // and lets the load recover from a fault.
    unsafe {
        let cast: unsafe extern "C" fn(u64, u64) -> *const i32 =
            core::mem::transmute(RDONLY_CAST as usize);
        core::ptr::read_volatile(cast(address, to.into()))
    }
}

/// The lower half of a pointer, as a number. Copying half of a register is the one thing that the
/// verifier lets be done with a typed pointer, so the compiler must not do without.
#[cfg(not(feature = "plain"))]
#[inline(always)]
pub(crate) fn lower_half(pointer: u64) -> u32 {
    let low = pointer as u32;
    // Clippy looks at the programs as if they were for the host.
    #[cfg(target_arch = "bpf")]
    let low = {
        let half: u32;
        // SAFETY: copies a register.
        unsafe {
            core::arch::asm!("{} = {}", out(wreg) half, in(wreg) low,
                options(pure, nomem, nostack, preserves_flags));
        }
        half
    };
    low
}

/// The address of the image's `mm_struct`, as a number. Volatile: else the compiler takes a pointer that was
/// compared with it for the same, which the verifier tells apart.
#[inline(always)]
pub(crate) fn key(image: *mut Image) -> u64 {
    // SAFETY: a map value.
    unsafe { core::ptr::read_volatile(&raw const (*image).mm) }
}

/// The pointer as a number. The verifier does not let a pointer be stored in a map
/// or computed with freely; read back from the stack it has no type any more.
#[inline(always)]
pub(crate) fn as_number(pointer: u64) -> Option<u64> {
    let mut spilled = pointer;
    let mut number = 0_u64;
    // SAFETY: both are on this program's stack.
    unsafe {
        core::ptr::write_volatile(&raw mut spilled, pointer);
        generated::bpf_probe_read_kernel((&raw mut number).cast(), 8, (&raw const spilled).cast());
    }
    if number == 0 { None } else { Some(number) }
}
