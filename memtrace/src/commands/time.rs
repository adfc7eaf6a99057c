//! `memtrace time`: GNU time with exact numbers.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use memtrace::{
    SnapshotUse, TraceError, Traced,
    launch::{self, Distinct, IfExists, LaunchError, OWN_FAILURE, SameFile, Spec, open_output},
    model::{ImageSummary, Origin},
    report::{gnu_time::TimeValues, text::ended_by_limit},
};

use super::{
    budgets::Budgets,
    failure::{self, code, say},
    file_size, log,
    run::tracer,
    time_options::{self, TimeOptions, TimeRequest},
};
use crate::cli::TracingArgs;

const HELP: &str = "\
Usage: PROGRAM [OPTIONS] COMMAND [ARGUMENT...]
Run COMMAND and print what it used, in GNU time's formats, with exact numbers.

  -a, --append          with -o FILE: add to FILE instead of replacing it
  -f, --format=FORMAT   print FORMAT, as described in time(1)
  -o, --output=FILE     print to FILE instead of standard error
  -p, --portability     print the format that POSIX asks for
  -q, --quiet           nothing about an abnormal end of the command
  -v, --verbose         print every resource, one per line
      --backend=HOW     observe it by bpf, ptrace, poll, or auto (the default: bpf
                        where it is permitted, else ptrace, which is not exact)
      --max-peak=SIZE, --max-process-peak=SIZE, --max-average=SIZE
                        fail if the tree's sum of RSS, a single process, or the
                        mean of the sum was more; as in 2GiB, 500MiB or 1.5G
      --kill            end the tree when --max-peak is crossed: SIGTERM, then
                        SIGKILL after --kill-after=TIME (5s)
  -h, --help            show this help
  -V, --version         show the version

%M is the exact peak of the largest program image, counted from its exec. The
averages %t %X %D %p %K, which Linux leaves at 0, are those of the same image.

Exit status: that of COMMAND, or 128 + N if signal N ended it; 124 if COMMAND
succeeded but missed a limit, or if --kill ended it; 125 if PROGRAM failed,
126 if COMMAND cannot be run, 127 if it is not found.
";

/// Runs with GNU time's arguments; `program` is the name for messages.
pub(crate) fn main(program: &str, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    log::init(0);
    match time_options::parse(arguments, env::var_os("TIME")) {
        Ok(TimeRequest::Run(options)) => run(program, options),
        Ok(TimeRequest::Help) => {
            print(&help(program));
            ExitCode::SUCCESS
        }
        Ok(TimeRequest::Version) => {
            print(&format!("memtrace {}\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = io::stderr().write_all(error.message(program).as_bytes());
            code(OWN_FAILURE)
        }
    }
}

/// The help, for a command called so.
pub(super) fn help(program: &str) -> String {
    HELP.replace("PROGRAM", program)
}

fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn run(program: &str, options: TimeOptions) -> ExitCode {
    let output = match open(&options) {
        Ok(output) => output,
        Err(message) => {
            say(program, message);
            return code(OWN_FAILURE);
        }
    };
    let spec = Spec::new(&options.command);
    let budgets = match Budgets::of_command(&options.limits.into(), &options.command, program) {
        Ok(budgets) => budgets,
        Err(error) => {
            say(program, error);
            return code(OWN_FAILURE);
        }
    };
    let traced = tracer(&TracingArgs::default(), options.backend)
        // GNU time's report has no place for them.
        .snapshots(SnapshotUse::Never)
        .only_totals(budgets.are_none())
        .limit(budgets.limit())
        .trace(&spec);
    file_size::survive_limit();
    let traced = match traced {
        Ok(traced) => traced,
        Err(error) => {
            let exit = failure::report(program, &error, false);
            if let TraceError::Launch(LaunchError::CannotRun { finished, .. }) = &error {
                // GNU time reports on the process that failed to become the command.
                let values = TimeValues::from_rusage(
                    options.command,
                    finished.status,
                    u64::try_from(finished.elapsed().as_nanos()).unwrap_or(u64::MAX),
                    memtrace::kernel::cpus::page_size(),
                    &finished.rusage,
                );
                let _ = write(output, &values.render(&options.format, options.quiet));
            }
            return exit;
        }
    };
    let text = values(&traced, options.command).render(&options.format, options.quiet);
    let written = write(output, &text);
    if !matches!(
        traced.summary().certificate.verdict,
        memtrace::model::Verdict::Exact
    ) {
        for reason in &traced.summary().certificate.reasons {
            say(program, format_args!("not exact: {reason}"));
        }
    }
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        say(program, format_args!("cannot write the report: {error}"));
    }
    let (summary, status) = (traced.summary(), traced.finished().status);
    if let Some(ended) = ended_by_limit(summary) {
        say(program, ended);
    }
    match budgets.report(program, summary, status) {
        Some(verdict) => code(verdict),
        None => exit(status),
    }
}

fn write(output: Option<File>, text: &[u8]) -> io::Result<()> {
    match output {
        Some(mut file) => file.write_all(text),
        None => io::stderr().write_all(text),
    }
}

/// GNU time exits with 128 + the signal's number rather than dying of it.
fn exit(status: i32) -> ExitCode {
    if libc::WIFSIGNALED(status) {
        return code(128 + libc::WTERMSIG(status));
    }
    launch::exit_like(status)
}

fn open(options: &TimeOptions) -> Result<Option<File>, String> {
    let Some(path) = &options.output else {
        return Ok(None);
    };
    let if_exists = if options.append {
        IfExists::Append
    } else {
        IfExists::Overwrite
    };
    distinct(path, options.append).map_err(|error| error.to_string())?;
    open_output(path, if_exists)
        .map(Some)
        .map_err(|error| error.gnu_message())
}

/// The report must not overwrite what the command writes.
fn distinct(output: &Path, append: bool) -> Result<(), SameFile> {
    let mut files = Distinct::new();
    files.stream("standard output", io::stdout())?;
    files.stream("standard error", io::stderr())?;
    if append {
        files.appended("-o", output)
    } else {
        files.output("-o", output)
    }
}

/// GNU time's numbers, with ours where it has none or approximate ones.
fn values(traced: &Traced, command: Vec<OsString>) -> TimeValues {
    let summary = traced.summary();
    let finished = traced.finished();
    let mut values = TimeValues::from_rusage(
        command,
        finished.status,
        u64::try_from(finished.elapsed().as_nanos()).unwrap_or(u64::MAX),
        summary.page_size,
        &finished.rusage,
    );
    // Like ru_maxrss the largest single process, but exact, and without what a
    // process had before its exec.
    let programs = summary
        .images
        .iter()
        .filter(|image| image.ran() && image.origin != Origin::Fork);
    let largest: Option<&ImageSummary> = programs
        .max_by_key(|image| image.peak_rss)
        .or_else(|| summary.images.iter().max_by_key(|image| image.peak_rss));
    if let Some(image) = largest {
        // Where nothing bounds what was sampled, the kernel's number can be the better one.
        let unbounded = summary
            .tree
            .peak_range
            .is_some_and(|peak| peak.high.is_none());
        values.max_rss_bytes = if unbounded {
            values.max_rss_bytes.max(image.peak_rss)
        } else {
            image.peak_rss
        };
        values.average_rss_bytes = image.average_rss;
        values.average_text_bytes = image.vm.text;
        values.average_data_bytes = image.vm_average.data;
        values.average_stack_bytes = image.vm_average.stack;
        values.average_total_bytes = image
            .vm
            .text
            .saturating_add(image.vm_average.data)
            .saturating_add(image.vm_average.stack);
    }
    values
}
