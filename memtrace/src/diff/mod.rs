//! Two results side by side: what grew, in total and per program.
//!
//! Images are grouped by the name of their program; those that fork made and that never
//! executed anything are a group of their own. Within a group, images with the same command
//! line belong together, in order of their start; what is left is matched in order.

mod json;
mod read;
mod side;
mod text;

use std::collections::BTreeMap;

pub use json::{SCHEMA, write as write_json};
pub use read::{DiffReadError, read_json};
pub use side::{Numbers, Part, Side};
pub use text::{Options as TextOptions, write as write_text};

/// What two sides have of something; `None` where one has nothing like it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Of the first.
    pub before: Option<Numbers>,
    /// Of the second.
    pub after: Option<Numbers>,
}

impl Pair {
    /// How much a number grew; what is not there counts as nothing.
    #[must_use]
    pub fn growth(&self, number: impl Fn(&Numbers) -> u64) -> i128 {
        let of = |side: &Option<Numbers>| side.as_ref().map_or(0, |side| i128::from(number(side)));
        of(&self.after) - of(&self.before)
    }
}

/// One image of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePair {
    /// From 1, among those of the program.
    pub number: usize,
    /// The command line, of the second side if it has one.
    pub command: Vec<String>,
    /// Its numbers.
    pub pair: Pair,
}

/// All images of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramPair {
    /// The program's file name; with " (fork)" for images that fork made.
    pub name: String,
    /// Of all its images together.
    pub pair: Pair,
    /// Each on its own, those that grew most first.
    pub images: Vec<ImagePair>,
}

/// The difference of two results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// Of the trees.
    pub total: Pair,
    /// Of each program, those whose peak grew most first.
    pub programs: Vec<ProgramPair>,
}

impl Diff {
    /// Compares two results.
    #[must_use]
    pub fn new(before: &Side, after: &Side) -> Self {
        let mut groups: BTreeMap<&str, [Vec<&Part>; 2]> = BTreeMap::new();
        for (side, parts) in [&before.parts, &after.parts].into_iter().enumerate() {
            for part in parts {
                if let Some(list) = groups.entry(&part.name).or_default().get_mut(side) {
                    list.push(part);
                }
            }
        }
        let mut programs: Vec<ProgramPair> = groups
            .into_iter()
            .map(|(name, [before, after])| ProgramPair {
                name: name.to_owned(),
                pair: Pair {
                    before: side::together(&before),
                    after: side::together(&after),
                },
                images: matched(before, after),
            })
            .collect();
        // Stable: what grew alike stays ordered by name.
        programs.sort_by_key(|program| std::cmp::Reverse(program.pair.growth(|side| side.peak)));
        Self {
            total: Pair {
                before: Some(before.total),
                after: Some(after.total),
            },
            programs,
        }
    }
}

/// Matches the images of one program.
fn matched<'a>(mut before: Vec<&'a Part>, mut after: Vec<&'a Part>) -> Vec<ImagePair> {
    for side in [&mut before, &mut after] {
        side.sort_by_key(|part| part.start_ns);
    }
    // By command line: each waiting list in order of start.
    let mut waiting: BTreeMap<&[String], Vec<&Part>> = BTreeMap::new();
    for part in before.iter().rev() {
        waiting.entry(&part.command).or_default().push(part);
    }
    let mut pairs: Vec<(Option<&Part>, Option<&Part>)> = after
        .iter()
        .map(|part| {
            let same = waiting.get_mut(part.command.as_slice());
            (same.and_then(Vec::pop), Some(*part))
        })
        .collect();
    // What is left, in order.
    let mut left: Vec<&Part> = waiting.into_values().flatten().collect();
    left.sort_by_key(|part| part.start_ns);
    let mut left = left.into_iter();
    for (before, _) in pairs.iter_mut().filter(|(before, _)| before.is_none()) {
        *before = left.next();
    }
    pairs.extend(left.map(|part| (Some(part), None)));
    let mut images: Vec<ImagePair> = pairs
        .into_iter()
        .enumerate()
        .map(|(index, (before, after))| ImagePair {
            number: index + 1,
            command: after
                .or(before)
                .map(|part| part.command.clone())
                .unwrap_or_default(),
            pair: Pair {
                before: before.map(|part| part.numbers),
                after: after.map(|part| part.numbers),
            },
        })
        .collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.pair.growth(|side| side.peak)));
    images
}

/// How much more is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// That many bytes.
    Bytes(u64),
    /// That part of the first, in percent.
    Percent(f64),
}

impl std::str::FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(number) = text.trim().strip_suffix('%') {
            return number
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|percent| percent.is_finite() && *percent >= 0.0)
                .map(Self::Percent)
                .ok_or_else(|| format!("'{text}' is no percentage such as 5%"));
        }
        text.parse::<crate::budget::Size>()
            .map(|size| Self::Bytes(size.bytes()))
            .map_err(|error| format!("{error}, or a percentage such as 5%"))
    }
}

impl Threshold {
    /// Whether going from `before` to `after` is more.
    #[must_use]
    pub fn is_crossed(self, before: u64, after: u64) -> bool {
        let growth = after.saturating_sub(before);
        match self {
            Self::Bytes(most) => growth > most,
            Self::Percent(most) => growth as f64 > before as f64 * most / 100.0,
        }
    }

    /// Whether the peaks of the trees surely grew more (`Some(true)`), surely did not, or
    /// cannot be told apart (`None`).
    #[must_use]
    pub fn judge(self, before: &Side, after: &Side) -> Option<bool> {
        let (before, after) = (before.peak_bounds, after.peak_bounds);
        // The least and the most that it can have grown.
        let least = before.1.is_some_and(|high| self.is_crossed(high, after.0));
        let most = after.1.is_none_or(|high| self.is_crossed(before.0, high));
        (least == most).then_some(most)
    }
}

#[cfg(test)]
mod tests;
