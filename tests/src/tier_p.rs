//! Measuring without BPF: running as a user without privileges, and what every result of
//! tier P must keep to.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context as _, Result};

use crate::{Image, Lab, Missing, Run, Summary, memtrace, workloads};

/// Options for tier P.
pub const PTRACE: [&str; 2] = ["--backend", "ptrace"];

/// Runs what follows as the user "nobody", without any capability.
pub const AS_NOBODY: [&str; 6] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
];

/// Tests that give up privileges must have some.
///
/// # Errors
/// What is missing.
pub fn nobody() -> Result<(), Missing> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing("needs root to become another user".to_owned()));
    }
    if !workloads::installed("setpriv") {
        return Err(Missing("needs setpriv of util-linux".to_owned()));
    }
    Ok(())
}

/// A command line as "nobody": `memtrace` and the programs of the test are copied to the
/// lab's directory, where that user can reach them.
///
/// # Errors
/// They cannot be copied.
pub fn as_nobody(lab: &Lab, options: &[&str], command: &[&str]) -> Result<Vec<String>> {
    fs::set_permissions(lab.dir(), PermissionsExt::from_mode(0o777))?;
    let mut line: Vec<String> = AS_NOBODY.map(str::to_owned).into();
    for (from, name) in [
        (memtrace()?, "memtrace"),
        (Path::new(workloads::SCRIPT), "script"),
        (Path::new(workloads::NOTHING), "nothing"),
    ] {
        let to = lab.path(name);
        if !to.exists() {
            fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
            fs::set_permissions(&to, PermissionsExt::from_mode(0o755))?;
        }
    }
    let asked = lab.memtrace_run(options)?;
    line.push(lab.path("memtrace").display().to_string());
    line.extend(asked.into_iter().skip(1));
    line.extend(command.iter().map(|word| (*word).to_owned()));
    Ok(line)
}

/// Runs a script as "nobody".
///
/// # Errors
/// As for [`Lab::trace`].
pub fn trace_as_nobody(lab: &Lab, options: &[&str], words: &str) -> Result<Run> {
    let script = lab.path("script").display().to_string();
    let nothing = lab.path("nothing").display().to_string();
    let mut words = lab.script(words);
    for word in &mut words {
        if word == workloads::SCRIPT {
            word.clone_from(&script);
        } else if word == workloads::NOTHING {
            word.clone_from(&nothing);
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let line = as_nobody(lab, options, &words)?;
    let run = lab.summary(lab.to_end(&mut lab.fixed(&line))?)?;
    Ok(Run {
        finished: run.finished.success()?,
        summary: run.summary,
    })
}

/// What a tier P result must look like, whatever the command was.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn check(summary: &Summary) {
    let certificate = &summary.certificate;
    assert_eq!(certificate.tier, "P");
    assert_ne!(certificate.verdict, "exact");
    assert!(!certificate.reasons.is_empty());
    for reason in &certificate.reasons {
        let remedies = [
            ": `memtrace check` says what exact numbers need",
            ": run memtrace as root so that it keeps them",
        ];
        let helps = remedies.iter().any(|remedy| reason.ends_with(remedy));
        assert!(helps, "it does not say what to do: {reason}");
        assert!(!reason.contains(" bytes"), "amounts have units: {reason}");
        assert!(!reason.contains(" 1 processes"), "{reason}");
    }
    assert_eq!(certificate.events, 0, "no kernel events are claimed");
    let tree = &summary.tree;
    assert!(tree.peak_rss_low_bytes.is_some(), "{tree:?}");
    assert_eq!(tree.processes, summary.processes.len() as u64);
    assert!(tree.average_rss_bytes <= tree.peak_rss_bytes, "{tree:?}");
    let parts: u64 = tree.at_peak.iter().map(|part| part.rss_bytes).sum();
    assert!(parts <= tree.peak_rss_bytes, "{tree:?}");
    assert!(
        tree.peak_rss_low_bytes <= Some(tree.peak_rss_bytes),
        "{tree:?}"
    );
    if let Some(high) = tree.peak_rss_high_bytes {
        assert!(summary.kernel_maxrss_bytes <= Some(high), "{summary:?}");
    }
    if certificate.verdict == "within" {
        assert!(
            certificate
                .reasons
                .iter()
                .any(|reason| reason.contains("the bounds assume")),
            "{certificate:?}"
        );
        let high = tree.peak_rss_high_bytes.unwrap_or(0);
        assert!(high >= tree.peak_rss_bytes, "{tree:?}");
        assert!(
            high - tree.peak_rss_bytes <= certificate.within_bytes,
            "{tree:?}"
        );
    }
}

/// A true peak must lie within the bounds that are given for an image.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn bounds(image: &Image, truth: u64) {
    let (low, high) = (image.peak_rss_low_bytes, image.peak_rss_high_bytes);
    assert!(
        low.is_some_and(|low| low <= truth) && high.is_some_and(|high| truth <= high),
        "the true peak {truth} is not between {low:?} and {high:?}, peak {}",
        image.peak_rss_bytes
    );
}
