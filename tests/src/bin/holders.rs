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
            let held = vec![1u8; mib << 20];
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
