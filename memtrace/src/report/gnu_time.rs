//! The output of GNU time 1.9, byte for byte.
//!
//! Scripts parse what `/usr/bin/time` prints, so the shape of every line, the
//! truncation of every time and even the answers to malformed formats are part
//! of its interface. This module renders [`TimeValues`] in that shape; where
//! the numbers come from is the caller's business.
//!
//! Two deliberate differences: memory averages, which Linux leaves at 0, are
//! whatever the caller measured; and a backslash that ends a format prints
//! `?\`, as GNU time 1.10 does (1.9 reads past the end of the string there).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use crate::launch::rusage::{maxrss_bytes, nanoseconds};

/// GNU time's format when none is asked for.
const DEFAULT_FORMAT: &[u8] =
    b"%Uuser %Ssystem %Eelapsed %PCPU (%Xavgtext+%Davgdata %Mmaxresident)k\n\
%Iinputs+%Ooutputs (%Fmajor+%Rminor)pagefaults %Wswaps";

/// The format of `-p`, from POSIX.1-2024, `time`.
const PORTABLE_FORMAT: &[u8] = b"real %e\nuser %U\nsys %S";

/// The format of `-v`.
const VERBOSE_FORMAT: &[u8] = b"\tCommand being timed: \"%C\"
\tUser time (seconds): %U
\tSystem time (seconds): %S
\tPercent of CPU this job got: %P
\tElapsed (wall clock) time (h:mm:ss or m:ss): %E
\tAverage shared text size (kbytes): %X
\tAverage unshared data size (kbytes): %D
\tAverage stack size (kbytes): %p
\tAverage total size (kbytes): %K
\tMaximum resident set size (kbytes): %M
\tAverage resident set size (kbytes): %t
\tMajor (requiring I/O) page faults: %F
\tMinor (reclaiming a frame) page faults: %R
\tVoluntary context switches: %w
\tInvoluntary context switches: %c
\tSwaps: %W
\tFile system inputs: %I
\tFile system outputs: %O
\tSocket messages sent: %s
\tSocket messages received: %r
\tSignals delivered: %k
\tPage size (bytes): %Z
\tExit status: %x";

/// What to print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The two lines that GNU time prints by default.
    #[default]
    Default,
    /// `-p`: real, user and sys, and never a line about the exit status.
    Portable,
    /// `-v`: one labelled line for each value.
    Verbose,
    /// `-f` or the environment variable `TIME`: any bytes with specifiers.
    Custom(Vec<u8>),
}

impl Format {
    /// The format string behind this choice.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Default => DEFAULT_FORMAT,
            Self::Portable => PORTABLE_FORMAT,
            Self::Verbose => VERBOSE_FORMAT,
            Self::Custom(bytes) => bytes,
        }
    }
}

/// Everything GNU time can print about one command.
///
/// Sizes are in bytes and printed in kibibytes, rounded down; times are in
/// nanoseconds and printed in hundredths of a second, rounded down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeValues {
    /// `%C`: the command and its arguments.
    pub command: Vec<OsString>,
    /// `%x` and the lines about abnormal ends: the status as `wait4` gave it.
    pub wait_status: i32,
    /// `%e` and `%E`: wall-clock time.
    pub elapsed_ns: u64,
    /// `%U`: CPU time in user mode.
    pub user_ns: u64,
    /// `%S`: CPU time in the kernel.
    pub system_ns: u64,
    /// `%M`: largest resident set.
    pub max_rss_bytes: u64,
    /// `%t`: average resident set.
    pub average_rss_bytes: u64,
    /// `%X`: average of shared text.
    pub average_text_bytes: u64,
    /// `%D`: average of unshared data.
    pub average_data_bytes: u64,
    /// `%p`: average of unshared stack.
    pub average_stack_bytes: u64,
    /// `%K`: average of data, stack and text together.
    pub average_total_bytes: u64,
    /// `%F`: page faults that needed I/O.
    pub major_faults: u64,
    /// `%R`: page faults that needed none.
    pub minor_faults: u64,
    /// `%W`: times swapped out whole.
    pub swaps: u64,
    /// `%I`: file system inputs, in blocks of 512 bytes.
    pub inputs: u64,
    /// `%O`: file system outputs, in blocks of 512 bytes.
    pub outputs: u64,
    /// `%r`: socket messages received.
    pub messages_received: u64,
    /// `%s`: socket messages sent.
    pub messages_sent: u64,
    /// `%k`: signals delivered.
    pub signals: u64,
    /// `%w`: context switches for want of something to do.
    pub voluntary_switches: u64,
    /// `%c`: context switches because the time slice was over.
    pub involuntary_switches: u64,
    /// `%Z`: size of a page.
    pub page_size: u64,
}

impl TimeValues {
    /// The values as GNU time itself would have them: from what `wait4` gave.
    ///
    /// Linux keeps only some fields of `struct rusage` (`getrusage(2)`); the
    /// averages stay 0 and are for the caller to fill.
    #[must_use]
    pub fn from_rusage(
        command: Vec<OsString>,
        wait_status: i32,
        elapsed_ns: u64,
        page_size: u64,
        usage: &libc::rusage,
    ) -> Self {
        Self {
            command,
            wait_status,
            elapsed_ns,
            user_ns: nanoseconds(usage.ru_utime),
            system_ns: nanoseconds(usage.ru_stime),
            max_rss_bytes: maxrss_bytes(usage).unwrap_or(0),
            major_faults: count(usage.ru_majflt),
            minor_faults: count(usage.ru_minflt),
            swaps: count(usage.ru_nswap),
            inputs: count(usage.ru_inblock),
            outputs: count(usage.ru_oublock),
            messages_received: count(usage.ru_msgrcv),
            messages_sent: count(usage.ru_msgsnd),
            signals: count(usage.ru_nsignals),
            voluntary_switches: count(usage.ru_nvcsw),
            involuntary_switches: count(usage.ru_nivcsw),
            page_size,
            ..Self::default()
        }
    }

