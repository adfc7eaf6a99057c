//! Where memtrace's own time goes until the command runs: `--self-stats`. And where tests hold it,
//! to do something to it at a known point of a run.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Somebody who is told of each point that a run reaches, and says when it may go on: for tests.
#[derive(Clone, Debug)]
pub struct Checkpoints(Arc<UnixStream>);

impl Checkpoints {
    /// Whoever listens on this socket.
    ///
    /// # Errors
    ///
    /// When nobody does.
    pub fn connect(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(|stream| Self(Arc::new(stream)))
    }

    /// A line with the point's name; goes on after an answer of one byte, or when nobody is there
    /// any more.
    fn reach(&self, point: &str) {
        let mut stream = &*self.0;
        if writeln!(stream, "{point}").is_ok() {
            // Whoever has gone holds up nothing.
            let _ = stream.read_exact(&mut [0]);
        }
    }
}

/// The steps of a start, each with how long it took.
#[derive(Clone, Debug)]
pub struct Phases {
    began: Instant,
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
    checkpoints: Option<Checkpoints>,
}

impl Phases {
    /// Nothing is done yet.
    #[must_use]
    pub fn begin(checkpoints: Option<Checkpoints>) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            last: now,
            steps: Vec::new(),
            checkpoints,
        }
    }

    /// What was done since the last step.
    pub fn done(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.push((step, now - self.last));
        self.last = now;
        self.at(step);
    }

    /// A point of the run that is no step of its start.
    pub fn at(&self, point: &'static str) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.reach(point);
        }
    }

    /// The steps, in order; one that was tried again is there twice.
    #[must_use]
    pub fn steps(&self) -> &[(&'static str, Duration)] {
        &self.steps
    }

    /// From the beginning to the end of the last step.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.last - self.began
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::Phases;

    #[test]
    fn steps_add_up_to_the_total() {
        let mut phases = Phases::begin(None);
        assert_eq!(phases.total(), Duration::ZERO);
        for step in ["first", "second"] {
            thread::sleep(Duration::from_millis(2));
            phases.done(step);
        }
        let names: Vec<_> = phases.steps().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["first", "second"]);
        let sum: Duration = phases.steps().iter().map(|(_, time)| *time).sum();
        assert_eq!(sum, phases.total());
        assert!(sum >= Duration::from_millis(4));
    }
}
