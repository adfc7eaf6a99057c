//! `memtrace report`.

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    path::Path,
    process::ExitCode,
};

use memtrace::{
    budget::Size,
    export::Recorded,
    launch::{Distinct, IfExists, OutputError, SameFile, open_output},
    model::Summary,
    recording::{Index, LoadOptions, ReadError, Summarized, calls::each_call, load, summarize},
    report::{
        Run, calls, html, json, moment, range,
        select::{Pattern, Selection, Sort},
        subject::subject,
        svg, text,
    },
};

use super::{failure::say, log, plotted, width};
use crate::cli::report::{ReportArgs, SortArg, TimePoint, TimeRange};

const PROGRAM: &str = "memtrace";

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot write the report: {0}")]
    Write(#[from] io::Error),
    #[error("the second time of --between is before the first")]
    Backwards,
}

pub(crate) fn main(args: &ReportArgs) -> ExitCode {
    log::init(args.verbose);
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed it does not want more.
        Err(ReportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(PROGRAM, error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &ReportArgs) -> Result<(), ReportError> {
    distinct(args).map_err(OutputError::from)?;
    if args.at.is_some() || args.between.is_some() {
        return look_up(args);
    }
    if args.events {
        return list(args);
    }
    if args.pictures.any() {
        return draw(args);
    }
    if let Some(path) = &args.json {
        let Summarized { summary, notes, .. } = summarize(&args.file)?;
        tell(&args.file, &notes);
        return write(Some(path), |out| {
            json::write_with_notes(&summary, &notes, out)
        });
    }
    if args.timeline || io::stdout().is_terminal() {
        let loaded = load(&args.file, &plotted::options())?;
        tell_in_words(args, &loaded.summary, &loaded.notes)?;
        let look = plotted::look(io::stdout(), args.ascii);
        return Ok(plotted::draw(&loaded, look, io::stdout().lock())?);
    }
    let Summarized { summary, notes, .. } = summarize(&args.file)?;
    tell_in_words(args, &summary, &notes)
}

/// The text.
fn tell_in_words(
    args: &ReportArgs,
    summary: &Summary,
    notes: &[String],
) -> Result<(), ReportError> {
    tell(&args.file, notes);
    let options = text::Options {
        verbose: args.verbose > 0,
        // What is sorted or filtered is that table.
        per_process: args.per_process || args.sort.is_some() || args.filter.is_some(),
        ..width::fitting(io::stdout())
    };
    let selection = selection(args, Sort::Start);
    write(None, |out| {
        text::write_selected(summary, options, &selection, out)
    })
}

/// No output may overwrite another, or the recording.
fn distinct(args: &ReportArgs) -> Result<(), SameFile> {
    let mut files = Distinct::new();
    files.input("the recording", &args.file)?;
    let outputs = [
        ("--json", &args.json),
        ("--html", &args.pictures.html),
        ("--svg", &args.pictures.svg),
    ];
    for (option, path) in outputs {
        if let Some(path) = path.as_ref().filter(|path| *path != Path::new("-")) {
            files.output(option, path)?;
        }
    }
    Ok(())
}

/// `--html` and `--svg`, and `--json` beside them.
fn draw(args: &ReportArgs) -> Result<(), ReportError> {
    let loaded = load(&args.file, &LoadOptions::default())?;
    tell(&args.file, &loaded.notes);
    let title = subject(&loaded.summary);
    let run = Run {
        summary: &loaded.summary,
        timeline: &loaded.timeline,
        title: &title,
        notes: &loaded.notes,
        limit: args.pictures.limit.map(Size::bytes),
    };
    if let Some(path) = &args.pictures.html {
        write(Some(path), |mut out| html::html(&mut out, &[run]))?;
    }
    if let Some(path) = &args.pictures.svg {
        write(Some(path), |mut out| {
            svg::svg(&mut out, &run, svg::Size::default())
        })?;
    }
    match &args.json {
        Some(path) => write(Some(path), |out| {
            json::write_with_notes(&loaded.summary, &loaded.notes, out)
        }),
        None => Ok(()),
    }
}

/// `--events`.
fn list(args: &ReportArgs) -> Result<(), ReportError> {
    let loaded = summarize(&args.file)?;
    tell(&args.file, &loaded.notes);
    let summary = &loaded.summary;
    let filter = selection(args, Sort::Start).filter;
    let zero = Recorded::open(&args.file, summary)?.started_boot_ns();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut count = 0_u64;
    each_call(&args.file, summary, zero, |call| {
        let image = summary.images.get(call.image);
        let wanted = filter
            .as_ref()
            .is_none_or(|filter| image.is_some_and(|image| filter.matches_image(image)));
        if !wanted {
            return Ok(());
        }
        if count == 0 {
            calls::head(&mut out)?;
        }
        count += 1;
        calls::line(&call, summary, &mut out).map_err(ReportError::from)
    })?;
    out.flush()?;
    if count == 0 {
        say(
            PROGRAM,
            format_args!(
                "{}: no events; record them with `memtrace run --events -o FILE`",
                args.file.display()
            ),
        );
    }
    Ok(())
}

/// `--at` and `--between`.
fn look_up(args: &ReportArgs) -> Result<(), ReportError> {
    let mut index = Index::open(&args.file)?;
    let selection = selection(args, Sort::Rss);
    let width_ns = index.head().width_ns;
    let width = width::of_tables(io::stdout());
    if let Some(TimeRange { from, until }) = args.between {
        let (from, until) = (time(&index, from), time(&index, until));
        if from > until {
            return Err(ReportError::Backwards);
        }
        let found = index.between(from, until)?;
        tell(&args.file, index.notes());
        let summary = index.summary();
        return write(None, |out| {
            range::write(summary, &found, width_ns, &selection, width, out)
        });
    }
    let point = args.at.unwrap_or(TimePoint::End);
    let at = time(&index, point);
    let found = if point == TimePoint::Peak {
        index.at_peak()?
    } else {
        index.at(at)?
    };
    // The peak's composition is exact, whatever the windows.
    let width_ns = if point == TimePoint::Peak {
        0
    } else {
        width_ns
    };
    tell(&args.file, index.notes());
    if at > index.end_ns() {
        say(
            PROGRAM,
            format_args!(
                "{}: ends before that moment; this is its end",
                args.file.display()
            ),
        );
    }
    let summary = index.summary();
    write(None, |out| {
        moment::write(summary, &found, width_ns, &selection, width, out)
    })
}

/// A moment in nanoseconds since the tree's start.
fn time(index: &Index, point: TimePoint) -> u64 {
    match point {
        TimePoint::Ns(ns) => ns,
        TimePoint::Peak => index.summary().tree.peak_at_ns,
        TimePoint::End => index.end_ns(),
    }
}

fn selection(args: &ReportArgs, default: Sort) -> Selection {
    Selection {
        sort: args.sort.map_or(default, |sort| match sort {
            SortArg::Rss => Sort::Rss,
            SortArg::Peak => Sort::Peak,
            SortArg::Start => Sort::Start,
            SortArg::Pid => Sort::Pid,
            SortArg::Name => Sort::Name,
        }),
        filter: args
            .filter
            .as_ref()
            .map(|filter| Pattern::new(filter.as_bytes())),
    }
}

/// Says what is wrong with a recording.
fn tell(file: &Path, notes: &[String]) {
    for note in notes {
        say(PROGRAM, format_args!("{}: {note}", file.display()));
    }
}

/// Writes to a file, or to standard output.
fn write(
    path: Option<&Path>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), ReportError> {
    let mut out: Box<dyn Write> = match path.filter(|path| *path != Path::new("-")) {
        Some(path) => Box::new(BufWriter::new(open_output(path, IfExists::Overwrite)?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    fill(&mut out)?;
    out.flush()?;
    Ok(())
}
