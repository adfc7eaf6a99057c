//! `memtrace attach`.

use std::{fs, process::ExitCode};

use memtrace::{
    Onlooker, Sink, TraceError,
    launch::{OWN_FAILURE, OutputError, SameFile},
    targets::{Places, Target, look_up},
};

use super::{
    budgets::{BudgetError, Budgets},
    failure::{self, code, say},
    log,
    outputs::{self, Asked, Outputs, OutputsError},
    recorded,
    run::tracer,
    screen::{self, INTERVAL, Screen, Shown, names, title},
};
use crate::cli::{TextFormat, attach::AttachArgs};

const PROGRAM: &str = "memtrace";

/// What is special about its screen.
const SHOWN: Shown = Shown {
    keeps_signals: false,
    goes_on: None,
};

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Outputs(#[from] OutputsError),
    #[error(transparent)]
    Budget(#[from] BudgetError),
}

pub(crate) fn main(args: &AttachArgs) -> ExitCode {
    let verbose = args.outputs.verbose;
    log::init(if args.tui { 0 } else { verbose });
    let targets = args.targets();
    let (mut outputs, mut screen) = match prepare(args, &targets) {
        Ok(prepared) => prepared,
        Err(error) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
    };
    let tracer = tracer(&args.tracing, args.backend.into()).wait_tree(args.wait_tree);
    let tracer = outputs.options(tracer, args.tracing.no_snapshots);
    let sink = outputs.recording.sink().map(|sink| sink as &mut dyn Sink);
    let attached = match (sink, &mut screen) {
        (sink, Some(screen)) => {
            let onlooker = Onlooker::new(INTERVAL, screen);
            tracer.attach_watched(&targets, args.duration, sink, onlooker)
        }
        (None, None) => tracer.attach(&targets, args.duration),
        (Some(sink), None) => tracer.attach_into(&targets, args.duration, sink),
    };
    screen::leave(screen);
    outputs.tracing_is_over(PROGRAM);
    let attached = match attached {
        Ok(attached) => attached,
        Err(error @ TraceError::Target(_)) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
        Err(error) => {
            // Before the end that may come of it: an output of nothing is taken back.
            drop(outputs);
            return failure::report(PROGRAM, &error, verbose > 0);
        }
    };
    let began = (attached.phases(), "all was taken in");
    outputs
        .tell(PROGRAM, attached.summary(), began, 0)
        .unwrap_or(ExitCode::SUCCESS)
}

/// Opens what will be written to, before anything begins.
fn prepare<'a>(
    args: &'a AttachArgs,
    targets: &[Target],
) -> Result<(Outputs<'a>, Option<Screen>), AttachError> {
    distinct(args).map_err(OutputError::from)?;
    let screen = args
        .tui
        .then(|| {
            outputs::screen(
                &args.live,
                SHOWN,
                &title("attach", targets),
                &names(targets),
            )
        })
        .transpose()?;
    let outputs = Outputs::open(Asked {
        outputs: &args.outputs,
        live: &args.live,
        record: &args.record,
        format: TextFormat::Text,
        stdout: true,
        text_to_stdout: true,
        budgets: budgets(args)?,
    })?;
    Ok((outputs, screen))
}

/// Those of a file are for what each of the processes runs.
fn budgets(args: &AttachArgs) -> Result<Budgets, BudgetError> {
    let mut commands = Vec::new();
    if args.budgets.budgets.is_some() {
        // Who is not there is told of by whoever attaches.
        let places = Places::of_this_system();
        let found = args.targets().into_iter().map(|target| {
            let places = places.as_ref().ok()?;
            Some(look_up(&target, places).ok()?.processes)
        });
        commands.extend(found.flatten().flatten().map(|found| command(found.pid)));
    }
    Budgets::prepare(&args.budgets, &commands, PROGRAM)
}

/// What a process runs; nothing if that is not known.
fn command(pid: i32) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Nothing that is written may overwrite another's, or what is read.
fn distinct(args: &AttachArgs) -> Result<(), SameFile> {
    let outputs = [
        ("--output", &args.record.output),
        ("--html", &args.record.html),
        ("--json", &args.outputs.json),
        ("--text", &args.outputs.text),
        ("--live-to", &args.live.live_to),
        ("--junit", &args.budgets.junit),
    ];
    let mut files = recorded::distinct(true, &outputs)?;
    if let Some(path) = &args.budgets.budgets {
        files.input("--budgets", path)?;
    }
    Ok(())
}
