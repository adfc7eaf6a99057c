//! The last line: what is being typed or was said, else what the keys do.

use super::pen::Pen;
use crate::screen::{
    app::{App, Focus},
    text::harmless,
    view::{Layout, Sort, View},
};

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    let look = app.appearance;
    if let Some(message) = &app.message {
        pen.clipped(0, 0, &harmless(message), look.strong());
        return;
    }
    if app.focus == Focus::Filter {
        let text = format!("/{}_", harmless(&app.view.filter));
        let x = pen.text(0, 0, &text, look.strong());
        pen.text(x + 2, 0, "Enter: keep  Esc: all", look.faint());
        return;
    }
    pen.line(0, look.faint());
    let keys = match app.focus {
        Focus::Help => "any key: back",
        Focus::Details => "Enter: back  up/down: others  q quit",
        Focus::Table | Focus::Filter if app.paused.is_some() => {
            "space: go on  left/right: earlier, later  ? help  q quit"
        }
        Focus::Table | Focus::Filter => {
            "? help  q quit  space pause  / filter  s sort  t tree  g group  e ended"
        }
    };
    let end = pen.text(0, 0, keys, look.faint());
    let state = state(&app.view);
    let room = usize::from(pen.width().saturating_sub(end + 2));
    let width = pen.width();
    pen.until(
        width,
        0,
        &crate::screen::text::clip(&state, room),
        look.strong(),
    );
}

/// What of the view is not as at first.
fn state(view: &View) -> String {
    let mut words = Vec::new();
    match view.layout {
        Layout::Flat => {}
        Layout::Tree => words.push("tree".to_owned()),
        Layout::Alike => words.push("by name".to_owned()),
    }
    // Marked in the heading otherwise, unless its column has no room.
    match view.sort {
        Sort::Growth => words.push("by growth".to_owned()),
        Sort::Age => words.push("by age".to_owned()),
        Sort::Res | Sort::Peak | Sort::Pid | Sort::Name => {}
    }
    if view.reversed {
        words.push("reversed".to_owned());
    }
    if !view.ended {
        words.push("without ended".to_owned());
    }
    if !view.filter.is_empty() {
        words.push(format!("/{}", harmless(&view.filter)));
    }
    words.join(", ")
}
