//! Where it is measured, and whether it can be.

use std::{fs, process::Command, thread};

use anyhow::{Context as _, Result, bail};
use memtrace_tests::{capability, memtrace};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::results::Machine;

/// What tools mount from now on is seen by them alone: `perf record` mounts tracefs and leaves
/// it, which the rest of the machine need not notice.
pub(crate) fn keep_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("keep mounts from others")
}

/// Fails, saying what to do, where memtrace could not use BPF.
pub(crate) fn require_privileges() -> Result<()> {
    if let Err(missing) = capability() {
        bail!(
            "benchmarks measure memtrace with BPF, which is not possible here: {missing}. \
             Run `sudo -E env \"PATH=$PATH\" cargo xtask bench`"
        );
    }
    let binary = memtrace()?;
    let output = Command::new(binary)
        .args(["run", "-q", "--backend", "bpf", "--", "/bin/true"])
        .output()
        .with_context(|| format!("run {}", binary.display()))?;
    if !output.status.success() {
        bail!(
            "memtrace cannot trace with BPF here ({}): {}; `memtrace check` tells more",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// What the machine is.
pub(crate) fn describe() -> Result<Machine> {
    let cpuinfo = read("/proc/cpuinfo");
    let binary = memtrace()?;
    let version = Command::new(binary)
        .arg("--version")
        .output()
        .with_context(|| format!("run {}", binary.display()))?;
    Ok(Machine {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        processor: processor(&cpuinfo),
        cpus: cpus(),
        memory_mib: memory_mib(&read("/proc/meminfo")),
        virtual_machine: cpuinfo
            .lines()
            .any(|line| line.starts_with("flags") && line.contains(" hypervisor")),
        load: load(&read("/proc/loadavg")),
        memtrace: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
    })
}

/// CPUs on which this process may run.
pub(crate) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Processes that can be held at once: the kernel's limit of process ids, less what lives already
/// and some for the benchmark itself.
pub(crate) fn room_for_processes() -> u64 {
    let limit = |path| read(path).trim().parse().unwrap_or(u64::MAX);
    let living = fs::read_dir("/proc").map_or(0, Iterator::count) as u64;
    limit("/proc/sys/kernel/pid_max")
        .min(limit("/proc/sys/kernel/threads-max"))
        .saturating_sub(living + 1_000)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn processor(cpuinfo: &str) -> String {
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

fn memory_mib(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

fn load(loadavg: &str) -> f64 {
    let first = loadavg.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::{load, memory_mib, processor};

    #[test]
    fn the_machine_is_read_from_proc() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Fast One @ 3 GHz\nflags\t\t: fpu\n";
        assert_eq!(processor(cpuinfo), "A Fast One @ 3 GHz");
        assert_eq!(processor(""), "unknown");
        assert_eq!(memory_mib("MemTotal:       16384000 kB\n"), 16_000);
        assert_eq!(memory_mib("MemTotal: many"), 0);
        assert!((load("0.25 0.10 0.05 1/200 4711\n") - 0.25).abs() < 1e-9);
    }
}
