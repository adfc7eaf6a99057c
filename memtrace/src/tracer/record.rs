//! Passing on what tracing tells while it goes on, for a recording or a live view.

use std::{
    fmt,
    fs::{self, File},
    time::{Duration, Instant},
};

use memtrace_ebpf::Stat;

use crate::{
    event::Event,
    kernel::clock,
    model::{CrossChecks, Final, PssSnapshot, Stats},
    probe::{Probe, ProbeError},
    recording::{Head, Loss, State, WriteError, Writer},
};

/// Takes in a run as it happens.
///
/// Its methods are called between records, from the thread that traces: what takes long in
/// them delays reading, until the kernel's buffers are full.
pub trait Sink {
    /// Called once, before the command starts.
    ///
    /// # Errors
    ///
    /// Then the command is not started.
    fn begin(&mut self, head: &Head) -> Result<(), WriteError>;

    /// Each record. Those of the timeline come in the order of the changes.
    fn event(&mut self, event: &Event);

    /// The peaks so far, about once a second.
    fn checkpoint(&mut self, state: &State);

    /// Records were lost in the kernel.
    fn loss(&mut self, loss: &Loss);

    /// Everything, once the run is over. A failure is for the sink to remember: the summary
    /// does not depend on it.
    fn finish(&mut self, last: &Final);
}

/// Records to a file.
#[derive(Debug)]
pub struct FileSink {
    file: Option<File>,
    /// What is in the file is somebody's until there is a record.
    replaces: bool,
    /// Begun, and not in the file yet.
    waiting: Option<(File, Head)>,
    writer: Option<Writer>,
    failure: Option<WriteError>,
    has_records: bool,
}

impl FileSink {
    /// Records to `file`, which must be empty.
    #[must_use]
    pub const fn new(file: File) -> Self {
        Self {
            file: Some(file),
            replaces: false,
            waiting: None,
            writer: None,
            failure: None,
            has_records: false,
        }
    }

    /// Records to `file`, which may have contents. They are replaced when the first record comes: a run that does
    /// not begin leaves them as they were.
    #[must_use]
    pub fn replacing(file: File) -> Self {
        Self {
            replaces: true,
            ..Self::new(file)
        }
    }

    /// Why the recording is not whole, if it is not. Call it after the run.
    #[must_use]
    pub const fn failure(&self) -> Option<&WriteError> {
        self.failure.as_ref()
    }

    /// Whether anything came of the run.
    #[must_use]
    pub const fn has_records(&self) -> bool {
        self.has_records
    }

    /// Who writes, now that there is something to write.
    fn writer(&mut self) -> Option<&Writer> {
        self.has_records = true;
        if let Some((file, head)) = self.waiting.take() {
            match empty(&file).and_then(|()| Writer::create(file, &head)) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => self.failure = Some(error),
            }
        }
        self.writer.as_ref()
    }
}

/// Takes out what is in a file that was just opened.
fn empty(file: &File) -> Result<(), WriteError> {
    file.set_len(0).map_err(WriteError::Begin)
}

impl Sink for FileSink {
    fn begin(&mut self, head: &Head) -> Result<(), WriteError> {
        match self.file.take() {
            Some(file) if self.replaces => self.waiting = Some((file, head.clone())),
            Some(file) => self.writer = Some(Writer::create(file, head)?),
            None => {}
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) {
        if let Some(writer) = self.writer() {
            writer.event(event);
        }
    }

    fn checkpoint(&mut self, state: &State) {
        if let Some(writer) = self.writer() {
            writer.checkpoint(state);
        }
    }

    fn loss(&mut self, loss: &Loss) {
        if let Some(writer) = self.writer() {
            writer.loss(loss);
        }
    }

    fn finish(&mut self, last: &Final) {
        // One that waits still begins here.
        self.writer();
        if let Some(writer) = self.writer.take() {
            self.failure = writer.finish(last).err();
        }
    }
}

/// How often the timeline's ring is looked at; it wakes us when much waits there.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// How often the peaks so far are read.
pub(super) const CHECKPOINT: Duration = Duration::from_secs(1);

/// Reading them may take one part in this many of the time.
const SHARE: u32 = 100;

/// The sink, and when it is due what.
pub(super) struct Feed<'a> {
    sink: Option<&'a mut dyn Sink>,
    next: Instant,
    /// When losses were looked for last, and how many there had been by then.
    looked_at: u64,
    lost: [u64; LOSSES.len()],
    /// When the last snapshot was taken that a checkpoint has told of.
    told: u64,
}

