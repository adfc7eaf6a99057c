//! Where the results of a run go: the text to standard error or a file, the JSON to a file.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    os::fd::OwnedFd,
    path::Path,
};

use memtrace::{
    launch::{IfExists, OutputError, open_output},
    model::{Summary, Verdict},
    report::{
        json,
        runit::{self, MachineMemory},
        text,
    },
};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{failure::say, plotted::draw_file, width};
use crate::cli::TextFormat;

/// Why a result has no place to go.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResultsError {
    #[error(
        "{0} - would mix with the command's own standard output: name a file, or send the command's output elsewhere with --stdout FILE"
    )]
    StdoutInUse(&'static str),
    #[error("--json - and --text - would mix on standard output: name a file for one of them")]
    BothOnStdout,
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot keep standard output for the result: {0}")]
    Keep(#[from] nix::Error),
}

/// What could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {what}: {source}")]
pub(super) struct WriteError {
    what: &'static str,
    source: io::Error,
}

/// What is told of a result, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub(super) json: Option<&'a Path>,
    pub(super) text: Option<&'a Path>,
    pub(super) format: TextFormat,
    pub(super) per_process: bool,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
    /// Standard output is ours to write to.
    pub(super) stdout: bool,
    /// The text goes there, unless something else does.
    pub(super) text_to_stdout: bool,
}

/// The files that results go to, open since before the command ran.
#[derive(Debug)]
pub(super) struct Results<'a> {
    json: Option<File>,
    text: Option<File>,
    shown: Shown<'a>,
}

impl<'a> Results<'a> {
    /// Opens what the options name. Has to be before standard output becomes the command's own.
    pub(super) fn open(shown: Shown<'a>) -> Result<Self, ResultsError> {
        let is_stdout = |path: Option<&Path>| path == Some(Path::new("-"));
        if shown.stdout && is_stdout(shown.json) && is_stdout(shown.text) {
            return Err(ResultsError::BothOnStdout);
        }
        let open = |option, path: Option<&Path>| {
            path.map(|path| open(option, path, shown.stdout))
                .transpose()
        };
        Ok(Self {
            json: open("--json", shown.json)?,
            text: open("--text", shown.text)?,
            shown: Shown {
                text_to_stdout: shown.text_to_stdout && !is_stdout(shown.json),
                ..shown
            },
        })
    }

    /// Writes the text: to its file, even if nothing is to be printed, else to standard error.
    /// What nobody may miss is said on standard error where the text is not.
    pub(super) fn tell(&self, program: &str, summary: &Summary) -> Result<(), WriteError> {
        let shown = self.shown;
        let written = match &self.text {
            Some(file) => {
                // Neither a terminal's width nor COLUMNS is a file's.
                let options = if file.is_terminal() {
                    width::fitting(file)
                } else {
                    text::Options::default()
                };
                finish("the text", print(shown, summary, options, file))
            }
            None if shown.quiet => Ok(()),
            None if shown.text_to_stdout => {
                let stdout = io::stdout();
                let options = width::fitting(&stdout);
                finish("the text", print(shown, summary, options, stdout.lock()))
            }
            None => {
                let stderr = io::stderr();
                // Whoever closed standard error does not want it.
                let _ = print(shown, summary, width::fitting(&stderr), stderr.lock());
                return Ok(());
            }
        };
        if summary.certificate.verdict != Verdict::Exact {
            for reason in &summary.certificate.reasons {
                say(program, format_args!("not exact: {reason}"));
            }
        }
        written
    }

    /// Draws what was recorded below the text, where that is on a terminal. Whatever has to be written is, before:
    /// this reads the recording again.
    pub(super) fn draw(&self, recording: &Path) {
        let shown = self.shown;
        if shown.format != TextFormat::Text {
            return;
        }
        // A terminal that is gone shows nothing.
        let _ = match &self.text {
            Some(file) if file.is_terminal() => draw_file(recording, file, file),
            None if shown.quiet => Ok(()),
            None if shown.text_to_stdout && io::stdout().is_terminal() => {
                draw_file(recording, io::stdout(), io::stdout().lock())
            }
            None if !shown.text_to_stdout && io::stderr().is_terminal() => {
                draw_file(recording, io::stderr(), io::stderr().lock())
            }
            _ => Ok(()),
        };
    }

    /// Says that memtrace ended the tree, where the text that says so is not on standard error.
    pub(super) fn tell_of_limit(&self, program: &str, summary: &Summary) {
        if (self.shown.quiet || self.text.is_some())
            && let Some(ended) = text::ended_by_limit(summary)
        {
            say(program, ended);
        }
    }

    /// Writes the JSON, if there is a file for it.
    pub(super) fn write_json(&self, summary: &Summary) -> Result<(), WriteError> {
        let Some(file) = &self.json else {
            return Ok(());
        };
        let mut out = BufWriter::new(file);
        let result = json::write(summary, &mut out).and_then(|()| out.flush());
        finish("JSON", result)
    }
}

/// Opens one of them; `elsewhere`: the command's standard output does not go to our own.
fn open(option: &'static str, path: &Path, elsewhere: bool) -> Result<File, ResultsError> {
    if path != Path::new("-") {
        return Ok(open_output(path, IfExists::Overwrite)?);
    }
    if !elsewhere {
        return Err(ResultsError::StdoutInUse(option));
    }
    let stdout: OwnedFd = nix::unistd::dup(io::stdout())?;
    // The command must not hold it open.
    fcntl(&stdout, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(File::from(stdout))
}

/// Whoever closed a pipe does not want more.
fn finish(what: &'static str, result: io::Result<()>) -> Result<(), WriteError> {
    match result {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(WriteError { what, source })
        }
        _ => Ok(()),
    }
}

/// The result in the form that --format says.
fn print(
    shown: Shown<'_>,
    summary: &Summary,
    options: text::Options,
    out: impl Write,
) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    match shown.format {
        TextFormat::Text => text::write(
            summary,
            text::Options {
                verbose: shown.verbose,
                per_process: shown.per_process,
                ..options
            },
            &mut out,
        ),
        TextFormat::Runit => runit::write(summary, machine_memory(), &mut out),
    }?;
    out.flush()
}

fn machine_memory() -> MachineMemory {
    use procfs::Current as _;
    procfs::Meminfo::current().map_or_else(
        |_| MachineMemory::default(),
        |memory| MachineMemory {
            total: memory.mem_total,
            available: memory.mem_available.unwrap_or(memory.mem_free),
            free: memory.mem_free,
        },
    )
}