    /// Renders the report, with its last newline.
    ///
    /// `quiet` leaves out the line that tells of an exit status other than 0
    /// or of a signal; [`Format::Portable`] leaves it out in any case.
    #[must_use]
    pub fn render(&self, format: &Format, quiet: bool) -> Vec<u8> {
        let mut out = Vec::new();
        if !quiet && *format != Format::Portable {
            self.abnormal_end(&mut out);
        }
        let mut rest = format.as_bytes().iter().copied();
        while let Some(byte) = rest.next() {
            match byte {
                b'%' => match rest.next() {
                    Some(letter) => self.specifier(letter, &mut out),
                    None => {
                        // GNU time gives up here, without the last newline.
                        out.push(b'?');
                        return out;
                    }
                },
                b'\\' => match rest.next() {
                    Some(b't') => out.push(b'\t'),
                    Some(b'n') => out.push(b'\n'),
                    Some(b'\\') => out.push(b'\\'),
                    Some(other) => out.extend([b'?', b'\\', other]),
                    None => out.extend(*b"?\\"),
                },
                plain => out.push(plain),
            }
        }
        out.push(b'\n');
        out
    }

    /// The line before the report when the command did not end with status 0.
    fn abnormal_end(&self, out: &mut Vec<u8>) {
        let status = self.wait_status;
        let line = if libc::WIFSTOPPED(status) {
            format!("Command stopped by signal {}\n", libc::WSTOPSIG(status))
        } else if libc::WIFSIGNALED(status) {
            format!("Command terminated by signal {}\n", libc::WTERMSIG(status))
        } else if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 0 {
            let code = libc::WEXITSTATUS(status);
            format!("Command exited with non-zero status {code}\n")
        } else {
            return;
        };
        out.extend(line.into_bytes());
    }

    /// One `%` specifier.
    fn specifier(&self, letter: u8, out: &mut Vec<u8>) {
        let number = match letter {
            b'%' => return out.push(b'%'),
            b'C' => return self.command_line(out),
            b'E' => return out.extend(clock(self.elapsed_ns).into_bytes()),
            b'P' => return out.extend(self.cpu_share().into_bytes()),
            b'e' => return out.extend(seconds(self.elapsed_ns).into_bytes()),
            b'U' => return out.extend(seconds(self.user_ns).into_bytes()),
            b'S' => return out.extend(seconds(self.system_ns).into_bytes()),
            // What a signal leaves in the bits of the exit status is 0.
            b'x' => u64::from(libc::WEXITSTATUS(self.wait_status).unsigned_abs()),
            b'D' => self.average_data_bytes / 1024,
            b'F' => self.major_faults,
            b'I' => self.inputs,
            b'K' => self.average_total_bytes / 1024,
            b'M' => self.max_rss_bytes / 1024,
            b'O' => self.outputs,
            b'R' => self.minor_faults,
            b'W' => self.swaps,
            b'X' => self.average_text_bytes / 1024,
            b'Z' => self.page_size,
            b'c' => self.involuntary_switches,
            b'k' => self.signals,
            b'p' => self.average_stack_bytes / 1024,
            b'r' => self.messages_received,
            b's' => self.messages_sent,
            b't' => self.average_rss_bytes / 1024,
            b'w' => self.voluntary_switches,
            unknown => return out.extend([b'?', unknown]),
        };
        out.extend(number.to_string().into_bytes());
    }

    /// The arguments with a space between them, as they are.
    fn command_line(&self, out: &mut Vec<u8>) {
        for (index, argument) in self.command.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            out.extend(argument.as_bytes());
        }
    }

    /// CPU time over wall-clock time: by milliseconds, and by microseconds
    /// when less than a millisecond passed.
    fn cpu_share(&self) -> String {
        let elapsed_ms = self.elapsed_ns / 1_000_000;
        let elapsed_us = self.elapsed_ns / 1_000;
        let (part, whole) = if elapsed_ms > 0 {
            // Each time is cut to milliseconds before the sum, as GNU time does.
            (
                self.user_ns / 1_000_000 + self.system_ns / 1_000_000,
                elapsed_ms,
            )
        } else if elapsed_us > 0 {
            // GNU time looks only at the fractions of a second here.
            let fraction = |ns: u64| ns % 1_000_000_000 / 1_000;
            (
                fraction(self.user_ns) + fraction(self.system_ns),
                elapsed_us,
            )
        } else {
            return "?%".to_owned();
        };
        format!("{}%", part.saturating_mul(100) / whole)
    }
}

/// `S.hh`
fn seconds(ns: u64) -> String {
    format!("{}.{:02}", ns / 1_000_000_000, ns / 10_000_000 % 100)
}

/// `M:SS.hh`, or `H:MM:SS` from an hour on.
fn clock(ns: u64) -> String {
    let whole = ns / 1_000_000_000;
    if whole >= 3600 {
        format!(
            "{}:{:02}:{:02}",
            whole / 3600,
            whole % 3600 / 60,
            whole % 60
        )
    } else {
        let hundredths = ns / 10_000_000 % 100;
        format!("{}:{:02}.{hundredths:02}", whole / 60, whole % 60)
    }
}

/// A counter of an rusage, which is never negative.
fn count(value: libc::c_long) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests;
