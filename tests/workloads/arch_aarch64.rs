//! System calls, program start and `clone` on aarch64.

use core::arch::{asm, global_asm};

/// System call numbers (include/uapi/asm-generic/unistd.h).
pub mod nr {
    pub const IOCTL: usize = 29;
    pub const MREMAP: usize = 216;
    pub const USERFAULTFD: usize = 282;
    pub const DUP3: usize = 24;
    pub const FTRUNCATE: usize = 46;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const PIPE2: usize = 59;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const FSYNC: usize = 82;
    pub const FADVISE64: usize = 223;
    pub const EXIT: usize = 93;
    pub const EXIT_GROUP: usize = 94;
    pub const FUTEX: usize = 98;
    pub const NANOSLEEP: usize = 101;
    pub const CLOCK_GETTIME: usize = 113;
    pub const SCHED_SETAFFINITY: usize = 122;
    pub const SCHED_GETAFFINITY: usize = 123;
    pub const SCHED_YIELD: usize = 124;
    pub const KILL: usize = 129;
    pub const SETRESUID: usize = 147;
    pub const SETSID: usize = 157;
    pub const PRCTL: usize = 167;
    pub const GETPID: usize = 172;
    pub const GETPPID: usize = 173;
    pub const BRK: usize = 214;
    pub const MUNMAP: usize = 215;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const MPROTECT: usize = 226;
    pub const MADVISE: usize = 233;
    pub const WAIT4: usize = 260;
    pub const WAITID: usize = 95;
    pub const PRLIMIT64: usize = 261;
    pub const PROCESS_VM_WRITEV: usize = 271;
    pub const MEMFD_CREATE: usize = 279;
    pub const CLONE3: usize = 435;
}

/// A system call. Returns what the kernel returns, `-errno` on failure.
///
/// # Safety
/// The arguments must be valid for the call.
#[inline(always)]
pub unsafe fn syscall(n: usize, a: [usize; 6]) -> isize {
    let r: isize;
    // SAFETY: the caller's contract.
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a[0] as isize => r, in("x1") a[1], in("x2") a[2],
             in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    r
}

/// The stack pointer.
#[inline(always)]
pub fn stack_pointer() -> usize {
    let sp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "bl {entry}",
    "brk #0",
    entry = sym super::entry,
);

// clone(flags, stack); the child calls func(arg) on the new stack and must not return.
global_asm!(
    ".globl clone_call",
    "clone_call:",
    "stp x2, x3, [x1, #-16]!",
    "mov x2, #0",
    "mov x3, #0",
    "mov x4, #0",
    "mov x8, #220",
    "svc 0",
    "cbnz x0, 1f",
    "mov x29, #0",
    "ldp x9, x0, [sp], #16",
    "blr x9",
    "brk #0",
    "1: ret",
);
