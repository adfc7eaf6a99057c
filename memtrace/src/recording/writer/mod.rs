//! Writes a recording while the run goes on.
//!
//! Records are collected into blocks where they come in; a thread of its own compresses
//! and writes them, so that a slow disk never holds the run up.

mod file;
mod queue;
mod stretch;

use std::{
    fs::File,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};

use self::{
    file::{Output, Written},
    queue::Queue,
    stretch::Stretch,
};
use super::{
    Head, Loss, State, WriteError, format::kind, items::Parts, last::final_parts, replay::Replay,
};
use crate::{event::Event, model::Final};

/// A block that has been open for longer is written as it is.
const MAX_AGE: Duration = Duration::from_millis(500);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Snapshots come at least this often, if anything was recorded.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);
/// And after this many bytes of the timeline before compression, or eight times as many
/// as the last one had.
const SNAPSHOT_LEN: usize = 2 << 20;

/// Writes one recording.
///
/// None of its methods waits for the disk, except [`Writer::finish`] and dropping it. If
/// the disk is too slow or full, records are left out, and counted: tracing goes on.
/// Records of processes are not left out before those of the timeline are.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Written>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<Collected>,
    /// There is something to write.
    filled: Condvar,
}

impl Shared {
    /// A panic elsewhere leaves nothing half done that would matter here.
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has come in and is not written yet.
#[derive(Debug, Default)]
struct Collected {
    stretch: Stretch,
    replay: Replay,
    snapshots: Snapshots,
    queue: Queue,
    closing: bool,
}

/// When the next snapshot is due.
#[derive(Debug, Default)]
struct Snapshots {
    /// Bytes of the timeline since the last one.
    since: usize,
    /// Length of the last one.
    len: usize,
    /// Time of the last one; 0 before.
    at: u64,
}

impl Collected {
    /// Puts what has been collected into the queue.
    fn close_stretch(&mut self) {
        let timeline = self.stretch.timeline_len();
        self.stretch.close(&mut self.queue);
        if timeline == 0 {
            return;
        }
        self.snapshots.since += timeline;
        if self.snapshots.at == 0 {
            self.snapshots.at = self.replay.at;
        }
        let every = u64::try_from(SNAPSHOT_EVERY.as_nanos()).unwrap_or(u64::MAX);
        let late = self.replay.at.saturating_sub(self.snapshots.at) >= every;
        if late || self.snapshots.since >= SNAPSHOT_LEN.max(8 * self.snapshots.len) {
            let parts = self.replay.parts();
            let len = parts.parts.iter().map(|part| part.0.len()).sum();
            let at = self.replay.at;
            self.queue.group(kind::SNAPSHOT, parts, at);
            self.snapshots = Snapshots { since: 0, len, at };
        }
    }
}

impl Writer {
    /// Begins a recording in `file`, which must be empty, and starts the thread that
    /// writes it.
    ///
    /// # Errors
    ///
    /// If not even the beginning can be written, or there can be no thread.
    pub fn create(file: File, head: &Head) -> Result<Self, WriteError> {
        let mut output = Output::new(file);
        output.begin(head).map_err(WriteError::Begin)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
        });
        let thread = thread::Builder::new()
            .name("recording".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || write(&shared, output)
            })
            .map_err(WriteError::Begin)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Takes one record in.
    pub fn event(&self, event: &Event) {
        let mut collected = self.shared.lock();
        collected.replay.apply(event);
        collected.stretch.push(event);
        if collected.stretch.is_full() {
            collected.close_stretch();
            self.shared.filled.notify_one();
        }
    }

    /// Takes in the kernel side's state as it is now: the result of a recording that is
    /// cut. Call it about once a second.
    pub fn checkpoint(&self, state: &State) {
        self.group(kind::CHECKPOINT, state.parts(), state.at);
    }

    /// Notes that records were lost before they came here.
    pub fn loss(&self, loss: &Loss) {
        self.group(kind::LOSS, loss.parts(false), loss.until);
    }

    fn group(&self, kind: u8, parts: Parts, at: u64) {
        let mut collected = self.shared.lock();
        // What comes before it must stand before it.
        collected.close_stretch();
        collected.queue.group(kind, parts, at);
        self.shared.filled.notify_one();
    }

    /// Writes the end, from which the summary can be made again, and everything before it.
    ///
    /// # Errors
    ///
    /// If anything could not be written since the beginning. What is in the file can
    /// be read all the same.
    pub fn finish(mut self, last: &Final) -> Result<(), WriteError> {
        self.group(kind::END, final_parts(last), last.ended_at);
        self.close().map_or(Ok(()), Written::result)
    }

    /// Waits until everything is written.
    fn close(&mut self) -> Option<Written> {
        self.shared.lock().closing = true;
        self.shared.filled.notify_one();
        // If it panicked, nothing is known.
        self.thread.take()?.join().ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without an end, but with all that came in.
        self.shared.lock().close_stretch();
        self.close();
    }
}

/// The thread's course.
fn write(shared: &Shared, mut output: Output) -> Written {
    let mut set = SigSet::empty();
    set.add(Signal::SIGXFSZ);
    // A write beyond the limit on the size of files shall fail, not end the process. With a
    // valid set it cannot fail.
    let _ = set.thread_block();
    loop {
        let mut collected = shared.lock();
        let block = loop {
            if let Some(block) = collected.queue.pop() {
                break Some(block);
            }
            if collected.closing {
                break None;
            }
            let (guard, timeout) = shared
                .filled
                .wait_timeout(collected, LOOK)
                .unwrap_or_else(PoisonError::into_inner);
            collected = guard;
            if timeout.timed_out() && collected.stretch.age() >= MAX_AGE {
                collected.close_stretch();
            }
        };
        drop(collected);
        match block {
            Some(block) => {
                if let Err(lost) = output.write(&block) {
                    shared.lock().queue.lost(&lost);
                }
            }
            None => return output.written(shared.lock().queue.dropped),
        }
    }
}
