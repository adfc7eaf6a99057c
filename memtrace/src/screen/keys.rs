//! What each key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    app::{App, Focus, Request},
    view::{Layout, Window},
};

/// The longest that can be looked for, bytes.
const FILTER: usize = 100;

impl App {
    /// Takes in a key, and tells what only the caller can do.
    pub fn key(&mut self, key: KeyEvent) -> Option<Request> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        self.message = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Request::Quit);
        }
        match self.focus {
            Focus::Filter => self.filter_key(key.code),
            Focus::Help => {
                self.focus = Focus::Table;
            }
            Focus::Table | Focus::Details => return self.table_key(key.code),
        }
        None
    }

    fn filter_key(&mut self, code: KeyCode) {
        let filter = &mut self.view.filter;
        match code {
            KeyCode::Char(c) if filter.len() + c.len_utf8() <= FILTER => filter.push(c),
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Enter => self.focus = Focus::Table,
            KeyCode::Esc => {
                filter.clear();
                self.focus = Focus::Table;
            }
            _ => {}
        }
    }

    fn table_key(&mut self, code: KeyCode) -> Option<Request> {
        let page = self.selection.room.max(1);
        match code {
            KeyCode::Char(c) => return self.letter(c),
            KeyCode::Up => self.select(|place| place.saturating_sub(1)),
            KeyCode::Down => self.select(|place| place + 1),
            KeyCode::PageUp => self.select(|place| place.saturating_sub(page)),
            KeyCode::PageDown => self.select(|place| place.saturating_add(page)),
            // From here on it is the first again, whichever that is.
            KeyCode::Home => self.selection.key = None,
            KeyCode::End => self.select(|_| usize::MAX),
            KeyCode::Left => self.look(false),
            KeyCode::Right => self.look(true),
            KeyCode::Enter => {
                self.focus = match self.focus {
                    Focus::Details => Focus::Table,
                    Focus::Table | Focus::Filter | Focus::Help => {
                        // What is shown stays that of the same one.
                        self.select(|place| place);
                        Focus::Details
                    }
                };
            }
            KeyCode::Esc if self.focus == Focus::Details => self.focus = Focus::Table,
            KeyCode::Esc => self.view.filter.clear(),
            _ => {}
        }
        None
    }

    fn letter(&mut self, letter: char) -> Option<Request> {
        let toggled = |layout, now| if now == layout { Layout::Flat } else { layout };
        match letter {
            'q' => return Some(Request::Quit),
            'w' => return Some(Request::Report),
            'j' => self.select(|place| place + 1),
            'k' => self.select(|place| place.saturating_sub(1)),
            't' => self.view.layout = toggled(Layout::Tree, self.view.layout),
            'g' => self.view.layout = toggled(Layout::Alike, self.view.layout),
            's' => self.view.sort = self.view.sort.next(),
            'r' => self.view.reversed = !self.view.reversed,
            'e' => self.view.ended = !self.view.ended,
            'C' => self.clear_ended(),
            '/' => self.focus = Focus::Filter,
            '?' => self.focus = Focus::Help,
            ' ' => self.pause(),
            'a' => self.view.window = Window::All,
            _ => {
                let window = Window::EACH.iter().find(|(key, ..)| *key == letter);
                if let Some((_, _, window)) = window {
                    self.view.window = *window;
                }
            }
        }
        None
    }

    fn select(&mut self, to: impl FnOnce(usize) -> usize) {
        let rows = self.rows();
        let place = to(self.selection.find(&rows)).min(rows.len().saturating_sub(1));
        let key = rows.get(place).map(|row| row.key.clone());
        drop(rows);
        self.selection.place = place;
        self.selection.key = key;
    }

    /// Goes to an earlier moment, or a later one: by a column of the chart, and at least by a
    /// look.
    fn look(&mut self, forward: bool) {
        if self.paused.is_none() {
            if forward {
                return;
            }
            self.pause();
        }
        let now = self.scene().totals.at_ns;
        let (from, to) = self.range();
        let column = (to - from) / u64::from(self.chart_columns.max(1));
        let at = self.cursor().unwrap_or(now);
        let moment = if forward {
            let least = at.saturating_add(column.max(1));
            self.history.step(least - 1, true)
        } else {
            let most = at.saturating_sub(column.max(1));
            let earlier = self.history.step(most.saturating_add(1), false);
            // Not before the first.
            earlier.or_else(|| self.history.step(0, true))
        };
        if let Some(paused) = &mut self.paused {
            paused.cursor = moment.filter(|moment| *moment < now);
        }
    }
}
