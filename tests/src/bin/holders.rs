//! A dynamically linked program whose threads hold memory from malloc at the same time.
//!
//!     holders THREADS MIB STATUS_FILE
//!
//! When every thread has touched its MIB MiB, the status is written to the file; then the
//! process ends without freeing anything.

use std::{
    env, fs, io,
    process::ExitCode,
    sync::{Arc, Barrier},
    thread,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holders: {error}");
            ExitCode::from(99)
        }
    }
}

/// A page that is not there, below a page table that is.
struct Spare(*mut libc::c_void);

const PAGE: usize = 4096;

impl Spare {
    fn new() -> Self {
        // SAFETY: a new mapping, written within its bounds.
        let page = unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(page, libc::MAP_FAILED, "mmap");
            page.cast::<u8>().write_volatile(1);
            page
        };
        let spare = Self(page);
        spare.publish();
        spare
    }

    /// Makes the kernel show what this thread held back of its counts (up to 6.1).
    fn publish(&self) {
        // SAFETY: the mapping is ours, and nothing in it is needed.
        unsafe { libc::madvise(self.0, PAGE, libc::MADV_DONTNEED) };
    }
}

fn run() -> io::Result<()> {
    let args: Vec<String> = env::args().collect();
    let [_, threads, mib, status_file] = args.as_slice() else {
        return Err(io::Error::other("usage: holders THREADS MIB STATUS_FILE"));
    };
    let number = |text: &str| text.parse::<usize>().map_err(io::Error::other);
    let (threads, mib) = (number(threads)?, number(mib)?);
    // Once for nothing, so that what reading and writing needs is resident before.
    fs::write(status_file, fs::read("/proc/self/status")?)?;
    let full = Arc::new(Barrier::new(threads + 1));
    let never = Arc::new(Barrier::new(threads + 1));
    for _ in 0..threads {
        let (full, never) = (Arc::clone(&full), Arc::clone(&never));
        thread::spawn(move || {
            let spare = Spare::new();
            let held = vec![1u8; mib << 20];
            spare.publish();
            full.wait();
            std::hint::black_box(&held);
            never.wait();
        });
    }
    full.wait();
    fs::write(status_file, fs::read("/proc/self/status")?)?;
    // SAFETY: ends the process at once; nothing of it is needed any more.
    unsafe { libc::_exit(0) }
}
