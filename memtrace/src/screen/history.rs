//! The totals over time, in bounded memory, with every peak.
//!
//! The latest looks are kept one by one. What is older is put together to spans of equal length,
//! each with its largest value: the longer it lasts, the longer the spans, but no peak is lost.

use std::collections::VecDeque;

/// Looks kept one by one: 10 minutes of 20 a second.
pub(super) const LOOKS: usize = 12_000;

/// Spans kept of what is older: more than a terminal has columns.
pub(super) const SPANS: usize = 2_048;

/// From one look to the next, or several such spans. Times are nanoseconds, values bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Ends of the span: it holds what was after `from`, up to and with `to`.
    from: u64,
    to: u64,
    low: u64,
    high: u64,
    /// When it was at `high`.
    high_at: u64,
    /// What it was at `to`, and stays until the next span says otherwise.
    last: u64,
}

impl Span {
    fn with(self, next: Self) -> Self {
        let highest = if next.high > self.high { next } else { self };
        Self {
            from: self.from,
            to: next.to,
            low: self.low.min(next.low),
            high: highest.high,
            high_at: highest.high_at,
            last: next.last,
        }
    }

    const fn length(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// What a part of a window is drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) low: u64,
    pub(super) high: u64,
}

/// A largest value, and when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Highest {
    pub(super) bytes: u64,
    pub(super) at_ns: u64,
}

/// The totals of all looks so far.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    older: Vec<Span>,
    /// The least that spans of `older` are put together to.
    length: u64,
    latest: VecDeque<Span>,
}

impl History {
    /// Takes in the total at a moment, and a peak if it was since the last one.
    pub(super) fn push(&mut self, at_ns: u64, rss: u64, peak: Highest) {
        let before = self.latest.back().copied();
        let from = before.map_or(0, |span| span.to);
        let at_ns = at_ns.max(from);
        let mut span = Span {
            from,
            to: at_ns,
            low: rss,
            high: rss,
            high_at: at_ns,
            last: rss,
        };
        // Between the looks it may have been more, which only a new peak tells.
        let is_new = before.is_none() || peak.at_ns > from;
        if is_new && peak.at_ns <= at_ns && peak.bytes > rss {
            (span.high, span.high_at) = (peak.bytes, peak.at_ns);
        }
        self.latest.push_back(span);
        if self.latest.len() > LOOKS
            && let Some(oldest) = self.latest.pop_front()
        {
            self.thin(oldest);
        }
    }

    fn thin(&mut self, span: Span) {
        join(&mut self.older, span, self.length);
        while self.older.len() > SPANS {
            self.length = self.length.saturating_mul(2).max(1);
            let mut joined = Vec::with_capacity(SPANS);
            for span in self.older.drain(..) {
                join(&mut joined, span, self.length);
            }
            self.older = joined;
        }
    }

    fn spans(&self) -> impl DoubleEndedIterator<Item = &Span> {
        self.older.iter().chain(&self.latest)
    }

    /// What was known of a moment: the total at the last look until then.
    pub(super) fn at(&self, at_ns: u64) -> Option<u64> {
        let span = self.spans().rev().find(|span| span.to <= at_ns)?;
        Some(span.last)
    }

    /// The moment of the look before a moment, or after it.
    pub(super) fn step(&self, at_ns: u64, forward: bool) -> Option<u64> {
        let mut spans = self.spans();
        let span = if forward {
            spans.find(|span| span.to > at_ns)
        } else {
            spans.rev().find(|span| span.to < at_ns)
        };
        span.map(|span| span.to)
    }

    /// What is known of the time between two moments, both included.
    fn between(&self, from: u64, to: u64) -> impl Iterator<Item = Span> {
        let older = self
            .older
            .iter()
            .filter(move |span| span.to >= from && span.from < to)
            // When else it was how large is not known: it may have been at any moment.
            .map(move |span| Span {
                high_at: span.high_at.clamp(from, to),
                ..*span
            });
        let latest = self
            .latest
            .iter()
            .filter(move |span| (from..=to).contains(&span.to))
            .map(move |span| {
                if span.high_at >= from {
                    *span
                } else {
                    Span {
                        high: span.last,
                        high_at: span.to,
                        ..*span
                    }
                }
            });
        older.chain(latest)
    }

    /// The largest from one moment to another, both included. What it was already at the first
    /// of them counts.
    pub(super) fn highest(&self, from: u64, to: u64) -> Option<Highest> {
        let entered = self.at(from).map(|bytes| Highest { bytes, at_ns: from });
        let highest = self
            .between(from, to)
            .map(|span| Highest {
                bytes: span.high,
                at_ns: span.high_at,
            })
            .reduce(|highest, next| {
                if next.bytes > highest.bytes {
                    next
                } else {
                    highest
                }
            });
        match (entered, highest) {
            (Some(entered), Some(highest)) if highest.bytes >= entered.bytes => Some(highest),
            (None, highest) => highest,
            (entered, _) => entered,
        }
    }

    /// `count` columns of equal width between two moments. `None` where nothing was known yet,
    /// or is not known yet at a moment `now`.
    pub(super) fn columns(
        &self,
        from: u64,
        to: u64,
        now: u64,
        count: usize,
    ) -> Vec<Option<Column>> {
        let mut columns: Vec<Option<Column>> = vec![None; count];
        if count == 0 {
            return columns;
        }
        let index = |at: u64| place(at, from, to, count);
        let mut hold = |value: Option<u64>, first: usize, last: usize| {
            if let Some(value) = value {
                for column in columns.iter_mut().take(last + 1).skip(first) {
                    widen(column, value, value);
                }
            }
        };
        let mut value = self.at(from);
        let mut first = 0;
        let until = now.min(to);
        for span in self.between(from, until) {
            let last = index(span.to);
            // Until then it stayed what it was.
            hold(value, first, last);
            hold(Some(span.low), last, last);
            hold(Some(span.last), last, last);
            // A peak between two looks has its own moment.
            let at_peak = index(span.high_at);
            hold(Some(span.high), at_peak, at_peak);
            value = Some(span.last);
            first = last;
        }
        if self.latest.back().is_some_and(|span| span.to >= until) {
            hold(value, first, index(until));
        }
        columns
    }

    /// How many spans are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.older.len() + self.latest.len()
    }
}

/// Which of `count` columns between two moments a moment is in.
pub(super) fn place(at: u64, from: u64, to: u64, count: usize) -> usize {
    let width = u128::from(to.saturating_sub(from).max(1));
    let share = u128::from(at.saturating_sub(from)) * count as u128 / width;
    usize::try_from(share)
        .unwrap_or(usize::MAX)
        .min(count.saturating_sub(1))
}

fn join(spans: &mut Vec<Span>, next: Span, length: u64) {
    if let Some(last) = spans.last_mut() {
        let joined = last.with(next);
        if joined.length() <= length {
            *last = joined;
            return;
        }
    }
    spans.push(next);
}

fn widen(column: &mut Option<Column>, low: u64, high: u64) {
    *column = Some(column.map_or(Column { low, high }, |column| Column {
        low: column.low.min(low),
        high: column.high.max(high),
    }));
}
