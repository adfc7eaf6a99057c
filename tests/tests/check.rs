//! `memtrace check`: the first thing that a bug report needs.

use anyhow::Result;
use memtrace_tests::{Lab, memtrace, require_privileges};

/// Its self-test passes here, to the page.
#[test]
fn the_self_test_passes() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let finished = lab
        .to_end(&mut lab.fixed(&[memtrace.as_str(), "check"]))?
        .success()?;
    assert!(finished.stdout.lines().count() > 5, "{}", finished.stdout);
    assert!(
        finished.stdout.contains(
            nix::sys::utsname::uname()?
                .release()
                .to_string_lossy()
                .as_ref()
        )
    );
    Ok(())
}

/// The same for programs.
#[test]
fn the_check_is_also_given_as_json() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let finished = lab
        .to_end(&mut lab.fixed(&[memtrace.as_str(), "check", "--json"]))?
        .success()?;
    let report: serde_json::Value = serde_json::from_str(&finished.stdout)?;
    assert_eq!(report["exact"], true, "{report:#}");
    // Up to 6.1 no more than tier A is exact without programs on kernel functions.
    assert!(
        report["tier"] == "A" || report["tier"] == "A+B",
        "{report:#}"
    );
    // Where counters are per CPU (since 6.2), who waits does so in the kernel's own queue.
    let per_cpu = report["counters"]
        .as_str()
        .is_some_and(|counters| counters.contains("a share per CPU"));
    let lock = if per_cpu {
        "bpf_spin_lock"
    } else {
        "a word in the map"
    };
    assert_eq!(report["programs"]["lock"], lock, "{report:#}");
    assert!(
        report["self_test"]
            .as_array()
            .is_some_and(|rounds| !rounds.is_empty()),
        "{report:#}"
    );
    Ok(())
}
