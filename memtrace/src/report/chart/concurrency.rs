//! How the peak depends on how many processes of a program work at the same time.
//!
//! An image counts while it holds memory. The moments that are looked at are those at which the
//! whole composition is known: the instant of the tree's maximum in each span, the one after its
//! last change, and the peak. So of each number of images at once, the largest sum *seen* is a sum
//! that there was, and the largest there was is at least that.

use std::collections::BTreeMap;

use super::{Run, moments::Moments};

/// A count of images says something about their cost if it lasted this part of the time in which
/// there were any: a hundredth.
const LEAST_PART: u128 = 100;

/// What was seen while a number of images were there at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::report) struct Level {
    /// How many.
    pub(in crate::report) at_once: usize,
    /// For how long, from the lifetimes of the images.
    pub(in crate::report) for_ns: u64,
    /// The largest sum of RSS over the whole tree that was seen; 0: none was.
    pub(in crate::report) largest: u64,
    /// What the images held of it.
    pub(in crate::report) held: u64,
    /// When that was.
    pub(in crate::report) at_ns: u64,
}

/// A line through the largest sums, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Line {
    /// What each further image costs, bytes; more than 0.
    pub(in crate::report) each: f64,
    /// The line's value for no image, bytes.
    pub(in crate::report) base: f64,
    /// How far a sum that was seen lies above the line at most, bytes.
    pub(in crate::report) above: f64,
}

impl Line {
    /// How many at once fit into `bytes`, if sums lie above the line by as much as they did.
    pub(in crate::report) fn fitting(&self, bytes: u64) -> u64 {
        let room = bytes as f64 - self.base - self.above;
        // Of what is negative or no number, 0.
        (room / self.each).floor() as u64
    }
}

/// The program that held most of those of which several were there at once.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::report) struct Concurrency {
    /// One of its images, by index.
    pub(in crate::report) image: usize,
    /// How many of them held memory at the peak.
    pub(in crate::report) at_peak: usize,
    /// From 1 to the most, without gaps.
    pub(in crate::report) levels: Vec<Level>,
    /// `None`: a single count lasted, or more at once did not need more.
    pub(in crate::report) line: Option<Line>,
}

/// Images of one program at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: usize,
    held: u64,
}

impl Tally {
    fn moved(&mut self, from: u64, to: u64) {
        self.count = self.count + usize::from(to > 0) - usize::from(from > 0).min(self.count);
        self.held = self.held.saturating_add(to).saturating_sub(from);
    }
}

/// Finds the program and its levels; `None` if no program had several images at once, or if the
/// peak was sampled.
pub(in crate::report) fn concurrency(run: &Run<'_>) -> Option<Concurrency> {
    if run.summary.tree.peak_range.is_some() {
        return None;
    }
    let moments = Moments::new(run.timeline);
    let images = &run.summary.images;
    let mut names: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut program_of: Vec<usize> = Vec::new();
    for image in images {
        let next = names.len();
        program_of.push(*names.entry(image.program.name()).or_insert(next));
    }
    let program = most_held(run, &moments, &program_of, names.len())?;
    let of_program = |image: usize| program_of.get(image) == Some(&program);
    let mut levels = times(run, &of_program);
    let mut see = |tally: Tally, rss: u64, at_ns: u64| {
        if tally.count == 0 {
            return;
        }
        if levels.len() < tally.count {
            levels.resize(tally.count, Level::default());
        }
        if let Some(level) = levels.get_mut(tally.count - 1)
            && rss > level.largest
        {
            (level.largest, level.held, level.at_ns) = (rss, tally.held, at_ns);
        }
    };
    let tree = &run.summary.tree;
    let mut at_peak = Tally::default();
    for holder in tree
        .at_peak
        .iter()
        .filter(|holder| of_program(holder.image))
    {
        at_peak.moved(0, holder.held.rss());
    }
    see(at_peak, tree.peak_rss, tree.peak_at_ns);
    let mut now = Tally::default();
    let width = run.timeline.width_ns;
    moments.walk(|_, span, steps| {
        let mut at_max = now;
        for step in steps.iter().filter(|step| of_program(step.image)) {
            at_max.moved(step.before, step.at_max);
            now.moved(step.before, step.after);
        }
        // A span without width has no instant but the one after it.
        if width > 0 {
            see(at_max, span.max_rss, span.max_at_ns);
        }
        see(now, span.last.rss(), span.start_ns.saturating_add(width));
    });
    for (i, level) in levels.iter_mut().enumerate() {
        level.at_once = i + 1;
    }
    let line = line(&levels);
    Some(Concurrency {
        image: (0..images.len()).find(|&image| of_program(image))?,
        at_peak: at_peak.count,
        levels,
        line,
    })
}

