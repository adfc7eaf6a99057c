//! What tests need of the machine, and how they skip without it.

use std::{
    fmt, fs,
    io::{self, Write as _},
    path::Path,
    process::Command,
    sync::OnceLock,
};

use anyhow::{Result, ensure};

use crate::{Status, page, workloads};

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Something that a test needs and that is not there.
#[derive(Clone, Debug)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says that a test does not apply to this kernel, if `MEMTRACE_LACKS` names `what`; the
/// kernel matrix (`cargo xtask kernels`) lists there what a kernel cannot have.
#[must_use]
pub fn lacks(what: &str) -> bool {
    let found = is_lacking(what);
    if found {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Nothing can be done if standard error is gone.
        let _ = writeln!(io::stderr(), "\nNOT HERE {test}: {what}");
    }
    found
}

/// The same without a word, where only a part of a test does not apply.
#[must_use]
pub fn is_lacking(what: &str) -> bool {
    let lacks = std::env::var("MEMTRACE_LACKS").unwrap_or_default();
    lacks.split(',').any(|lack| lack == what)
}

/// Says on standard error, past the test runner's capture, that a test is skipped and why.
///
/// # Panics
/// With `MEMTRACE_REQUIRE_ALL=1`: then nothing may be skipped.
pub fn skip(missing: &Missing) {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let message = format!("SKIPPED {test}: {missing} (kernel {})", kernel.trim());
    assert!(
        std::env::var_os("MEMTRACE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "{message}"
    );
    // Nothing can be done if standard error is gone.
    let _ = writeln!(io::stderr(), "{message}");
}

/// Whether this process may load BPF programs and read memory of others.
///
/// # Errors
/// What is missing.
pub fn capability() -> Result<(), Missing> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let has = |capability: u32| effective & (1 << capability) != 0;
    let enough = has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON));
    if !enough {
        return Err(Missing(
            "needs CAP_BPF and CAP_PERFMON; run the tests as root".to_owned(),
        ));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(Missing(
            "the kernel has no BTF, /sys/kernel/btf/vmlinux".to_owned(),
        ));
    }
    Ok(())
}

/// Whether threads hold back changes of the counters (`SPLIT_RSS_COUNTING`, up to 6.1): then there is a
/// function that gives them up.
#[must_use]
pub fn threads_hold_back_changes() -> bool {
    fs::read_to_string("/proc/kallsyms")
        .unwrap_or_default()
        .lines()
        .any(|line| line.ends_with(" sync_mm_rss"))
}

/// Whether `/proc/PID/status` has exact sizes here, found out by a program that touches
/// 20 pages from changing CPUs (Linux 6.16, commit 82241a83cd15, and stable kernels that
/// took it; before, up to a batch of pages per CPU is not shown).
///
/// # Errors
/// It has not, or the program failed.
pub fn exact_status() -> Result<(), Missing> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    FOUND
        .get_or_init(|| probe_status().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| Missing(format!("/proc/PID/status is no exact oracle here: {error}")))
}

fn probe_status() -> Result<()> {
    let rss = |pages: &str| -> Result<u64> {
        let output = Command::new("setarch")
            .args(["-R", workloads::SCRIPT, "migrate", pages, "status", "-"])
            .env_clear()
            .output()?;
        ensure!(
            output.status.success(),
            "the probe ended with {}",
            output.status
        );
        Status::parse(&String::from_utf8_lossy(&output.stdout)).rss()
    };
    let (without, with) = (rss("00")?, rss("20")?);
    ensure!(
        with - without == 20 * page(),
        "20 touched pages show as {} bytes",
        with - without
    );
    Ok(())
}

fn scale_is(scale: &str) -> bool {
    std::env::var_os("MEMTRACE_TEST_SCALE").is_some_and(|value| value == scale)
}

/// How often to repeat something, or on how many values to try it: `full`, or `small` on machines
/// that are known to be slow (`MEMTRACE_TEST_SCALE=small`), as emulated ones are.
#[must_use]
pub fn scaled<T>(full: T, small: T) -> T {
    if scale_is("small") { small } else { full }
}

/// How much to load the machine with: `full` where a run has it for itself
/// (`MEMTRACE_TEST_SCALE=full`, as `cargo xtask full` sets it), else `light`, which leaves others
/// their share of processes, memory and time.
#[must_use]
pub fn load<T>(full: T, light: T) -> T {
    if scale_is("full") { full } else { light }
}

/// Says on standard error, past the test runner's capture, how large a test of large numbers is;
/// gives the number.
#[must_use]
pub fn announced(what: &str, number: u64) -> u64 {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Nothing can be done if standard error is gone.
    let _ = writeln!(io::stderr(), "NOTE {test}: {what}: {number}");
    number
}
