//! `memtrace run`.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
    process::ExitCode,
};

use memtrace::{
    Backend, Onlooker, Sink, SnapshotUse, Tracer,
    abi::SumScheme,
    launch::{self, IfExists, OWN_FAILURE, OutputError, SameFile, Spec, open_output},
    probe::{Fentry, Handler},
};

use super::{
    budgets::{BudgetError, Budgets},
    failure::{self, code, say},
    kept::Kept,
    log,
    outputs::{self, Asked, Outputs, OutputsError},
    recorded::{self, kib},
    screen::{self, INTERVAL, Screen, Shown},
};
use crate::cli::{BackendArg, FentryUse, HandlerUse, RunArgs, SumCpus, TextFormat, TracingArgs};

const PROGRAM: &str = "memtrace";

/// What is special about its screen.
const SHOWN: Shown = Shown {
    keeps_signals: true,
    goes_on: Some("the command goes on: what it prints and the result are shown when it has ended"),
};

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("--format runit is a block of its own, without {0}: leave out {0}, or --format runit")]
    RunitAlone(&'static str),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Outputs(#[from] OutputsError),
    #[error("cannot keep what the command prints: {0}")]
    Keep(io::Error),
    #[error("cannot redirect standard output: {0}")]
    Redirect(#[from] nix::Error),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error(transparent)]
    Launch(#[from] launch::LaunchError),
}

pub(crate) fn main(args: &RunArgs) -> ExitCode {
    let verbose = args.outputs.verbose;
    log::init(if args.tui { 0 } else { verbose });
    let Prepared {
        mut outputs,
        spec,
        mut screen,
        kept,
    } = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
    };
    let tracer = tracer(&args.tracing, args.backend)
        .wait_tree(args.wait_tree)
        .own_cgroup(args.own_cgroup)
        // The screen can be asked for a result that names each.
        .only_totals(!outputs.name_processes() && !args.tui);
    let tracer = outputs.options(tracer, args.tracing.no_snapshots);
    let sink = outputs.recording.sink().map(|sink| sink as &mut dyn Sink);
    let traced = match (sink, &mut screen) {
        (sink, Some(screen)) => tracer.trace_watched(&spec, sink, Onlooker::new(INTERVAL, screen)),
        (None, None) => tracer.trace(&spec),
        (Some(sink), None) => tracer.trace_into(&spec, sink),
    };
    screen::leave(screen);
    if let Some(Err(error)) = kept.map(Kept::show)
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        say(
            PROGRAM,
            format_args!("cannot show what the command printed: {error}"),
        );
    }
    outputs.tracing_is_over(PROGRAM);
    let traced = match traced {
        Ok(traced) => traced,
        Err(error) => {
            // Before the end that may come of it: an output of nothing is taken back.
            drop(outputs);
            return failure::report(PROGRAM, &error, verbose > 0);
        }
    };
    let (summary, status) = (traced.summary(), traced.finished().status);
    let began = (traced.phases(), "the command was let go");
    outputs
        .tell(PROGRAM, summary, began, status)
        .unwrap_or_else(|| launch::exit_like(status))
}

/// Everything that a run needs before it begins.
struct Prepared<'a> {
    outputs: Outputs<'a>,
    spec: Spec,
    screen: Option<Screen>,
    kept: Option<Kept>,
}

/// Opens what the run will write to, and resolves the user, before anything starts.
fn prepare(args: &RunArgs) -> Result<Prepared<'_>, SetupError> {
    if args.format == TextFormat::Runit {
        if args.outputs.per_process {
            return Err(SetupError::RunitAlone("--per-process"));
        }
        if args.outputs.verbose > 0 {
            return Err(SetupError::RunitAlone("--verbose"));
        }
    }
    distinct(args).map_err(OutputError::from)?;
    let mut screen = None;
    if args.tui {
        let command: Vec<_> = args
            .command
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        let title = format!("run {}", command.join(" "));
        let program = args.command.first().map(Path::new);
        let name = program.and_then(Path::file_name).unwrap_or_default();
        let name = name.to_string_lossy();
        screen = Some(outputs::screen(&args.live, SHOWN, &title, &name)?);
    }
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
    let user = args.user.as_deref().map(Spec::resolve_user).transpose()?;
    let mut kept = None;
    if args.tui {
        kept = Kept::prepare(user.as_ref()).map_err(SetupError::Keep)?;
        if let Some(kept) = &kept {
            spec = kept.redirect(spec).map_err(SetupError::Keep)?;
        }
        if io::stdin().is_terminal() {
            spec = spec.null_input();
        }
    }
    if let Some(user) = user {
        spec = spec.user(user);
    }
    Ok(Prepared {
        outputs,
        spec,
        screen,
        kept,
    })
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
            ("--html", &args.record.html),
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
