//! What remains to be said at the end of a run without BPF: the totals, who lives, and what all of it is worth.

use memtrace_ebpf::{Image, Integral, MEMBERS, Member, Pages, Process, Tree as Totals};

use super::{
    bounds::CounterError,
    image::largest,
    records::{self, members, pages},
    tree::Tree,
    worth::{self, Found},
};
use crate::{
    blank,
    launch::{
        Finished,
        rusage::{maxrss_bytes, nanoseconds},
    },
    model::{CrossChecks, EndedByLimit, Final, Sampled, Stats},
};

/// What is known of the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// Of the command, if there was one.
    pub(super) status: Option<i32>,
    pub(super) wall_ns: u64,
    pub(super) user_ns: u64,
    pub(super) system_ns: u64,
    /// The command's `ru_maxrss`.
    pub(super) maxrss_bytes: Option<u64>,
    pub(super) started_ns: u64,
}

impl From<&Finished> for Ending {
    fn from(finished: &Finished) -> Self {
        Self {
            status: Some(finished.status),
            wall_ns: finished.elapsed_ns(),
            user_ns: nanoseconds(finished.rusage.ru_utime),
            system_ns: nanoseconds(finished.rusage.ru_stime),
            maxrss_bytes: maxrss_bytes(&finished.rusage),
            started_ns: finished.started_ns,
        }
    }
}

/// What is known apart from the tree.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) command: Vec<Vec<u8>>,
    pub(super) ending: Ending,
    /// Added to boot time gives the time of day.
    pub(super) realtime_offset: i64,
    pub(super) page_size: u64,
    pub(super) ended_at: u64,
    /// Every process was followed from its creation to its end.
    pub(super) followed: bool,
    /// Why not, or what went wrong.
    pub(super) failures: Vec<String>,
    pub(super) error: CounterError,
    /// No larger was the command's process before its first exec.
    pub(super) before: u64,
    pub(super) ended_by_limit: Option<EndedByLimit>,
}

pub(super) fn last(tree: &Tree, facts: Facts) -> Final {
    let Found { peak, sampled } = worth::judge(tree, &facts);
    let (page, ending) = (facts.page_size, facts.ending);
    let begun = tree.zero.unwrap_or(ending.started_ns);
    let started = i64::try_from(begun).unwrap_or(0);
    Final {
        ended_at: facts.ended_at,
        tree: totals(tree, (peak.rss, peak.at), begun, facts.ended_at, page),
        images: living_images(tree, facts.ended_at, page),
        processes: living_processes(tree),
        stats: Stats::default(),
        missed: Vec::new(),
        undecodable: 0,
        cross_checks: CrossChecks::default(),
        tier: Sampled::TIER.to_owned(),
        limits: Vec::new(),
        page_size: page,
        wait_status: ending.status,
        wall_ns: ending.wall_ns,
        user_ns: ending.user_ns,
        system_ns: ending.system_ns,
        maxrss_bytes: ending.maxrss_bytes,
        started_unix_ns: u64::try_from(started.saturating_add(facts.realtime_offset)).ok(),
        command: facts.command,
        ended_by_limit: facts.ended_by_limit,
        snapshots: Vec::new(),
        segments: Vec::new(),
        branches: Vec::new(),
        sampled: Some(Box::new(sampled)),
        // Whoever made it adds what it told.
        own_cgroup: None,
    }
}

/// What is known while the run goes on.
#[derive(Debug)]
pub(crate) struct SoFar {
    pub(crate) at: u64,
    pub(crate) tree: Totals,
    /// Those that live.
    pub(crate) images: Vec<Image>,
    pub(crate) processes: Vec<Process>,
}

pub(super) fn so_far(tree: &Tree, at: u64, page: u64) -> SoFar {
    // Of those that are forgotten, too.
    let mut peak = (tree.best.rss, tree.best.at);
    if tree.highest.0 > peak.0 {
        peak = tree.highest;
    }
    SoFar {
        at,
        tree: totals(tree, peak, tree.zero.unwrap_or(0), at, page),
        images: living_images(tree, at, page),
        processes: living_processes(tree),
    }
}

fn living_images(tree: &Tree, until: u64, page: u64) -> Vec<Image> {
    let images = tree.images.with_places();
    images
        .filter(|(_, image)| !image.void && image.end.is_none())
        .map(|(place, image)| records::image(tree, place, image, until, page))
        .collect()
}

