//! `memtrace export`.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

use memtrace::{
    export::{Data, ExportError, Recorded, Table, csv, folded, mprof, ndjson, perfetto, prmon},
    launch::{Distinct, IfExists, OWN_FAILURE, OutputError, open_output, output_directory},
    recording::{ReadError, summarize},
};

use super::failure::{code, say};
use crate::cli::export::{ExportArgs, FormatArg, TableArg, WeightArg};

const PROGRAM: &str = "memtrace";

/// Why nothing, or not everything, was exported.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot write to standard output: {0}")]
    Stdout(#[source] io::Error),
    #[error("{}: {source}", path.display())]
    Export { path: PathBuf, source: ExportError },
}

/// Arguments that do not go together.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error(
        "there are several tables: name one with --table, or a directory for all of them with -o"
    )]
    WhichTable,
    #[error("--table is for the formats parquet, csv and ndjson")]
    NoTables,
    #[error("--weight is for the format folded")]
    NoWeight,
    #[error(
        "this format is binary and standard output is a terminal: name a file with -o, or pipe it"
    )]
    Terminal,
    #[cfg(not(feature = "parquet"))]
    #[error("this memtrace was built without Parquet: build it with the feature `parquet`")]
    NoParquet,
}

/// One file to write.
struct Output {
    path: PathBuf,
    content: Content,
    file: File,
}

/// What goes into a file.
#[derive(Clone, Copy, Debug)]
enum Content {
    Perfetto,
    Folded(folded::Weight),
    Prmon,
    Mprof,
    Parquet(Table),
    Csv(Table),
    Ndjson(Table),
}

