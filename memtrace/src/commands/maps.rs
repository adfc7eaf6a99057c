//! `memtrace maps`.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
};

use memtrace::{
    abi::Segment,
    launch::{Distinct, IfExists, OutputError, open_output},
    procfs::smaps::{self, Layout, ProcError},
    recording::{Index, Moment, ReadError},
    report::maps::{self, Maps, Row, Source},
};

use super::{failure::say, log, width};
use crate::cli::{maps::MapsArgs, report::TimePoint};

const PROGRAM: &str = "memtrace";

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum MapsError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot write the table: {0}")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Proc(#[from] ProcError),
    #[error("process {0} has no address space: it is a thread of the kernel, or has ended")]
    NoMemory(u32),
    #[error("the recording has no segments: record with `memtrace run --segments -o FILE`")]
    NotRecorded,
    #[error("process {0} held nothing at that moment, or is none of the recording's")]
    NoProcess(u32),
    #[error("no process held anything at that moment")]
    Nobody,
}

pub(crate) fn main(args: &MapsArgs) -> ExitCode {
    log::init(0);
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed it does not want more.
        Err(MapsError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(PROGRAM, error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &MapsArgs) -> Result<(), MapsError> {
    let file = Path::new(&args.target);
    let pid = args.target.to_str().and_then(|text| text.parse().ok());
    // A file with such a name is meant by a path, `./123`.
    if let (None, Some(json)) = (
        pid,
        args.json.as_deref().filter(|path| *path != Path::new("-")),
    ) {
        let mut files = Distinct::new();
        let input = files.input("the recording", file);
        input
            .and_then(|()| files.output("--json", json))
            .map_err(OutputError::from)?;
    }
    let found = match pid {
        Some(pid) => running(pid)?,
        None => recorded(file, args)?,
    };
    let mut out: Box<dyn Write> = match args.json.as_deref().filter(|path| *path != Path::new("-"))
    {
        Some(path) => Box::new(BufWriter::new(open_output(path, IfExists::Overwrite)?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    if args.json.is_some() {
        maps::write_json(&found, &mut out)?;
    } else {
        maps::write(&found, width::of_tables(io::stdout()), &mut out)?;
    }
    out.flush()?;
    Ok(())
}

/// What a process has now.
fn running(pid: u32) -> Result<Maps, MapsError> {
    let held = smaps::of_process(pid, &Layout::of_process(pid))?.ok_or(MapsError::NoMemory(pid))?;
    let rows = Segment::ALL.map(|segment| {
        let held = held[segment as usize];
        Row {
            segment,
            mapped: Some(held.mapped),
            resident: i64::try_from(held.resident).unwrap_or(i64::MAX),
            swapped: i64::try_from(held.swapped).unwrap_or(i64::MAX),
        }
    });
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = command.strip_suffix(b"\0").unwrap_or(&command);
    Ok(Maps {
        pid,
        command: command
            .split(|&byte| byte == 0)
            .map(<[u8]>::to_vec)
            .collect(),
        source: Source::Smaps,
        rows,
    })
}

/// What a process had at a moment of a recording.
fn recorded(file: &Path, args: &MapsArgs) -> Result<Maps, MapsError> {
    let mut index = Index::open(file)?;
    let at_ns = match args.at {
        TimePoint::Ns(ns) => ns,
        TimePoint::Peak => index.summary().tree.peak_at_ns,
        TimePoint::End => index.end_ns(),
    };
    let moment = index.at(at_ns)?;
    for note in index.notes() {
        say(PROGRAM, format_args!("{}: {note}", file.display()));
    }
    let summary = index.summary();
    if summary.images.iter().all(|image| image.segments.is_none()) {
        return Err(MapsError::NotRecorded);
    }
    let Moment {
        at_ns,
        images,
        segments,
    } = moment;
    let wanted = |image: &usize| {
        args.pid.is_none_or(|pid| {
            let found = summary.images.get(*image);
            found.is_some_and(|image| image.pid == pid)
        })
    };
    let largest = images
        .iter()
        .filter(|(image, _)| wanted(image) && segments.contains_key(image))
        .max_by_key(|(_, (held, _))| held.rss());
    let found = largest.and_then(|(image, (_, sizes))| {
        Some((summary.images.get(*image)?, sizes, segments.get(image)?))
    });
    let (image, sizes, held) =
        found.ok_or_else(|| args.pid.map_or(MapsError::Nobody, MapsError::NoProcess))?;
    let rows = Segment::ALL.map(|segment| Row {
        segment,
        mapped: match segment {
            Segment::Heap => Some(sizes.heap),
            Segment::Stack => Some(sizes.stack),
            _ => None,
        },
        resident: held.resident[segment as usize],
        swapped: held.swapped[segment as usize],
    });
    Ok(Maps {
        pid: image.pid,
        command: image.program.args.clone(),
        source: Source::Recording {
            at_ns,
            width_ns: index.head().width_ns,
        },
        rows,
    })
}
