//! `memtrace diff`.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    path::Path,
    process::ExitCode,
};

use memtrace::{
    budget::BUDGET_MISSED,
    diff::{self, Diff, DiffReadError, Side, TextOptions, Threshold},
    launch::{Distinct, IfExists, OWN_FAILURE, SameFile, open_output},
    recording::{self, LoadOptions, Loaded},
    report::{Run, html::html, units::human},
};

use super::{
    failure::{code, say},
    file_size,
};
use crate::cli::DiffArgs;

const PROGRAM: &str = "memtrace diff";

/// Why a file cannot be compared.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("cannot open: {0}")]
    Open(#[from] io::Error),
    #[error(transparent)]
    Json(#[from] DiffReadError),
    #[error(transparent)]
    Recording(#[from] recording::ReadError),
}

/// A result, and the recording that it is from, if it is.
struct Input {
    side: Side,
    loaded: Option<Box<Loaded>>,
}

pub(crate) fn main(args: &DiffArgs) -> ExitCode {
    match run(args) {
        Ok(status) => status,
        Err(message) => {
            say(PROGRAM, message);
            code(OWN_FAILURE)
        }
    }
}

fn run(args: &DiffArgs) -> Result<ExitCode, String> {
    distinct(args).map_err(|error| error.to_string())?;
    file_size::survive_limit();
    let read = |path: &Path| {
        read(path).map_err(|error| match error {
            // It names the file itself.
            ReadError::Recording(error) => error.to_string(),
            error => format!("{}: {error}", path.display()),
        })
    };
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    for (path, input) in [(&args.before, &before), (&args.after, &after)] {
        for note in input.loaded.iter().flat_map(|loaded| &loaded.notes) {
            say(PROGRAM, format_args!("{}: {note}", path.display()));
        }
    }
    if let Some(path) = &args.html {
        page(path, args, &before, &after)?;
    }
    let (before, after) = (before.side, after.side);
    let diff = Diff::new(&before, &after);
    let json_to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let mut stdout = BufWriter::new(io::stdout().lock());
    let written = if json_to_stdout {
        diff::write_json(&diff, &before, &after, &mut stdout)
    } else {
        let options = TextOptions {
            per_process: args.per_process,
            all: args.all,
        };
        diff::write_text(&diff, &before, &after, options, &mut stdout)
    };
    check("the result", written.and_then(|()| stdout.flush()))?;
    if let Some(path) = args.json.as_ref().filter(|_| !json_to_stdout) {
        let file = open_output(path, IfExists::Overwrite).map_err(|error| error.to_string())?;
        let mut out = BufWriter::new(file);
        let written = diff::write_json(&diff, &before, &after, &mut out);
        check("JSON", written.and_then(|()| out.flush()))?;
    }
    let failed = args
        .fail_above
        .is_some_and(|most| is_too_much(most, &before, &after));
    Ok(if failed {
        code(BUDGET_MISSED)
    } else {
        ExitCode::SUCCESS
    })
}

/// No output may overwrite another, or what is compared.
fn distinct(args: &DiffArgs) -> Result<(), SameFile> {
    let mut files = Distinct::new();
    files.input("the result", &args.before)?;
    files.input("the result", &args.after)?;
    files.stream("standard output", io::stdout())?;
    for (option, path) in [("--json", &args.json), ("--html", &args.html)] {
        if let Some(path) = path.as_ref().filter(|path| *path != Path::new("-")) {
            files.output(option, path)?;
        }
    }
    Ok(())
}

/// Whoever closed the output does not want it.
fn check(what: &str, written: io::Result<()>) -> Result<(), String> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write {what}: {error}"))
        }
        _ => Ok(()),
    }
}

/// Judges the growth, and says so if it is too much or in doubt.
fn is_too_much(most: Threshold, before: &Side, after: &Side) -> bool {
    let (old, new) = (before.total.peak, after.total.peak);
    let limit = match most {
        Threshold::Bytes(bytes) => human(bytes),
        Threshold::Percent(percent) => format!("{percent} %"),
    };
    let sure = most.judge(before, after);
    let failed = sure.unwrap_or_else(|| most.is_crossed(old, new));
    let grown = format!(
        "the peak grew from {} to {}, by {}",
        human(old),
        human(new),
        human(new.saturating_sub(old))
    );
    match sure {
        Some(true) => say(PROGRAM, format_args!("{grown}, more than {limit}")),
        Some(false) => {}
        None => say(
            PROGRAM,
            format_args!(
                "{grown}; whether that is more than {limit} cannot be decided, because the results are not exact, and counts as {}",
                if failed { "more" } else { "no more" }
            ),
        ),
    }
    failed
}

/// Reads a result of either form: JSON begins with a brace, a recording does not.
fn read(path: &Path) -> Result<Input, ReadError> {
    let mut file = BufReader::new(File::open(path)?);
    let is_json = file
        .fill_buf()?
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|byte| *byte == b'{');
    if is_json {
        return Ok(Input {
            side: diff::read_json(file)?,
            loaded: None,
        });
    }
    let loaded = recording::load(path, &LoadOptions::default())?;
    Ok(Input {
        side: Side::from(&loaded.summary),
        loaded: Some(Box::new(loaded)),
    })
}

/// Writes the page that shows both runs.
fn page(path: &Path, args: &DiffArgs, before: &Input, after: &Input) -> Result<(), String> {
    let (Some(first), Some(second)) = (&before.loaded, &after.loaded) else {
        return Err(
            "--html needs two recordings: JSON does not have what memory was over time; record with `memtrace run -o FILE`"
                .to_owned(),
        );
    };
    let [title, second_title] = [&args.before, &args.after].map(|path| path.display().to_string());
    let [before, after] = [(first, &title), (second, &second_title)].map(|(loaded, title)| Run {
        summary: &loaded.summary,
        timeline: &loaded.timeline,
        title,
        notes: &loaded.notes,
        limit: None,
    });
    let file = open_output(path, IfExists::Overwrite).map_err(|error| error.to_string())?;
    let mut out = BufWriter::new(file);
    let written = html(&mut out, &[before, after]);
    check("the page", written.and_then(|()| out.flush()))
}
