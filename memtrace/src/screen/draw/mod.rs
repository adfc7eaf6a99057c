//! Draws the screen: each part in a file of its own, put together here.

mod chart;
mod details;
mod foot;
mod header;
mod help;
mod pen;
mod steps;
mod table;

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
};

use self::pen::Pen;
use super::app::{App, Focus};

/// The least that anything can be read on.
const LEAST: (u16, u16) = (30, 8);

/// Lines from which there is a chart, and the whole header.
const CHART: u16 = 16;

/// Draws all of it.
pub(super) fn draw(app: &mut App, buffer: &mut Buffer, area: Rect) {
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let mut pen = Pen::new(buffer, area);
        pen.text(0, 0, "too small", app.appearance.strong());
        return;
    }
    let (header, chart) = if area.height < CHART {
        (header::LINES.min(2), 0)
    } else {
        (header::LINES, (area.height / 3).min(16))
    };
    let [header, chart, table, foot] = Layout::vertical([
        Constraint::Length(header),
        Constraint::Length(chart),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    header::draw(app, &mut Pen::new(buffer, header));
    if chart.height > 0 {
        chart::draw(app, &mut Pen::new(buffer, chart));
    }
    match app.focus {
        Focus::Help => help::draw(app.appearance, &mut Pen::new(buffer, chart.union(table))),
        Focus::Details => details::draw(app, &mut Pen::new(buffer, table)),
        Focus::Table | Focus::Filter => table::draw(app, &mut Pen::new(buffer, table)),
    }
    foot::draw(app, &mut Pen::new(buffer, foot));
}
