//! A BPF program that does nothing, on the event of counter changes: what the kernel needs to run
//! any program there and to measure its time. aya loads programs from object files only, so this
//! module calls bpf(2) itself; all `unsafe` of this crate is here.

#![expect(unsafe_code, reason = "the system call bpf(2)")]

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;

/// `r0 = 0; exit` (opcodes 0xb7 and 0x95), in `struct bpf_insn` of eight bytes each.
const INSTRUCTIONS: [u64; 2] = [0x0000_00b7, 0x0000_0095];

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`, up to the fields of Linux 4.15.
#[repr(C)]
#[derive(Debug)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The beginning of `union bpf_attr` for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
#[derive(Debug)]
struct Open {
    name: u64,
    prog_fd: u32,
    reserved: u32,
}

/// The program, attached; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Empty {
    id: u32,
    // Fields are dropped in order: the link first.
    _link: OwnedFd,
    _program: OwnedFd,
}

impl Empty {
    /// Loads it and attaches it to a raw tracepoint.
    pub(crate) fn on(tracepoint: &CStr) -> Result<Self> {
        let program = load().context("load an empty BPF program")?;
        let link = open(tracepoint, program.as_raw_fd())
            .with_context(|| format!("attach an empty BPF program to {tracepoint:?}"))?;
        let id = id(program.as_raw_fd()).context("the kernel does not tell the program's id")?;
        Ok(Self {
            id,
            _link: link,
            _program: program,
        })
    }

    /// The kernel's number of the program.
    pub(crate) const fn id(&self) -> u32 {
        self.id
    }
}

fn load() -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    for (to, &from) in prog_name.iter_mut().zip(b"empty") {
        *to = from;
    }
    let mut attr = Load {
        prog_type: BPF_PROG_TYPE_RAW_TRACEPOINT,
        insn_cnt: 2,
        insns: INSTRUCTIONS.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
    };
    // SAFETY: `attr` is laid out as the command expects and has no padding; what it points to is
    // static. Both outlive the call, which reads as many bytes as are given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw mut attr,
            size_of::<Load>(),
        )
    };
    descriptor(result)
}

fn open(tracepoint: &CStr, program: RawFd) -> io::Result<OwnedFd> {
    let mut attr = Open {
        name: tracepoint.as_ptr() as u64,
        prog_fd: program.cast_unsigned(),
        reserved: 0,
    };
    // SAFETY: as in `load`; the name is borrowed for as long as the call lasts.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_RAW_TRACEPOINT_OPEN,
            &raw mut attr,
            size_of::<Open>(),
        )
    };
    descriptor(result)
}

/// The descriptor that a command of bpf(2) returned.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let number = RawFd::try_from(result).unwrap_or(-1);
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn id(program: RawFd) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{program}")).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
    id?.trim().parse().ok()
}
