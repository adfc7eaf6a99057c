//! One quantity over a stretch of time.

/// What a quantity did between two times, of which it knows the values in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Track {
    from: u64,
    until: u64,
    now: u64,
    since: u64,
    integral: u128,
    pub(super) least: u64,
    pub(super) most: u64,
    pub(super) most_at: u64,
    /// Whether it was inside the stretch at all.
    seen: bool,
}

impl Track {
    pub(super) const fn new(from: u64, until: u64) -> Self {
        Self {
            from,
            until,
            now: 0,
            since: from,
            integral: 0,
            least: u64::MAX,
            most: 0,
            most_at: from,
            seen: false,
        }
    }

    /// It is `value` from `at` on.
    pub(super) fn set(&mut self, value: u64, at: u64) {
        if at < self.from {
            self.now = value;
            return;
        }
        self.open();
        let at = at.clamp(self.since, self.until);
        self.integral = self
            .integral
            .saturating_add(u128::from(self.now) * u128::from(at - self.since));
        self.since = at;
        self.now = value;
        if at < self.until {
            self.reach(value, value, at);
        }
    }

    /// It has been as low and as high as this.
    pub(super) fn reach(&mut self, least: u64, most: u64, at: u64) {
        self.open();
        self.least = self.least.min(least);
        if most > self.most {
            self.most = most;
            self.most_at = at;
        }
    }

    /// Counts what it was as the stretch began.
    fn open(&mut self) {
        if !self.seen {
            self.seen = true;
            self.least = self.now;
            self.most = self.now;
        }
    }

    /// Its value after the last change.
    pub(super) const fn now(&self) -> u64 {
        self.now
    }

    /// Ends the stretch: the mean over `lifetime` nanoseconds of it.
    pub(super) fn mean(&mut self, lifetime: u64) -> u64 {
        self.open();
        let rest = u128::from(self.now) * u128::from(self.until.saturating_sub(self.since));
        self.integral = self.integral.saturating_add(rest);
        self.since = self.until;
        let mean = self.integral.checked_div(lifetime.into()).unwrap_or(0);
        u64::try_from(mean).unwrap_or(u64::MAX)
    }
}
