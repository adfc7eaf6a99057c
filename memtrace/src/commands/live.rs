//! The live view: one line per interval, written by a thread of its own, so that a slow
//! terminal or a full pipe never keeps the tracing waiting. Lines that find no room are left
//! out, and counted.

use std::{
    fs::File,
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel},
    },
    time::Duration,
};

use memtrace::{
    Live, Moment,
    launch::{IfExists, OutputError, open_output},
    report::{live, units::counted},
};

use super::{failure::say, file_size};
use crate::cli::LiveArgs;

/// Lines that may wait for the writer.
const WAITING: usize = 64;
/// How long the writer may take to write them at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where lines go, and what became of them.
#[derive(Debug, Default)]
pub(super) struct View {
    every: Option<Duration>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    writer: Option<Writer>,
    left_out: u64,
}

#[derive(Debug)]
struct Writer {
    moments: SyncSender<Moment>,
    done: Receiver<()>,
}

impl View {
    /// Opens what the lines will go to.
    pub(super) fn prepare(args: &LiveArgs) -> Result<Self, OutputError> {
        let LiveArgs { live, live_to } = args;
        let file = live_to
            .as_ref()
            .map(|path| open_output(path, IfExists::Overwrite))
            .transpose()?;
        Ok(Self {
            every: *live,
            state: Arc::new(Mutex::new(State {
                file,
                ..State::default()
            })),
        })
    }

    /// What the tracer is to do.
    pub(super) fn live(&self) -> Option<Live> {
        let state = Arc::clone(&self.state);
        let observe = move |moment: &Moment| {
            state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(*moment);
        };
        self.every.map(|every| Live::new(every, observe))
    }

    /// Waits until what was seen is written, and says how many lines were left out, if any.
    pub(super) fn tell_left_out(self, program: &str) {
        let left_out = self.finish();
        if left_out > 0 {
            say(
                program,
                format_args!(
                    "{} left out, because nobody read them fast enough: let a longer time pass between them, as in --live=10",
                    counted(left_out, "line of --live was", "lines of --live were")
                ),
            );
        }
    }

    /// Waits until what was seen is written; tells how many lines were left out.
    fn finish(self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Writer { moments, done }) = state.writer.take() {
            drop(moments);
            // Disconnected, or too slow: then the rest is lost.
            let _ = done.recv_timeout(PATIENCE);
        }
        state.left_out
    }
}

impl State {
    fn take(&mut self, moment: Moment) {
        // Not before there is something to write: by now the command is forked, which needs
        // this process to have no other threads.
        if self.writer.is_none() {
            self.writer = start(self.file.take());
        }
        if let Some(writer) = &self.writer
            && let Err(TrySendError::Full(_)) = writer.moments.try_send(moment)
        {
            self.left_out += 1;
        }
    }
}

fn start(file: Option<File>) -> Option<Writer> {
    let (moments, receiver) = sync_channel(WAITING);
    let (finished, done) = channel();
    std::thread::Builder::new()
        .name("memtrace-live".to_owned())
        .spawn(move || {
            // Dropped at the end, which is what is waited for.
            let _finished = finished;
            file_size::survive_limit();
            // Whoever closed it does not want it.
            let _ = match file {
                Some(file) => write(&receiver, file),
                None => write(&receiver, io::stderr()),
            };
        })
        .ok()?;
    Some(Writer { moments, done })
}

fn write(moments: &Receiver<Moment>, mut out: impl Write) -> io::Result<()> {
    for (number, moment) in moments.iter().enumerate() {
        // In one write each, so that lines of others come in between, not within.
        let mut text = String::new();
        if number % live::LINES_PER_HEADER == 0 {
            text.push_str(&live::header());
        }
        text.push_str(&live::line(&moment));
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}
