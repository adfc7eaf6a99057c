//! Every help and the messages about wrong command lines, word for word: who changes one sees
//! it in the diff. `MEMTRACE_BLESS=1 cargo test -p memtrace --test words` writes what is printed
//! now.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Command, Output},
};

const COMMANDS: [&str; 11] = [
    "run",
    "attach",
    "top",
    "time",
    "compare",
    "diff",
    "report",
    "maps",
    "export",
    "check",
    "completions",
];

fn memtrace(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrace"))
        .args(words)
        // As wide as without a terminal, and without colours.
        .env_remove("COLUMNS")
        .env_remove("TIME")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .expect("memtrace starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Compares with the file, or writes it.
#[track_caller]
fn assert_written(name: &str, shown: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/words")
        .join(name);
    if std::env::var_os("MEMTRACE_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, shown).expect("the file can be written");
        return;
    }
    let expected = fs::read_to_string(&path).expect("a file; MEMTRACE_BLESS=1 makes it");
    let differs = expected.lines().zip(shown.lines()).find(|(a, b)| a != b);
    assert!(
        expected == shown,
        "{name} is not what is printed, first {differs:?}; see the head of this test"
    );
}

/// The help of memtrace and of each command, on standard output, by each way to ask for it.
#[test]
fn helps() {
    for name in [""].iter().chain(&COMMANDS) {
        let words: Vec<&str> = [*name, "--help"]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let output = memtrace(&words);
        assert!(output.status.success(), "{words:?}");
        assert_eq!(text(&output.stderr), "", "{words:?}");
        let shown = text(&output.stdout);
        assert!(shown.contains("Usage: "), "{shown}");
        let asked: Vec<&str> = ["help", *name]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        assert_eq!(text(&memtrace(&asked).stdout), shown, "{asked:?}");
        let file = if name.is_empty() { "memtrace" } else { name };
        assert_written(&format!("{file}.txt"), &shown);
    }
}

/// The version, by each way to ask for it.
#[test]
fn versions() {
    let expected = format!("memtrace {}\n", env!("CARGO_PKG_VERSION"));
    for words in [["version"], ["--version"], ["-V"]] {
        let output = memtrace(&words);
        assert!(output.status.success());
        assert_eq!(text(&output.stdout), expected, "{words:?}");
    }
    let time = memtrace(&["time", "--version"]);
    assert_eq!(text(&time.stdout), expected);
}

/// Nothing is run, standard output is empty, and the status is memtrace's own, not one that the
/// command could have had.
#[test]
fn mistakes() {
    let mut shown = String::new();
    for line in [
        "",
        "ls",
        "ls -l /tmp",
        "make -j8 all install check",
        "man-page x",
        "self-test x",
        "rnu -- ls",
        "reprot x",
        "--json x -- ls",
        "help ls",
        "help help help",
        "run",
        "run --",
        "run --no-such-option -- true",
        "run --format runic -- true",
        "run --format runit --per-process -- true",
        "run --format runit -v -- true",
        "run -q -v -- true",
        "run --ring-size 0 -- true",
        "run --ring-size 1048577 -- true",
        "run --ring-size many -- true",
        "run --max-images 0 -- true",
        "run --max-processes 0 -- true",
        "run -o x --timeline-ring-size 0 -- true",
        "run --force -- true",
        "run --live=0 -- true",
        "run --live-to x -- true",
        "run --max-peak lots -- true",
        "run --kill -- true",
        "run --max-peak 1GiB --kill-after 1s -- true",
        "attach --kill-after 1s 1",
        "time --kill-after=1s true",
        "run --junit x -- true",
        "run --json - -- true",
        "run --text - -- true",
        "run --json x --stdout x -- true",
        "run --json no/such/directory/x -- true",
        "run --user memtrace-no-such-user -- true",
        "run --budgets no-such-file -- true",
        "attach",
        "attach x",
        "attach 0",
        "attach --cgroup",
        "attach 2147483647",
        "attach --duration x 1",
        "top --count 3",
        "top --interval 1ms",
        "time",
        "time --no-such-option true",
        "time -f",
        "compare",
        "compare -n 0 -- true",
        "compare -- \"",
        "diff x",
        "report",
        "report x --at 12",
        "report x --between 2s,1s",
        "report x --at 1s --between 1s,2s",
        "report x --timeline --json -",
        "report x --timeline --at 1s",
        "maps",
        "export x",
        "export x --format csv",
        "export x --format folded --table tree",
        "check --jsn",
        "completions",
        "completions tcsh",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = memtrace(&words);
        let _ = writeln!(shown, "$ memtrace {line}\n{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{line}");
        assert_eq!(output.status.code(), Some(125), "{line}: {shown}");
    }
    assert_written("mistakes.txt", &shown);
}