impl fmt::Debug for Feed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("next", &self.next)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// What counts losses of records, whether they tell of lives, and why they were lost.
const LOSSES: [(Stat, bool, &str); 2] = [
    (
        Stat::TimelineFull,
        false,
        "the timeline's buffer was full (raise --timeline-ring-size or choose a wider --resolution)",
    ),
    (
        Stat::RingFull,
        true,
        "the buffer was full (raise --ring-size)",
    ),
];

impl<'a> Feed<'a> {
    pub(super) fn new(sink: Option<&'a mut dyn Sink>) -> Self {
        Self {
            sink,
            next: Instant::now() + CHECKPOINT,
            looked_at: 0,
            lost: [0; LOSSES.len()],
            told: 0,
        }
    }

    /// Whether anybody takes it in.
    pub(super) const fn is_wanted(&self) -> bool {
        self.sink.is_some()
    }

    pub(super) fn begin(&mut self, head: &Head) -> Result<(), WriteError> {
        self.looked_at = head.created_at;
        match &mut self.sink {
            Some(sink) => sink.begin(head),
            None => Ok(()),
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        if let Some(sink) = &mut self.sink {
            sink.event(event);
        }
    }

    /// What is known by now.
    pub(super) fn state(&mut self, state: &State) {
        if let Some(sink) = &mut self.sink {
            sink.checkpoint(state);
        }
    }

    /// A checkpoint, if one is due.
    pub(super) fn look(&mut self, probe: &Probe, checks: CrossChecks, snapshots: &[PssSnapshot]) {
        if self.sink.is_none() || Instant::now() < self.next {
            return;
        }
        let began = Instant::now();
        if let Err(error) = self.checkpoint(probe, checks, snapshots) {
            log::debug!("no checkpoint: {error}");
        }
        self.next = Instant::now() + CHECKPOINT.max(began.elapsed() * SHARE);
    }

    fn checkpoint(
        &mut self,
        probe: &Probe,
        cross_checks: CrossChecks,
        snapshots: &[PssSnapshot],
    ) -> Result<(), ProbeError> {
        let now = probe.now()?;
        let Ok(at) = clock::boottime() else {
            return Ok(());
        };
        self.losses(&now.stats, at);
        let told = self.told;
        let news = snapshots.iter().filter(|one| one.at_ns > told);
        let snapshots: Vec<PssSnapshot> = news.copied().collect();
        self.told = snapshots.last().map_or(told, |one| one.at_ns);
        if let Some(sink) = &mut self.sink {
            sink.checkpoint(&State {
                at,
                tree: now.tree,
                images: now.images,
                processes: now.processes,
                stats: now.stats,
                undecodable: probe.undecodable(),
                cross_checks,
                snapshots,
                segments: now.segments,
            });
        }
        Ok(())
    }

    fn losses(&mut self, stats: &Stats, at: u64) {
        let Some(sink) = &mut self.sink else {
            return;
        };
        for ((stat, life, reason), before) in LOSSES.into_iter().zip(&mut self.lost) {
            let total = stats.get(stat);
            let records = total.saturating_sub(*before);
            if records > 0 {
                sink.loss(&Loss {
                    from: self.looked_at,
                    until: at,
                    records,
                    life,
                    reason: reason.to_owned(),
                });
            }
            *before = total;
        }
        self.looked_at = at;
    }

    pub(super) fn finish(&mut self, last: &Final) {
        self.losses(&last.stats, last.ended_at);
        if let Some(sink) = &mut self.sink {
            sink.finish(last);
        }
    }
}

/// The kernel's release.
pub(super) fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|release| release.trim().to_owned())
        .unwrap_or_default()
}
