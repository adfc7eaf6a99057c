//! Whether everything that is known fits together.

use std::collections::BTreeMap;

use memtrace_ebpf::{MEMBERS, Member, Pages, Process, ProcessFlags, Tree};

use super::{
    certificate::Findings,
    final_state::Final,
    fold::Folded,
    measured::{Measured, rss},
    story::{Birth, Life, Lives},
};

/// Joins the processes of the map with those of the records. Gives the numbers of those that live, with
/// their images.
pub(super) fn check_processes(
    lives: &mut Lives,
    last: &Final,
    folded: &Folded,
    findings: &mut Findings,
) -> BTreeMap<u64, u64> {
    let born = lives.0.values().filter(|life| life.birth.is_some()).count() as u64;
    let born = born.saturating_add(folded.processes.len());
    let mut alive = BTreeMap::new();
    for process in &last.processes {
        if process.flags & ProcessFlags::EXITED != 0 || folded.processes.contains(process.id) {
            continue;
        }
        alive.insert(process.id, process.image);
        let life = lives.0.entry(process.id).or_insert_with(|| {
            findings.gap("processes alive without a record of their creation", || {
                format!("pid {}", process.tgid)
            });
            Life {
                id: process.id,
                pid: process.tgid,
                started_at: process.started_at,
                birth: Some(Birth {
                    ns_tgid: process.ns_tgid,
                    creator: process.creator,
                    creator_process: 0,
                    // What was shared or not is unknown; nothing is claimed.
                    flags: process.flags | ProcessFlags::SHARES_IMAGE,
                    image: 0,
                    started_at: process.started_at,
                    at: process.started_at,
                    inherited: 0,
                    comm: Vec::new(),
                    program: None,
                }),
                ..Life::default()
            }
        });
        life.oom |= process.flags & ProcessFlags::OOM_KILLED != 0;
    }
    for (id, life) in &lives.0 {
        let pid = life.pid;
        if life.birth.is_none() {
            findings.gap("processes without a record of their creation", || {
                format!("pid {pid}")
            });
        }
        match &life.exit {
            None if !alive.contains_key(id) => {
                findings.gap("processes without a record of their end", || {
                    format!("pid {pid}")
                });
            }
            Some(exit) if life.execs.iter().any(|exec| exec.at > exit.header.at) => {
                findings.gap("processes that ran on after their end", || {
                    format!("pid {pid}")
                });
            }
            _ => {}
        }
    }
    let counted = last.tree.processes;
    if counted != born {
        findings.gap("counts of processes that differ", || {
            format!("{counted} were created, {born} were reported")
        });
    }
    alive
}

/// Every image id that a record names must have ended or be alive.
pub(super) fn check_ids(
    lives: &Lives,
    images: &BTreeMap<u64, Measured>,
    alive: &[Process],
    folded: &Folded,
    findings: &mut Findings,
) {
    let mut named = folded.named.clone();
    for life in lives.0.values() {
        let pid = life.pid;
        let born = life.birth.as_ref().filter(|birth| !birth.shares_image());
        let own = born.map(|birth| birth.image);
        for id in own.into_iter().chain(life.execs.iter().map(|e| e.image)) {
            if folded.images.contains(id) {
                findings.gap("images claimed by two processes", || {
                    format!("image {id}, pid {pid}")
                });
            }
        }
        if let Some(birth) = &life.birth {
            named.insert(birth.image);
            // One that ran before can have let go of its memory just then; for want of room is counted.
            let expected = !birth.is_root() && !birth.is_attached() && !birth.comm.is_empty();
            if birth.image == 0 && expected {
                findings.gap("processes whose memory was not tracked", || {
                    format!("pid {pid}")
                });
            }
        }
        for exec in &life.execs {
            named.extend([exec.image, exec.old_image]);
            if exec.image == 0 {
                findings.gap("programs whose memory was not tracked", || {
                    format!("pid {pid}")
                });
            }
        }
    }
    named.extend(images.values().map(|image| image.parent));
    named.extend(alive.iter().map(|process| process.image));
    for id in named
        .into_iter()
        .filter(|id| *id != 0 && !images.contains_key(id) && !folded.images.contains(*id))
    {
        findings.gap("images whose numbers are missing", || format!("image {id}"));
    }
}

