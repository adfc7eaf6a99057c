//! `memtrace top`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    ops::ControlFlow,
    process::ExitCode,
    time::Duration,
};

use memtrace::{
    Observer, TraceError,
    launch::OWN_FAILURE,
    screen::{Look, batch},
};

use super::{
    failure::{self, code, say},
    log,
    run::tracer,
    screen::{INTERVAL, Screen, Shown, names, terminal, title},
};
use crate::cli::top::TopArgs;

const PROGRAM: &str = "memtrace";

const BATCH: Duration = Duration::from_secs(1);

/// Nothing goes on behind the screen.
const SHOWN: Shown = Shown {
    keeps_signals: false,
    goes_on: None,
};

pub(crate) fn main(args: &TopArgs) -> ExitCode {
    log::init(args.verbose);
    if args.tracing.segments {
        say(
            PROGRAM,
            "--segments has no place in top: `memtrace maps PID` shows what the pages of a process are for",
        );
        return code(OWN_FAILURE);
    }
    if !args.batch && !io::stdout().is_terminal() {
        say(
            PROGRAM,
            "standard output is not a terminal: --batch prints plain lines",
        );
        return code(OWN_FAILURE);
    }
    let targets = args.targets();
    let tracer = tracer(&args.tracing, args.backend.into()).log_programs(args.verbose > 1);
    let result = if args.batch {
        let mut lines = Lines {
            rows: args.rows,
            left: args.count,
        };
        tracer.observe(&targets, args.interval.unwrap_or(BATCH), &mut lines)
    } else {
        let mut screen = match terminal() {
            Ok(terminal) => Screen::new(terminal, SHOWN, &title("top", &targets), &names(&targets)),
            Err(error) => {
                say(PROGRAM, format_args!("cannot use the terminal: {error}"));
                return code(OWN_FAILURE);
            }
        };
        let result = tracer.observe(&targets, args.interval.unwrap_or(INTERVAL), &mut screen);
        // Before anything is said.
        if let Err(error) = screen.leave() {
            say(PROGRAM, format_args!("cannot use the terminal: {error}"));
            return code(OWN_FAILURE);
        }
        result
    };
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(error @ TraceError::Target(_)) => {
            say(PROGRAM, error);
            code(OWN_FAILURE)
        }
        Err(error) => failure::report(PROGRAM, &error, args.verbose > 0),
    }
}

/// Plain lines on standard output.
struct Lines {
    rows: usize,
    left: Option<u64>,
}

impl Observer for Lines {
    fn look(&mut self, look: Look) -> ControlFlow<()> {
        let mut stdout = io::stdout().lock();
        let text = batch::lines(&look, self.rows);
        // Whoever closed it does not want more.
        if stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .is_err()
        {
            return ControlFlow::Break(());
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn has_enough(&mut self) -> bool {
        false
    }

    fn stops(&mut self, _stops: bool) {}

    fn all_ended(&mut self) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}
