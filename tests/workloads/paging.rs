//! Words that work on pages with less usual means: huge pages by alignment, userfaultfd,
//! KSM, mremap, one CPU after another.

use core::ptr::write_volatile;

use crate::{
    Script,
    memory::{HUGE, map, pattern, touch},
    sys::{self, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE, check, die, page, sys},
};

const MADV_MERGEABLE: usize = 12;
const MADV_COLLAPSE: usize = 25;
const MREMAP_MAYMOVE: usize = 1;
const MREMAP_FIXED: usize = 2;
const O_CLOEXEC: usize = 0o2_000_000;
/// Where a script's userfaultfd is, for a forked child to find.
const UFFD: usize = 90;
// include/uapi/linux/userfaultfd.h
const UFFDIO_API: usize = 0xc018_aa3f;
const UFFDIO_REGISTER: usize = 0xc020_aa00;
const UFFDIO_COPY: usize = 0xc028_aa03;
const UFFDIO_ZEROPAGE: usize = 0xc020_aa04;
const UFFD_API: u64 = 0xaa;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

impl Script {
    /// Runs the word if it is one of this file's; returns the index of the next one.
    pub fn paging_word(&mut self, word: &[u8], at: usize) -> Option<usize> {
        match word {
            // aligned N: private anonymous, aligned to a huge page and as the system wants
            // huge pages to be used; not touched
            b"aligned" => {
                let pages = self.n(at + 1);
                let slack = HUGE / page();
                let start = check(
                    b"mmap",
                    sys!(
                        MMAP,
                        0,
                        (pages + slack) * page(),
                        PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS,
                        usize::MAX,
                        0
                    ),
                );
                self.push(start.next_multiple_of(HUGE), pages);
            }
            // touch-part K N: writes the K-th N pages of the newest region
            b"touch-part" => {
                let (part, pages) = (self.n(at + 1), self.n(at + 2));
                touch(self.newest().address + part * pages * page(), pages);
                return Some(at + 3);
            }
            // blank N: private anonymous, each page written with zeros
            b"blank" => {
                let pages = self.n(at + 1);
                let address = map(
                    pages,
                    PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS,
                    usize::MAX,
                );
                self.push(address, pages);
                for i in 0..pages {
                    // SAFETY: just mapped.
                    unsafe { write_volatile((address + i * page()) as *mut u8, 0) };
                }
            }
            // count-to N: writes the first N pages of the newest region, and after each one
            // how many they are into the first word of the region before it
            b"count-to" => {
                let (count, region) = (self.before_newest(), self.newest());
                for i in 0..self.n(at + 1) {
                    touch(region.address + i * page(), 1);
                    // SAFETY: a region of this script, which its author made writable.
                    unsafe { write_volatile(count as *mut usize, i + 1) };
                }
            }
            // count-in FILE: a new file of one page, mapped shared and written, for `count-to`
            b"count-in" => {
                let flags = sys::O_RDWR | sys::O_CREAT | sys::O_TRUNC;
                let fd = sys::open(self.path(at + 1), flags);
                check(b"ftruncate", sys!(FTRUNCATE, fd, page()));
                let address = map(1, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
                sys::close(fd);
                // SAFETY: just mapped, one page, writable.
                unsafe { write_volatile(address as *mut usize, 0) };
                self.push(address, 1);
            }
            // cpu N: this thread runs on CPU N from here on
            b"cpu" => {
                let cpu = self.n(at + 1);
                let mut mask = [0u8; 128];
                match mask.get_mut(cpu / 8) {
                    Some(bits) => *bits = 1 << (cpu % 8),
                    None => die(b"cpu", self.word(at + 1), 0),
                }
                check(
                    b"sched_setaffinity",
                    sys!(SCHED_SETAFFINITY, 0, 128, mask.as_ptr()),
                );
            }
            // grow N: makes the newest region longer by N pages, wherever there is room
            b"grow" => {
                let (region, pages) = (self.newest(), self.n(at + 1));
                let address = check(
                    b"mremap",
                    sys!(
                        MREMAP,
                        region.address,
                        region.pages * page(),
                        (region.pages + pages) * page(),
                        MREMAP_MAYMOVE
                    ),
                );
                self.replace(address, region.pages + pages);
            }
            // move: moves the newest region elsewhere
            b"move" => {
                let region = self.newest();
                let length = region.pages * page();
                let to = map(
                    region.pages,
                    PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS,
                    usize::MAX,
                );
                check(
                    b"mremap",
                    sys!(
                        MREMAP,
                        region.address,
                        length,
                        length,
                        MREMAP_MAYMOVE | MREMAP_FIXED,
                        to
                    ),
                );
                self.replace(to, region.pages);
                return Some(at + 1);
            }
            // collapse: makes huge pages of the newest region
            b"collapse" => return self.advise(MADV_COLLAPSE, at),
            // mergeable: lets KSM have the newest region
            b"mergeable" => return self.advise(MADV_MERGEABLE, at),
            // uffd: faults in the newest region are for userfaultfd
            b"uffd" => {
                register(self.newest().address, self.newest().pages * page());
                return Some(at + 1);
            }
            // uffd-copy K N: fills the K-th N pages of the newest region; in a forked child,
            // those of its creator
            b"uffd-copy" => {
                let (part, pages) = (self.n(at + 1), self.n(at + 2));
                for i in part * pages..(part + 1) * pages {
                    let to = self.newest().address + i * page();
                    let mut request = [to as u64, pattern() as u64, page() as u64, 0, 0];
                    request_of(UFFDIO_COPY, request.as_mut_ptr());
                }
                return Some(at + 3);
            }
            // uffd-zero K N: gives them the zero page
            b"uffd-zero" => {
                let (part, length) = (self.n(at + 1), self.n(at + 2) * page());
                let from = self.newest().address + part * length;
                let mut request = [from as u64, length as u64, 0, 0];
                request_of(UFFDIO_ZEROPAGE, request.as_mut_ptr());
                return Some(at + 3);
            }
            _ => return None,
        }
        Some(at + 2)
    }
}

fn register(address: usize, length: usize) {
    let fd = check(b"userfaultfd", sys!(USERFAULTFD, O_CLOEXEC));
    check(b"dup3", sys!(DUP3, fd, UFFD, 0));
    sys::close(fd);
    let mut api = [UFFD_API, 0, 0];
    request_of(UFFDIO_API, api.as_mut_ptr());
    let mut region = [
        address as u64,
        length as u64,
        UFFDIO_REGISTER_MODE_MISSING,
        0,
    ];
    request_of(UFFDIO_REGISTER, region.as_mut_ptr());
}

fn request_of(request: usize, argument: *mut u64) {
    check(b"ioctl on userfaultfd", sys!(IOCTL, UFFD, request, argument));
}
