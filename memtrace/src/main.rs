//! The `memtrace` command.

mod cli;
mod commands;
#[cfg(test)]
mod seeds;
mod usage;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::Parser as _;
use memtrace::launch::OWN_FAILURE;

use cli::{Cli, Command};
// GNU time's options name its formats.
use memtrace::report;

fn main() -> ExitCode {
    if let Err(error) = memtrace::launch::raise_limits() {
        commands::failure::say("memtrace", &error);
        commands::failure::say("memtrace", error.remedy());
        return ExitCode::from(OWN_FAILURE as u8);
    }
    run()
}

/// Apart from `main`, which has to be small: the stack may be limited until then.
#[inline(never)]
fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Called through a link named `time`, be GNU time.
    if let Some(name) = arguments.first()
        && Path::new(name)
            .file_name()
            .is_some_and(|name| name == "time")
    {
        return commands::time::main(&name.to_string_lossy(), arguments.iter().skip(1).cloned());
    }
    let (program, arguments) = complete(arguments);
    // What follows is `time`'s own, read as GNU time reads it.
    if arguments.first().is_some_and(|word| word == "time") {
        return commands::time::main("memtrace time", arguments.into_iter().skip(1));
    }
    dispatch(program, arguments)
}

/// Does what the words after the program's name say.
fn dispatch(program: OsString, arguments: Vec<OsString>) -> ExitCode {
    let words = arguments.clone();
    match Cli::try_parse_from(std::iter::once(program.clone()).chain(arguments)) {
        Ok(cli) => match cli.command {
            Command::Run(args) => commands::run::main(&args),
            Command::Attach(args) => commands::attach::main(&args),
            Command::Top(args) => commands::top::main(&args),
            Command::Time(args) => commands::time::main("memtrace time", args.arguments),
            Command::Compare(args) => commands::compare::main(&args),
            Command::Diff(args) => commands::diff::main(&args),
            Command::Report(args) => commands::report::main(&args),
            Command::Maps(args) => commands::maps::main(&args),
            Command::Export(args) => commands::export::main(&args),
            Command::Check(args) => commands::check::main(&args),
            Command::Completions(args) => commands::completions::main(&args),
            Command::Help(args) => help(program, args.command),
            Command::Version => dispatch(program, vec!["--version".into()]),
            Command::ManPages(args) => commands::man_pages::main(&args),
            Command::SelfTestWorkload(args) => commands::self_test::workload(args.pages),
        },
        Err(error) => {
            let error = usage::advise(error, &words);
            // Not being able to print the message changes nothing.
            let _ = error.print();
            if error.exit_code() == 0 {
                ExitCode::SUCCESS
            } else {
                // A caller must be able to tell our mistakes from the command's.
                ExitCode::from(OWN_FAILURE as u8)
            }
        }
    }
}

/// `memtrace help` and `memtrace help COMMAND`.
fn help(program: OsString, command: Option<OsString>) -> ExitCode {
    match command {
        // It has a help of its own.
        Some(command) if command == "time" => {
            commands::time::main("memtrace time", ["--help".into()])
        }
        Some(command) => dispatch(program, vec![command, "--help".into()]),
        None => dispatch(program, vec!["--help".into()]),
    }
}

/// `memtrace -- COMMAND` is short for `memtrace run -- COMMAND`.
fn complete(arguments: Vec<OsString>) -> (OsString, Vec<OsString>) {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_else(|| "memtrace".into());
    let mut rest: Vec<OsString> = arguments.collect();
    if rest.first().is_some_and(|word| word == "--") {
        rest.insert(0, "run".into());
    }
    (program, rest)
}
