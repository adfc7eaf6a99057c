//! `memtrace attach`.

use std::{io, process::ExitCode};

use memtrace::{
    TraceError, Tracer,
    launch::{OWN_FAILURE, OutputError, SameFile},
    phases::Checkpoints,
    targets::Target,
};

use super::{
    failure::{self, code, say},
    file_size,
    live::View,
    log,
    recorded::{self, Recording, snapshots},
    results::{Results, ResultsError, Shown},
    run::tracer,
    self_stats,
};
use crate::cli::{BackendArg, TextFormat, attach::AttachArgs};

const PROGRAM: &str = "memtrace";

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error(
        "--segments cannot tell what pages are for that were there before: leave it out, or look at them with `memtrace maps`"
    )]
    Segments,
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Results(#[from] ResultsError),
    #[error("nobody listens at the socket for checkpoints: {0}")]
    Checkpoints(io::Error),
}

pub(crate) fn main(args: &AttachArgs) -> ExitCode {
    log::init(args.verbose);
    let Prepared {
        results,
        mut recording,
        view,
        tracer,
    } = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
    };
    let pids = args.pid.iter().copied().map(Target::Pid);
    let targets: Vec<Target> = pids.chain(args.groups.targets()).collect();
    let attached = match recording.sink() {
        None => tracer.attach(&targets, args.duration),
        Some(sink) => tracer.attach_into(&targets, args.duration, sink),
    };
    file_size::survive_limit();
    view.tell_left_out(PROGRAM);
    let attached = match attached {
        Ok(attached) => attached,
        Err(error @ TraceError::Target(_)) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
        Err(error) => return failure::report(PROGRAM, &error, args.verbose > 0),
    };
    let summary = attached.summary();
    recording.tell_of_losses(PROGRAM, summary);
    let text = results.tell(PROGRAM, summary);
    if args.self_stats {
        // Whoever closed standard error does not want it.
        let _ = self_stats::write(
            attached.phases(),
            "all was taken in",
            &mut io::stderr().lock(),
        );
    }
    let json = results.write_json(summary);
    let mut whole = !recording.tell_of_failure(PROGRAM);
    for error in [text.err(), json.err()].into_iter().flatten() {
        say(PROGRAM, error);
        whole = false;
    }
    if whole {
        ExitCode::SUCCESS
    } else {
        code(OWN_FAILURE)
    }
}

/// Everything that is needed before it begins.
struct Prepared<'a> {
    results: Results<'a>,
    recording: Recording<'a>,
    view: View,
    tracer: Tracer,
}

fn prepare(args: &AttachArgs) -> Result<Prepared<'_>, AttachError> {
    if args.tracing.segments {
        return Err(AttachError::Segments);
    }
    distinct(args).map_err(OutputError::from)?;
    let view = View::prepare(&args.live)?;
    let checkpoints = args.checkpoints.as_deref().map(Checkpoints::connect);
    let checkpoints = checkpoints.transpose().map_err(AttachError::Checkpoints)?;
    let recording = Recording::open(&args.record)?;
    let results = Results::open(Shown {
        json: args.json.as_deref(),
        text: args.text.as_deref(),
        format: TextFormat::Text,
        per_process: args.per_process,
        quiet: args.quiet,
        verbose: args.verbose > 0,
        stdout: true,
        text_to_stdout: true,
    })?;
    let tracer = tracer(&args.tracing, BackendArg::Bpf)
        .wait_tree(args.wait_tree)
        .live(view.live())
        .checkpoints(checkpoints)
        .snapshots(snapshots(
            args.tracing.no_snapshots,
            args.verbose > 0 || recording.is_wanted(),
        ))
        .log_programs(args.verbose > 1);
    Ok(Prepared {
        results,
        tracer: recording.options(tracer),
        recording,
        view,
    })
}

/// Nothing that is written may overwrite another's.
fn distinct(args: &AttachArgs) -> Result<(), SameFile> {
    let outputs = [
        ("--output", &args.record.output),
        ("--json", &args.json),
        ("--text", &args.text),
        ("--live-to", &args.live.live_to),
    ];
    recorded::distinct(true, &outputs).map(drop)
}
