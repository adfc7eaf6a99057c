//! Writes into a part of the screen, and never beside it.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::screen::text;

/// A part of the screen. Places are counted from its upper left corner.
pub(super) struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
}

impl<'a> Pen<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, area: Rect) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, area }
    }

    pub(super) const fn width(&self) -> u16 {
        self.area.width
    }

    pub(super) const fn height(&self) -> u16 {
        self.area.height
    }

    /// Writes a text, as far as there is room, and tells where it ends.
    pub(super) fn text(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        if x >= self.area.width || y >= self.area.height {
            return x;
        }
        let room = usize::from(self.area.width - x);
        let (end, _) = self
            .buffer
            .set_stringn(self.area.x + x, self.area.y + y, text, room, style);
        end - self.area.x
    }

    /// The same, with dots at the end if it is cut.
    pub(super) fn clipped(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        let room = usize::from(self.area.width.saturating_sub(x));
        self.text(x, y, &text::clip(text, room), style)
    }

    /// Writes a text that ends before a column.
    pub(super) fn until(&mut self, end: u16, y: u16, text: &str, style: Style) {
        let width = u16::try_from(text::width(text)).unwrap_or(u16::MAX);
        self.text(end.saturating_sub(width), y, text, style);
    }

    /// Lays a style over a line.
    pub(super) fn line(&mut self, y: u16, style: Style) {
        if y < self.area.height {
            let Rect { x, width, .. } = self.area;
            let line = Rect::new(x, self.area.y + y, width, 1);
            self.buffer.set_style(line, style);
        }
    }

    /// Lays a style over one place.
    pub(super) fn style(&mut self, x: u16, y: u16, style: Style) {
        if x < self.area.width
            && y < self.area.height
            && let Some(cell) = self.buffer.cell_mut((self.area.x + x, self.area.y + y))
        {
            cell.set_style(style);
        }
    }

    /// Removes all that was written.
    pub(super) fn clear(&mut self) {
        for position in self.area.positions() {
            if let Some(cell) = self.buffer.cell_mut(position) {
                cell.reset();
            }
        }
    }
}
