//! What the screen knows, and what of it is in view.

use ratatui::Frame;

use super::{
    appearance::Appearance,
    draw,
    history::{Highest, History},
    look::Look,
    past::Moment,
    rows::{self, Key, Row},
    scene::Scene,
    view::View,
};

/// What the keyboard asks of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To leave the screen.
    Quit,
    /// To write a report of what is known now.
    Report,
}

/// What has the keyboard, and covers the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Focus {
    #[default]
    Table,
    /// All of the row that is selected.
    Details,
    /// What to look for is being typed.
    Filter,
    Help,
}

/// The screen stays as it was at a moment.
#[derive(Debug, Clone)]
pub(super) struct Paused {
    pub(super) scene: Scene,
    /// An earlier moment that is looked at.
    pub(super) cursor: Option<u64>,
}

/// Which row is selected.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    /// `None`: the first, whichever that is.
    pub(super) key: Option<Key>,
    /// Where it was, should it be gone.
    pub(super) place: usize,
    /// Rows above the first that is drawn.
    pub(super) above: usize,
    /// Rows that there is room for.
    pub(super) room: usize,
}

/// The screen. It reads no clock, no environment and no keyboard: [`take`](Self::take) tells it
/// what is known, [`key`](Self::key) what is pressed, and [`draw`](Self::draw) shows it.
#[derive(Debug)]
pub struct App {
    pub(super) title: String,
    pub(super) appearance: Appearance,
    live: Scene,
    pub(super) history: History,
    pub(super) paused: Option<Paused>,
    pub(super) view: View,
    pub(super) focus: Focus,
    pub(super) selection: Selection,
    /// How wide the chart was drawn.
    pub(super) chart_columns: u16,
    pub(super) message: Option<String>,
}

impl App {
    /// A screen that knows nothing yet. The title says what is followed.
    #[must_use]
    pub fn new(title: String) -> Self {
        Self {
            title,
            appearance: Appearance::default(),
            live: Scene::default(),
            history: History::default(),
            paused: None,
            view: View::default(),
            focus: Focus::default(),
            selection: Selection::default(),
            chart_columns: 1,
            message: None,
        }
    }

    /// The same, drawn with other colours or characters.
    #[must_use]
    pub fn with_appearance(mut self, appearance: Appearance) -> Self {
        self.appearance = appearance;
        self
    }

    /// Takes in what is known now; also while the screen is paused.
    pub fn take(&mut self, look: Look) {
        let peak = Highest {
            bytes: look.peak_rss,
            at_ns: look.peak_at_ns,
        };
        self.history.push(look.at_ns, look.rss, peak);
        self.live.take(look);
    }

    /// Shows a line at the bottom until the next key, as where a report was written.
    pub fn say(&mut self, message: String) {
        self.message = Some(message);
    }

    /// Draws all of it.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        draw::draw(self, frame.buffer_mut(), area);
    }

    /// What is shown: what is known, or what was known when the screen was paused.
    pub(super) fn scene(&self) -> &Scene {
        self.paused
            .as_ref()
            .map_or(&self.live, |paused| &paused.scene)
    }

    /// An earlier moment that is looked at.
    pub(super) fn cursor(&self) -> Option<u64> {
        self.paused.as_ref()?.cursor
    }

    /// What is kept of the moment that is looked at.
    pub(super) fn moment(&self) -> Option<&Moment> {
        self.scene().past.at(self.cursor()?)
    }

    /// From when to when the chart is.
    pub(super) fn range(&self) -> (u64, u64) {
        let now = self.scene().totals.at_ns;
        self.view.window.range(now, self.cursor())
    }

    /// The rows of the table. Of an earlier moment there may be none.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        match (self.cursor(), self.moment()) {
            (None, _) => rows::rows(self.scene(), &self.view, self.appearance.unicode),
            (Some(_), Some(moment)) => rows::rows_of(moment, &self.view),
            (Some(_), None) => Vec::new(),
        }
    }

    /// Stops or goes on.
    pub(super) fn pause(&mut self) {
        self.paused = match self.paused {
            Some(_) => None,
            None => Some(Paused {
                scene: self.live.clone(),
                cursor: None,
            }),
        };
    }

    /// Forgets those that have ended.
    pub(super) fn clear_ended(&mut self) {
        self.live.ended.clear();
        if let Some(paused) = &mut self.paused {
            paused.scene.ended.clear();
        }
    }

    /// How many rows of ended processes, points of time and rows of the past are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        let ended = &self.live.ended;
        (
            ended.processes().count() + ended.counted().count(),
            self.history.kept(),
        )
    }
}

impl Selection {
    /// Where the selected one is among `rows`: where it was, if it is gone.
    pub(super) fn find(&self, rows: &[Row<'_>]) -> usize {
        let Some(key) = &self.key else {
            return 0;
        };
        rows.iter()
            .position(|row| row.key == *key)
            .unwrap_or(self.place)
            .min(rows.len().saturating_sub(1))
    }

    /// Makes room for `room` rows, and scrolls so that the selected one is among them.
    pub(super) fn scroll(&mut self, rows: &[Row<'_>], room: usize) {
        self.place = self.find(rows);
        self.room = room;
        let last = rows.len().saturating_sub(room);
        let least = (self.place + 1).saturating_sub(room);
        self.above = self.above.min(last).min(self.place).max(least);
    }
}
