//! `memtrace run`.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    os::fd::OwnedFd,
    path::Path,
    process::ExitCode,
};

use memtrace::{
    Backend, Tracer,
    abi::SumScheme,
    launch::{self, IfExists, OWN_FAILURE, OutputError, Spec, open_output},
    model::{Summary, Verdict},
    probe::Fentry,
    report::{
        json,
        runit::{self, MachineMemory},
        text,
    },
};

use super::{
    failure::{self, code, say},
    file_size, log,
};
use crate::cli::{BackendArg, FentryUse, RunArgs, SumCpus, TextFormat, TracingArgs};

const PROGRAM: &str = "memtrace";

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error(
        "--json - would mix with the command's own standard output: name a file, or send the command's output elsewhere with --stdout FILE"
    )]
    StdoutInUse,
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot redirect standard output: {0}")]
    Redirect(#[from] nix::Error),
    #[error(transparent)]
    Launch(#[from] launch::LaunchError),
}

pub(crate) fn main(args: &RunArgs) -> ExitCode {
    log::init(args.verbose);
    let (json, spec) = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            say(PROGRAM, error);
            return code(OWN_FAILURE);
        }
    };
    let tracer = tracer(&args.tracing, args.backend)
        .wait_tree(args.wait_tree)
        .log_programs(args.verbose > 1);
    let traced = tracer.trace(&spec);
    file_size::survive_limit();
    let traced = match traced {
        Ok(traced) => traced,
        Err(error) => return failure::report(PROGRAM, &error, args.verbose > 0),
    };
    let summary = traced.summary();
    let mut failed = None;
    if !args.quiet {
        print(args, summary);
    } else if summary.certificate.verdict != Verdict::Exact {
        for reason in &summary.certificate.reasons {
            say(PROGRAM, format_args!("not exact: {reason}"));
        }
    }
    if let Some(file) = json {
        let mut out = BufWriter::new(file);
        if let Err(error) = json::write(summary, &mut out).and_then(|()| out.flush())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            failed = Some(error);
        }
    }
    let status = traced.finished().status;
    if let Some(error) = failed {
        say(PROGRAM, format_args!("cannot write JSON: {error}"));
        if status == 0 {
            return code(OWN_FAILURE);
        }
    }
    launch::exit_like(status)
}

/// Opens what the run will write to, and resolves the user, before anything starts.
fn prepare(args: &RunArgs) -> Result<(Option<File>, Spec), SetupError> {
    let json = match &args.json {
        None => None,
        Some(path) if path == Path::new("-") => {
            if args.stdout.is_none() {
                return Err(SetupError::StdoutInUse);
            }
            let stdout: OwnedFd = nix::unistd::dup(io::stdout())?;
            // The command must not hold it open.
            nix::fcntl::fcntl(
                &stdout,
                nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
            )?;
            Some(File::from(stdout))
        }
        Some(path) => Some(open_output(path, IfExists::Overwrite)?),
    };
    if let Some(path) = &args.stdout {
        let file = open_output(path, IfExists::Overwrite)?;
        nix::unistd::dup2_stdout(file)?;
    }
    let mut spec = Spec::new(&args.command);
    if let Some(user) = &args.user {
        spec = spec.user(Spec::resolve_user(user)?);
    }
    Ok((json, spec))
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
        no_cross_checks,
    } = args;
    Tracer::new()
        .sum_scheme(sum_cpus.map(|which| match which {
            SumCpus::All => SumScheme::AllCpus,
            SumCpus::Touched => SumScheme::Touched,
        }))
        .max_images(*max_images)
        .max_processes(*max_processes)
        .ring_bytes(ring_size.map(|kib| kib.saturating_mul(1024)))
        .classic_tracepoint(*classic_tracepoint)
        .fentry(match fentry {
            FentryUse::Auto => Fentry::Auto,
            FentryUse::On => Fentry::On,
            FentryUse::Off => Fentry::Off,
        })
        .cross_checks(!no_cross_checks)
        .backend(match backend {
            BackendArg::Auto => Backend::Auto,
            BackendArg::Bpf => Backend::Bpf,
            BackendArg::Ptrace => Backend::Ptrace,
            BackendArg::Poll => Backend::Poll,
        })
        .notice(|text| say(PROGRAM, text))
}

/// Prints the result. Whoever closed standard error does not want it.
fn print(args: &RunArgs, summary: &Summary) {
    let mut out = BufWriter::new(io::stderr().lock());
    let result = match args.format {
        TextFormat::Text => text::write(
            summary,
            text::Options {
                verbose: args.verbose > 0,
                per_process: args.per_process,
                ..text::Options::default()
            },
            &mut out,
        ),
        TextFormat::Runit => runit::write(summary, machine_memory(), &mut out),
    };
    let _ = result.and_then(|()| out.flush());
}

fn machine_memory() -> MachineMemory {
    use procfs::Current as _;
    procfs::Meminfo::current().map_or_else(
        |_| MachineMemory::default(),
        |memory| MachineMemory {
            total: memory.mem_total,
            available: memory.mem_available.unwrap_or(memory.mem_free),
            free: memory.mem_free,
        },
    )
}
