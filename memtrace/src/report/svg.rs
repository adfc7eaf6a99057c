//! A picture of a run for a README or a ticket: the timeline stacked by program.
//!
//! Plain text SVG without scripts or references to anything. It follows the reader's choice of
//! a light or a dark theme. Each column of the picture stacks what the programs held at the
//! instant of that column's maximum, so that the outline has every spike, however short.

pub(super) mod paint;

use std::io;

use self::paint::{Paint, Text};
use super::{
    chart::{
        Run, axis,
        columns::{Column, columns},
        fold::{Folded, Limits, fold},
        headline::{Headline, counted, verdict},
        layers::{LAYERS, Layers},
    },
    escape::{clip, one_line},
    html::markup::escape_markup,
    units::{human, seconds},
};

/// Size of a picture in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// At least 480 are used.
    pub width: u32,
    /// At least 240 are used.
    pub height: u32,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            width: 960,
            height: 400,
        }
    }
}

/// Pixels per column of the plot.
const COLUMN: u32 = 2;

/// Writes the picture.
///
/// # Errors
///
/// Those of the writer.
pub fn svg(out: &mut impl io::Write, run: &Run<'_>, size: Size) -> io::Result<()> {
    let layers = Layers::new(run.summary);
    let picture = Picture::new(run, &layers, size, Kind::File);
    out.write_all(picture.draw().as_bytes())
}

/// The same inside a page that has the styles and the headline.
pub(super) fn inline(run: &Run<'_>, layers: &Layers, size: Size) -> String {
    Picture::new(run, layers, size, Kind::Inline).draw()
}

/// What the picture is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Inline,
}

struct Picture<'a> {
    run: &'a Run<'a>,
    layers: &'a Layers,
    kind: Kind,
    width: u32,
    height: u32,
    /// The plot's edges.
    left: u32,
    right: u32,
    top: u32,
    bottom: u32,
    columns: Vec<Column>,
    /// The amounts of the lines across; the last one is the top of the plot.
    ticks: Vec<u64>,
    end_ns: u64,
}

const LEGEND: u32 = 210;

impl<'a> Picture<'a> {
    fn new(run: &'a Run<'a>, layers: &'a Layers, size: Size, kind: Kind) -> Self {
        let (width, height) = (size.width.clamp(480, 8000), size.height.clamp(240, 8000));
        let (left, right) = (66, width - LEGEND);
        let top = if kind == Kind::File { 74 } else { 18 };
        let bottom = height - 32;
        let count = ((right - left) / COLUMN) as usize;
        let limits = Limits {
            windows: count * 4,
            entries: usize::MAX,
            rows: 0,
        };
        let folded: Folded = fold(run, layers, limits);
        let columns = columns(&folded, &folded.stacks(), run.end_ns(), count);
        let most = columns.iter().map(|column| column.max).max().unwrap_or(0);
        let most = most
            .max(run.summary.tree.peak_rss)
            .max(run.near_limit().unwrap_or(0));
        let lines = u64::from((bottom - top) / 56).max(2);
        Self {
            run,
            layers,
            kind,
            width,
            height,
            left,
            right,
            top,
            bottom,
            columns,
            // Room above the largest.
            ticks: axis::bytes(most.saturating_add(most / 24), lines),
            end_ns: run.end_ns(),
        }
    }

    /// Where an amount is, in tenths of a pixel from the top.
    fn y(&self, bytes: u64) -> u32 {
        let most = self.ticks.last().copied().unwrap_or(1).max(1);
        let height = u128::from(self.bottom - self.top) * 10;
        let up = u128::from(bytes.min(most)) * height / u128::from(most);
        // `up` is at most the height, which is a u32.
        self.bottom * 10 - u32::try_from(up).unwrap_or(0)
    }

    /// Where a moment is, in tenths of a pixel from the left.
    fn x(&self, ns: u64) -> u32 {
        let width = u128::from(self.right - self.left) * 10;
        let along = u128::from(ns.min(self.end_ns)) * width / u128::from(self.end_ns.max(1));
        self.left * 10 + u32::try_from(along).unwrap_or(0)
    }

    fn draw(&self) -> String {
        let mut paint = Paint::new(self.width, self.height);
        let title = one_line(self.run.title);
        let headline = Headline::new(self.run.summary);
        let description = format!(
            "{} {}, {}",
            headline.figure, headline.label, headline.exactly
        );
        paint.open(
            &escape_markup(&format!("Memory over time: {title}")),
            &escape_markup(&description),
        );
        if self.kind == Kind::File {
            paint.style();
            self.heading(&mut paint, &headline, &title);
        }
        self.grid(&mut paint);
        if self.run.timeline.tree.is_empty() {
            paint.text(&Text::new(
                (self.left + self.right) * 5,
                (self.top + self.bottom) * 5,
                "middle",
                "mt-dim",
                "no timeline was recorded",
            ));
        } else {
            self.areas(&mut paint);
        }
        self.losses(&mut paint);
        self.snapshots(&mut paint);
        self.lines(&mut paint);
        self.legend(&mut paint);
        paint.close()
    }

