//! A recording of what never began leaves the directory as it was.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Result, ensure};
use memtrace_tests::{Lab, Recorded, memtrace, require_privileges};

/// Ways not to begin, with the status each ends with: before and after the kernel side is loaded, and when the
/// command is to be executed.
const WAYS: [(&[&str], i32); 9] = [
    (&["attach", "2147483647"], 125),
    (&["run", "--", "/no/such/command"], 127),
    (&["run", "--", "/"], 126),
    (
        &["run", "--backend", "ptrace", "--", "/no/such/command"],
        127,
    ),
    (&["attach", "--backend", "poll", "2147483647"], 125),
    (&["run", "-u", "memtrace-no-such-user", "--", "true"], 125),
    (&["run", "--json", "no/such/directory/x", "--", "true"], 125),
    (
        &["run", "--stdout", "no/such/directory/x", "--", "true"],
        125,
    ),
    (&["run", "--budgets", "no-such-file", "--", "true"], 125),
];

/// The words of one way, with a recording.
fn record(lab: &Lab, (way, status): (&[&str], i32), options: &[&str]) -> Result<()> {
    let memtrace = memtrace()?.display().to_string();
    let mut line = vec![memtrace.as_str()];
    let (action, rest) = way.split_at(1);
    line.extend(action);
    line.extend(options);
    line.extend(rest);
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    let stderr = &finished.stderr;
    assert_eq!(finished.code(), Some(status), "{way:?}: {stderr}");
    Ok(())
}

/// No file is made, and one that was there is what it was, also where it was to be replaced.
#[test]
fn what_never_began_leaves_no_recording() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let file = lab.path("run.memtrace");
    let name = file.display().to_string();
    for way in WAYS {
        record(&lab, way, &["-o", &name])?;
        ensure!(!lab.has("run.memtrace"), "{way:?} left a file");
        for old in ["", "what was there"] {
            fs::write(&file, old)?;
            let before = fs::metadata(&file)?.ino();
            let force: &[&str] = if old.is_empty() { &[] } else { &["-f"] };
            record(&lab, way, &[&["-o", &name], force].concat())?;
            assert_eq!(fs::read_to_string(&file)?, old, "{way:?}");
            assert_eq!(fs::metadata(&file)?.ino(), before, "{way:?}");
        }
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// A run that began replaces all of what was there, whatever its length.
#[test]
fn what_began_replaces_what_was_there() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let file = lab.path("run.memtrace");
    let name = file.display().to_string();
    for force in ["-f", "--force"] {
        fs::write(&file, "old ".repeat(100_000))?;
        let run = lab.trace_with(&["-o", &name, force], "anon 10")?;
        let recorded = Recorded::read(&file)?;
        assert_eq!(recorded.notes, Vec::<String>::new());
        let (summary, _) = recorded.timeline(None, usize::MAX)?;
        assert_eq!(summary.tree.peak_rss, run.summary.tree.peak_rss_bytes);
        ensure!(fs::metadata(&file)?.len() < 100_000, "the old is in it");
    }
    Ok(())
}
