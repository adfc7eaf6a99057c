//! `memtrace run`.

use std::{path::Path, process::ExitCode};

use memtrace::{
    Backend, SnapshotUse, Tracer,
    abi::SumScheme,
    launch::{self, IfExists, OWN_FAILURE, OutputError, SameFile, Spec, open_output},
    probe::{Fentry, Handler},
};

use super::{
    budgets::{BudgetError, Budgets},
    failure::{self, code, say},
    log,
    outputs::{Asked, Outputs, OutputsError},
    recorded::{self, kib},
};
use crate::cli::{BackendArg, FentryUse, HandlerUse, RunArgs, SumCpus, TextFormat, TracingArgs};

const PROGRAM: &str = "memtrace";

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("--format runit is a block of its own, without {0}: leave out {0}, or --format runit")]
    RunitAlone(&'static str),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Outputs(#[from] OutputsError),
    #[error("cannot redirect standard output: {0}")]
    Redirect(#[from] nix::Error),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error(transparent)]
    Launch(#[from] launch::LaunchError),
}

pub(crate) fn main(args: &RunArgs) -> ExitCode {
    let verbose = args.outputs.verbose;
    log::init(verbose);
    let (mut outputs, spec) = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
    };
    let tracer = tracer(&args.tracing, args.backend).wait_tree(args.wait_tree);
    let tracer = outputs.options(tracer, args.tracing.no_snapshots);
    let traced = match outputs.recording.sink() {
        None => tracer.trace(&spec),
        Some(sink) => tracer.trace_into(&spec, sink),
    };
    outputs.tracing_is_over(PROGRAM);
    let traced = match traced {
        Ok(traced) => traced,
        Err(error) => return failure::report(PROGRAM, &error, verbose > 0),
    };
    let (summary, status) = (traced.summary(), traced.finished().status);
    let began = (traced.phases(), "the command was let go");
    outputs
        .tell(PROGRAM, summary, began, status)
        .unwrap_or_else(|| launch::exit_like(status))
}

/// Opens what the run will write to, and resolves the user, before anything starts.
fn prepare(args: &RunArgs) -> Result<(Outputs<'_>, Spec), SetupError> {
    if args.format == TextFormat::Runit {
        if args.outputs.per_process {
            return Err(SetupError::RunitAlone("--per-process"));
        }
        if args.outputs.verbose > 0 {
            return Err(SetupError::RunitAlone("--verbose"));
        }
    }
    distinct(args).map_err(OutputError::from)?;
    let outputs = Outputs::open(Asked {
        outputs: &args.outputs,
        live: &args.live,
        record: &args.record,
        format: args.format,
        stdout: args.stdout.is_some(),
        text_to_stdout: false,
        budgets: Budgets::of_command(&args.budgets, &args.command, PROGRAM)?,
    })?;
    if let Some(path) = &args.stdout {
        let file = open_output(path, IfExists::Overwrite)?;
        nix::unistd::dup2_stdout(file)?;
    }
    let mut spec = Spec::new(&args.command);
    if let Some(user) = &args.user {
        spec = spec.user(Spec::resolve_user(user)?);
    }
    Ok((outputs, spec))
}

/// Nothing that the run writes may overwrite another's, or what the run reads.
fn distinct(args: &RunArgs) -> Result<(), SameFile> {
    let on_stdout = [&args.outputs.json, &args.outputs.text]
        .into_iter()
        .any(|path| path.as_deref() == Some(Path::new("-")));
    let mut files = recorded::distinct(
        args.stdout.is_none() || on_stdout,
        &[
            ("--output", &args.record.output),
            ("--json", &args.outputs.json),
            ("--text", &args.outputs.text),
            ("--stdout", &args.stdout),
            ("--live-to", &args.live.live_to),
            ("--junit", &args.budgets.junit),
        ],
    )?;
    if let Some(path) = &args.budgets.budgets {
        files.input("--budgets", path)?;
    }
    Ok(())
}

/// A tracer with these options.
pub(super) fn tracer(args: &TracingArgs, backend: BackendArg) -> Tracer {
    let TracingArgs {
        sum_cpus,
        max_images,
        max_processes,
        ring_size,
        classic_tracepoint,
        fentry,
        vm_events,
        segments,
        handler,
        simulate_cpus,
        tree,
        no_cross_checks,
        no_snapshots,
    } = args;
    Tracer::new()
        .sum_scheme(sum_cpus.map(|which| match which {
            SumCpus::All => SumScheme::AllCpus,
            SumCpus::Touched => SumScheme::Touched,
        }))
        .max_images(*max_images)
        .max_processes(*max_processes)
        .ring_bytes(kib(*ring_size))
        .classic_tracepoint(*classic_tracepoint)
        .fentry(match fentry {
            FentryUse::Auto => Fentry::Auto,
            FentryUse::On => Fentry::On,
            FentryUse::Off => Fentry::Off,
        })
        .handler(match handler {
            HandlerUse::Optimised => Handler::Optimised,
            HandlerUse::Plain => Handler::Plain,
            HandlerUse::Fenced => Handler::Fenced,
            HandlerUse::Locked => Handler::Locked,
        })
        .vm_events(*vm_events)
        .segments(*segments)
        .simulate_cpus(*simulate_cpus)
        .root_tree(*tree)
        .cross_checks(!no_cross_checks)
        .snapshots(if *no_snapshots {
            SnapshotUse::Never
        } else {
            SnapshotUse::Always
        })
        .backend(match backend {
            BackendArg::Auto => Backend::Auto,
            BackendArg::Bpf => Backend::Bpf,
            BackendArg::Ptrace => Backend::Ptrace,
            BackendArg::Poll => Backend::Poll,
        })
        .notice(|text| say(PROGRAM, text))
}