pub(crate) fn main(args: &ExportArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed it does not want more.
        Err(Failure::Export { source, .. }) if source.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            say(PROGRAM, &error);
            match error {
                Failure::Usage(_) => code(OWN_FAILURE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(args: &ExportArgs) -> Result<(), Failure> {
    let contents = contents(args)?;
    // Reading can take long; whether the result can be written is known before.
    let loaded = summarize(&args.file)?;
    let outputs = open(args, &contents)?;
    for note in &loaded.notes {
        say(PROGRAM, format_args!("{}: {note}", args.file.display()));
    }
    let summary = &loaded.summary;
    let recorded = Recorded::open(&args.file, summary)?;
    let data = Data {
        summary,
        spans: &recorded,
        started_boot_ns: Some(recorded.started_boot_ns()),
    };
    for output in outputs {
        let failed = |source| Failure::Export {
            path: output.path.clone(),
            source,
        };
        let mut out = BufWriter::with_capacity(1 << 16, &output.file);
        write(&data, output.content, &mut out)
            .and_then(|()| Ok(out.flush()?))
            .map_err(failed)?;
    }
    Ok(())
}

/// What the arguments ask for.
fn contents(args: &ExportArgs) -> Result<Vec<Content>, UsageError> {
    let ExportArgs {
        file: _,
        format,
        output,
        table,
        weight,
        force: _,
    } = args;
    if weight.is_some() && *format != FormatArg::Folded {
        return Err(UsageError::NoWeight);
    }
    let single = match format {
        FormatArg::Perfetto => Some(Content::Perfetto),
        FormatArg::Folded => Some(Content::Folded(match weight.unwrap_or_default() {
            WeightArg::Peak => folded::Weight::Peak,
            WeightArg::ByteSeconds => folded::Weight::ByteSeconds,
        })),
        FormatArg::Prmon => Some(Content::Prmon),
        FormatArg::Mprof => Some(Content::Mprof),
        #[cfg(not(feature = "parquet"))]
        FormatArg::Parquet => return Err(UsageError::NoParquet),
        #[cfg(feature = "parquet")]
        FormatArg::Parquet => None,
        FormatArg::Csv | FormatArg::Ndjson => None,
    };
    if let Some(content) = single {
        return match table {
            Some(_) => Err(UsageError::NoTables),
            None => Ok(vec![content]),
        };
    }
    let content = match format {
        FormatArg::Csv => Content::Csv,
        FormatArg::Ndjson => Content::Ndjson,
        FormatArg::Parquet
        | FormatArg::Perfetto
        | FormatArg::Folded
        | FormatArg::Prmon
        | FormatArg::Mprof => Content::Parquet,
    };
    match table {
        Some(table) => Ok(vec![content(match table {
            TableArg::Processes => Table::Processes,
            TableArg::Images => Table::Images,
            TableArg::Tree => Table::Tree,
            TableArg::Timeline => Table::Timeline,
            TableArg::Losses => Table::Losses,
            TableArg::Segments => Table::Segments,
            TableArg::SegmentTimes => Table::SegmentTimes,
            TableArg::Events => Table::Events,
        })]),
        None if is_stdout(output.as_deref()) => Err(UsageError::WhichTable),
        None => Ok(Table::ALL.map(content).to_vec()),
    }
}

fn is_stdout(output: Option<&Path>) -> bool {
    output.is_none_or(|path| path == Path::new("-"))
}

/// Opens everything that will be written.
fn open(args: &ExportArgs, contents: &[Content]) -> Result<Vec<Output>, Failure> {
    let if_exists = if args.force {
        IfExists::Overwrite
    } else {
        IfExists::Refuse
    };
    let mut files = Distinct::new();
    files
        .input("the recording", &args.file)
        .map_err(OutputError::from)?;
    let mut open = |path: &Path| {
        files.output("--output", path).map_err(OutputError::from)?;
        open_output(path, if_exists)
    };
    match (contents, &args.output) {
        ([content], output) if is_stdout(output.as_deref()) => {
            if content.is_binary() && io::stdout().is_terminal() {
                return Err(UsageError::Terminal.into());
            }
            // Not through the standard library's buffer, which looks for lines.
            let stdout: OwnedFd =
                nix::unistd::dup(io::stdout()).map_err(|error| Failure::Stdout(error.into()))?;
            Ok(vec![Output {
                path: PathBuf::from("standard output"),
                content: *content,
                file: File::from(stdout),
            }])
        }
        ([content], Some(path)) => Ok(vec![Output {
            path: path.clone(),
            content: *content,
            file: open(path)?,
        }]),
        (_, Some(directory)) => {
            output_directory(directory)?;
            contents
                .iter()
                .map(|content| {
                    let path = directory.join(content.file_name());
                    Ok(Output {
                        file: open(&path)?,
                        content: *content,
                        path,
                    })
                })
                .collect()
        }
        (_, None) => Err(UsageError::WhichTable.into()),
    }
}

impl Content {
    const fn is_binary(self) -> bool {
        matches!(self, Self::Perfetto | Self::Parquet(_))
    }

    /// The name of its file in a directory.
    fn file_name(self) -> String {
        match self {
            Self::Perfetto => "trace.pftrace".to_owned(),
            Self::Folded(_) => "stacks.folded".to_owned(),
            Self::Prmon => "prmon.txt".to_owned(),
            Self::Mprof => "mprofile.dat".to_owned(),
            Self::Parquet(table) => format!("{}.parquet", table.name()),
            Self::Csv(table) => format!("{}.csv", table.name()),
            Self::Ndjson(table) => format!("{}.ndjson", table.name()),
        }
    }
}

fn write(data: &Data<'_>, content: Content, out: &mut BufWriter<&File>) -> Result<(), ExportError> {
    match content {
        Content::Perfetto => perfetto::write(data, out),
        Content::Folded(weight) => folded::write(data, weight, out),
        Content::Prmon => prmon::write(data, out),
        Content::Mprof => mprof::write(data, out),
        #[cfg(feature = "parquet")]
        Content::Parquet(table) => memtrace::export::parquet::write(data, table, out),
        // Was refused before.
        #[cfg(not(feature = "parquet"))]
        Content::Parquet(_) => Ok(()),
        Content::Csv(table) => csv::write(data, table, out),
        Content::Ndjson(table) => ndjson::write(data, table, out),
    }
}
