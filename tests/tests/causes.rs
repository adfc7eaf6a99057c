//! Every refusal names its real cause, and what to do about it.

use anyhow::{Result, ensure};
use memtrace_tests::{Finished, Lab, Missing, memtrace, require, require_privileges, workloads};

/// Whether these words run at all.
fn works(lab: &Lab, before: &[&str]) -> Result<(), Missing> {
    let line = [before, &["true"]].concat();
    let finished = lab.to_end(&mut lab.fixed(&line));
    match finished {
        Ok(finished) if finished.code() == Some(0) => Ok(()),
        other => Err(Missing(format!("{before:?} is not possible: {other:?}"))),
    }
}

/// Runs what comes after in a mount namespace without /proc.
const WITHOUT_PROC: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "umount --lazy /proc && exec \"$0\" \"$@\"",
];

/// Without /proc nothing is run, whatever was to be measured how.
#[test]
fn without_proc_nothing_runs() -> Result<()> {
    let lab = Lab::new()?;
    require!(works(&lab, &WITHOUT_PROC));
    let mark = lab.path("ran").display().to_string();
    let memtrace = memtrace()?.display().to_string();
    for words in [
        &["run", "--"][..],
        &["run", "--backend", "bpf", "--"],
        &["run", "--backend", "ptrace", "--"],
        &["run", "--backend", "poll", "--"],
        &["time"],
    ] {
        let line = [&WITHOUT_PROC[..], &[&memtrace], words, &["touch", &mark]].concat();
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        assert_eq!(finished.code(), Some(125), "{words:?}: {finished:?}");
        for part in ["/proc is not mounted", "mount -t proc proc /proc"] {
            assert!(finished.stderr.contains(part), "{words:?}: {finished:?}");
        }
        assert!(!lab.has("ran"), "{words:?}: the command ran");
    }
    let line = [&WITHOUT_PROC[..], &[&memtrace, "check", "--json"]].concat();
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    let report: serde_json::Value = serde_json::from_str(&finished.stdout)?;
    let error = report["programs"]["error"].as_str().unwrap_or_default();
    assert!(error.contains("/proc is not mounted"), "{report:#}");
    assert_eq!(report["tier"], serde_json::Value::Null, "{report:#}");
    Ok(())
}

/// Where /proc is that of another PID namespace, process ids mean other processes there.
#[test]
fn the_proc_of_others_is_not_read() -> Result<()> {
    let lab = Lab::new()?;
    let before = ["unshare", "--fork", "--pid"];
    require!(works(&lab, &before));
    let mark = lab.path("ran").display().to_string();
    for backend in ["ptrace", "poll"] {
        let mut line = before.map(str::to_owned).to_vec();
        line.extend(lab.memtrace_run(&["--backend", backend])?);
        line.extend(["touch".to_owned(), mark.clone()]);
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        assert_eq!(finished.code(), Some(125), "{backend}: {finished:?}");
        for part in ["another PID namespace", "mount -t proc proc /proc"] {
            assert!(finished.stderr.contains(part), "{backend}: {finished:?}");
        }
        assert!(!lab.has("ran"), "{backend}: the command ran");
    }
    Ok(())
}

/// memtrace where a seccomp filter lets bpf(2) fail with a number.
fn without_bpf(lab: &Lab, errno: i32, options: &[&str]) -> Result<Finished> {
    let mut line = lab.script(&format!("refuse {} {errno} exec{{", libc::SYS_bpf));
    line.extend(lab.memtrace_run(options)?);
    line.extend(lab.script("status @ran"));
    line.push("}".to_owned());
    // The interpreter takes the program's path and its arguments, and no search path.
    lab.to_end(&mut lab.fixed(&line))
}

/// A filter that refuses bpf(2) to root: it is named, and locked memory is not.
#[test]
fn a_seccomp_filter_is_named() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for errno in [libc::EPERM, libc::ENOSYS] {
        let refused = without_bpf(&lab, errno, &["--backend", "bpf"])?;
        assert_eq!(refused.code(), Some(125), "{errno}: {refused:?}");
        for part in ["a seccomp filter", "allow bpf(2) in the seccomp profile"] {
            assert!(refused.stderr.contains(part), "{errno}: {refused:?}");
        }
        for other in ["locked memory", "ulimit -l", "CONFIG_", "setcap", "unknown"] {
            assert!(!refused.stderr.contains(other), "{errno}: {refused:?}");
        }
        ensure!(!lab.has("ran"), "{errno}: the command ran");

        // Without a choice tier P takes over, and says the same first.
        let instead = without_bpf(&lab, errno, &[])?;
        assert_eq!(instead.code(), Some(0), "{errno}: {instead:?}");
        let first = instead.stderr.lines().next().unwrap_or_default();
        assert!(first.contains("a seccomp filter"), "{errno}: {instead:?}");
        ensure!(lab.has("ran"), "{errno}: the command did not run");
        assert_eq!(lab.summary(instead)?.summary.certificate.tier, "P");
        std::fs::remove_file(lab.path("ran"))?;
    }
    Ok(())
}

/// The filter of this test refuses one call and no other.
#[test]
fn a_filter_for_another_call_changes_nothing() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = format!("refuse {} {} exec{{", libc::SYS_sethostname, libc::EPERM);
    let mut line = lab.script(&words);
    line.extend(lab.memtrace_run(&["--backend", "bpf"])?);
    line.extend([workloads::NOTHING, "0", "}"].map(str::to_owned));
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    lab.summary(finished)?.summary.assert_exact();
    Ok(())
}
