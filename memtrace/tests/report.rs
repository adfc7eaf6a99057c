//! `memtrace report` from the outside, on the golden recording: texts, errors, exit status.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrace"))
        .arg("report")
        .args(arguments)
        .output()
        .expect("memtrace starts")
}

fn recording() -> String {
    golden("recording/v1.memtrace").display().to_string()
}

/// A file in a directory of its own that goes with it.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn file(&self, bytes: &[u8]) -> String {
        let path = self.0.path().join("x.memtrace");
        fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[track_caller]
fn good(output: &Output) -> String {
    assert_eq!(text(&output.stderr), "");
    assert!(output.status.success());
    text(&output.stdout)
}

#[track_caller]
fn refused(arguments: &[&str], status: i32, part: &str) {
    let output = report(arguments);
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let message = text(&output.stderr);
    assert!(message.contains(part), "{message}");
}

/// The text is the one that was written by hand for the history in the file.
#[test]
fn the_text_is_that_of_the_run() {
    let expected = fs::read_to_string(golden("make.txt")).expect("a file");
    assert_eq!(good(&report(&[&recording()])), expected);
}

/// The same for JSON, which has no notes if there is nothing to note.
#[test]
fn the_json_is_that_of_the_run() {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let expected = fs::read_to_string(golden("make.json")).expect("a file");
    let shown = good(&report(&[&recording(), "--json", "-"]));
    assert_eq!(parse(&shown), parse(&expected));
    let scratch = Scratch::new();
    let out = scratch.0.path().join("out.json").display().to_string();
    assert_eq!(good(&report(&[&recording(), "--json", &out])), "");
    assert_eq!(fs::read_to_string(out).expect("a file"), shown);
}

/// Moments have names, signs and units.
#[test]
fn moments_and_ranges() {
    let at = |time: &str| good(&report(&[&recording(), "--at", time]));
    assert!(at("410ms").starts_with("memtrace: at +0.410 s: 1.4 MiB (1,454,080 bytes) of RSS"));
    assert_eq!(at("+0.41s"), at("410ms"));
    assert!(at("peak").starts_with("memtrace: at +0.400 s: 1.5 MiB (1,536,000 bytes) of RSS"));
    // The daemon lives on.
    assert!(at("end").contains("60.0 KiB (61,440 bytes) of RSS in 1 image\n"));
    let range = good(&report(&[&recording(), "--between", "395ms,604ms"]));
    assert!(range.starts_with(
        "memtrace: between +0.390 s and +0.610 s: peak 1.5 MiB (1,536,000 bytes) at +0.400 s\n"
    ));
}

/// The first column of the lines below the heading.
fn pids(table: &str) -> Vec<String> {
    let lines = table
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("PID"));
    lines
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// Tables are sorted and filtered.
#[test]
fn tables_are_sorted_and_filtered() {
    let table = |options: &[&str]| {
        let recording = recording();
        let mut all = vec![recording.as_str()];
        all.extend(options);
        pids(&good(&report(&all)))
    };
    assert_eq!(table(&["--per-process"]), ["100", "101", "102", "103"]);
    assert_eq!(table(&["--sort", "peak"])[..2], ["101", "100"]);
    assert_eq!(table(&["--filter", "a.c"]), ["101"]);
    assert_eq!(table(&["--filter", "cc*"]), ["101", "102"]);
    assert_eq!(table(&["--at", "410ms"]), ["101", "100"]);
    assert_eq!(table(&["--at", "410ms", "--sort", "pid"]), ["100", "101"]);
    // What it ran then: before its exec, 101 was a make, too.
    assert_eq!(table(&["--at", "410ms", "--filter", "make"]), ["100"]);
    assert_eq!(table(&["--between", "0s,end", "--sort", "start"])[0], "100");
}

/// A cut recording is shown, and the cut is told on standard error and in JSON.
#[test]
fn a_cut_is_told() {
    let bytes = fs::read(recording()).expect("a file");
    let scratch = Scratch::new();
    let file = scratch.file(&bytes[..bytes.len() - 1]);
    let note = "cut after +1.000 s (262 bytes behind that are no whole block): memtrace was killed, or the disk was full";
    for options in [
        &[][..],
        &["--json", "-"],
        &["--at", "0.41s"],
        &["--between", "0s,1s"],
    ] {
        let mut all = vec![file.as_str()];
        all.extend(options);
        let output = report(&all);
        assert!(output.status.success());
        assert_eq!(
            text(&output.stderr),
            format!("memtrace: {file}: {note}\n"),
            "{options:?}"
        );
        let shown = text(&output.stdout);
        if options.first() == Some(&"--json") {
            let value: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
            assert_eq!(value["recording_notes"], serde_json::json!([note]));
            assert_eq!(value["certificate"]["verdict"], "incomplete");
        } else if options.is_empty() {
            assert!(shown.contains("NO, incomplete"), "{shown}");
            assert!(shown.contains(note), "{shown}");
        } else if options.first() == Some(&"--at") {
            assert!(shown.contains("1,454,080 bytes"), "{shown}");
        }
    }
}

/// What cannot be read is said with its cause, and what to do.
#[test]
fn errors_have_causes() {
    let scratch = Scratch::new();
    refused(
        &["/nonexistent"],
        1,
        "cannot open /nonexistent: No such file",
    );
    refused(&["/"], 1, "/ is a directory");
    refused(&[&scratch.file(b"")], 1, "is empty");
    refused(
        &[&scratch.file(b"MEMTRACE")],
        1,
        "is cut within its first bytes",
    );
    refused(
        &[&scratch.file(&[0; 100])],
        1,
        "is not a recording of memtrace",
    );
    refused(&[&recording(), "--at", "12"], 125, "times are like 12.3s");
    refused(
        &[&recording(), "--between", "2s,1s"],
        125,
        "before the first",
    );
    refused(
        &[&recording(), "--between", "end,peak"],
        1,
        "before the first",
    );
    refused(
        &[&recording(), "--at", "1s", "--between", "1s,2s"],
        125,
        "cannot be used with",
    );
    refused(&[], 125, "FILE");
}
