//! Arguments of `memtrace compare`.

use std::path::PathBuf;

use clap::Args;

use super::BackendArg;

pub(crate) const NOTES: &str = "\
Each COMMAND is one word, which is split as a shell would split it; nothing else of a
shell happens unless --shell is given. Between further `--`, a command may also stand as
several words, which are taken as they are: memtrace compare -- make -j1 -- make -j8

Runs are interleaved (first of each command, second of each, ...), so that whatever drifts
on the machine meanwhile meets all alike; --sequential makes all runs of one command first.
Input is empty and output discarded, unless --show-output is given.

Exit status: 0; 1 if a command failed (without --ignore-failure); 125 if memtrace failed
or the command line is wrong, 126 or 127 if a command cannot be run or found.";

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// Runs of each command that count
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) runs: u32,
    /// Runs of each command before, that do not count
    #[arg(short, long, value_name = "N", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) warmup: u32,
    /// Put each of VALUES, a list with commas, in place of {VAR} in the commands; of several
    /// lists, every combination
    #[arg(short = 'L', long, value_names = ["VAR", "VALUES"], num_args = 2,
        action = clap::ArgAction::Append)]
    pub(crate) parameter_list: Vec<String>,
    /// Make all runs of one command before those of the next
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Let a shell run the commands
    #[arg(short = 'S', long, value_name = "SHELL", num_args = 0..=1, require_equals = true,
        default_missing_value = "sh")]
    pub(crate) shell: Option<String>,
    /// Go on when a command fails
    #[arg(short, long)]
    pub(crate) ignore_failure: bool,
    /// Show what the commands write
    #[arg(long)]
    pub(crate) show_output: bool,
    /// Write every run and all statistics as JSON to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write statistics as CSV to FILE: hyperfine's columns, in seconds, and memory in bytes
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write a table in Markdown to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// How to observe the trees
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(crate) backend: BackendArg,
    /// Commands
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) commands: Vec<String>,
}
