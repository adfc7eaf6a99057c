//! Threads that touch and drop pages of one address space at the same time.
//!
//!     churn THREADS PAGES ROUNDS barrier|free|hop STATUS_FILE
//!
//! Each thread writes its PAGES pages and gives them back with `MADV_DONTNEED`, ROUNDS
//! times. With `barrier` all threads hold their pages at the same time in every round, and
//! the first time the status is written to the file: the true peak is known. With `free`
//! they run as they like; the status is written before they start, and THREADS * PAGES
//! more than that is the bound. `hop` is `barrier` with threads that map their pages anew in
//! every round, write each from another CPU, and unmap them from yet another one.

#![no_std]
#![no_main]

#[allow(dead_code, reason = "shared by all workloads")]
mod sys;

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use sys::{MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE, STACK_PAGES, die, page, sys};

const CLONE_FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;
const FUTEX_WAIT_PRIVATE: usize = 128;
const FUTEX_WAKE_PRIVATE: usize = 129;
const MADV_DONTNEED: usize = 4;
const MADV_NOHUGEPAGE: usize = 15;

static ARRIVED: AtomicUsize = AtomicUsize::new(0);
static GENERATION: AtomicU32 = AtomicU32::new(0);
static RUNNING: AtomicU32 = AtomicU32::new(0);
static STARTED: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Copy)]
struct Work {
    memory: usize,
    pages: usize,
    rounds: usize,
    /// Threads that meet at the barrier, 0 without one.
    parties: usize,
    /// The first CPU of a thread that hops.
    hop: Option<usize>,
}

fn main(args: sys::Args) -> ! {
    let threads = sys::number(args.get(1));
    let pages = sys::number(args.get(2));
    let rounds = sys::number(args.get(3));
    let hop = args.get(4) == b"hop";
    let barrier = hop || args.get(4) == b"barrier";
    let parties = if barrier { threads + 1 } else { 0 };
    RUNNING.store(threads as u32, Ordering::SeqCst);
    for thread in 0..threads {
        let memory = if hop { 0 } else { map(pages) };
        let stack = map(STACK_PAGES);
        touch(stack, STACK_PAGES);
        let work = stack as *mut Work;
        // SAFETY: the stack is mapped, page-aligned and larger than `Work`.
        let r = unsafe {
            work.write(Work {
                memory,
                pages,
                rounds,
                parties,
                hop: hop.then_some(thread),
            });
            sys::clone_call(CLONE_FLAGS, stack + STACK_PAGES * page(), worker, stack)
        };
        if r < 0 {
            die(b"clone", b"", -r as usize);
        }
    }
    if !barrier {
        sys::status(args.c(5));
    }
    STARTED.store(1, Ordering::SeqCst);
    let _ = sys!(FUTEX, STARTED.as_ptr(), FUTEX_WAKE_PRIVATE, i32::MAX);
    if barrier {
        for round in 0..rounds {
            meet(parties);
            if round == 0 {
                sys::status(args.c(5));
            }
            meet(parties);
            meet(parties);
        }
    }
    loop {
        let left = RUNNING.load(Ordering::SeqCst);
        if left == 0 {
            sys::exit_group(0);
        }
        let _ = sys!(FUTEX, RUNNING.as_ptr(), FUTEX_WAIT_PRIVATE, left, 0);
    }
}

extern "C" fn worker(work: usize) -> ! {
    // SAFETY: `main` put it there.
    let work = unsafe { *(work as *const Work) };
    while STARTED.load(Ordering::SeqCst) == 0 {
        let _ = sys!(FUTEX, STARTED.as_ptr(), FUTEX_WAIT_PRIVATE, 0, 0);
    }
    if let Some(first) = work.hop {
        hop(work, first);
    }
    let rounds = if work.hop.is_some() { 0 } else { work.rounds };
    for round in 0..rounds {
        touch(work.memory, work.pages);
        if round == 0 && work.parties > 0 {
            // For the status that is written now; the other rounds have the same top.
            sys::publish();
        }
        meet(work.parties);
        meet(work.parties);
        let _ = sys!(MADVISE, work.memory, work.pages * page(), MADV_DONTNEED);
        meet(work.parties);
    }
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    let _ = sys!(FUTEX, RUNNING.as_ptr(), FUTEX_WAKE_PRIVATE, i32::MAX);
    sys::exit_thread()
}

/// The rounds of a thread that is on another CPU at every step.
fn hop(work: Work, first: usize) {
    let mut allowed = [0u8; 128];
    let length = sys::check(
        b"sched_getaffinity",
        sys!(SCHED_GETAFFINITY, 0, 128, allowed.as_mut_ptr()),
    );
    let cpus = length.min(128) * 8;
    let mut cpu = first;
    let mut next = || {
        loop {
            cpu = (cpu + 1) % cpus;
            if allowed[cpu / 8] & (1 << (cpu % 8)) != 0 {
                break;
            }
        }
        let mut mask = [0u8; 128];
        mask[cpu / 8] = 1 << (cpu % 8);
        match sys!(SCHED_SETAFFINITY, 0, 128, mask.as_ptr()) {
            // EINVAL: it was just switched off.
            Ok(_) | Err(22) => {}
            Err(errno) => die(b"sched_setaffinity", b"", errno),
        }
    };
    for _ in 0..first {
        // Threads start on different CPUs.
        next();
    }
    for round in 0..work.rounds {
        next();
        let memory = map(work.pages);
        for page_number in 0..work.pages {
            next();
            touch(memory + page_number * page(), 1);
        }
        if round == 0 {
            sys::publish();
        }
        meet(work.parties);
        meet(work.parties);
        next();
        sys::check(b"munmap", sys!(MUNMAP, memory, work.pages * page()));
        meet(work.parties);
    }
}

/// Waits until `parties` threads are here; at once if that is 0.
fn meet(parties: usize) {
    if parties == 0 {
        return;
    }
    let generation = GENERATION.load(Ordering::SeqCst);
    if ARRIVED.fetch_add(1, Ordering::SeqCst) + 1 == parties {
        ARRIVED.store(0, Ordering::SeqCst);
        GENERATION.fetch_add(1, Ordering::SeqCst);
        let _ = sys!(FUTEX, GENERATION.as_ptr(), FUTEX_WAKE_PRIVATE, i32::MAX);
        return;
    }
    while GENERATION.load(Ordering::SeqCst) == generation {
        let _ = sys!(
            FUTEX,
            GENERATION.as_ptr(),
            FUTEX_WAIT_PRIVATE,
            generation,
            0
        );
    }
}

fn map(pages: usize) -> usize {
    let length = pages * page();
    match sys!(
        MMAP,
        0,
        length,
        PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS,
        usize::MAX,
        0
    ) {
        Ok(address) => {
            // EINVAL where the kernel has no transparent huge pages.
            let _ = sys!(MADVISE, address, length, MADV_NOHUGEPAGE);
            address
        }
        Err(errno) => die(b"mmap", b"", errno),
    }
}

fn touch(address: usize, pages: usize) {
    for i in 0..pages {
        // SAFETY: mapped by the caller.
        unsafe { ((address + i * page()) as *mut u8).write_volatile(1) };
    }
}