/// Checks every image by itself.
pub(super) fn check_images(
    images: &BTreeMap<u64, Measured>,
    last: &Final,
    folded: &Folded,
    findings: &mut Findings,
) {
    if folded.last_seq > last.tree.peak_seq {
        findings.gap("images with impossible numbers", || {
            "one that ended refers to a tree peak that never was".to_owned()
        });
    }
    findings.own_peak_difference_bytes = folded.own_peak_difference.saturating_mul(last.page_size);
    for (id, image) in images {
        if let Some(nonsense) = image.nonsense(last.tree.peak_seq) {
            findings.gap("images with impossible numbers", || {
                format!("image {id}: {nonsense}")
            });
        }
        if !image.is_alive() && image.residual == 0 && image.cur != [0; MEMBERS] {
            findings.gap("images that ended while they held memory", || {
                format!("image {id}")
            });
        }
        let own = rss(&image.own_peak)
            .abs_diff(image.peak_rss)
            .saturating_mul(last.page_size);
        if image.counted() {
            findings.own_peak_difference_bytes = findings.own_peak_difference_bytes.max(own);
        }
        let left = image.residual.unsigned_abs().saturating_mul(last.page_size);
        findings.residual_bytes = findings.residual_bytes.saturating_add(left);
    }
    let known = (images.len() as u64).saturating_add(folded.images.len());
    let counted = last.tree.images;
    if known != counted {
        findings.gap("counts of images that differ", || {
            format!("{counted} were born, {known} were reported")
        });
    }
}

/// Checks the tree's totals: in themselves and against the living images.
pub(super) fn check_tree(
    images: &BTreeMap<u64, Measured>,
    tree: &Tree,
    page_size: u64,
    findings: &mut Findings,
) {
    let mut left = tree.rss.abs_diff(rss(&tree.cur));
    for member in 0..MEMBERS {
        let sum = images
            .values()
            .filter(|image| image.is_alive() && image.counted())
            .fold(0_i64, |sum, image| sum.saturating_add(image.cur[member]));
        left = left.saturating_add(tree.cur[member].abs_diff(sum));
    }
    let left = left.saturating_mul(page_size);
    findings.residual_bytes = findings.residual_bytes.saturating_add(left);

    let most_files = images
        .values()
        .find(|image| image.id == tree.files_of && image.is_alive() && image.counted());
    let files =
        |pages: &Pages| pages[Member::File as usize].saturating_add(pages[Member::Shmem as usize]);
    let wrong = if tree.cur.iter().chain(&tree.peak).any(|&n| n < 0) || tree.peak_footprint_low < 0
    {
        Some("a number is negative")
    } else if tree.peak_rss < rss(&tree.cur)
        || tree.peak_rss_swap < tree.peak_rss
        || (0..MEMBERS).any(|m| tree.peak[m] < tree.cur[m])
    {
        Some("a peak is below a value that was reached")
    } else if tree.peak_rss > rss(&tree.peak) {
        Some("the peak is above the sum of its members' peaks")
    } else if tree.peak_footprint_low > tree.peak_footprint_high
        || tree.peak_footprint_high > tree.peak_rss
    {
        Some("the bounds of the footprint are out of order")
    } else if most_files.is_some_and(|image| files(&image.cur) != tree.files) {
        Some("the largest share of files is not that of its image")
    } else {
        None
    };
    if let Some(wrong) = wrong {
        findings.gap("totals of the tree that are impossible", || {
            wrong.to_owned()
        });
    }
}
