//! `memtrace run`.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use memtrace::{
    Backend, FileSink, SnapshotUse, Tracer,
    abi::{Stat, SumScheme},
    launch::{self, Distinct, IfExists, OWN_FAILURE, OutputError, SameFile, Spec, open_output},
    phases::Checkpoints,
    probe::{Fentry, Handler},
    report::units::counted,
};

use super::{
    budgets::{BudgetError, Budgets},
    failure::{self, code, say},
    file_size,
    live::View,
    log,
    results::{Results, ResultsError},
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
        recording,
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
        .checkpoints(checkpoints)
        // Only for something: a walk keeps the memory of a process that ends during it.
        .snapshots(if args.tracing.no_snapshots {
            SnapshotUse::Never
        } else if args.verbose > 0 || recording.is_some() {
            SnapshotUse::Always
        } else {
            SnapshotUse::WhereTheyTell
        })
        .log_programs(args.verbose > 1);
    let mut recording = recording.map(FileSink::new);
    let traced = match &mut recording {
        None => tracer.trace(&spec),
        Some(sink) => tracer
            .timeline(Some(args.record.resolution))
            .events(args.record.events)
            .timeline_ring_bytes(kib(args.record.timeline_ring_size))
            .trace_into(&spec, sink),
    };
    file_size::survive_limit();
    let left_out = view.finish();
    if left_out > 0 {
        say(
            PROGRAM,
            format_args!(
                "{} left out, because nobody read them fast enough: let a longer time pass between them, as in --live=10",
                counted(left_out, "line of --live was", "lines of --live were")
            ),
        );
    }
    let traced = match traced {
        Ok(traced) => traced,
        Err(error) => return failure::report(PROGRAM, &error, args.verbose > 0),
    };
    let summary = traced.summary();
    let lost = summary.certificate.stats.get(Stat::TimelineFull);
    if lost > 0 && recording.is_some() {
        say(
            PROGRAM,
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
    let text = results.tell(PROGRAM, args, summary);
    if args.self_stats {
        // Whoever closed standard error does not want it.
        let _ = self_stats::write(traced.phases(), &mut io::stderr().lock());
    }
    let json = results.write_json(summary);
    let status = traced.finished().status;
    results.tell_of_limit(PROGRAM, args, summary);
    let verdict = budgets.report(PROGRAM, summary, status);
    if let Some(error) = recording.as_ref().and_then(FileSink::failure) {
        say(PROGRAM, error);
        if status == 0 && verdict.is_none() {
            return code(OWN_FAILURE);
        }
    }
    let mut whole = true;
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
struct Prepared {
    results: Results,
    recording: Option<File>,
    spec: Spec,
    budgets: Budgets,
    view: View,
    checkpoints: Option<Checkpoints>,
}

/// Opens what the run will write to, and resolves the user, before anything starts.
fn prepare(args: &RunArgs) -> Result<Prepared, SetupError> {
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
    let if_exists = if args.record.force {
        IfExists::Overwrite
    } else {
        IfExists::Refuse
    };
    let recording = args.record.output.as_deref();
    let recording = recording
        .map(|path| open_output(path, if_exists))
        .transpose()?;
    let results = Results::open(args)?;
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
    let is_stdout = |path: &PathBuf| path == Path::new("-");
    let mut files = Distinct::new();
    let on_stdout = [&args.json, &args.text]
        .into_iter()
        .any(|path| path.as_ref().is_some_and(is_stdout));
    if args.stdout.is_none() || on_stdout {
        files.stream("standard output", io::stdout())?;
    }
    files.stream("standard error", io::stderr())?;
    let outputs = [
        ("--output", &args.record.output),
        ("--json", &args.json),
        ("--text", &args.text),
        ("--stdout", &args.stdout),
        ("--live-to", &args.live.live_to),
        ("--junit", &args.budgets.junit),
    ];
    for (option, path) in outputs {
        // Only these have this name for standard output.
        if let Some(path) = path
            && !(matches!(option, "--json" | "--text") && is_stdout(path))
        {
            files.output(option, path)?;
        }
    }
    if let Some(path) = &args.budgets.budgets {
        files.input("--budgets", path)?;
    }
    Ok(())
}

/// KiB as bytes.
fn kib(size: Option<u32>) -> Option<u32> {
    size.map(|kib| kib.saturating_mul(1024))
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
