//! A dynamically linked program whose threads hold memory from malloc at the same time.
//!
//!     holders THREADS MIB STATUS_FILE
//!
//! When every thread has touched its MIB MiB, the status is written to the file; then the
//! process ends without freeing anything.

use std::{
    env,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
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

/// Writes the status without allocating memory for it.
struct Status {
    from: File,
    to: File,
    buffer: Vec<u8>,
}

impl Status {
    fn open(path: &str) -> io::Result<Self> {
        Ok(Self {
            from: File::open("/proc/self/status")?,
            to: File::create(path)?,
            buffer: vec![1; 8192],
        })
    }

    fn write(&mut self) -> io::Result<()> {
        self.from.rewind()?;
        let mut length = 0;
        loop {
            match self.from.read(&mut self.buffer[length..])? {
                0 => break,
                read => length += read,
            }
        }
        self.to.set_len(0)?;
        self.to.rewind()?;
        self.to.write_all(&self.buffer[..length])
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
    let mut status = Status::open(status_file)?;
    let spare = Spare::new();
    status.write()?;
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
    spare.publish();
    status.write()?;
    // SAFETY: ends the process at once; nothing of it is needed any more.
    unsafe { libc::_exit(0) }
}