    fn heading(&self, paint: &mut Paint, headline: &Headline, title: &str) {
        let room = (self.width / 9) as usize;
        let line = format!("{} {}", headline.figure, headline.label);
        paint.text(&Text::new(160, 280, "start", "mt-head", &line));
        let (verdict, class) = verdict(self.run.summary);
        let verdict = format!("{verdict} · {}", headline.exactly);
        let processes = counted(self.run.summary.processes.len(), "process", "processes");
        paint.text(&Text::new(
            160,
            500,
            "start",
            &format!("mt-{class}"),
            &clip(&verdict, room),
        ));
        let about = format!("{} · {processes}", clip(title, room.saturating_sub(20)));
        paint.text(&Text::new(
            (self.width - 16) * 10,
            280,
            "end",
            "mt-dim",
            &clip(&about, room.saturating_sub(line.len()).max(12)),
        ));
    }

    fn grid(&self, paint: &mut Paint) {
        for &bytes in &self.ticks {
            let y = self.y(bytes);
            let class = if bytes == 0 { "mt-axis" } else { "mt-grid" };
            paint.line(class, (self.left * 10, y), (self.right * 10, y));
            paint.text(&Text::new(
                self.left * 10 - 80,
                y + 40,
                "end",
                "mt-dim",
                &axis::bytes_label(bytes),
            ));
        }
        let ticks = axis::times(self.end_ns, u64::from((self.right - self.left) / 90));
        let step = ticks.get(1).copied().unwrap_or(1);
        for &ns in &ticks {
            let x = self.x(ns);
            paint.line("mt-axis", (x, self.bottom * 10), (x, self.bottom * 10 + 40));
            paint.text(&Text::new(
                x,
                self.bottom * 10 + 170,
                "middle",
                "mt-dim",
                &axis::time_label(ns, step),
            ));
        }
    }

    /// The layers, largest at the bottom, and what varied within each column.
    fn areas(&self, paint: &mut Paint) {
        let mut floor = vec![0_u64; self.columns.len()];
        for layer in 0..LAYERS {
            let of = |column: &Column| column.layers.get(layer).copied().unwrap_or(0);
            if self.columns.iter().all(|column| of(column) == 0) {
                continue;
            }
            let roof: Vec<u64> = floor
                .iter()
                .zip(&self.columns)
                .map(|(floor, column)| floor.saturating_add(of(column)))
                .collect();
            let area = format!("{}{}Z", self.steps(&roof, true), self.steps_back(&floor));
            paint.path(&format!("mt-l{layer}"), &area);
            if let Some(pattern) = paint::pattern(layer) {
                paint.path(pattern, &area);
            }
            floor = roof;
        }
        let min: Vec<u64> = self.columns.iter().map(|column| column.min).collect();
        let band = format!("{}{}Z", self.steps(&floor, true), self.steps_back(&min));
        paint.path("mt-band", &band);
        paint.path("mt-total", &self.steps(&floor, true));
        let high: Vec<u64> = self.columns.iter().map(|c| c.high_water).collect();
        paint.path("mt-high", &self.steps(&high, true));
    }

    /// Steps from left to right. A column whose value is that of the one before has no point.
    fn steps(&self, values: &[u64], start: bool) -> String {
        let mut path = String::new();
        let mut before = None;
        for (i, &value) in values.iter().enumerate() {
            let y = self.y(value);
            if before == Some(y) {
                continue;
            }
            let x = (self.left + i as u32 * COLUMN) * 10;
            match before {
                None if start => path.push_str(&format!("M{} {}", tenth(x), tenth(y))),
                _ => path.push_str(&format!("H{}V{}", tenth(x), tenth(y))),
            }
            before = Some(y);
        }
        path.push_str(&format!("H{}", self.right));
        path
    }

    /// Steps from right to left, after those of the roof.
    fn steps_back(&self, values: &[u64]) -> String {
        let mut path = String::new();
        let mut before = None;
        for (i, &value) in values.iter().enumerate().rev() {
            let y = self.y(value);
            if before == Some(y) {
                continue;
            }
            let x = (self.left + (i as u32 + 1) * COLUMN) * 10;
            if before.is_some() {
                path.push_str(&format!("H{}", tenth(x)));
            }
            path.push_str(&format!("V{}", tenth(y)));
            before = Some(y);
        }
        path.push_str(&format!("H{}", self.left));
        path
    }

