//! Pages of the manual: one for each command that the help names, well-formed.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Requests that the pages use. groff says nothing of one that it does not know unless asked.
const REQUESTS: [&str; 12] = [
    "EE", "EX", "IP", "PP", "RE", "RS", "SH", "TH", "TP", "br", "el", "ie",
];

fn memtrace(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_memtrace"))
        .args(words)
        .output()
        .expect("memtrace starts");
    assert!(output.status.success(), "{words:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Name of the file and text of each page.
fn pages(directory: &Path) -> BTreeMap<String, String> {
    memtrace(&["man-pages", &directory.display().to_string()]);
    fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let text = fs::read_to_string(entry.path()).expect("UTF-8");
            (entry.file_name().to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// The commands that `memtrace help` lists.
fn commands() -> Vec<String> {
    memtrace(&["help"])
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// A page for each command and no other, with the options that its help has and what it says
/// beside them.
#[test]
fn every_command_has_a_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let pages = pages(directory.path());
    let commands = commands();
    assert!(commands.len() >= 11, "{commands:?}");
    let mut expected: Vec<String> = commands
        .iter()
        .map(|name| format!("memtrace-{name}.1"))
        .collect();
    expected.push("memtrace.1".to_owned());
    expected.sort();
    assert_eq!(pages.keys().cloned().collect::<Vec<_>>(), expected);
    for name in &commands {
        let page = pages[&format!("memtrace-{name}.1")].replace('\\', "");
        let help = memtrace(&["help", name]);
        let options = help.split_whitespace().filter(|word| {
            word.len() > 2 && word.starts_with("--") && word[2..].chars().all(char::is_alphabetic)
        });
        for option in options {
            assert!(page.contains(option), "{name}: no {option}: {page}");
        }
        assert_eq!(
            page.contains("SH \"EXIT STATUS\""),
            help.contains("Exit status: "),
            "{name}: {page}"
        );
        for hidden in ["checkpoints", "simulate-cpus", "no-pss", "self-test"] {
            assert!(!page.contains(hidden), "{name}: {hidden}: {page}");
        }
    }
    let run = &pages["memtrace-run.1"];
    for words in [
        concat!(
            ".TH memtrace-run 1 \" \" \"memtrace ",
            env!("CARGO_PKG_VERSION"),
            "\""
        ),
        "memtrace\\-run \\- Run a command",
        ".SH EXAMPLES",
        ".SH TUNING",
        "\\-\\-per\\-process",
        "  max\\-peak = \"2GiB\"",
    ] {
        assert!(run.contains(words), "{words}: {run}");
    }
}

/// Only known requests, what opens is closed, no line that a formatter would misread; and groff,
/// where it is, has no complaint.
#[test]
fn pages_are_well_formed() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, page) in pages(directory.path()) {
        assert!(page.is_ascii(), "{name}");
        let mut open = Vec::new();
        let mut heads = 0;
        for line in page.lines() {
            assert!(!line.starts_with('\''), "{name}: {line}");
            let Some(request) = line.strip_prefix('.') else {
                continue;
            };
            let request = request.split(' ').next().unwrap_or_default();
            assert!(REQUESTS.contains(&request), "{name}: {line}");
            match request {
                "TH" => heads += 1,
                "EX" | "RS" => open.push(request),
                "EE" => assert_eq!(open.pop(), Some("EX"), "{name}: {line}"),
                "RE" => assert_eq!(open.pop(), Some("RS"), "{name}: {line}"),
                _ => {}
            }
        }
        assert_eq!((open.as_slice(), heads), ([].as_slice(), 1), "{name}");
        let path = directory.path().join(&name);
        let Ok(output) = Command::new("groff")
            .args(["-man", "-ww", "-z", "-Tascii"])
            .arg(&path)
            .output()
        else {
            continue;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
}
