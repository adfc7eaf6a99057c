//! Elements of the picture. Positions are in tenths of a pixel.

use super::tenth;
use crate::report::html::markup::escape_markup;

/// Colours and type of a picture that stands alone. In a page they are the page's.
const THEME: &str = include_str!("theme.css");

/// What the parts of a picture look like, in those colours.
pub(in crate::report) const PLOT: &str = include_str!("plot.css");

/// The patterns that tell layers apart without colour. The page's script uses the same ids.
const PATTERNS: &str = include_str!("patterns.svg");

/// The class of the pattern over a layer, if it has one.
pub(super) fn pattern(layer: usize) -> Option<&'static str> {
    match layer {
        1 => Some("mt-p1"),
        2 => Some("mt-p2"),
        3 => Some("mt-p3"),
        5 => Some("mt-p5"),
        6 => Some("mt-p6"),
        _ => None,
    }
}

/// A line of text.
pub(super) struct Text<'a> {
    x: u32,
    y: u32,
    anchor: &'static str,
    class: &'a str,
    text: &'a str,
}

impl<'a> Text<'a> {
    /// `text` is escaped when it is painted.
    pub(super) const fn new(
        x: u32,
        y: u32,
        anchor: &'static str,
        class: &'a str,
        text: &'a str,
    ) -> Self {
        Self {
            x,
            y,
            anchor,
            class,
            text,
        }
    }
}

pub(super) struct Paint {
    out: String,
    width: u32,
    height: u32,
}

impl Paint {
    pub(super) const fn new(width: u32, height: u32) -> Self {
        Self {
            out: String::new(),
            width,
            height,
        }
    }

    /// Title and description must be escaped.
    pub(super) fn open(&mut self, title: &str, description: &str) {
        let (width, height) = (self.width, self.height);
        self.out.push_str(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"mt-plot\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{title}. {description}\">\n\
             <title>{title}</title>\n<desc>{description}</desc>\n{PATTERNS}"
        ));
    }

    pub(super) fn style(&mut self) {
        self.out.push_str("<style>\n");
        self.out.push_str(THEME);
        self.out.push_str(PLOT);
        self.out.push_str("</style>\n");
        let (width, height) = (self.width, self.height);
        self.out.push_str(&format!(
            "<rect class=\"mt-paper\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n"
        ));
    }

    pub(super) fn text(&mut self, text: &Text<'_>) {
        let Text {
            x,
            y,
            anchor,
            class,
            text,
        } = *text;
        self.out.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>\n",
            tenth(x),
            tenth(y),
            escape_markup(text)
        ));
    }

    pub(super) fn line(&mut self, class: &str, from: (u32, u32), to: (u32, u32)) {
        self.out.push_str(&format!(
            "<path class=\"{class}\" d=\"M{} {}L{} {}\"/>\n",
            tenth(from.0),
            tenth(from.1),
            tenth(to.0),
            tenth(to.1)
        ));
    }

    pub(super) fn path(&mut self, class: &str, path: &str) {
        self.out
            .push_str(&format!("<path class=\"{class}\" d=\"{path}\"/>\n"));
    }

    pub(super) fn rect(&mut self, class: &str, at: (u32, u32), size: (u32, u32)) {
        self.out.push_str(&format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n",
            tenth(at.0),
            tenth(at.1),
            tenth(size.0),
            tenth(size.1)
        ));
    }

    pub(super) fn circle(&mut self, class: &str, at: (u32, u32), radius: u32) {
        self.out.push_str(&format!(
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>\n",
            tenth(at.0),
            tenth(at.1),
            tenth(radius)
        ));
    }

    /// The square that shows the colour and pattern of a layer.
    pub(super) fn swatch(&mut self, layer: usize, at: (u32, u32)) {
        self.rect(&format!("mt-l{layer}"), at, (110, 110));
        if let Some(pattern) = pattern(layer) {
            self.rect(pattern, at, (110, 110));
        }
    }

    pub(super) fn close(mut self) -> String {
        self.out.push_str("</svg>\n");
        self.out
    }
}