    fn losses(&self, paint: &mut Paint) {
        for loss in &self.run.timeline.losses {
            let (from, until) = (self.x(loss.from_ns), self.x(loss.until_ns));
            paint.rect(
                "mt-lost",
                (from, self.top * 10),
                (
                    until.saturating_sub(from).max(20),
                    (self.bottom - self.top) * 10,
                ),
            );
        }
    }

    /// PSS where the kernel was asked for it.
    fn snapshots(&self, paint: &mut Paint) {
        let snapshots = &self.run.summary.tree.snapshots;
        let points = || snapshots.iter().map(|s| (self.x(s.at_ns), self.y(s.pss)));
        let mut path = String::new();
        for (i, (x, y)) in points().enumerate() {
            let step = if i == 0 { "M" } else { "L" };
            path.push_str(&format!("{step}{} {}", tenth(x), tenth(y)));
        }
        if snapshots.len() > 1 {
            paint.path("mt-pss", &path);
        }
        for point in points() {
            paint.circle("mt-pssdot", point, 25);
        }
    }

    /// The limit, OOM kills, and the peak.
    fn lines(&self, paint: &mut Paint) {
        if let Some(limit) = self.run.limit {
            let (y, words) = if self.run.near_limit().is_some() {
                let y = self.y(limit);
                paint.line("mt-limit", (self.left * 10, y), (self.right * 10, y));
                (y - 40, format!("limit {}", human(limit)))
            } else {
                let words = format!("limit {}, far above", human(limit));
                (self.top * 10 + 120, words)
            };
            let x = self.left * 10 + 60;
            paint.text(&Text::new(x, y, "start", "mt-bad mt-halo", &words));
        }
        let killed = self.run.summary.processes.iter().filter(|p| p.oom_killed);
        // More labels than that would hide each other.
        for process in killed.take(20) {
            let x = self.x(process.end_ns.unwrap_or(self.end_ns));
            paint.line("mt-oom", (x, self.top * 10), (x, self.bottom * 10));
            paint.text(&Text::new(
                x + 40,
                self.top * 10 + 120,
                "start",
                "mt-bad mt-halo",
                &format!("OOM kill [{}]", process.pid),
            ));
        }
        let tree = &self.run.summary.tree;
        let (x, y) = (self.x(tree.peak_at_ns), self.y(tree.peak_rss));
        paint.line("mt-peak", (x, self.top * 10), (x, self.bottom * 10));
        paint.circle("mt-dot", (x, y), 35);
        let label = format!(
            "peak {} at +{}",
            human(tree.peak_rss),
            seconds(tree.peak_at_ns)
        );
        let right = x < (self.left + self.right) * 5;
        let (x, anchor) = if right {
            (x + 60, "start")
        } else {
            (x.saturating_sub(60), "end")
        };
        paint.text(&Text::new(
            x,
            self.top * 10 - 40,
            anchor,
            "mt-strong mt-halo",
            &label,
        ));
    }

    /// Names with what each held at the peak, in the order of the stack.
    fn legend(&self, paint: &mut Paint) {
        let left = (self.right + 18) * 10;
        let right = (self.width - 16) * 10;
        let mut y = self.top * 10 + 60;
        paint.text(&Text::new(right, y, "end", "mt-dim", "at the peak"));
        let layers = self.layers.layers.iter().enumerate().rev();
        for (i, layer) in layers.filter(|(_, layer)| layer.images > 0) {
            y += 210;
            if y > self.bottom * 10 {
                break;
            }
            paint.swatch(i, (left, y - 90));
            paint.text(&Text::new(
                left + 180,
                y,
                "start",
                "mt-text",
                &clip(&layer.name, 14),
            ));
            paint.text(&Text::new(
                right,
                y,
                "end",
                "mt-text mt-number",
                &human(layer.at_peak.rss()),
            ));
        }
        y += 260;
        if let Some(snapshot) = self.run.summary.tree.snapshot_at_peak()
            && y <= self.bottom * 10
        {
            paint.circle("mt-pssdot", (left + 60, y - 40), 25);
            paint.text(&Text::new(
                left + 180,
                y,
                "start",
                "mt-text",
                "PSS snapshot",
            ));
            paint.text(&Text::new(
                left + 180,
                y + 160,
                "start",
                "mt-dim",
                &format!("taken at +{}", seconds(snapshot.at_ns)),
            ));
            paint.text(&Text::new(
                right,
                y,
                "end",
                "mt-text mt-number",
                &human(snapshot.pss),
            ));
        }
    }
}

/// Tenths of a pixel as a number with at most one decimal.
fn tenth(tenths: u32) -> String {
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        rest => format!("{}.{rest}", tenths / 10),
    }
}

#[cfg(test)]
#[path = "svg/tests.rs"]
mod tests;
