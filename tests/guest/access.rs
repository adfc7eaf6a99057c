//! Less than all privileges, and kernels that do not tell their types.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result};
use memtrace_tests::{Finished, Lab, lacks, memtrace};

use crate::machine::grown;

const UNPRIVILEGED: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// Runs a command where /sys/kernel/btf is empty.
fn without_btf(lab: &Lab, command: &[&str]) -> Result<Finished> {
    const HIDE: &str = "mount --bind \"$1\" /sys/kernel/btf && shift && exec \"$@\"";
    let empty = lab.path("empty");
    if !empty.exists() {
        fs::create_dir(&empty)?;
    }
    let empty = empty.display().to_string();
    let mut line = vec!["unshare", "--mount", "sh", "-c", HIDE, "sh", &empty];
    line.extend(command);
    lab.to_end(&mut lab.fixed(&line))
}

/// `check` says that BTF is missing and what to do.
#[test]
fn a_kernel_without_btf_is_named_as_such() -> Result<()> {
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let finished = without_btf(&lab, &[&memtrace, "check", "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&finished.stdout)
        .with_context(|| format!("memtrace says {:?}", finished.stderr))?;
    assert_eq!(finished.code(), Some(1), "{report:#}");
    assert_eq!(report["btf"], false, "{report:#}");
    assert_eq!(report["exact"], false, "{report:#}");
    assert_eq!(report["programs"]["loaded"], false, "{report:#}");
    let words = |field: &str| report["programs"][field].as_str().unwrap_or_default();
    assert!(
        words("error").contains("/sys/kernel/btf/vmlinux"),
        "{report:#}"
    );
    assert!(
        words("remedy").contains("CONFIG_DEBUG_INFO_BTF"),
        "{report:#}"
    );
    let finished = without_btf(&lab, &[&memtrace, "check"])?;
    assert_eq!(finished.code(), Some(1));
    for part in ["BTF", "CONFIG_DEBUG_INFO_BTF", "verdict        not "] {
        assert!(finished.stdout.contains(part), "{}", finished.stdout);
    }
    Ok(())
}

/// Root may trace whatever the sysctl says about others. Its value 1 cannot be taken back
/// before the next boot, which is why it comes last.
#[test]
fn root_is_exact_whatever_others_may_do() -> Result<()> {
    let lab = Lab::new()?;
    for value in ["0", "2", "1"] {
        fs::write(UNPRIVILEGED, value).with_context(|| format!("write {value}"))?;
        let run = lab.trace("status @base anon 500")?;
        assert_eq!(grown(&lab, &run)?, 500, "{UNPRIVILEGED} is {value}");
    }
    Ok(())
}

/// Runs a script under memtrace as nobody with these capabilities only.
fn as_nobody(lab: &Lab, capabilities: &str, words: &str) -> Result<Finished> {
    fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o777))?;
    let mut line: Vec<String> = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ]
    .map(str::to_owned)
    .to_vec();
    if !capabilities.is_empty() {
        for option in ["--inh-caps", "--ambient-caps"] {
            line.extend([option.to_owned(), capabilities.to_owned()]);
        }
    }
    line.extend(lab.memtrace_run(&[])?);
    line.extend(lab.script(words));
    for name in ["base", "summary.json"] {
        if lab.has(name) {
            fs::remove_file(lab.path(name))?;
        }
    }
    lab.to_end(&mut lab.fixed(&line))
}

/// Two capabilities are enough.
#[test]
fn a_user_with_two_capabilities_gets_exact_results() -> Result<()> {
    if lacks("free-maps") {
        return Ok(());
    }
    let lab = Lab::new()?;
    let finished = as_nobody(&lab, "+bpf,+perfmon", "status @base anon 500")?;
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let run = lab.summary(finished)?;
    assert_eq!(grown(&lab, &run)?, 500);
    Ok(())
}