fn living_processes(tree: &Tree) -> Vec<Process> {
    let processes = tree.processes.with_places();
    processes
        .filter(|(_, process)| process.end.is_none())
        .map(|(place, process)| records::living(place, process))
        .collect()
}

/// `peak` is how much it was, in bytes, and when.
fn totals(tree: &Tree, peak: (u64, u64), begun: u64, ended_at: u64, page: u64) -> Totals {
    let (mut cur, mut kinds): (Pages, _) = ([0; MEMBERS], tree.peak);
    let mut integral = [0_u128; MEMBERS];
    let mut until = begun;
    for image in tree.images.iter().filter(|image| !image.void) {
        kinds = largest(kinds, image.peak);
        let (areas, _) = image.areas(image.end.unwrap_or(ended_at));
        for (sum, area) in integral.iter_mut().zip(areas) {
            *sum = sum.saturating_add(area / u128::from(page.max(1)));
        }
        // As long as one lives, so does the tree.
        until = until.max(image.end.unwrap_or(ended_at));
        if let (None, Some(held)) = (image.end, image.last()) {
            for (sum, pages) in cur.iter_mut().zip(members(&held, page)) {
                *sum = sum.saturating_add(pages);
            }
        }
    }
    let peak_rss = pages(peak.0, page);
    let most = u128::from(until.saturating_sub(begun)) * u128::from(peak_rss.unsigned_abs());
    Totals {
        cur,
        rss: cur[Member::File as usize] + cur[Member::Anon as usize] + cur[Member::Shmem as usize],
        peak_rss,
        peak_rss_at: peak.1,
        peak_seq: tree.best.number,
        peak: members(&kinds, page),
        peak_rss_swap: pages(tree.peak_rss_swap.max(peak.0), page),
        integral: no_more_than(integral, most).map(Integral::of),
        integral_at: [until.max(ended_at); MEMBERS],
        started_at: begun,
        images: tree.images.iter().filter(|image| !image.void).count() as u64,
        processes: tree.processes.places() as u64,
        live: i64::try_from(tree.living()).unwrap_or(0),
        // What is shared after fork is unknown: between the largest image and the sum.
        family_lost: 1,
        ..blank::TREE
    }
}

/// Lines between readings of several images can add up to more than was ever seen at once, which a mean above the
/// peak would make plain.
fn no_more_than(mut integral: [u128; MEMBERS], most: u128) -> [u128; MEMBERS] {
    let resident = [Member::File, Member::Anon, Member::Shmem].map(|member| member as usize);
    let sum = resident.iter().fold(0_u128, |sum, &member| {
        sum.saturating_add(integral.get(member).copied().unwrap_or(0))
    });
    let mut over = sum.saturating_sub(most);
    for member in resident {
        if let Some(area) = integral.get_mut(member) {
            let less = over.min(*area);
            *area -= less;
            over -= less;
        }
    }
    integral
}

#[cfg(test)]
mod tests {
    use super::so_far;
    use crate::ptrace::{
        status::{Look, Memory},
        tree::Tree,
    };

    /// Who was the largest and is forgotten was the largest all the same.
    #[test]
    fn the_peak_of_who_is_forgotten_stays() {
        const PAGE: u64 = 4096;
        let mut tree = Tree::default();
        let look = |pid, pages| {
            let mut memory = Memory {
                hwm: pages * PAGE,
                ..Memory::default()
            };
            memory.now.anon = memory.hwm;
            Look {
                tgid: pid,
                memory: Some(memory),
                ..Look::default()
            }
        };
        for (pid, pages) in [(10, 5), (11, 700)] {
            tree.attached(&look(pid, pages), 1, 10);
            if let Some(process) = tree.find(pid) {
                tree.observe(process, &look(pid, pages), 10);
            }
        }
        let peak = |tree: &Tree| so_far(tree, 30, PAGE).tree.peak_rss;
        assert_eq!(peak(&tree), 700);
        tree.ended(11, 20);
        tree.forget(&[1], &[1]);
        assert_eq!(so_far(&tree, 30, PAGE).images.len(), 1);
        assert_eq!(peak(&tree), 700);
    }
}
