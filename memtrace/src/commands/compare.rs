//! `memtrace compare`.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    process::ExitCode,
};

use memtrace::{
    SnapshotUse, Traced, Tracer,
    comparison::{self, Command, Comparison, Run},
    launch::{self, Distinct, IfExists, OWN_FAILURE, OutputError, SameFile, Spec, open_output},
    report::escape::{clip, one_line},
};

use super::{
    failure::{self, code, say},
    file_size, log,
    run::tracer,
};
use crate::cli::{CompareArgs, TracingArgs};

const PROGRAM: &str = "memtrace compare";

/// A command failed, which is for the user to look at.
const FAILED: i32 = 1;

/// Why a text is no command.
#[derive(Debug, thiserror::Error)]
enum SplitError {
    #[error("command {0} is empty")]
    Empty(usize),
    #[error("'{text}' cannot be split into words: {source}; quote it as for a shell")]
    Quotes {
        text: String,
        source: shell_words::ParseError,
    },
    #[error("with --shell a command must be one word: quote '{0}'")]
    Words(String),
}

pub(crate) fn main(args: &CompareArgs) -> ExitCode {
    log::init(0);
    let commands = match split(&args.commands, args.shell.as_deref()) {
        Ok(commands) => commands,
        Err(error) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
    };
    if let Err(error) = distinct(args) {
        say(PROGRAM, error);
        return code(OWN_FAILURE);
    }
    // Opened before anything runs: an hour's work shall not be lost to a wrong path.
    let opened = [&args.json, &args.markdown].map(|path| {
        path.as_ref()
            .map(|path| open_output(path, IfExists::Overwrite))
            .transpose()
    });
    let [json, markdown] = opened;
    let (json, markdown) = match (json, markdown) {
        (Ok(json), Ok(markdown)) => (json, markdown),
        (Err(error), _) | (_, Err(error)) => return unwritable(&error),
    };
    let mut comparison = Comparison {
        commands,
        warmup: args.warmup,
        interleaved: !args.sequential,
        page_size: memtrace::kernel::cpus::page_size(),
    };
    if let Err(status) = measure(args, &mut comparison) {
        return status;
    }
    report(&comparison, json, markdown)
}

fn distinct(args: &CompareArgs) -> Result<(), SameFile> {
    let mut files = Distinct::new();
    files.stream("standard output", io::stdout())?;
    files.stream("standard error", io::stderr())?;
    for (option, path) in [("--json", &args.json), ("--markdown", &args.markdown)] {
        if let Some(path) = path {
            files.output(option, path)?;
        }
    }
    Ok(())
}

fn unwritable(error: &OutputError) -> ExitCode {
    say(PROGRAM, error);
    code(OWN_FAILURE)
}

/// Which command's turn it is, and whether the run counts.
fn turns(args: &CompareArgs, commands: usize) -> Vec<(usize, bool)> {
    let rounds = (0..args.warmup)
        .map(|_| false)
        .chain((0..args.runs).map(|_| true));
    if args.sequential {
        (0..commands)
            .flat_map(|command| rounds.clone().map(move |counts| (command, counts)))
            .collect()
    } else {
        rounds
            .flat_map(|counts| (0..commands).map(move |command| (command, counts)))
            .collect()
    }
}

