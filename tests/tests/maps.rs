//! `memtrace maps`: of processes that run, and of recordings.

use std::process::Command;

use anyhow::{Context, Result};
use memtrace_tests::{
    Finished, Lab, memtrace, page, require_privileges,
    smaps::{self, Held, Segments},
    workloads,
};
use serde_json::Value;

/// Runs `memtrace maps`.
fn run(lab: &Lab, arguments: &[&str]) -> Result<Finished> {
    let mut command = Command::new(memtrace()?);
    lab.to_end(command.arg("maps").args(arguments))
}

/// The table as JSON.
fn maps(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    let finished = run(lab, &[arguments, &["--json", "-"]].concat())?.success()?;
    Ok(serde_json::from_str(&finished.stdout)?)
}

/// Its rows in pages; what is anonymous is not in it.
fn rows(doc: &Value) -> Result<Segments> {
    let mut all = Segments::new();
    assert_eq!(doc["schema"], "memtrace.maps/1");
    for row in doc["segments"].as_array().context("rows")? {
        let pages = |key: &str| -> Result<u64> {
            Ok(row[key].as_u64().with_context(|| key.to_owned())? / page())
        };
        let held = Held {
            resident: pages("resident_bytes")?,
            anon: 0,
            swapped: pages("swapped_bytes")?,
            mapped: if doc["source"] == "smaps" {
                pages("virtual_bytes")?
            } else {
                0
            },
        };
        let known = [
            "text", "data", "heap", "stack", "anon", "lib", "file", "shmem", "unknown",
        ];
        let name = known.into_iter().find(|name| row["segment"] == *name);
        if held != Held::default() {
            all.insert(name.context("an unknown segment")?, held);
        }
    }
    Ok(all)
}

/// The same of what a script wrote.
fn own(lab: &Lab, name: &str) -> Result<Segments> {
    let mut all = smaps::read(&lab.path(name), workloads::SCRIPT)?;
    for held in all.values_mut() {
        held.anon = 0;
    }
    Ok(all)
}

/// Recordings do not have sizes in address space.
fn without_sizes(mut all: Segments) -> Segments {
    for held in all.values_mut() {
        held.mapped = 0;
    }
    all.retain(|_, held| *held != Held::default());
    all
}

/// What a process that waits has, as it says itself.
#[test]
fn a_running_process_is_shown_as_it_is() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut partner = lab.converse(
        &[],
        "make-file @data 40 file @data 40 anon 100 brk 30 shmem 20 memfd 10 descend 200 smaps @own say ready hear",
    )?;
    partner.expect("ready")?;
    let pid = std::fs::read_to_string(lab.path("own"))?;
    let pid = pid.split(' ').next().context("a process id")?.to_owned();
    let doc = maps(&lab, &[&pid])?;
    assert_eq!(doc["source"], "smaps");
    assert_eq!(rows(&doc)?, own(&lab, "own")?);
    let text = run(&lab, &[&pid])?.success()?.stdout;
    assert!(text.contains("shared memory"), "{text}");
    partner.tell()?;
    partner.finish()?;
    Ok(())
}

/// At the peak of a recording, at its end, and in the middle, where a sleep leaves time.
#[test]
fn a_recording_is_shown_at_any_moment() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let recording = lab.path("r.memtrace").display().to_string();
    for resolution in ["0", "10ms"] {
        let options = [
            "--force",
            "--segments",
            "-o",
            &recording,
            "--resolution",
            resolution,
        ];
        let words = "anon 300 unmap brk 20 smaps @low nap-us 400000 anon 900 smaps @high";
        lab.trace_with(&options, words)?.summary.assert_exact();
        let moment = |time: &str| maps(&lab, &[&recording, "--at", time]);
        let low = without_sizes(own(&lab, "low")?);
        assert_eq!(rows(&moment("200ms")?)?, low, "{resolution}");
        let peak = moment("peak")?;
        if resolution == "0" {
            assert_eq!(rows(&peak)?, without_sizes(own(&lab, "high")?));
        }
        assert_eq!(peak["source"], "recording");
        let resident: i64 = peak["segments"]
            .as_array()
            .context("rows")?
            .iter()
            .filter_map(|row| row["resident_bytes"].as_i64())
            .sum();
        assert_eq!(peak["rss_bytes"], resident);
    }
    Ok(())
}

/// What cannot be shown is said, with what to do.
#[test]
fn what_is_missing_is_said() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let recording = lab.path("r.memtrace").display().to_string();
    lab.trace_with(&["-o", &recording], "anon 10")?;
    for (arguments, said) in [
        (vec![recording.as_str()], "--segments"),
        (vec!["/nonexistent"], "/nonexistent"),
        // A thread of the kernel.
        (vec!["2"], "no address space"),
        (vec!["4194304"], "cannot read /proc/4194304/smaps"),
    ] {
        let finished = run(&lab, &arguments)?;
        assert_eq!(finished.code(), Some(1), "{arguments:?}");
        let stderr = &finished.stderr;
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    Ok(())
}
