//! The rows of the table.

use std::collections::BTreeMap;

use super::{
    ended::Counted,
    look::Process,
    past::Moment,
    scene::{Alive, Scene},
    tree,
    trend::Trend,
    view::{Layout, View},
};

/// What a row is of, from look to look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A process, by its [`Process::id`].
    Process(u64),
    /// All of a name.
    Alike(String),
    /// Those that are only counted, by name.
    Counted(Option<String>),
}

/// One row. Amounts are bytes.
#[derive(Debug, Clone)]
pub(super) struct Row<'a> {
    pub(super) key: Key,
    /// If it is of one process.
    pub(super) process: Option<&'a Process>,
    pub(super) trend: Option<&'a Trend>,
    pub(super) pid: Option<i32>,
    pub(super) name: &'a str,
    /// How many processes, and how many of them are alive.
    pub(super) count: u64,
    pub(super) alive: u64,
    pub(super) res: u64,
    pub(super) shr: u64,
    pub(super) virt: u64,
    pub(super) peak: u64,
    pub(super) peak_at_ns: u64,
    pub(super) growth: i64,
    /// How long it has been alive, or was.
    pub(super) age_ns: Option<u64>,
    pub(super) is_ended: bool,
    /// What is drawn before the name in a tree.
    pub(super) branch: String,
}

impl<'a> Row<'a> {
    fn of(process: &'a Process, trend: Option<&'a Trend>, now: u64) -> Self {
        let is_ended = process.ended_ns.is_some();
        let held = |bytes: u64| if is_ended { 0 } else { bytes };
        Self {
            key: Key::Process(process.id),
            process: Some(process),
            trend,
            pid: Some(process.pid),
            name: &process.name,
            count: 1,
            alive: u64::from(!is_ended),
            res: held(process.res),
            shr: held(process.shr),
            virt: held(process.virt),
            peak: process.peak,
            peak_at_ns: process.peak_at_ns,
            growth: trend.map_or(0, Trend::growth),
            age_ns: Some(process.age(now)),
            is_ended,
            branch: String::new(),
        }
    }

    fn counted(name: Option<&'a str>, counted: &Counted) -> Self {
        Self {
            key: Key::Counted(name.map(str::to_owned)),
            process: None,
            trend: None,
            pid: None,
            name: name.unwrap_or("(others)"),
            count: counted.count,
            alive: 0,
            res: 0,
            shr: 0,
            virt: 0,
            peak: counted.peak,
            peak_at_ns: counted.peak_at_ns,
            growth: 0,
            age_ns: None,
            is_ended: true,
            branch: String::new(),
        }
    }

    /// Takes in a row of the same name.
    fn add(&mut self, other: &Self) {
        let mut peak = Counted {
            count: self.count,
            peak: self.peak,
            peak_at_ns: self.peak_at_ns,
        };
        peak.add(other.count, other.peak, other.peak_at_ns);
        (self.count, self.peak, self.peak_at_ns) = (peak.count, peak.peak, peak.peak_at_ns);
        self.alive = self.alive.saturating_add(other.alive);
        self.res = self.res.saturating_add(other.res);
        self.shr = self.shr.saturating_add(other.shr);
        self.virt = self.virt.saturating_add(other.virt);
        self.growth = self.growth.saturating_add(other.growth);
        self.age_ns = self.age_ns.max(other.age_ns);
        self.is_ended &= other.is_ended;
        // It is of several now.
        self.process = None;
        self.trend = None;
        self.pid = None;
    }
}

/// What is shown of the latest look.
pub(super) fn rows<'a>(scene: &'a Scene, view: &View, unicode: bool) -> Vec<Row<'a>> {
    let now = scene.totals.at_ns;
    let alive = scene.alive.iter().map(|alive| {
        let Alive { process, trend } = alive;
        Row::of(process, Some(trend), now)
    });
    let ended = scene
        .ended
        .processes()
        .filter(|_| view.ended)
        .map(|process| Row::of(process, None, now));
    let mut rows: Vec<Row<'a>> = alive.chain(ended).collect();
    let mut counted: Vec<Row<'a>> = scene
        .ended
        .counted()
        .filter(|(name, _)| view.ended && view.matches(name.unwrap_or_default(), "", None))
        .map(|(name, counted)| Row::counted(name, counted))
        .collect();
    if view.layout == Layout::Tree {
        rows = tree::rows(rows, scene, view, unicode);
        counted.sort_by(|a, b| view.order(a, b));
        rows.append(&mut counted);
        return rows;
    }
    rows.retain(|row| is_looked_for(row, view));
    rows.append(&mut counted);
    arrange(rows, view)
}

/// What is shown of an earlier look.
pub(super) fn rows_of<'a>(moment: &'a Moment, view: &View) -> Vec<Row<'a>> {
    let rows = moment
        .largest
        .iter()
        .map(|process| Row::of(process, None, moment.at_ns))
        .filter(|row| is_looked_for(row, view))
        .collect();
    arrange(rows, view)
}

pub(super) fn is_looked_for(row: &Row<'_>, view: &View) -> bool {
    let command = row.process.map_or("", |process| &process.command);
    view.matches(row.name, command, row.pid)
}

fn arrange<'a>(mut rows: Vec<Row<'a>>, view: &View) -> Vec<Row<'a>> {
    if view.layout == Layout::Alike {
        rows = alike(rows);
    }
    rows.sort_by(|a, b| view.order(a, b));
    rows
}

/// One row for each name.
fn alike(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    let mut names: BTreeMap<(bool, &str), Row<'_>> = BTreeMap::new();
    for row in rows {
        // A process can be called like the row of those without a name.
        let is_unnamed = row.key == Key::Counted(None);
        match names.get_mut(&(is_unnamed, row.name)) {
            Some(same) => same.add(&row),
            None => {
                names.insert((is_unnamed, row.name), row);
            }
        }
    }
    names
        .into_values()
        .map(|mut row| {
            if row.key != Key::Counted(None) {
                row.key = Key::Alike(row.name.to_owned());
            }
            row
        })
        .collect()
}
