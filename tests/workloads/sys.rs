//! What a program without libc needs: start, system calls, memory functions, output.
//!
//! Included by every static workload as `mod sys;`. The program provides
//! `fn main(args: Args) -> !` at its root.
//!
//! Before `main` everything that the program will ever use of its own image is
//! made resident (text, data, [`STACK_PAGES`] of stack, the status buffer): from
//! then on its memory changes only where `main` says so.

#[cfg(target_arch = "aarch64")]
#[path = "arch_aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "arch_x86_64.rs"]
mod arch;

use core::ptr::{read_volatile, write_volatile};

pub use arch::nr;

unsafe extern "C" {
    /// `clone(flags, stack)`; in the child `func(arg)` runs on that stack.
    pub fn clone_call(
        flags: usize,
        stack_top: usize,
        func: extern "C" fn(usize) -> !,
        arg: usize,
    ) -> isize;
}

/// Pages of the main thread's stack that are resident from the start.
pub const STACK_PAGES: usize = 16;

pub const PROT_NONE: usize = 0;
pub const PROT_READ: usize = 1;
pub const PROT_WRITE: usize = 2;
pub const PROT_EXEC: usize = 4;
pub const MAP_SHARED: usize = 1;
pub const MAP_PRIVATE: usize = 2;
pub const MAP_ANONYMOUS: usize = 0x20;
pub const MAP_HUGETLB: usize = 0x4_0000;
pub const MAP_FIXED: usize = 0x10;
pub const MAP_FIXED_NOREPLACE: usize = 0x10_0000;
pub const O_RDONLY: usize = 0;
pub const O_WRONLY: usize = 1;
pub const O_RDWR: usize = 2;
pub const O_CREAT: usize = 0o100;
pub const O_TRUNC: usize = 0o1000;
pub const SIGCHLD: usize = 17;
pub const SIGSEGV: usize = 11;
pub const AT_FDCWD: usize = -100_isize as usize;
const MADV_POPULATE_WRITE: usize = 23;
const AT_PHDR: usize = 3;
const AT_PHNUM: usize = 5;
const AT_PAGESZ: usize = 6;

/// Makes the call and returns `Err(errno)` on failure.
///
/// Addresses that are passed must be valid for what the call does with them; this is
/// a test program whose only caller is the same file tree, so the function is not
/// marked unsafe.
#[inline(always)]
pub fn call(n: usize, a: [usize; 6]) -> Result<usize, usize> {
    // SAFETY: see above.
    let r = unsafe { arch::syscall(n, a) };
    if r < 0 && r > -4096 {
        Err(-r as usize)
    } else {
        Ok(r as usize)
    }
}

macro_rules! sys {
    ($nr:ident $(, $arg:expr)* $(,)?) => {{
        let given = [$(($arg) as usize),*];
        let mut all = [0usize; 6];
        all[..given.len()].copy_from_slice(&given);
        $crate::sys::call($crate::sys::nr::$nr, all)
    }};
}
#[allow(unused_imports, reason = "not every workload makes calls of its own")]
pub(crate) use sys;

/// Command line and page size.
#[derive(Clone, Copy)]
pub struct Args {
    /// The kernel's `argv`, NULL-terminated.
    pub argv: *const *const u8,
    /// Its length.
    pub argc: usize,
    /// The kernel's `envp`.
    pub envp: *const *const u8,
}

impl Args {
    /// Argument `i` with its NUL, or an empty string.
    pub fn c(&self, i: usize) -> *const u8 {
        if i >= self.argc {
            return c"".as_ptr().cast();
        }
        // SAFETY: the kernel put argc pointers there.
        unsafe { *self.argv.add(i) }
    }

    /// Argument `i` without its NUL.
    pub fn get(&self, i: usize) -> &'static [u8] {
        bytes(self.c(i))
    }
}

/// A NUL-terminated string as a slice.
pub fn bytes(s: *const u8) -> &'static [u8] {
    // SAFETY: strings come from argv and end with NUL; they live as long as the image.
    unsafe {
        let mut n = 0;
        while *s.add(n) != 0 {
            n += 1;
        }
        core::slice::from_raw_parts(s, n)
    }
}

/// A decimal number; anything else ends the program.
pub fn number(s: &[u8]) -> usize {
    let mut value = 0usize;
    if s.is_empty() {
        die(b"empty number", s, 0);
    }
    for &c in s {
        if !c.is_ascii_digit() {
            die(b"not a number", s, 0);
        }
        value = value * 10 + usize::from(c - b'0');
    }
    value
}

static mut PAGE: usize = 4096;

/// The base page size.
pub fn page() -> usize {
    // SAFETY: written once, before main.
    unsafe { PAGE }
}

