//! A static, libc-free program that does to memory and processes what its arguments say.
//!
//! Every argument is a word of a small language; `{` at the end of a word opens a
//! block and `}` closes it. All sizes are numbers of base pages.
//!
//!     script anon 100 fork{ touch 10 status /tmp/child exit 3 } reap status /tmp/parent
//!
//! Because the program's own image is resident before the first word runs (see
//! `sys.rs`), its memory changes by exactly what the words say. The words are
//! described in `memory.rs`, `paging.rs`, `process.rs` and [`Script::step`]. A word that fails ends
//! the process with status 99 and says why on stderr. At the end of the words the
//! process ends with status 0.

#![no_std]
#![no_main]

mod memory;
mod paging;
mod process;
mod refused;
#[allow(dead_code, reason = "shared by all workloads")]
mod sys;

use memory::Region;
use sys::{bytes, check, die, number, sys};

/// Mappings a script can hold at a time.
const REGIONS: usize = 48;

/// The state of one thread of a script. Copied for a new thread.
#[derive(Clone, Copy)]
pub struct Script {
    args: sys::Args,
    regions: [Region; REGIONS],
    count: usize,
    /// Stack for vfork children, 0 until needed.
    vfork_stack: usize,
}

fn main(args: sys::Args) -> ! {
    let mut script = Script {
        args,
        regions: [Region::NONE; REGIONS],
        count: 0,
        vfork_stack: 0,
    };
    script.run(1, args.argc);
    sys::exit_group(0)
}

impl Script {
    /// The word at `at`, without NUL.
    fn word(&self, at: usize) -> &'static [u8] {
        self.args.get(at)
    }

    /// The word at `at` as a C string.
    fn path(&self, at: usize) -> *const u8 {
        self.args.c(at)
    }

    /// The word at `at` as a number.
    fn n(&self, at: usize) -> usize {
        number(self.word(at))
    }

    /// The index of the `}` that closes the block opened at `at`.
    fn close(&self, at: usize) -> usize {
        let mut depth = 0;
        for i in at..self.args.argc {
            let word = self.word(i);
            if word.last() == Some(&b'{') {
                depth += 1;
            } else if word == b"}" {
                depth -= 1;
                if depth == 0 {
                    return i;
                }
            }
        }
        die(b"no } for", self.word(at), 0)
    }

    /// Runs the words from `at` up to `end`.
    fn run(&mut self, mut at: usize, end: usize) {
        while at < end {
            at = self.step(at);
        }
    }

    /// Runs the word at `at` and returns the index of the next one.
    fn step(&mut self, at: usize) -> usize {
        let word = self.word(at);
        if let Some(next) = self
            .memory_word(word, at)
            .or_else(|| self.paging_word(word, at))
            .or_else(|| self.process_word(word, at))
        {
            return next;
        }
        match word {
            // loop{ N ... }
            b"loop{" => {
                let close = self.close(at);
                for _ in 0..self.n(at + 1) {
                    self.run(at + 2, close);
                }
                close + 1
            }
            // status FILE: writes /proc/self/status there
            b"status" => {
                sys::status(self.path(at + 1));
                at + 2
            }
            // smaps FILE: writes /proc/self/stat and /proc/self/smaps there
            b"smaps" => {
                sys::smaps(self.path(at + 1));
                at + 2
            }
            // reset-hwm: makes the kernel forget VmHWM (`proc_pid_clear_refs(5)`)
            b"reset-hwm" => {
                let fd = sys::open(c"/proc/thread-self/clear_refs".as_ptr().cast(), sys::O_WRONLY);
                sys::write_all(fd, c"5".as_ptr() as usize, 1);
                sys::close(fd);
                at + 1
            }
            // publish: what is held back up to 6.1 goes where others see it
            b"publish" => {
                sys::publish();
                at + 1
            }
            // say WORD: a line on standard output
            b"say" => {
                let text = self.word(at + 1);
                sys::write_all(1, text.as_ptr() as usize, text.len());
                sys::write_all(1, c"\n".as_ptr() as usize, 1);
                at + 2
            }
            // hear: waits for a byte or the end of standard input
            b"hear" => {
                let mut byte = 0u8;
                let _ = sys!(READ, 0, &raw mut byte, 1);
                at + 1
            }
            // tag WORD: does nothing, marks the command line
            b"tag" => at + 2,
            // nap-us N: sleeps
            b"nap-us" => {
                let us = self.n(at + 1);
                let time = [us / 1_000_000, us % 1_000_000 * 1000];
                let _ = sys!(NANOSLEEP, time.as_ptr(), 0);
                at + 2
            }
            // busy-us N: computes
            b"busy-us" => {
                let until = sys::now() + self.n(at + 1) * 1000;
                while sys::now() < until {}
                at + 2
            }
            // cpu-us N: computes until it has had so much more CPU time
            b"cpu-us" => {
                let until = sys::cpu_time() + self.n(at + 1) * 1000;
                while sys::cpu_time() < until {}
                at + 2
            }
            // say-cpu: a line on standard output, with its process id and the CPU time that it has had, nanoseconds
            b"say-cpu" => {
                sys::say(&[sys::getpid(), sys::cpu_time()]);
                at + 1
            }
            // pipe K: a pipe at descriptors 100 + 2K and 101 + 2K, kept across exec
            b"pipe" => {
                let k = self.n(at + 1);
                let mut ends = [0i32; 2];
                check(b"pipe2", sys!(PIPE2, ends.as_mut_ptr(), 0));
                for (i, &fd) in ends.iter().enumerate() {
                    check(b"dup3", sys!(DUP3, fd, 100 + 2 * k + i, 0));
                    sys::close(fd as usize);
                }
                at + 2
            }
            // post K: puts one token into pipe K
            b"post" => {
                sys::write_all(101 + 2 * self.n(at + 1), c"x".as_ptr() as usize, 1);
                at + 2
            }
            // await K: takes one token out of pipe K
            b"await" => {
                let mut byte = 0u8;
                check(
                    b"await",
                    sys!(READ, 100 + 2 * self.n(at + 1), &raw mut byte, 1),
                );
                at + 2
            }
            _ => die(b"unknown word", word, 0),
        }
    }
}

/// Joins a directory and a file name into a C string in `buffer`.
pub fn join(directory: *const u8, file: &[u8], buffer: &mut [u8; 256]) -> *const u8 {
    let directory = bytes(directory);
    if directory.len() + file.len() + 1 > buffer.len() {
        die(b"path too long", directory, 0);
    }
    buffer[..directory.len()].copy_from_slice(directory);
    buffer[directory.len()..directory.len() + file.len()].copy_from_slice(file);
    buffer[directory.len() + file.len()] = 0;
    buffer.as_ptr()
}
