//! What `run` and `attach` have in common beside the result: a recording, files that must differ, snapshots.

use std::{
    io,
    path::{Path, PathBuf},
};

use memtrace::{
    FileSink, SnapshotUse, Tracer,
    abi::Stat,
    launch::{Claim, Distinct, Made, OutputError, SameFile, claim_output},
    model::Summary,
    report::units::counted,
};

use super::{
    failure::say,
    nameless::nameless,
    page::{Page, PageError},
};
use crate::cli::record::RecordArgs;

/// The recording that is asked for, if one is.
///
/// Dropped before anything came of the run, it takes a file away that was made for it.
pub(super) struct Recording<'a> {
    args: &'a RecordArgs,
    sink: Option<FileSink>,
    page: Option<Page>,
    made: Option<Made>,
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        let empty = self.sink.as_ref().is_some_and(|sink| !sink.has_records());
        if let Some(made) = self.made.take().filter(|_| empty) {
            made.remove();
        }
    }
}

impl<'a> Recording<'a> {
    /// Opens the files.
    pub(super) fn open(args: &'a RecordArgs) -> Result<Self, OutputError> {
        let claimed = match (&args.output, &args.html) {
            (Some(path), _) => claim_output(path, args.force)?,
            (None, Some(_)) => without_name()?,
            (None, None) => {
                return Ok(Self {
                    args,
                    sink: None,
                    page: None,
                    made: None,
                });
            }
        };
        let Claim {
            file,
            replaces,
            made,
        } = claimed;
        let mut recording = Self {
            args,
            sink: None,
            page: None,
            made,
        };
        let page = args.html.as_ref().map(|path| Page::open(path, &file));
        recording.sink = Some(if replaces {
            FileSink::replacing(file)
        } else {
            FileSink::new(file)
        });
        recording.page = page.transpose()?;
        Ok(recording)
    }

    /// Whether there is one.
    pub(super) const fn is_wanted(&self) -> bool {
        self.sink.is_some()
    }

    /// Where it is.
    pub(super) fn path(&self) -> Option<&Path> {
        self.args.output.as_deref()
    }

    /// A tracer that has for it what its options say.
    pub(super) fn options(&self, tracer: Tracer) -> Tracer {
        if !self.is_wanted() {
            return tracer;
        }
        tracer
            .timeline(Some(self.args.resolution))
            .events(self.args.events)
            .timeline_ring_bytes(kib(self.args.timeline_ring_size))
    }

    /// What takes in the run.
    pub(super) const fn sink(&mut self) -> Option<&mut FileSink> {
        self.sink.as_mut()
    }

    /// Says how many records of the timeline are missing, if any are.
    pub(super) fn tell_of_losses(&self, program: &str, summary: &Summary) {
        let lost = summary.certificate.stats.get(Stat::TimelineFull);
        if lost == 0 || !self.is_wanted() {
            return;
        }
        say(
            program,
            format_args!(
                "{} missing, their buffer was full (raise --timeline-ring-size or choose a wider --resolution); the summary does not depend on them",
                counted(
                    lost,
                    "record of the timeline is",
                    "records of the timeline are"
                )
            ),
        );
    }

    /// Says why it is not whole, if it is not; true if so.
    pub(super) fn tell_of_failure(&self, program: &str) -> bool {
        let failure = self.sink.as_ref().and_then(FileSink::failure);
        if let Some(error) = failure {
            say(program, error);
        }
        failure.is_some()
    }

    /// Draws the page that is asked for, if one is, with a line at a limit.
    pub(super) fn draw(mut self, limit: Option<u64>) -> Result<(), PageError> {
        self.page.take().map_or(Ok(()), |page| page.draw(limit))
    }
}

/// A recording that nobody keeps.
fn without_name() -> Result<Claim, OutputError> {
    let file = nameless().map_err(|source| OutputError::Open {
        path: std::env::temp_dir(),
        sudo_uid: None,
        source,
    })?;
    Ok(Claim {
        file,
        replaces: false,
        made: None,
    })
}

/// KiB as bytes.
pub(super) fn kib(size: Option<u32>) -> Option<u32> {
    size.map(|kib| kib.saturating_mul(1024))
}

/// When snapshots are taken. Only for something: a walk keeps the memory of a process that ends during it.
pub(super) const fn snapshots(none: bool, shown: bool) -> SnapshotUse {
    match (none, shown) {
        (true, _) => SnapshotUse::Never,
        (false, true) => SnapshotUse::Always,
        (false, false) => SnapshotUse::WhereTheyTell,
    }
}

/// The files that the outputs are written to, each another one; neither may any be standard error, or, if that is
/// ours, standard output.
pub(super) fn distinct(
    our_stdout: bool,
    outputs: &[(&'static str, &Option<PathBuf>)],
) -> Result<Distinct, SameFile> {
    let mut files = Distinct::new();
    if our_stdout {
        files.stream("standard output", io::stdout())?;
    }
    files.stream("standard error", io::stderr())?;
    for (option, path) in outputs {
        // Only these have this name for standard output.
        let to_stdout =
            matches!(*option, "--json" | "--text") && path.as_deref() == Some(Path::new("-"));
        if let Some(path) = path
            && !to_stdout
        {
            files.output(option, path)?;
        }
    }
    Ok(files)
}
