//! How a failure is told, and what exit status it gives.

use std::{io::Write as _, process::ExitCode};

use memtrace::{
    TraceError,
    launch::{self, LaunchError},
    report::escape::one_line,
};

/// Of the verifier's log, which can have thousands; why it refuses comes last.
const VERIFIER_LINES: usize = 20;

/// Says `message` on standard error, on one line; if that is closed, nobody hears it.
/// Names in it may be anything: a loop over files of others can give us any.
pub(crate) fn say(program: &str, message: impl std::fmt::Display) {
    let line = one_line(&format!("{program}: {message}"));
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Reports why tracing did not come about and ends as the command did, if it ran.
pub(super) fn report(program: &str, error: &TraceError, verbose: bool) -> ExitCode {
    if let TraceError::Launch(LaunchError::EndedEarly(finished)) = error {
        launch::exit_like(finished.status);
    }
    say(program, error);
    if let Some(remedy) = error.remedy() {
        match error {
            // That knows nothing of it.
            TraceError::Cgroup(_) => say(program, remedy),
            _ => say(
                program,
                format_args!("{remedy}; `memtrace check` tells more"),
            ),
        }
    }
    if verbose
        && let TraceError::Refused { source, .. } = error
        && let Some(log) = source.verifier_lines(VERIFIER_LINES)
    {
        say(program, "the verifier's last lines:");
        // From the kernel, about our own programs.
        let _ = writeln!(std::io::stderr(), "{log}");
    }
    if let Some(finished) = error.finished() {
        launch::exit_like(finished.status);
    }
    code(error.exit_code())
}

pub(super) fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
