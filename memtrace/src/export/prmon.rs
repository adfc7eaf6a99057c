//! The `prmon.txt` of the HEP Software Foundation's prmon, for `prmon_plot.py` and others.
//!
//! Columns are those of prmon that a recording knows over time, separated by tabs: seconds since 1970
//! and since the start, processes, and KiB. A row is the moment at which the tree was largest within a
//! second: prmon's times are whole seconds, and the peak is among them. There is a row for each
//! second in which something changed, for that before such a one and for the last; in between,
//! all stays.

use std::{collections::HashMap, io};

use super::{Data, ExportError};
use crate::model::Summary;

const SECOND: u64 = 1_000_000_000;
const KIB: u64 = 1024;

/// Writes one row per second in which something changed.
///
/// # Errors
///
/// The writer's, or the timeline cannot be read.
pub fn write(data: &Data<'_>, out: &mut dyn io::Write) -> Result<(), ExportError> {
    let moments = moments(data)?;
    let sizes = virtual_sizes(data, &moments)?;
    let alive = Alive::of(data.summary);
    let zero = data.summary.started_unix_ns.unwrap_or(0) / SECOND;
    writeln!(out, "Time\twtime\tnprocs\trss\tswap\tvmem")?;
    for (moment, size) in moments.iter().zip(sizes) {
        writeln!(
            out,
            "{}\t{}\t{}\t{}\t{}\t{}",
            zero.saturating_add(moment.second()),
            moment.second(),
            alive.at(moment.at_ns),
            moment.rss / KIB,
            moment.swap / KIB,
            size / KIB
        )?;
    }
    Ok(())
}

/// The tree at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    at_ns: u64,
    rss: u64,
    swap: u64,
}

impl Moment {
    const fn second(&self) -> u64 {
        self.at_ns / SECOND
    }
}

/// When the tree was largest in each second that has a row, by time.
fn moments(data: &Data<'_>) -> Result<Vec<Moment>, ExportError> {
    let mut moments: Vec<Moment> = Vec::new();
    // What holds since the last change.
    let mut last = Moment::default();
    let mut add = |moment: Moment, last: Moment| {
        let latest = moments.last().copied();
        if moment.second() > latest.map_or(0, |latest| latest.second() + 1) {
            let at_ns = (moment.second() - 1) * SECOND;
            moments.push(Moment { at_ns, ..last });
        }
        match moments.last_mut() {
            Some(latest) if latest.second() >= moment.second() => {
                if moment.rss > latest.rss {
                    *latest = Moment {
                        at_ns: moment.at_ns.max(latest.at_ns),
                        ..moment
                    };
                }
            }
            _ => moments.push(moment),
        }
    };
    data.spans.tree(&mut |span| {
        let largest = Moment {
            at_ns: span.max_at_ns,
            rss: span.max_rss,
            swap: span.at_max.swap,
        };
        add(largest, last);
        last = Moment {
            at_ns: span.start_ns,
            rss: span.last.rss(),
            swap: span.last.swap,
        };
        Ok(())
    })?;
    let at_ns = data.spans.end_ns();
    add(Moment { at_ns, ..last }, last);
    Ok(moments)
}

/// The sum of virtual sizes at each of the moments.
fn virtual_sizes(data: &Data<'_>, moments: &[Moment]) -> Result<Vec<u64>, ExportError> {
    let mut sums = vec![0_u64; moments.len()];
    let mut hold = |from: u64, until: u64, size: u64| {
        let index = |at: u64| moments.partition_point(|moment| moment.at_ns < at);
        let (from, until) = (index(from), index(until));
        for sum in sums.get_mut(from..until).unwrap_or_default() {
            *sum = sum.saturating_add(size);
        }
    };
    // Since when each image has which size.
    let mut current: HashMap<usize, (u64, u64)> = HashMap::new();
    data.spans.images(&mut |image, span| {
        let now = (span.start_ns, span.sizes.total);
        if let Some((since, size)) = current.insert(image, now) {
            hold(since, span.start_ns, size);
        }
        Ok(())
    })?;
    for (image, (since, size)) in current {
        let image = data.summary.images.get(image);
        let end = image.and_then(|image| image.end_ns).unwrap_or(u64::MAX);
        hold(since, end, size);
    }
    Ok(sums)
}

/// How many processes there are.
struct Alive {
    starts: Vec<u64>,
    ends: Vec<u64>,
}

impl Alive {
    fn of(summary: &Summary) -> Self {
        let processes = || summary.processes.iter();
        let mut starts: Vec<u64> = processes().map(|process| process.start_ns).collect();
        let mut ends: Vec<u64> = processes().filter_map(|process| process.end_ns).collect();
        starts.sort_unstable();
        ends.sort_unstable();
        Self { starts, ends }
    }

    fn at(&self, ns: u64) -> usize {
        let until = |times: &[u64]| times.partition_point(|time| *time <= ns);
        until(&self.starts).saturating_sub(until(&self.ends))
    }
}
