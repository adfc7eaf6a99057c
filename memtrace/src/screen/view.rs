//! What of the processes is shown, and in which order; and how much of the time.

use std::cmp::Ordering;

use super::rows::Row;

const SECOND: u64 = 1_000_000_000;

/// How the table is put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Layout {
    /// A row for each process.
    #[default]
    Flat,
    /// Below those that created them.
    Tree,
    /// A row for each name.
    Alike,
}

/// What the table is sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Res,
    Peak,
    Growth,
    Age,
    Pid,
    Name,
}

impl Sort {
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Res => Self::Peak,
            Self::Peak => Self::Growth,
            Self::Growth => Self::Age,
            Self::Age => Self::Pid,
            Self::Pid => Self::Name,
            Self::Name => Self::Res,
        }
    }
}

/// How much of the time the chart shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Window {
    Seconds10,
    #[default]
    Minute,
    Minutes10,
    All,
}

impl Window {
    /// All, with the keys that choose them.
    pub(super) const EACH: [(char, &'static str, Self); 4] = [
        ('1', "10 s", Self::Seconds10),
        ('2', "1 min", Self::Minute),
        ('3', "10 min", Self::Minutes10),
        ('4', "all", Self::All),
    ];

    const fn length(self) -> Option<u64> {
        match self {
            Self::Seconds10 => Some(10 * SECOND),
            Self::Minute => Some(60 * SECOND),
            Self::Minutes10 => Some(600 * SECOND),
            Self::All => None,
        }
    }

    /// From when to when, if it is `now`. A moment that is looked at is always inside.
    pub(super) fn range(self, now: u64, cursor: Option<u64>) -> (u64, u64) {
        let Some(length) = self.length() else {
            return (0, now.max(1));
        };
        // At first there is room on the right.
        let from = now.max(length) - length;
        let from = from.min(cursor.unwrap_or(u64::MAX));
        (from, from.saturating_add(length))
    }
}

/// What is chosen with keys.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) layout: Layout,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    /// Whether those are shown that have ended.
    pub(super) ended: bool,
    /// What names, commands or numbers of processes have to have in them.
    pub(super) filter: String,
    pub(super) window: Window,
}

impl Default for View {
    fn default() -> Self {
        Self {
            layout: Layout::default(),
            sort: Sort::default(),
            reversed: false,
            ended: true,
            filter: String::new(),
            window: Window::default(),
        }
    }
}

impl View {
    /// The order of two rows. No two are equal, so that rows do not swap places from look to
    /// look.
    pub(super) fn order(&self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        let order = match self.sort {
            Sort::Res => b.res.cmp(&a.res),
            Sort::Peak => b.peak.cmp(&a.peak),
            Sort::Growth => b.growth.cmp(&a.growth),
            Sort::Age => b.age_ns.cmp(&a.age_ns),
            Sort::Pid => a.pid.cmp(&b.pid),
            Sort::Name => a.name.cmp(b.name),
        };
        let order = if self.reversed {
            order.reverse()
        } else {
            order
        };
        order
            .then_with(|| a.is_ended.cmp(&b.is_ended))
            .then_with(|| b.peak.cmp(&a.peak))
            .then_with(|| a.pid.cmp(&b.pid))
            .then_with(|| a.key.cmp(&b.key))
    }

    /// Whether a process is looked for. Upper and lower case are the same.
    pub(super) fn matches(&self, name: &str, command: &str, pid: Option<i32>) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let filter = self.filter.to_lowercase();
        name.to_lowercase().contains(&filter)
            || command.to_lowercase().contains(&filter)
            || pid.is_some_and(|pid| pid.to_string().contains(&filter))
    }
}