#[unsafe(no_mangle)]
extern "C" fn entry(sp: *const usize) -> ! {
    // SAFETY: the kernel's initial stack: argc, argv, NULL, envp, NULL, auxv (System V ABI).
    unsafe {
        let argc = *sp;
        let argv = sp.add(1).cast::<*const u8>();
        let envp = sp.add(argc + 2);
        let mut aux = envp;
        while *aux != 0 {
            aux = aux.add(1);
        }
        aux = aux.add(1);
        let (mut phdr, mut phnum) = (0, 0);
        while *aux != 0 {
            match *aux {
                AT_PHDR => phdr = *aux.add(1),
                AT_PHNUM => phnum = *aux.add(1),
                AT_PAGESZ => write_volatile(&raw mut PAGE, *aux.add(1)),
                _ => {}
            }
            aux = aux.add(2);
        }
        make_resident(phdr, phnum);
        make_untouched();
        let args = Args {
            argv,
            argc,
            envp: envp.cast(),
        };
        status(c"/dev/null".as_ptr().cast());
        crate::main(args)
    }
}

/// Touches all of the program's own pages.
unsafe fn make_resident(phdr: usize, phnum: usize) {
    const PT_LOAD: u32 = 1;
    const PF_W: u32 = 2;
    // SAFETY: the kernel's AT_PHDR array of Elf64_Phdr: type u32, flags u32, offset,
    // vaddr, paddr, filesz, memsz. Loaded segments are mapped where they say
    // (position-dependent executable).
    unsafe {
        // What is written first: until then such a page is one of the file, and if it came last,
        // more pages of the file would have been there at once than ever are again.
        for (i, written) in (0..2 * phnum).map(|i| (i % phnum, i < phnum)) {
            let p = phdr + i * 56;
            let kind = *(p as *const u32);
            let flags = *((p + 4) as *const u32);
            if kind != PT_LOAD || (flags & PF_W != 0) != written {
                continue;
            }
            let from = *((p + 16) as *const usize);
            let to = from + *((p + 40) as *const usize);
            if written {
                // Not even read before, where the kernel can do so (5.14): with all of the program's text
                // there from its first instruction, even the one page of the file would be one too many.
                let start = from / page() * page();
                let _ = sys!(MADVISE, start, to - start, MADV_POPULATE_WRITE);
            }
            let mut at = from;
            while at < to {
                let value = read_volatile(at as *const u8);
                if flags & PF_W != 0 {
                    write_volatile(at as *mut u8, value);
                }
                at = (at / page() + 1) * page();
            }
        }
        let sp = arch::stack_pointer();
        for i in 0..STACK_PAGES {
            write_volatile((sp - 256 - i * page()) as *mut u8, 0);
        }
    }
}

const STATUS_SIZE: usize = 8192;
static mut STATUS: [u8; STATUS_SIZE] = [0; STATUS_SIZE];

/// A page that is never touched beside one that is, for [`publish`].
static mut UNTOUCHED: usize = 0;

/// Makes the two pages of [`UNTOUCHED`], below one page-table page.
unsafe fn make_untouched() {
    const PROT_READ_WRITE: usize = 3;
    const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
    let pages = check(
        b"mmap",
        sys!(
            MMAP,
            0,
            4 * page(),
            PROT_READ_WRITE,
            MAP_PRIVATE_ANONYMOUS,
            -1isize,
            0
        ),
    );
    // A page-table page covers 512 pages or more.
    let crosses = (pages / page() + 1).is_multiple_of(512);
    let touched = if crosses { pages + 2 * page() } else { pages };
    // SAFETY: fresh memory; nobody else runs yet.
    unsafe {
        write_volatile(touched as *mut u8, 1);
        write_volatile(&raw mut UNTOUCHED, touched + page());
    }
}

/// Makes the kernel move this thread's own counts to the process's counters: up to 6.1 a
/// thread keeps up to 64 faults for itself (`SPLIT_RSS_COUNTING`, mm/memory.c), and
/// `/proc/PID/status` leaves them out. Dropping a page that is not there changes nothing
/// but that: `zap_pte_range()` ends with `add_mm_rss_vec()`.
pub fn publish() {
    const MADV_DONTNEED: usize = 4;
    // SAFETY: written once, before anything else runs.
    let untouched = unsafe { read_volatile(&raw const UNTOUCHED) };
    check(b"madvise", sys!(MADVISE, untouched, page(), MADV_DONTNEED));
}

/// Writes this process's `/proc/thread-self/status` to a file (that of `self` has no sizes once the first thread is gone); `-` is standard output.
///
/// Uses one static buffer: not for two threads at a time.
pub fn status(path: *const u8) {
    publish();
    let from = open(c"/proc/thread-self/status".as_ptr().cast(), O_RDONLY);
    let buffer = &raw mut STATUS as usize;
    let mut length = 0;
    loop {
        match sys!(READ, from, buffer + length, STATUS_SIZE - length) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) => die(b"read", b"/proc/thread-self/status", e),
        }
    }
    close(from);
    if bytes(path) == b"-" {
        write_all(1, buffer, length);
    } else {
        let to = open(path, O_WRONLY | O_CREAT | O_TRUNC);
        write_all(to, buffer, length);
        close(to);
    }
}