/// Makes all runs.
fn measure(args: &CompareArgs, comparison: &mut Comparison) -> Result<(), ExitCode> {
    let turns = turns(args, comparison.commands.len());
    let progress = !args.show_output && io::stderr().is_terminal();
    for (done, (index, counts)) in turns.iter().enumerate() {
        let Some(command) = comparison.commands.get_mut(*index) else {
            continue;
        };
        if progress {
            let line = format!("run {} of {}: {}", done + 1, turns.len(), command.text);
            // Nobody may be looking.
            let _ = write!(io::stderr(), "\r\x1b[K{}", clip(&one_line(&line), 79));
        }
        let traced = trace(args, command, done == 0);
        if progress {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        let traced = traced.map_err(|error| failure::report(PROGRAM, &error, false))?;
        let status = traced.finished().status;
        if [Some(libc::SIGINT), Some(libc::SIGQUIT)].contains(&traced.finished().signal()) {
            // The user has had enough.
            launch::exit_like(status);
        }
        if status != 0 && !args.ignore_failure {
            say(
                PROGRAM,
                format_args!(
                    "'{}' {} in run {}; look at it with --show-output, or go on with --ignore-failure",
                    command.text,
                    ended(&traced),
                    done + 1
                ),
            );
            return Err(code(FAILED));
        }
        if *counts {
            command.runs.push(Run::from(traced.summary()));
        }
    }
    Ok(())
}

fn ended(traced: &Traced) -> String {
    let finished = traced.finished();
    match (finished.exit_status(), finished.signal()) {
        (Some(status), _) => format!("ended with status {status}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn trace(
    args: &CompareArgs,
    command: &Command,
    first: bool,
) -> Result<Traced, memtrace::TraceError> {
    let mut spec = Spec::new(&command.argv).null_input();
    if !args.show_output {
        spec = spec.null_output();
    }
    // Nothing of theirs is compared.
    let mut tracer: Tracer =
        tracer(&TracingArgs::default(), args.backend).snapshots(SnapshotUse::Never);
    if !first {
        // Said once is enough.
        tracer = tracer.notice(|_| {});
    }
    tracer.trace(&spec)
}

fn report(comparison: &Comparison, json: Option<File>, markdown: Option<File>) -> ExitCode {
    file_size::survive_limit();
    let mut failed = false;
    let mut check = |what: &str, result: io::Result<()>| {
        if let Err(error) = result
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            say(PROGRAM, format_args!("cannot write {what}: {error}"));
            failed = true;
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    check(
        "the result",
        comparison::write_text(comparison, &mut out).and_then(|()| out.flush()),
    );
    if let Some(file) = json {
        let mut out = BufWriter::new(file);
        check(
            "JSON",
            comparison::write_json(comparison, &mut out).and_then(|()| out.flush()),
        );
    }
    if let Some(file) = markdown {
        let mut out = BufWriter::new(file);
        check(
            "Markdown",
            comparison::write_markdown(comparison, &mut out).and_then(|()| out.flush()),
        );
    }
    if failed {
        code(OWN_FAILURE)
    } else {
        ExitCode::SUCCESS
    }
}

/// The commands among the words: one each, or, between further `--`, several words each.
fn split(words: &[String], shell: Option<&str>) -> Result<Vec<Command>, SplitError> {
    let groups: Vec<&[String]> = if words.iter().any(|word| word == "--") {
        words.split(|word| word == "--").collect()
    } else {
        words.chunks(1).collect()
    };
    groups
        .into_iter()
        .enumerate()
        .map(|(index, group)| {
            let empty = || SplitError::Empty(index + 1);
            let (text, argv) = match (group, shell) {
                ([], _) => return Err(empty()),
                ([text], Some(shell)) => (
                    text.clone(),
                    vec![shell.to_owned(), "-c".to_owned(), text.clone()],
                ),
                ([text], None) => {
                    let argv = shell_words::split(text).map_err(|source| SplitError::Quotes {
                        text: text.clone(),
                        source,
                    })?;
                    (text.clone(), argv)
                }
                (several, Some(_)) => return Err(SplitError::Words(several.join(" "))),
                (several, None) => (shell_words::join(several), several.to_vec()),
            };
            if argv.is_empty() || text.trim().is_empty() {
                return Err(empty());
            }
            Ok(Command {
                text,
                argv,
                runs: Vec::new(),
            })
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::split;

    fn argvs(words: &[&str], shell: Option<&str>) -> Result<Vec<Vec<String>>, String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        split(&words, shell)
            .map(|commands| commands.into_iter().map(|command| command.argv).collect())
            .map_err(|error| error.to_string())
    }

    /// One word is a command line, as for hyperfine; between `--`, several are one, too.
    #[test]
    fn words_are_commands() {
        let expect = |words: &[&str], expected: &[&[&str]]| {
            assert_eq!(argvs(words, None).unwrap(), expected, "{words:?}");
        };
        expect(&["sort a"], &[&["sort", "a"]]);
        expect(
            &["sort a", "sort 'b c'"],
            &[&["sort", "a"], &["sort", "b c"]],
        );
        expect(
            &["sort a", "--", "sort b"],
            &[&["sort", "a"], &["sort", "b"]],
        );
        expect(
            &["make", "-j1", "a b", "--", "make -j8"],
            &[&["make", "-j1", "a b"], &["make", "-j8"]],
        );
        // Nothing of a shell happens.
        expect(
            &["echo $HOME *; true | x"],
            &[&["echo", "$HOME", "*;", "true", "|", "x"]],
        );
        let shell = argvs(&["a | b", "c"], Some("bash")).unwrap();
        assert_eq!(shell, [["bash", "-c", "a | b"], ["bash", "-c", "c"]]);
    }

    /// What is no command is said to be none.
    #[test]
    fn mistakes_are_told() {
        for (words, shell, part) in [
            (&["a", "--"][..], None, "command 2 is empty"),
            (&["--", "a"], None, "command 1 is empty"),
            (&[" "], None, "command 1 is empty"),
            (&[" "], Some("sh"), "command 1 is empty"),
            (&["echo 'x"], None, "quote it as for a shell"),
            (&["a", "b", "--", "c"], Some("sh"), "must be one word"),
        ] {
            let error = argvs(words, shell).unwrap_err();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
