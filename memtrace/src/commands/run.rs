//! `memtrace run`.

use std::{io, path::Path, process::ExitCode};

use memtrace::{
    Backend, SnapshotUse, Tracer,
    abi::SumScheme,
    launch::{self, IfExists, OWN_FAILURE, OutputError, SameFile, Spec, open_output},
    phases::Checkpoints,
    probe::{Fentry, Handler},
};

use super::{
    budgets::{BudgetError, Budgets},
    failure::{self, code, say},
    file_size,
    live::View,
    log,
    recorded::{self, Recording, kib, snapshots},
    results::{Results, ResultsError, Shown},
    self_stats,
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
    Results(#[from] ResultsError),
    #[error("cannot redirect standard output: {0}")]
    Redirect(#[from] nix::Error),
    #[error("nobody listens at the socket for checkpoints: {0}")]
    Checkpoints(io::Error),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error(transparent)]
    Launch(#[from] launch::LaunchError),
}

pub(crate) fn main(args: &RunArgs) -> ExitCode {
    log::init(args.verbose);
    let Prepared {
        results,
        mut recording,
        spec,
        budgets,
        view,
        checkpoints,
    } = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
    };
    let tracer = tracer(&args.tracing, args.backend)
        .wait_tree(args.wait_tree)
        .limit(budgets.limit())
        .live(view.live())
        .only_totals(!names_processes(args) && budgets.are_none())
        .checkpoints(checkpoints)
        .snapshots(snapshots(
            args.tracing.no_snapshots,
            args.verbose > 0 || recording.is_wanted(),
        ))
        .log_programs(args.verbose > 1);
    let tracer = recording.options(tracer);
    let traced = match recording.sink() {
        None => tracer.trace(&spec),
        Some(sink) => tracer.trace_into(&spec, sink),
    };
    file_size::survive_limit();
    view.tell_left_out(PROGRAM);
    let traced = match traced {
        Ok(traced) => traced,
        Err(error) => return failure::report(PROGRAM, &error, args.verbose > 0),
    };
    let summary = traced.summary();
    recording.tell_of_losses(PROGRAM, summary);
    let text = results.tell(PROGRAM, summary);
    if args.self_stats {
        // Whoever closed standard error does not want it.
        let _ = self_stats::write(
            traced.phases(),
            "the command was let go",
            &mut io::stderr().lock(),
        );
    }
    let json = results.write_json(summary);
    let status = traced.finished().status;
    results.tell_of_limit(PROGRAM, summary);
    let verdict = budgets.report(PROGRAM, summary, status);
    let mut whole = !recording.tell_of_failure(PROGRAM);
    for error in [text.err(), json.err()].into_iter().flatten() {
        say(PROGRAM, error);
        whole = false;
    }
    if !whole && status == 0 && verdict.is_none() {
        return code(OWN_FAILURE);
    }
    if let Some(verdict) = verdict {
        return code(verdict);
    }
    launch::exit_like(status)
}

/// Everything that a run needs before it begins.
struct Prepared<'a> {
    results: Results<'a>,
    recording: Recording<'a>,
    spec: Spec,
    budgets: Budgets,
    view: View,
    checkpoints: Option<Checkpoints>,
}

/// Whether anything is wanted that can name any process, and not just those that matter for the peak.
const fn names_processes(args: &RunArgs) -> bool {
    args.json.is_some() || args.per_process || args.verbose > 0
}

/// Opens what the run will write to, and resolves the user, before anything starts.
fn prepare(args: &RunArgs) -> Result<Prepared<'_>, SetupError> {
    if args.format == TextFormat::Runit {
        if args.per_process {
            return Err(SetupError::RunitAlone("--per-process"));
        }
        if args.verbose > 0 {
            return Err(SetupError::RunitAlone("--verbose"));
        }
    }
    distinct(args).map_err(OutputError::from)?;
    let budgets = Budgets::prepare(&args.budgets, &args.command, PROGRAM)?;
    let view = View::prepare(&args.live)?;
    let checkpoints = args.checkpoints.as_deref().map(Checkpoints::connect);
    let checkpoints = checkpoints.transpose().map_err(SetupError::Checkpoints)?;
    let recording = Recording::open(&args.record)?;
    let results = Results::open(Shown {
        json: args.json.as_deref(),
        text: args.text.as_deref(),
        format: args.format,
        per_process: args.per_process,
        quiet: args.quiet,
        verbose: args.verbose > 0,
        stdout: args.stdout.is_some(),
        text_to_stdout: false,
    })?;
    if let Some(path) = &args.stdout {
        let file = open_output(path, IfExists::Overwrite)?;
        nix::unistd::dup2_stdout(file)?;
    }
    let mut spec = Spec::new(&args.command);
    if let Some(user) = &args.user {
        spec = spec.user(Spec::resolve_user(user)?);
    }
    Ok(Prepared {
        results,
        recording,
        spec,
        budgets,
        view,
        checkpoints,
    })
}

/// Nothing that the run writes may overwrite another's, or what the run reads.
fn distinct(args: &RunArgs) -> Result<(), SameFile> {
    let on_stdout = [&args.json, &args.text]
        .into_iter()
        .any(|path| path.as_deref() == Some(Path::new("-")));
    let mut files = recorded::distinct(
        args.stdout.is_none() || on_stdout,
        &[
            ("--output", &args.record.output),
            ("--json", &args.json),
            ("--text", &args.text),
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
