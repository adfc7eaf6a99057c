//! `memtrace attach`.

use std::process::ExitCode;

use memtrace::{
    TraceError,
    launch::{OWN_FAILURE, OutputError, SameFile},
    targets::Target,
};

use super::{
    budgets::Budgets,
    failure::{self, code, say},
    log,
    outputs::{Asked, Outputs, OutputsError},
    recorded,
    run::tracer,
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
    Outputs(#[from] OutputsError),
}

pub(crate) fn main(args: &AttachArgs) -> ExitCode {
    let verbose = args.outputs.verbose;
    log::init(verbose);
    let mut outputs = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
    };
    let tracer = tracer(&args.tracing, BackendArg::Bpf).wait_tree(args.wait_tree);
    let tracer = outputs.options(tracer, args.tracing.no_snapshots);
    let pids = args.pid.iter().copied().map(Target::Pid);
    let targets: Vec<Target> = pids.chain(args.groups.targets()).collect();
    let attached = match outputs.recording.sink() {
        None => tracer.attach(&targets, args.duration),
        Some(sink) => tracer.attach_into(&targets, args.duration, sink),
    };
    outputs.tracing_is_over(PROGRAM);
    let attached = match attached {
        Ok(attached) => attached,
        Err(error @ TraceError::Target(_)) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
        Err(error) => return failure::report(PROGRAM, &error, verbose > 0),
    };
    let began = (attached.phases(), "all was taken in");
    outputs
        .tell(PROGRAM, attached.summary(), began, 0)
        .unwrap_or(ExitCode::SUCCESS)
}

/// Opens what will be written to, before anything begins.
fn prepare(args: &AttachArgs) -> Result<Outputs<'_>, AttachError> {
    if args.tracing.segments {
        return Err(AttachError::Segments);
    }
    distinct(args).map_err(OutputError::from)?;
    Ok(Outputs::open(Asked {
        outputs: &args.outputs,
        live: &args.live,
        record: &args.record,
        format: TextFormat::Text,
        stdout: true,
        text_to_stdout: true,
        budgets: Budgets::default(),
    })?)
}

/// Nothing that is written may overwrite another's.
fn distinct(args: &AttachArgs) -> Result<(), SameFile> {
    let outputs = [
        ("--output", &args.record.output),
        ("--json", &args.outputs.json),
        ("--text", &args.outputs.text),
        ("--live-to", &args.live.live_to),
    ];
    recorded::distinct(true, &outputs).map(drop)
}
