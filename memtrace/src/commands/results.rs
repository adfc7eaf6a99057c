//! Where the results of a run go: the text to standard error or a file, the JSON to a file.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
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

use super::{failure::say, width};
use crate::cli::{RunArgs, TextFormat};

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

/// The files that results go to, open since before the command ran.
#[derive(Debug)]
pub(super) struct Results {
    json: Option<File>,
    text: Option<File>,
}

impl Results {
    /// Opens what the options name. Has to be before standard output becomes the command's own.
    pub(super) fn open(args: &RunArgs) -> Result<Self, ResultsError> {
        let stdout = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
        if args.stdout.is_some() && stdout(&args.json) && stdout(&args.text) {
            return Err(ResultsError::BothOnStdout);
        }
        let elsewhere = args.stdout.is_some();
        let open = |option, path: &Option<PathBuf>| {
            let path = path.as_deref();
            path.map(|path| open(option, path, elsewhere)).transpose()
        };
        Ok(Self {
            json: open("--json", &args.json)?,
            text: open("--text", &args.text)?,
        })
    }

    /// Writes the text: to its file, even if nothing is to be printed, else to standard error.
    /// What nobody may miss is said on standard error where the text is not.
    pub(super) fn tell(
        &self,
        program: &str,
        args: &RunArgs,
        summary: &Summary,
    ) -> Result<(), WriteError> {
        let written = match &self.text {
            Some(file) => {
                // Neither a terminal's width nor COLUMNS is a file's.
                let options = if file.is_terminal() {
                    width::fitting(file)
                } else {
                    text::Options::default()
                };
                finish("the text", print(args, summary, options, file))
            }
            None if args.quiet => Ok(()),
            None => {
                let stderr = io::stderr();
                // Whoever closed standard error does not want it.
                let _ = print(args, summary, width::fitting(&stderr), stderr.lock());
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

    /// Says that memtrace ended the tree, where the text that says so is not on standard error.
    pub(super) fn tell_of_limit(&self, program: &str, args: &RunArgs, summary: &Summary) {
        if (args.quiet || self.text.is_some())
            && let Some(ended) = &summary.ended_by_limit
        {
            say(program, text::ended_by_limit(ended));
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
    args: &RunArgs,
    summary: &Summary,
    options: text::Options,
    out: impl Write,
) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    match args.format {
        TextFormat::Text => text::write(
            summary,
            text::Options {
                verbose: args.verbose > 0,
                per_process: args.per_process,
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
