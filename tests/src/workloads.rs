//! Where the workloads are.

use std::path::Path;

/// The static interpreter, `workloads/script.rs`.
pub const SCRIPT: &str = concat!(env!("OUT_DIR"), "/script");
/// The static program that ends at once, `workloads/nothing.rs`.
pub const NOTHING: &str = concat!(env!("OUT_DIR"), "/nothing");
/// Threads that touch and drop memory, `workloads/churn.rs`.
pub const CHURN: &str = concat!(env!("OUT_DIR"), "/churn");

/// The command line of a script: its words are separated by white space, and `SELF` and
/// `NOTHING` stand for the two programs' paths.
#[must_use]
pub fn script(words: &str) -> Vec<String> {
    std::iter::once(SCRIPT)
        .chain(words.split_whitespace())
        .map(|word| match word {
            "SELF" => SCRIPT,
            "NOTHING" => NOTHING,
            other => other,
        })
        .map(str::to_owned)
        .collect()
}

/// Whether a program is installed.
#[must_use]
pub fn installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|dir| Path::new(&dir).join(program).is_file())
    })
}
