//! Where memtrace's own time goes until the command runs: `--self-stats`.

use std::time::{Duration, Instant};

/// The steps of a start, each with how long it took.
#[derive(Clone, Debug)]
pub struct Phases {
    began: Instant,
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl Phases {
    /// Nothing is done yet.
    #[must_use]
    pub fn begin() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            last: now,
            steps: Vec::new(),
        }
    }

    /// What was done since the last step.
    pub fn done(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.push((step, now - self.last));
        self.last = now;
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
        let mut phases = Phases::begin();
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
