//! `memtrace compare`.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    process::ExitCode,
};

use memtrace::{
    SnapshotUse, Traced, Tracer,
    comparison::{
        self, Command, Comparison, Run,
        parameters::{Filled, Parameter, fill},
    },
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
    #[error("no command has {0}: leave out --parameter-list for it, or put it where the values go")]
    NoPlace(String),
    #[error("two lists for {0}: give its values in one --parameter-list")]
    Twice(String),
}

pub(crate) fn main(args: &CompareArgs) -> ExitCode {
    log::init(0);
    let parameters = parameters(&args.parameter_list);
    let commands = match split(&args.commands, args.shell.as_deref(), &parameters) {
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
    let files = match open(args) {
        Ok(files) => files,
        Err(error) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
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
    report(&comparison, files)
}

/// What writes the comparison in a form.
type Write = fn(&Comparison, &mut dyn io::Write) -> io::Result<()>;

/// The files that are asked for: what is in them, and how it is written.
fn open(args: &CompareArgs) -> Result<Vec<(&'static str, File, Write)>, OutputError> {
    let forms: [(_, _, Write); 3] = [
        ("JSON", &args.json, comparison::write_json),
        ("CSV", &args.csv, comparison::write_csv),
        ("Markdown", &args.markdown, comparison::write_markdown),
    ];
    let mut files = Vec::new();
    for (what, path, write) in forms {
        if let Some(path) = path {
            files.push((what, open_output(path, IfExists::Overwrite)?, write));
        }
    }
    Ok(files)
}

fn distinct(args: &CompareArgs) -> Result<(), SameFile> {
    let mut files = Distinct::new();
    files.stream("standard output", io::stdout())?;
    files.stream("standard error", io::stderr())?;
    for (option, path) in [
        ("--json", &args.json),
        ("--csv", &args.csv),
        ("--markdown", &args.markdown),
    ] {
        if let Some(path) = path {
            files.output(option, path)?;
        }
    }
    Ok(())
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

fn report(comparison: &Comparison, files: Vec<(&'static str, File, Write)>) -> ExitCode {
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
    for (what, file, write) in files {
        let mut out = BufWriter::new(file);
        check(what, write(comparison, &mut out).and_then(|()| out.flush()));
    }
    if failed {
        code(OWN_FAILURE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Pairs of a name and a list.
fn parameters(words: &[String]) -> Vec<Parameter> {
    let pairs = words.chunks_exact(2).filter_map(|pair| match pair {
        [name, list] => Some(Parameter::of_list(name, list)),
        _ => None,
    });
    pairs.collect()
}

/// The commands among the words: one each, or, between further `--`, several words each; with
/// every combination of the parameters that stand in them.
fn split(
    words: &[String],
    shell: Option<&str>,
    parameters: &[Parameter],
) -> Result<Vec<Command>, SplitError> {
    let groups: Vec<&[String]> = if words.iter().any(|word| word == "--") {
        words.split(|word| word == "--").collect()
    } else {
        words.chunks(1).collect()
    };
    if let Some(empty) = groups.iter().position(|group| group.is_empty()) {
        return Err(SplitError::Empty(empty + 1));
    }
    for (index, parameter) in parameters.iter().enumerate() {
        let place = parameter.placeholder();
        if !words.iter().any(|word| word.contains(&place)) {
            return Err(SplitError::NoPlace(place));
        }
        let mut others = parameters.iter().skip(index + 1);
        if others.any(|other| other.name == parameter.name) {
            return Err(SplitError::Twice(place));
        }
    }
    fill(&groups, parameters)
        .into_iter()
        .enumerate()
        .map(|(index, filled)| command(index, filled, shell))
        .collect()
}

/// What is executed for a command.
fn command(index: usize, filled: Filled, shell: Option<&str>) -> Result<Command, SplitError> {
    let (text, argv) = match (filled.words.as_slice(), shell) {
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
        return Err(SplitError::Empty(index + 1));
    }
    Ok(Command {
        text,
        argv,
        parameters: filled.values,
        runs: Vec::new(),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{parameters, split};

    fn argvs(words: &[&str], shell: Option<&str>) -> Result<Vec<Vec<String>>, String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        split(&words, shell, &[])
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

    /// Values stand where their name does, and only there.
    #[test]
    fn parameters_have_a_place() {
        let told = |words: &[&str], lists: &[&str]| {
            let own = |words: &[&str]| -> Vec<String> {
                words.iter().map(|&word| word.to_owned()).collect()
            };
            split(&own(words), None, &parameters(&own(lists)))
        };
        let commands = told(&["make -j{n}", "true"], &["n", "1,2"]).unwrap();
        let argvs: Vec<_> = commands
            .iter()
            .map(|command| command.argv.join(" "))
            .collect();
        assert_eq!(argvs, ["make -j1", "true", "make -j2"]);
        let values: Vec<_> = commands
            .iter()
            .map(|command| command.parameters.len())
            .collect();
        assert_eq!(values, [1, 0, 1]);
        for (lists, part) in [
            (&["m", "1"][..], "no command has {m}"),
            (&["n", "1", "n", "2"], "two lists for {n}"),
        ] {
            let error = told(&["make -j{n}"], lists).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
