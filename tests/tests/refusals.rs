//! Forks and execs that the kernel refuses, and process ids that come again.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::Result;
use memtrace_tests::{Cgroup, Lab, Summary, exact_status, page, require, require_privileges, skip};

const ENOENT: i32 = libc::ENOENT;

fn write(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    fs::write(path, bytes)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Whatever was refused before it, the process is one image of the size it says.
fn assert_one_image(summary: &Summary, top: u64) -> Result<()> {
    summary.assert_exact();
    assert_eq!(summary.processes.len(), 1);
    let root = summary.root()?;
    let ran: Vec<_> = root.images.iter().filter(|image| image.ran).collect();
    assert_eq!(ran.len(), 1, "{root:#?}");
    assert_eq!(ran.first().map(|image| image.peak_rss_bytes), Some(top));
    assert_eq!(summary.tree.peak_rss_bytes, top);
    Ok(())
}

/// An exec that fails leaves the old image as it was, whatever the new one had already.
#[test]
fn an_exec_that_is_refused_changes_nothing() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    write(&lab.path("locked"), "#!/bin/sh\n", 0o644)?;
    write(&lab.path("noise"), [7; 5000], 0o755)?;
    write(&lab.path("lost"), "#!/no/such/interpreter\n", 0o755)?;
    let long = "x".repeat(100_000);
    for (name, words) in [
        ("ENOENT", format!("fail-exec /no/such/program {ENOENT}")),
        ("EACCES", format!("fail-exec @locked {}", libc::EACCES)),
        ("ENOEXEC", format!("fail-exec @noise {}", libc::ENOEXEC)),
        ("interpreter", format!("fail-exec @lost {ENOENT}")),
        // Six megabytes are the most (fs/exec.c, bprm_stack_limits()): copied, then refused.
        (
            "E2BIG",
            format!("tag {long} fail-exec-big NOTHING 90 {}", libc::E2BIG),
        ),
    ] {
        let words = format!("anon 100 {words} {words} anon 3000 status @top");
        lab.alone(&words)?;
        let summary = lab.trace(&words)?.summary;
        assert_one_image(&summary, lab.status("top")?.rss()?)
            .map_err(|error| error.context(name))?;
    }
    Ok(())
}

/// An exec that fails when there is no way back: the process is killed as a new image that
/// never ran.
#[test]
fn an_exec_that_fails_too_late_to_return_is_exact() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let mut elf = fs::read(memtrace_tests::workloads::NOTHING)?;
    // The addresses of all segments: beyond what a process can have. Offsets by elf(5):
    // e_phoff 32, e_phnum 56, and per header of 56 bytes p_type 0, p_vaddr 16.
    let headers = usize::from(u16::from_ne_bytes([elf[56], elf[57]]));
    for header in 0..headers {
        let at = 64 + 56 * header;
        if elf[at] == 1 {
            elf[at + 16 + 6] = 0x7f;
        }
    }
    write(&lab.path("broken"), elf, 0o755)?;
    let words = "anon 2000 status @parent fork{ anon 50 status @child exec{ @broken } } reap";
    let run = lab.trace(words)?;
    run.summary.assert_exact();
    let (parent, child) = (lab.status("parent")?, lab.status("child")?);
    let process = run.summary.process(child.pid()?)?;
    assert_eq!(process.signal, Some(libc::SIGSEGV), "{process:#?}");
    let peak = run.summary.tree.peak_rss_bytes;
    // The pages of the arguments are the only thing that comes on top.
    let both = parent.rss()? + child.rss()?;
    assert!(peak >= both && peak <= both + page(), "{peak} for {both}");
    Ok(())
}

/// T6: a fork that the cgroup refuses, after the memory was copied, leaves nothing behind.
#[test]
fn a_fork_that_the_cgroup_refuses_leaves_nothing_behind() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let group = match Cgroup::with_task_limit(1) {
        Ok(group) => group,
        Err(missing) => {
            skip(&missing);
            return Ok(());
        }
    };
    let words = format!(
        "anon 1000 cgroup {} loop{{ 50 fail-fork pids }} anon 3000 status @top",
        group.path().display()
    );
    lab.alone(&words)?;
    let summary = lab.trace(&words)?.summary;
    assert_one_image(&summary, lab.status("top")?.rss()?)
}

/// Processes of two sizes that all have the same process id, one after the other.
#[test]
fn processes_with_the_same_id_are_told_apart() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let rounds = 100;
    let pid = free_pid()?;
    let words = format!(
        "loop{{ {rounds} fork-pid{{ {pid} anon 100 }} wait \
         fork-pid{{ {pid} vfork{{ exec{{ NOTHING }} }} wait exec{{ SELF tag big anon 1000 exit 7 }} }} reap }}"
    );
    lab.alone(&words)?;
    let summary = lab.trace(&words)?.summary;
    summary.assert_exact();
    let same: Vec<_> = summary
        .processes
        .iter()
        .filter(|process| process.pid == pid)
        .collect();
    assert_eq!(same.len(), 2 * rounds);
    let (plain, big): (Vec<_>, Vec<_>) = same
        .into_iter()
        .partition(|process| process.execs().is_empty());
    assert_eq!((plain.len(), big.len()), (rounds, rounds));
    for process in &plain {
        assert_eq!((process.images.len(), process.exit_status), (1, Some(0)));
    }
    for process in &big {
        assert_eq!((process.images.len(), process.exit_status), (2, Some(7)));
    }
    // Each kind is alike to the page, first, middle and last.
    for (kind, processes) in [("plain", &plain), ("big", &big)] {
        let mut peaks = Vec::new();
        for process in processes {
            peaks.push(process.last_image()?.peak_rss_bytes);
        }
        assert_eq!(peaks.iter().min(), peaks.iter().max(), "{kind}: {peaks:?}");
    }
    // No process lives before the one before it has ended.
    let mut spans: Vec<_> = plain
        .iter()
        .chain(&big)
        .map(|p| (p.start_ns, p.end_ns))
        .collect();
    spans.sort_unstable();
    for pair in spans.windows(2) {
        assert!(pair[0].1.is_some_and(|end| end <= pair[1].0), "{pair:?}");
    }
    Ok(())
}

/// A process id that is not in use and far from those that are given out next.
fn free_pid() -> Result<u32> {
    // proc_loadavg(5): the last field is the id that was given out last.
    let load = fs::read_to_string("/proc/loadavg")?;
    let last: u32 = load.split_whitespace().last().unwrap_or("0").parse()?;
    let limit: u32 = fs::read_to_string("/proc/sys/kernel/pid_max")?
        .trim()
        .parse()?;
    let mut pid = (last + limit / 2) % limit;
    while pid < 400 || Path::new(&format!("/proc/{pid}")).exists() {
        pid = (pid + 1) % limit;
    }
    Ok(pid)
}
