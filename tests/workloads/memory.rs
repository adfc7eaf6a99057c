//! Words that change memory. Every mapping is pushed on a stack of regions; `touch`,
//! `look`, `unmap` and the advices work on the newest one.

use core::ptr::{read_volatile, write_volatile};

use crate::{
    REGIONS, Script,
    sys::{
        self, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE, check, die,
        page, sys,
    },
};

const EINVAL: usize = 22;
const MADV_DONTNEED: usize = 4;
const MADV_FREE: usize = 8;
const MADV_HUGEPAGE: usize = 14;
const MADV_NOHUGEPAGE: usize = 15;
const MADV_PAGEOUT: usize = 21;
/// A huge page of x86_64 and of aarch64 with 4 KiB pages.
pub const HUGE: usize = 2 << 20;

/// One mapping.
#[derive(Clone, Copy)]
pub struct Region {
    /// Its first byte.
    pub address: usize,
    /// Its length.
    pub pages: usize,
}

impl Region {
    /// No mapping.
    pub const NONE: Self = Self {
        address: 0,
        pages: 0,
    };
}

static PATTERN: [u8; 4096] = [b'm'; 4096];

/// Writes one byte to each of the first `pages` pages.
pub fn touch(address: usize, pages: usize) {
    for i in 0..pages {
        // SAFETY: the caller mapped it.
        unsafe { write_volatile((address + i * page()) as *mut u8, 1) };
    }
}

/// Calls itself until it uses the stack down to this address: how much each call takes is the
/// compiler's choice.
#[inline(never)]
fn descend(to: usize) {
    // Whoever looks at it from outside makes the compiler keep all of it.
    let mut frame = [0_u8; 4096];
    core::hint::black_box(&mut frame);
    if frame.as_ptr() as usize > to {
        descend(to);
    }
    // After the call, or it would be made without a frame of its own.
    core::hint::black_box(&frame);
}

fn look(address: usize, pages: usize) {
    for i in 0..pages {
        // SAFETY: the caller mapped it.
        unsafe { read_volatile((address + i * page()) as *const u8) };
    }
}

/// Maps `pages` pages, without huge pages. Nothing is touched.
pub fn map(pages: usize, protection: usize, flags: usize, fd: usize) -> usize {
    if pages == 0 {
        return 0;
    }
    let address = check(
        b"mmap",
        sys!(MMAP, 0, pages * page(), protection, flags, fd, 0),
    );
    if flags & MAP_ANONYMOUS != 0 {
        // EINVAL where the kernel has no transparent huge pages.
        let _ = sys!(MADVISE, address, pages * page(), MADV_NOHUGEPAGE);
    }
    address
}

impl Script {
    /// Adds a region.
    pub fn push(&mut self, address: usize, pages: usize) {
        if self.count == REGIONS {
            die(b"too many regions", b"", 0);
        }
        self.regions[self.count] = Region { address, pages };
        self.count += 1;
    }

    /// The newest region.
    pub fn newest(&self) -> Region {
        if self.count == 0 {
            die(b"no region", b"", 0);
        }
        self.regions[self.count - 1]
    }

    /// Says where the newest region is now.
    pub fn replace(&mut self, address: usize, pages: usize) {
        self.count -= 1;
        self.push(address, pages);
    }

    /// Where the region before the newest is.
    pub fn before_newest(&self) -> usize {
        if self.count < 2 {
            die(b"no two regions", b"", 0);
        }
        self.regions[self.count - 2].address
    }

    fn anonymous(&mut self, pages: usize, flags: usize) -> usize {
        let address = map(
            pages,
            PROT_READ | PROT_WRITE,
            flags | MAP_ANONYMOUS,
            usize::MAX,
        );
        self.push(address, pages);
        address
    }

    /// Access to the newest region.
    fn protect(&self, protection: usize, at: usize) -> Option<usize> {
        let region = self.newest();
        let length = region.pages * page();
        check(
            b"mprotect",
            sys!(MPROTECT, region.address, length, protection),
        );
        Some(at + 1)
    }

    /// Advice on the newest region.
    pub fn advise(&self, advice: usize, at: usize) -> Option<usize> {
        let region = self.newest();
        check(
            b"madvise",
            sys!(MADVISE, region.address, region.pages * page(), advice),
        );
        Some(at + 1)
    }

