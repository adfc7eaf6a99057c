//! Everything that `run` and `attach` make of a result, and where it goes: opened before it begins.

use std::{io, process::ExitCode};

use memtrace::{
    Tracer,
    launch::{OWN_FAILURE, OutputError},
    model::Summary,
    phases::{Checkpoints, Phases},
};

use super::{
    budgets::Budgets,
    failure::{code, say},
    file_size,
    live::View,
    recorded::{Recording, snapshots},
    results::{self, Results, ResultsError},
    screen::{self, Screen, Shown},
    self_stats,
};
use crate::cli::{LiveArgs, TextFormat, outputs::OutputArgs, record::RecordArgs};

/// Why they cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputsError {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Results(#[from] ResultsError),
    #[error(
        "--live would write over the screen of --tui: add --live-to FILE, or leave out one of them"
    )]
    LiveOnScreen,
    #[error("--tui needs a terminal: {0}")]
    NoTerminal(io::Error),
    #[error("nobody listens at the socket for checkpoints: {0}")]
    Checkpoints(io::Error),
}

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) outputs: &'a OutputArgs,
    pub(super) live: &'a LiveArgs,
    pub(super) record: &'a RecordArgs,
    pub(super) format: TextFormat,
    /// Standard output is ours to write to.
    pub(super) stdout: bool,
    /// The text goes there, unless something else does.
    pub(super) text_to_stdout: bool,
    pub(super) budgets: Budgets,
}

/// The screen of `--tui`.
pub(super) fn screen(
    live: &LiveArgs,
    shown: Shown,
    title: &str,
    name: &str,
) -> Result<Screen, OutputsError> {
    if live.live.is_some() && live.live_to.is_none() {
        return Err(OutputsError::LiveOnScreen);
    }
    let terminal = screen::terminal().map_err(OutputsError::NoTerminal)?;
    Ok(Screen::new(terminal, shown, title, name))
}

/// All of it, open.
pub(super) struct Outputs<'a> {
    args: &'a OutputArgs,
    results: Results<'a>,
    pub(super) recording: Recording<'a>,
    view: View,
    checkpoints: Option<Checkpoints>,
    budgets: Budgets,
}

impl<'a> Outputs<'a> {
    /// Opens what the options name. Has to be before standard output becomes the command's own.
    pub(super) fn open(asked: Asked<'a>) -> Result<Self, OutputsError> {
        let Asked {
            outputs: args,
            live,
            record,
            format,
            stdout,
            text_to_stdout,
            budgets,
        } = asked;
        let view = View::prepare(live)?;
        let checkpoints = args.checkpoints.as_deref().map(Checkpoints::connect);
        let checkpoints = checkpoints.transpose().map_err(OutputsError::Checkpoints)?;
        let recording = Recording::open(record)?;
        let results = Results::open(results::Shown {
            json: args.json.as_deref(),
            text: args.text.as_deref(),
            format,
            per_process: args.per_process,
            quiet: args.quiet,
            verbose: args.verbose > 0,
            stdout,
            text_to_stdout,
        })?;
        Ok(Self {
            args,
            results,
            recording,
            view,
            checkpoints,
            budgets,
        })
    }

    /// Whether any of them can name any process, and not just those that matter for the peak.
    pub(super) fn name_processes(&self) -> bool {
        let args = self.args;
        args.json.is_some() || args.per_process || args.verbose > 0 || !self.budgets.are_none()
    }

    /// A tracer that has for them what their options say.
    pub(super) fn options(&self, tracer: Tracer, no_snapshots: bool) -> Tracer {
        let verbose = self.args.verbose;
        let tracer = tracer
            .limit(self.budgets.limit())
            .live(self.view.live())
            .checkpoints(self.checkpoints.clone())
            .snapshots(snapshots(
                no_snapshots,
                verbose > 0 || self.recording.is_wanted(),
            ))
            .log_programs(verbose > 1);
        self.recording.options(tracer)
    }

    /// Tracing is over; there may be a result.
    pub(super) fn tracing_is_over(&mut self, program: &str) {
        file_size::survive_limit();
        std::mem::take(&mut self.view).tell_left_out(program);
    }

    /// Tells a result. The command's `status` is as wait(2) has it, 0 where there is no command; `began` says what the
    /// time of the start went up to. Gives the exit status, unless that is the command's own.
    pub(super) fn tell(
        self,
        program: &str,
        summary: &Summary,
        (phases, began): (&Phases, &str),
        status: i32,
    ) -> Option<ExitCode> {
        let Self {
            args,
            results,
            recording,
            budgets,
            ..
        } = self;
        recording.tell_of_losses(program, summary);
        let text = results.tell(program, summary);
        if args.self_stats {
            // Whoever closed standard error does not want it.
            let _ = self_stats::write(phases, began, &mut io::stderr().lock());
        }
        let json = results.write_json(summary);
        if let Some(path) = recording.path() {
            results.draw(path);
        }
        results.tell_of_limit(program, summary);
        let limit = budgets.peak_limit();
        let verdict = budgets.report(program, summary, status);
        let mut whole = !recording.tell_of_failure(program);
        if let Err(error) = recording.draw(limit) {
            say(program, error);
            whole = false;
        }
        for error in [text.err(), json.err()].into_iter().flatten() {
            say(program, error);
            whole = false;
        }
        if let Some(verdict) = verdict {
            return Some(code(verdict));
        }
        (!whole && status == 0).then(|| code(OWN_FAILURE))
    }
}
