//! A family of processes that allocate, write, free, fork and end step by step, in an
//! order that the caller decides.
//!
//!     families STEP...
//!
//! A step is `WHO:WHAT:SLOT`. Process 0 is the first; `k` forks process SLOT. `w` writes to
//! each page of a slot of [`CHUNK`] bytes (and so allocates it or copies it), `f` frees it,
//! `l` makes a counter change of one page, `x` ends the process, `q` ends it while the next
//! steps are done already, `a` waits for the ends of those that did so. Else one step is done at a time: each process waits for its turn in
//! shared memory.

use std::{
    env,
    fs::File,
    io::{self, Error, Read as _},
    process::{self, ExitCode},
    ptr, slice,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

const CHUNK: usize = 16 << 20;
const SLOTS: usize = 8;
const PAGE: usize = 4096;

struct Step {
    who: usize,
    what: char,
    slot: usize,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("families: {error}");
            ExitCode::from(99)
        }
    }
}

fn parse(word: &str) -> Option<Step> {
    let mut parts = word.split(':');
    let step = Step {
        who: parts.next()?.parse().ok()?,
        what: parts.next()?.chars().next()?,
        slot: parts.next()?.parse().ok()?,
    };
    Some(step)
}

fn map(length: usize, flags: libc::c_int) -> io::Result<*mut u8> {
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            flags | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    Ok(start.cast())
}

fn free(start: *mut u8, length: usize) {
    // SAFETY: the range is ours, and nothing refers into it.
    unsafe { libc::madvise(start.cast(), length, libc::MADV_DONTNEED) };
}

fn write(start: *mut u8, length: usize) {
    for offset in (0..length).step_by(PAGE) {
        // SAFETY: inside a mapping of ours.
        unsafe { start.add(offset).write_volatile(1) };
    }
}

/// Whether the process is there and is no zombie. In memory that is there already, so that no counter
/// of the caller changes.
fn runs(pid: usize) -> bool {
    let mut stat = [0; 512];
    let read = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut stat));
    let stat = stat.get(..read.unwrap_or(0)).unwrap_or_default();
    // Its name, in parentheses, can have any bytes.
    let state = stat
        .rsplit(|byte| *byte == b')')
        .next()
        .and_then(|rest| rest.get(1));
    state.is_some_and(|state| !matches!(state, b'Z' | b'X'))
}

/// Waits until the process that ended with the last step holds no memory any more: until
/// it is a zombie or gone. (`exit_mm()` lets go of the address space before it is torn down.)
fn await_end(pid: usize) {
    while pid != 0 && runs(pid) {
        thread::sleep(Duration::from_micros(200));
    }
}

fn run() -> io::Result<()> {
    let steps = env::args()
        .skip(1)
        .map(|word| parse(&word))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::other("usage: families WHO:WHAT:SLOT..."))?;
    let shared = map(PAGE, libc::MAP_SHARED)?.cast::<AtomicUsize>();
    // SAFETY: a shared mapping of a page, zeroed, that is never unmapped.
    let words = unsafe { slice::from_raw_parts(shared, PAGE / size_of::<AtomicUsize>()) };
    let [turn, leaving, quitting @ ..] = words else {
        return Err(Error::other("a page holds two words"));
    };
    let slots = map(SLOTS * CHUNK, libc::MAP_PRIVATE)?;
    let look = map(PAGE, libc::MAP_PRIVATE)?;
    // SAFETY: huge pages would be more than what is written; children end unattended.
    unsafe {
        libc::madvise(slots.cast(), SLOTS * CHUNK, libc::MADV_NOHUGEPAGE);
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
    let mut me = 0;
    loop {
        let at = turn.load(Ordering::SeqCst);
        let Some(step) = steps.get(at) else {
            return Ok(());
        };
        if step.who != me {
            thread::sleep(Duration::from_micros(150));
            continue;
        }
        await_end(leaving.swap(0, Ordering::SeqCst));
        let start = slots.wrapping_add((step.slot % SLOTS) * CHUNK);
        match step.what {
            'w' => write(start, CHUNK),
            'f' => free(start, CHUNK),
            'l' => {
                write(look, PAGE);
                free(look, PAGE);
            }
            'q' => {
                let own = usize::try_from(process::id()).map_err(Error::other)?;
                let quits = quitting
                    .iter()
                    .find(|slot| slot.load(Ordering::SeqCst) == 0);
                quits
                    .ok_or_else(|| Error::other("too many quit"))?
                    .store(own, Ordering::SeqCst);
                turn.store(at + 1, Ordering::SeqCst);
                return Ok(());
            }
            'a' => {
                // What looking takes is in memory after the first of these steps, whoever has quit.
                runs(usize::try_from(process::id()).map_err(Error::other)?);
                quitting
                    .iter()
                    .for_each(|pid| await_end(pid.load(Ordering::SeqCst)));
            }
            // SAFETY: this process has one thread; the child goes on in this loop.
            'k' => match unsafe { libc::fork() } {
                0 => {
                    me = step.slot;
                    while turn.load(Ordering::SeqCst) <= at {
                        thread::sleep(Duration::from_micros(100));
                    }
                    continue;
                }
                -1 => return Err(Error::last_os_error()),
                _ => {}
            },
            'x' => {
                let own = usize::try_from(process::id()).map_err(Error::other)?;
                leaving.store(own, Ordering::SeqCst);
                turn.store(at + 1, Ordering::SeqCst);
                return Ok(());
            }
            _ => return Err(Error::other("unknown step")),
        }
        turn.store(at + 1, Ordering::SeqCst);
    }
}