/// The program whose images held most together at an instant of a maximum, of those that had
/// several holding memory at such an instant.
fn most_held(
    run: &Run<'_>,
    moments: &Moments<'_>,
    program_of: &[usize],
    programs: usize,
) -> Option<usize> {
    let mut now = vec![Tally::default(); programs];
    let mut most = vec![Tally::default(); programs];
    let raise = |most: &mut [Tally], program: usize, tally: Tally| {
        if let Some(most) = most.get_mut(program) {
            most.count = most.count.max(tally.count);
            most.held = most.held.max(tally.held);
        }
    };
    for holder in &run.summary.tree.at_peak {
        if let Some(&program) = program_of.get(holder.image)
            && let Some(tally) = now.get_mut(program)
        {
            tally.moved(0, holder.held.rss());
            raise(&mut most, program, *tally);
        }
    }
    now.fill(Tally::default());
    let mut at_max: BTreeMap<usize, Tally> = BTreeMap::new();
    moments.walk(|_, _, steps| {
        at_max.clear();
        for step in steps {
            let Some(&program) = program_of.get(step.image) else {
                continue;
            };
            let Some(tally) = now.get_mut(program) else {
                continue;
            };
            let then = at_max.entry(program).or_insert(*tally);
            then.moved(step.before, step.at_max);
        }
        for step in steps {
            if let Some(tally) = program_of.get(step.image).and_then(|&p| now.get_mut(p)) {
                tally.moved(step.before, step.after);
            }
        }
        for (&program, &tally) in &at_max {
            raise(&mut most, program, tally);
            if let Some(&tally) = now.get(program) {
                raise(&mut most, program, tally);
            }
        }
    });
    let several = most.iter().enumerate().filter(|(_, tally)| tally.count > 1);
    let best = several.max_by_key(|&(i, tally)| (tally.held, std::cmp::Reverse(i)));
    best.map(|(program, _)| program)
}

/// How long how many images were there at once.
fn times(run: &Run<'_>, of_program: &dyn Fn(usize) -> bool) -> Vec<Level> {
    let end = run.end_ns();
    let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
    for (i, image) in run.summary.images.iter().enumerate() {
        let until = image.end_ns.unwrap_or(end);
        if of_program(i) && image.ran() && until > image.start_ns {
            *changes.entry(image.start_ns).or_default() += 1;
            *changes.entry(until).or_default() -= 1;
        }
    }
    let mut levels: Vec<Level> = Vec::new();
    let (mut count, mut since) = (0_i64, 0);
    for (at, change) in changes {
        if let Some(index) = usize::try_from(count).ok().and_then(|n| n.checked_sub(1)) {
            if levels.len() <= index {
                levels.resize(index + 1, Level::default());
            }
            if let Some(level) = levels.get_mut(index) {
                level.for_ns = level.for_ns.saturating_add(at - since);
            }
        }
        count += change;
        since = at;
    }
    levels
}

/// The line through the levels that lasted.
fn line(levels: &[Level]) -> Option<Line> {
    let all: u128 = levels.iter().map(|level| u128::from(level.for_ns)).sum();
    let seen = || levels.iter().filter(|level| level.largest > 0);
    let point = |level: &Level| (level.at_once as f64, level.largest as f64);
    let points: Vec<(f64, f64)> = seen()
        .filter(|level| u128::from(level.for_ns) * LEAST_PART >= all)
        .map(point)
        .collect();
    let highest = seen().next_back()?;
    match points.len() {
        0 | 1 => return None,
        // Any line goes through two points; what each one held says more, if it is more.
        2 => return Some(steeper(seen().map(point), highest)).filter(|line| line.each >= 1.0),
        _ => {}
    }
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut both, mut square) = (0.0_f64, 0.0_f64);
    for point in &points {
        both += (point.0 - x) * (point.1 - y);
        square += (point.0 - x) * (point.0 - x);
    }
    let each = both / square;
    let line = through(seen().map(point), each, (x, y));
    (each >= 1.0).then_some(line)
}

/// A line of this slope through a point, below all of which a sum that was seen may lie.
fn through(points: impl Iterator<Item = (f64, f64)>, each: f64, (x, y): (f64, f64)) -> Line {
    let base = y - each * x;
    let above = points
        .map(|(x, y)| y - base - each * x)
        .fold(0.0_f64, f64::max);
    Line { each, base, above }
}

/// The line through the highest of a few points, as steep as any of them says or what each of
/// the images held there.
fn steeper(points: impl Iterator<Item = (f64, f64)> + Clone, highest: &Level) -> Line {
    let (x, y) = (highest.at_once as f64, highest.largest as f64);
    let slopes = points.clone().filter(|point| point.0 < x);
    let each = slopes
        .map(|point| (y - point.1) / (x - point.0))
        .fold(highest.held as f64 / x, f64::max);
    through(points, each, (x, y))
}

#[cfg(test)]
#[path = "concurrency_tests.rs"]
mod tests;
