//! Repeating something until it is done, more often than the verifier would follow.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;

/// Calls `turn` with the number of the turn and `with`, `turns` times or until it returns something other than
/// 0. The kernel verifies it once (`bpf_loop()`, since 5.17).
#[inline(always)]
pub(crate) fn repeat<T>(turns: u32, turn: extern "C" fn(u32, *mut T) -> u64, with: &mut T) {
    // SAFETY: a function of the type that the helper calls, and what it takes.
    unsafe {
        bpf_loop(
            turns,
            turn as *mut c_void,
            core::ptr::from_mut(with).cast(),
            0,
        )
    };
}
