//! Completions: each shell's script has what users may type and nothing else, and bash's works.

use std::process::{Command, Output};

const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "elvish", "powershell"];

/// What no script may offer: options for tests, and a name from before.
const HIDDEN: [&str; 5] = [
    "simulate-cpus",
    "checkpoints",
    "handler",
    "no-pss",
    "self-test-workload",
];

fn script(shell: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_memtrace"))
        .args(["completions", shell])
        .output()
        .expect("memtrace starts");
    assert!(output.status.success(), "{shell}: {output:?}");
    assert!(output.stderr.is_empty(), "{shell}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Every shell knows the commands and options that the help has, and no others.
#[test]
fn scripts_have_what_is_not_hidden() {
    for shell in SHELLS {
        let script = script(shell);
        for word in [
            "per-process",
            "max-peak",
            "help",
            "version",
            "compare",
            "completions",
        ] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        for word in HIDDEN {
            assert!(!script.contains(word), "{shell}: {word}");
        }
    }
}

/// What is run is completed as a command with its own arguments, by the shell that can.
#[test]
fn zsh_completes_commands() {
    let script = script("zsh");
    assert_eq!(script.matches(":_cmdambivalent'").count(), 2, "{script}");
}

/// Bash, unless there is none.
fn bash(arguments: &[&str]) -> Option<Output> {
    Command::new("bash").args(arguments).output().ok()
}

/// Bash reads its script without a complaint, and offers with it what fits.
#[test]
fn bash_completes() {
    let script = script("bash");
    let Some(output) = bash(&["-n", "-c", &script]) else {
        return;
    };
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    for (line, expected) in [
        ("memtrace com", "compare completions"),
        ("memtrace run --per", "--per-process"),
        ("memtrace run --backend p", "ptrace poll"),
        ("memtrace completions f", "fish"),
        ("memtrace self", ""),
        ("memtrace run --simul", ""),
        ("memtrace run --hand", ""),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (Some(current), Some(previous)) = (words.last(), words.iter().rev().nth(1)) else {
            panic!("two words: {line}");
        };
        let ask = format!(
            "{script}\nCOMP_WORDS=({line}); COMP_CWORD={}\n\
             _memtrace memtrace {current} {previous}\necho \"${{COMPREPLY[*]}}\"",
            words.len() - 1
        );
        let output = bash(&["--norc", "-c", &ask]).expect("bash was there");
        assert!(output.status.success(), "{line}: {output:?}");
        let offered = String::from_utf8_lossy(&output.stdout);
        assert_eq!(offered.trim_end(), expected, "{line}: {output:?}");
    }
}