/// Writes this process's `/proc/self/stat` and `/proc/self/smaps` to a file.
///
/// Uses the same buffer as [`status`].
pub fn smaps(path: *const u8) {
    publish();
    let to = open(path, O_WRONLY | O_CREAT | O_TRUNC);
    for from in [c"/proc/self/stat", c"/proc/self/smaps"] {
        let from = open(from.as_ptr().cast(), O_RDONLY);
        let buffer = &raw mut STATUS as usize;
        loop {
            match sys!(READ, from, buffer, STATUS_SIZE) {
                Ok(0) => break,
                Ok(n) => write_all(to, buffer, n),
                Err(e) => die(b"read", b"/proc/self", e),
            }
        }
        close(from);
    }
    close(to);
}

/// Writes a whole buffer.
pub fn write_all(fd: usize, mut address: usize, mut length: usize) {
    while length > 0 {
        match sys!(WRITE, fd, address, length) {
            Ok(n) => {
                address += n;
                length -= n;
            }
            Err(e) => die(b"write", b"", e),
        }
    }
}

/// Opens a file or ends the program.
pub fn open(path: *const u8, flags: usize) -> usize {
    match sys!(OPENAT, AT_FDCWD, path, flags, 0o644) {
        Ok(fd) => fd,
        Err(e) => die(b"open", bytes(path), e),
    }
}

/// Closes a file.
pub fn close(fd: usize) {
    let _ = sys!(CLOSE, fd);
}

/// The process id.
pub fn getpid() -> usize {
    sys!(GETPID).unwrap_or(0)
}

/// Ends the process.
pub fn exit_group(status: usize) -> ! {
    loop {
        let _ = sys!(EXIT_GROUP, status);
    }
}

/// Ends the thread.
pub fn exit_thread() -> ! {
    loop {
        let _ = sys!(EXIT, 0);
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> usize {
    clock(1)
}

/// `CLOCK_PROCESS_CPUTIME_ID`: what the threads of this process have run, to this call, nanoseconds.
pub fn cpu_time() -> usize {
    clock(2)
}

fn clock(which: usize) -> usize {
    let mut time = [0usize; 2];
    let _ = sys!(CLOCK_GETTIME, which, time.as_mut_ptr());
    time[0] * 1_000_000_000 + time[1]
}

/// Writes numbers as one line on standard output.
pub fn say(numbers: &[usize]) {
    // From the end: a number has at most 20 digits.
    let mut text = [b' '; 64];
    let mut at = text.len() - 1;
    text[at] = b'\n';
    for &number in numbers.iter().rev() {
        let mut rest = number;
        loop {
            at -= 1;
            text[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        at -= 1;
    }
    write_all(1, text.as_ptr() as usize + at + 1, text.len() - at - 1);
}

/// Ends the program if a call failed.
pub fn check(what: &[u8], result: Result<usize, usize>) -> usize {
    match result {
        Ok(value) => value,
        Err(errno) => die(what, b"", errno),
    }
}

/// Says what failed on stderr and ends the process with status 99.
pub fn die(what: &[u8], object: &[u8], errno: usize) -> ! {
    for part in [b"workload: ".as_slice(), what, b" ", object, b": errno "] {
        let _ = sys!(WRITE, 2, part.as_ptr(), part.len());
    }
    let digits = [
        b'0' + (errno / 100 % 10) as u8,
        b'0' + (errno / 10 % 10) as u8,
        b'0' + (errno % 10) as u8,
        b'\n',
    ];
    let _ = sys!(WRITE, 2, digits.as_ptr(), digits.len());
    exit_group(99)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    die(b"panic", b"", 0)
}

/// The prebuilt core library names it in its unwind tables; nothing ever unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(s: *const u8) -> usize {
    bytes(s).len()
}

// The functions that compilers call by name. Volatile, so that the loops are not
// turned into calls of themselves.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    for i in 0..n {
        // SAFETY: C contract.
        unsafe { write_volatile(to.add(i), read_volatile(from.add(i))) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if (to as usize) < from as usize {
        // SAFETY: C contract; forward copy.
        return unsafe { memcpy(to, from, n) };
    }
    for i in (0..n).rev() {
        // SAFETY: C contract.
        unsafe { write_volatile(to.add(i), read_volatile(from.add(i))) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, n: usize) -> *mut u8 {
    for i in 0..n {
        // SAFETY: C contract.
        unsafe { write_volatile(to.add(i), value as u8) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    for i in 0..n {
        // SAFETY: C contract.
        let (x, y) = unsafe { (read_volatile(a.add(i)), read_volatile(b.add(i))) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: C contract.
    unsafe { memcmp(a, b, n) }
}
