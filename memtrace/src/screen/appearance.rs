//! Which colours and which characters the screen is drawn with.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};

/// What the terminal can show, or is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appearance {
    /// Whether there are colours. Without them there are still bold, dim and reversed.
    pub colours: bool,
    /// Whether there is more than ASCII in what is drawn. Names stay what they are.
    pub unicode: bool,
}

impl Default for Appearance {
    fn default() -> Self {
        Self {
            colours: true,
            unicode: true,
        }
    }
}

impl Appearance {
    /// What the environment asks for: no colours with `NO_COLOR` (if it is not empty) or on a
    /// dumb terminal, and ASCII unless the locale is one of UTF-8.
    ///
    /// `variable` looks one up.
    pub fn of_environment<T: AsRef<OsStr>>(variable: impl Fn(&str) -> Option<T>) -> Self {
        let of = |name: &str| {
            variable(name)
                .map(|value| value.as_ref().to_string_lossy().into_owned())
                .filter(|value| !value.is_empty())
        };
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(of);
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        Self {
            colours: of("NO_COLOR").is_none() && of("TERM").as_deref() != Some("dumb"),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    fn coloured(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.colours {
            style.fg(colour)
        } else {
            style
        }
    }

    /// Headings and what is to be seen first.
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is over, or matters less.
    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What is chosen.
    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The total over time.
    pub(super) fn total(self) -> Style {
        self.coloured(Color::Cyan, Modifier::empty())
    }

    /// A peak.
    pub(super) fn peak(self) -> Style {
        self.coloured(Color::Yellow, Modifier::BOLD)
    }

    /// What is as it should be.
    pub(super) fn good(self) -> Style {
        self.coloured(Color::Green, Modifier::empty())
    }

    /// What is not: also without colours it cannot be overlooked.
    pub(super) fn bad(self) -> Style {
        self.coloured(Color::Red, Modifier::BOLD | Modifier::REVERSED)
    }

    /// An amount, by its share of all in per cent.
    pub(super) fn share(self, per_cent: u64) -> Style {
        match per_cent {
            0..10 => Style::new(),
            10..40 => self.coloured(Color::Yellow, Modifier::empty()),
            _ => self.coloured(Color::Magenta, Modifier::BOLD),
        }
    }

    /// One of two, by what can be shown.
    pub(super) const fn either(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }
}

#[cfg(test)]
mod tests {
    use super::Appearance;

    fn of(variables: &[(&str, &'static str)]) -> (bool, bool) {
        let Appearance { colours, unicode } = Appearance::of_environment(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        });
        (colours, unicode)
    }

    /// As no-color.org has it, and as the C library looks for the locale.
    #[test]
    fn environments() {
        assert_eq!(of(&[]), (true, false));
        assert_eq!(of(&[("LANG", "de_DE.UTF-8")]), (true, true));
        assert_eq!(of(&[("LC_CTYPE", "C.utf8"), ("LANG", "C")]), (true, true));
        assert_eq!(
            of(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]),
            (true, false)
        );
        assert_eq!(of(&[("LC_ALL", ""), ("LANG", "en_US.UTF-8")]), (true, true));
        assert_eq!(of(&[("NO_COLOR", "1")]), (false, false));
        assert_eq!(of(&[("NO_COLOR", "")]), (true, false));
        assert_eq!(of(&[("TERM", "dumb")]), (false, false));
    }
}