    /// Runs the word if it is one of this file's; returns the index of the next one.
    pub fn memory_word(&mut self, word: &[u8], at: usize) -> Option<usize> {
        match word {
            // map N: private anonymous, not touched
            b"map" => {
                self.anonymous(self.n(at + 1), MAP_PRIVATE);
            }
            // reserve N: the same without access rights
            b"reserve" => {
                let pages = self.n(at + 1);
                let address = map(pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, usize::MAX);
                self.push(address, pages);
            }
            // anon N: private anonymous, each page written
            b"anon" => {
                let pages = self.n(at + 1);
                let address = self.anonymous(pages, MAP_PRIVATE);
                touch(address, pages);
            }
            // migrate N: the same, on another CPU for every page
            b"migrate" => {
                let pages = self.n(at + 1);
                let address = self.anonymous(pages, MAP_PRIVATE);
                touch_migrating(address, pages);
            }
            // shmem N: shared anonymous, each page written
            b"shmem" => {
                let pages = self.n(at + 1);
                let address = self.anonymous(pages, MAP_SHARED);
                touch(address, pages);
            }
            // memfd N: a memfd of N pages, mapped shared and written
            b"memfd" => {
                let pages = self.n(at + 1);
                let fd = memfd();
                check(b"ftruncate", sys!(FTRUNCATE, fd, pages * page()));
                let address = map(pages, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
                self.push(address, pages);
                touch(address, pages);
            }
            // memfd-write N: N pages written into a memfd that is not mapped
            b"memfd-write" => fill(memfd(), self.n(at + 1)),
            // make-file FILE N: writes a file of N pages to the disk
            b"make-file" => {
                let fd = sys::open(
                    self.path(at + 1),
                    sys::O_WRONLY | sys::O_CREAT | sys::O_TRUNC,
                );
                fill(fd, self.n(at + 2));
                check(b"fsync", sys!(FSYNC, fd));
                sys::close(fd);
                return Some(at + 3);
            }
            // drop FILE: takes it out of the page cache, so that it must be read again
            b"drop" => {
                const POSIX_FADV_DONTNEED: usize = 4;
                let fd = sys::open(self.path(at + 1), sys::O_RDONLY);
                check(b"fadvise64", sys!(FADVISE64, fd, 0, 0, POSIX_FADV_DONTNEED));
                sys::close(fd);
            }
            // file FILE N: the file's first N pages, mapped private and read
            b"file" => {
                let (address, pages) = self.map_file(at, PROT_READ, sys::O_RDONLY);
                look(address, pages);
                return Some(at + 3);
            }
            // cow FILE N: the same, but mapped writable, read, then written
            b"cow" => {
                let (address, pages) = self.map_file(at, PROT_READ | PROT_WRITE, sys::O_RDONLY);
                look(address, pages);
                touch(address, pages);
                return Some(at + 3);
            }
            // thp N: private anonymous with huge pages, aligned, each page written
            b"thp" => {
                let pages = self.n(at + 1);
                let slack = HUGE / page();
                let start = map(
                    pages + slack,
                    PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS,
                    usize::MAX,
                );
                let address = start.next_multiple_of(HUGE);
                // EINVAL where the kernel has no transparent huge pages.
                let _ = sys!(MADVISE, address, pages * page(), MADV_HUGEPAGE);
                self.push(address, pages);
                touch(address, pages);
            }
            // hugetlb N: N pages (a multiple of 512) of hugetlb; ends with status 77 where there are none
            b"hugetlb" => {
                let pages = self.n(at + 1);
                let flags = MAP_PRIVATE | MAP_ANONYMOUS | sys::MAP_HUGETLB;
                match sys!(
                    MMAP,
                    0,
                    pages * page(),
                    PROT_READ | PROT_WRITE,
                    flags,
                    usize::MAX,
                    0
                ) {
                    Ok(address) => {
                        self.push(address, pages);
                        touch(address, pages);
                    }
                    Err(_) => sys::exit_group(77),
                }
            }
            // at ADDRESS N: private anonymous at that address, not touched
            b"at" => {
                let (address, pages) = (self.n(at + 1), self.n(at + 2));
                let flags = MAP_PRIVATE | MAP_ANONYMOUS | sys::MAP_FIXED_NOREPLACE;
                check(
                    b"mmap",
                    sys!(
                        MMAP,
                        address,
                        pages * page(),
                        PROT_READ | PROT_WRITE,
                        flags,
                        usize::MAX,
                        0
                    ),
                );
                let _ = sys!(MADVISE, address, pages * page(), MADV_NOHUGEPAGE);
                self.push(address, pages);
                return Some(at + 3);
            }
            // over N: another private anonymous mapping in place of the first N pages of the newest region
            b"over" => {
                let (region, pages) = (self.newest(), self.n(at + 1));
                let flags = MAP_PRIVATE | MAP_ANONYMOUS | sys::MAP_FIXED;
                let protection = PROT_READ | PROT_WRITE;
                let length = pages * page();
                check(
                    b"mmap",
                    sys!(MMAP, region.address, length, protection, flags, usize::MAX, 0),
                );
                let _ = sys!(MADVISE, region.address, length, MADV_NOHUGEPAGE);
            }
            // touch N: writes the first N pages of the newest region
            b"touch" => touch(self.newest().address, self.n(at + 1)),
            // look N: reads the first N pages of the newest region
            b"look" => look(self.newest().address, self.n(at + 1)),
            // cut N: unmaps the last N pages of the newest region
            b"cut" => {
                let (region, pages) = (self.newest(), self.n(at + 1));
                let kept = region.pages - pages;
                check(
                    b"munmap",
                    sys!(MUNMAP, region.address + kept * page(), pages * page()),
                );
                self.regions[self.count - 1].pages = kept;
            }
            // brk N: raises the break by N pages and writes them
            b"brk" => {
                let old = check(b"brk", sys!(BRK, 0));
                let new = old + self.n(at + 1) * page();
                if check(b"brk", sys!(BRK, new)) != new {
                    die(b"brk", b"refused", 12);
                }
                let first = old.next_multiple_of(page());
                touch(first, (new.next_multiple_of(page()) - first) / page());
            }
            // brk-up N: raises the break by N pages, and writes nothing
            b"brk-up" => {
                let new = check(b"brk", sys!(BRK, 0)) + self.n(at + 1) * page();
                if check(b"brk", sys!(BRK, new)) != new {
                    die(b"brk", b"refused", 12);
                }
            }
            // descend N: calls itself until it has used N pages of stack, and comes back
            b"descend" => {
                let here = 0_u8;
                let here = core::hint::black_box(&raw const here) as usize;
                descend(here - self.n(at + 1) * page());
            }
            // brk-down N: lowers the break by N pages
            b"brk-down" => {
                let new = check(b"brk", sys!(BRK, 0)) - self.n(at + 1) * page();
                check(b"brk", sys!(BRK, new));
            }
            // unmap: the newest region, which is then forgotten
            b"unmap" => {
                let region = self.newest();
                self.count -= 1;
                if region.pages > 0 {
                    check(
                        b"munmap",
                        sys!(MUNMAP, region.address, region.pages * page()),
                    );
                }
                return Some(at + 1);
            }
            // allow: makes the newest region readable and writable
            b"allow" => return self.protect(PROT_READ | PROT_WRITE, at),
            // code: makes it readable and executable
            b"code" => return self.protect(PROT_READ | PROT_EXEC, at),
            // forbid: takes all access to it
            b"forbid" => return self.protect(PROT_NONE, at),
            b"dontneed" => return self.advise(MADV_DONTNEED, at),
            b"free" => return self.advise(MADV_FREE, at),
            b"pageout" => return self.advise(MADV_PAGEOUT, at),
            _ => return None,
        }
        Some(at + 2)
    }

    fn map_file(&mut self, at: usize, protection: usize, flags: usize) -> (usize, usize) {
        let fd = sys::open(self.path(at + 1), flags);
        let pages = self.n(at + 2);
        let address = map(pages, protection, MAP_PRIVATE, fd);
        sys::close(fd);
        self.push(address, pages);
        (address, pages)
    }
}

fn memfd() -> usize {
    check(
        b"memfd_create",
        sys!(MEMFD_CREATE, c"memtrace-test".as_ptr(), 0),
    )
}

/// Writes `pages` pages to a file.
fn fill(fd: usize, pages: usize) {
    let mut left = pages * page();
    while left > 0 {
        let step = left.min(4096);
        sys::write_all(fd, PATTERN.as_ptr() as usize, step);
        left -= step;
    }
}

/// One page's worth of bytes to copy from, always resident.
pub fn pattern() -> usize {
    PATTERN.as_ptr() as usize
}

/// Writes each page from the next CPU of those that this process may use.
fn touch_migrating(address: usize, pages: usize) {
    let mut allowed = [0u8; 128];
    let length = check(
        b"sched_getaffinity",
        sys!(SCHED_GETAFFINITY, 0, 128, allowed.as_mut_ptr()),
    );
    let cpus = length.min(128) * 8;
    let mut cpu = 0;
    for i in 0..pages {
        loop {
            cpu = (cpu + 1) % cpus;
            if allowed[cpu / 8] & (1 << (cpu % 8)) != 0 {
                break;
            }
        }
        let mut mask = [0u8; 128];
        mask[cpu / 8] = 1 << (cpu % 8);
        match sys!(SCHED_SETAFFINITY, 0, 128, mask.as_ptr()) {
            // It was just switched off.
            Ok(_) | Err(EINVAL) => {}
            Err(errno) => die(b"sched_setaffinity", b"", errno),
        }
        touch(address + i * page(), 1);
    }
}
