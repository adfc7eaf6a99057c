//! The self-test of `memtrace check`: a child touches and unmaps known amounts of
//! anonymous, file and shared memory, says what the kernel counted at its top, and
//! our peaks must equal that to the page.
//!
//! `unsafe` is for mmap(2) in the child.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::fd::AsRawFd as _,
    path::PathBuf,
    process::ExitCode,
};

use memtrace::{
    Tracer,
    launch::Spec,
    model::{Origin, Verdict},
};

/// Pages of each kind of memory in the rounds of the test: below, at and above the
/// batch in which a CPU keeps its share of a counter (32), and many.
pub(crate) const ROUNDS: [usize; 4] = [31, 32, 63, 600];

/// Where the child reports; it inherits the variable with the environment.
const REPORT: &str = "MEMTRACE_SELF_TEST_REPORT";

/// One round's outcome.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) pages: usize,
    /// What is wrong; empty if nothing is.
    pub(crate) faults: Vec<String>,
}

/// Runs the test.
pub(crate) fn run() -> Vec<Round> {
    ROUNDS
        .iter()
        .map(|&pages| Round {
            pages,
            faults: round(pages).unwrap_or_else(|error| vec![error]),
        })
        .collect()
}

fn round(pages: usize) -> Result<Vec<String>, String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| format!("cannot {what}: {error}")
    };
    let mut report = tempfile().map_err(failed("make a temporary file"))?;
    let path = PathBuf::from(format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        report.as_raw_fd()
    ));
    let program = std::env::current_exe().map_err(failed("find this program"))?;
    let spec = Spec::new([
        program.into_os_string(),
        "self-test-workload".into(),
        pages.to_string().into(),
    ])
    .env(REPORT, path);
    let traced = Tracer::new().trace(&spec).map_err(|e| e.to_string())?;
    if traced.finished().exit_status() != Some(0) {
        return Err("the workload failed".to_owned());
    }
    let mut text = String::new();
    report
        .rewind()
        .and_then(|()| report.read_to_string(&mut text))
        .map_err(failed("read the workload's report"))?;

    let summary = traced.summary();
    let mut faults = Vec::new();
    if summary.certificate.verdict != Verdict::Exact {
        faults.push(format!(
            "the certificate is not exact: {}",
            summary.certificate.reasons.join("; ")
        ));
    }
    let Some(image) = summary
        .images
        .iter()
        .find(|image| image.origin == Origin::Exec)
    else {
        return Err("the workload's image was not seen".to_owned());
    };
    for (name, ours) in [
        ("RssAnon", image.own_peak.anon),
        ("RssFile", image.own_peak.file),
        ("RssShmem", image.own_peak.shmem),
        ("VmRSS", image.peak_rss),
    ] {
        let theirs = field(&text, name).ok_or("the workload's report is incomplete")?;
        if theirs != ours {
            faults.push(format!(
                "{name} at the top: the kernel says {theirs} bytes, memtrace {ours}"
            ));
        }
    }
    Ok(faults)
}

/// A file without a name.
fn tempfile() -> std::io::Result<File> {
    let name = c"memtrace-self-test";
    // Close-on-exec: the child opens it through /proc.
    nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .map(File::from)
        .map_err(Into::into)
}

/// A field of /proc/PID/status, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The child: touches memory, reports, unmaps, ends.
pub(crate) fn workload(pages: usize) -> ExitCode {
    match try_workload(pages) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "memtrace: self-test workload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_workload(pages: usize) -> std::io::Result<()> {
    let report = std::env::var_os(REPORT).ok_or(std::io::ErrorKind::NotFound)?;
    let mut report = OpenOptions::new().write(true).open(report)?;
    let mut status = File::open("/proc/self/status")?;
    let program = File::open("/proc/self/exe")?;
    let mut buffer = vec![1_u8; 64 * 1024];
    let page = usize::try_from(procfs::page_size()).unwrap_or(4096);
    let spare = Map::new(page, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)?;
    spare.touch(page);
    spare.empty();
    let mut climb = |pages: usize| -> std::io::Result<()> {
        let length = pages * page;
        let maps = [
            Map::new(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)?,
            Map::new(length, libc::MAP_SHARED | libc::MAP_ANONYMOUS, None)?,
            Map::new(length, libc::MAP_PRIVATE, Some(&program))?,
        ];
        for map in &maps {
            map.touch(page);
        }
        // Up to 6.1 a thread keeps up to 64 faults for itself, which its status leaves out;
        // dropping what is not there moves them (`zap_pte_range()`, mm/memory.c).
        spare.empty();
        status.rewind()?;
        let length = status.read(&mut buffer)?;
        report.rewind()?;
        report.write_all(buffer.get(..length).unwrap_or_default())?;
        report.set_len(u64::try_from(length).unwrap_or(0))?;
        drop(maps);
        Ok(())
    };
    // Once for nothing, so that the code behind the top is resident before: the
    // kernel maps whole surroundings of a page of a program that is touched first.
    climb(1)?;
    climb(pages)
}

/// A mapping that is unmapped when dropped.
struct Map {
    start: *mut libc::c_void,
    length: usize,
    writable: bool,
}

impl Map {
    fn new(length: usize, flags: libc::c_int, file: Option<&File>) -> std::io::Result<Self> {
        let writable = file.is_none();
        let protection = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        let descriptor = file.map_or(-1, File::as_raw_fd);
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                flags,
                descriptor,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the range is the mapping just made. Huge pages would be counted
        // as the many pages they stand for.
        unsafe { libc::madvise(start, length, libc::MADV_NOHUGEPAGE) };
        Ok(Self {
            start,
            length,
            writable,
        })
    }

    /// Drops its pages.
    fn empty(&self) {
        // SAFETY: the mapping is ours and private; nothing in it is referred to.
        unsafe { libc::madvise(self.start, self.length, libc::MADV_DONTNEED) };
    }

    fn touch(&self, page: usize) {
        for offset in (0..self.length).step_by(page) {
            let at = self.start.cast::<u8>().wrapping_add(offset);
            // SAFETY: inside the mapping, which is readable, and the program's file is
            // larger than what is mapped of it.
            unsafe {
                let value = at.read_volatile();
                if self.writable {
                    at.write_volatile(value.wrapping_add(1));
                }
            }
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no reference into it exists.
        unsafe { libc::munmap(self.start, self.length) };
    }
}
