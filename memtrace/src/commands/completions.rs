//! `memtrace completions`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap_complete::{Shell, generate};
use memtrace::launch::OWN_FAILURE;

use super::{
    failure::{code, say},
    visible::command_line,
};
use crate::cli::completions::{CompletionsArgs, ShellArg};

const PROGRAM: &str = "memtrace";

pub(crate) fn main(args: &CompletionsArgs) -> ExitCode {
    let shell = match args.shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
        ShellArg::Elvish => Shell::Elvish,
        ShellArg::Powershell => Shell::PowerShell,
    };
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    generate(shell, &mut command_line(), PROGRAM, &mut script);
    let mut out = io::stdout().lock();
    match out.write_all(&script).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            say(PROGRAM, format_args!("cannot write the script: {error}"));
            code(OWN_FAILURE)
        }
        _ => ExitCode::SUCCESS,
    }
}
