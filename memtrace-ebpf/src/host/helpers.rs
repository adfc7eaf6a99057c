//! The helpers of the kernel that the shared modules call.

use core::ffi::c_void;

/// What a failed helper returns.
const EFAULT: i64 = -14;

/// Addresses below are those of nothing.
const LOWEST: u64 = 0x1_0000;

/// Reads a value of the kernel's memory.
///
/// # Safety
///
/// `from` must be the address of memory of [`kernel`](super::kernel), of a stack, or too low for either.
pub(crate) unsafe fn bpf_probe_read_kernel<T>(from: *const T) -> Result<T, i32> {
    if (from as u64) < LOWEST {
        return Err(EFAULT as i32);
    }
    // SAFETY: as the caller vouches.
    Ok(unsafe { from.read_unaligned() })
}

pub(crate) mod generated {
    use super::{EFAULT, LOWEST, c_void};
    use crate::host::kernel;

    /// As [`super::bpf_probe_read_kernel`], to a place of the caller's, which is cleared if it fails.
    ///
    /// # Safety
    ///
    /// `to` must be valid for `size` bytes; `from` as there.
    pub(crate) unsafe fn bpf_probe_read_kernel(
        to: *mut c_void,
        size: u32,
        from: *const c_void,
    ) -> i64 {
        // SAFETY: as the caller vouches.
        unsafe {
            if (from as u64) < LOWEST {
                to.cast::<u8>().write_bytes(0, size as usize);
                return EFAULT;
            }
            to.cast::<u8>().copy_from(from.cast::<u8>(), size as usize);
        }
        0
    }

    /// The task that runs.
    ///
    /// # Safety
    ///
    /// None is needed.
    pub(crate) unsafe fn bpf_get_current_task_btf() -> *mut c_void {
        kernel::current() as *mut c_void
    }

    /// There is one CPU.
    ///
    /// # Safety
    ///
    /// None is needed.
    pub(crate) unsafe fn bpf_get_smp_processor_id() -> u32 {
        0
    }
}
