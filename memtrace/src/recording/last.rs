//! Everything that is known at the end, as items.

use memtrace_ebpf::Stat;

use super::{
    fields::{self, Take},
    items::{Parts, each_item, text},
    limit::{limit, put_limit},
    own_cgroup::{own_cgroup, put_own_cgroup},
    sampled::{put_sampled, sampled, sampled_image},
    state::{end, kernel_side, put_branches, put_segments, put_snapshots, stat_number, statistics},
    varint::{Bytes, Malformed, put, put_bytes, zigzag},
};
use crate::{
    blank,
    model::{
        BranchState, CrossChecks, EndedByLimit, Final, Limit, Limited, Missed, PssSnapshot, Stats,
        reasons::Remedy,
    },
};

/// Snapshots that are read; no memtrace writes as many.
pub(super) const MOST_SNAPSHOTS: usize = 1 << 16;

/// Everything that was known at the end.
pub(super) fn final_parts(last: &Final) -> Parts {
    let Final {
        ended_at,
        tree,
        images,
        processes,
        stats,
        missed,
        undecodable,
        cross_checks,
        tier,
        limits,
        page_size,
        command,
        wait_status,
        wall_ns,
        user_ns,
        system_ns,
        maxrss_bytes,
        started_unix_ns,
        ended_by_limit,
        snapshots,
        segments,
        branches,
        sampled,
        own_cgroup,
    } = last;
    let mut parts = Parts::default();
    kernel_side(&mut parts, *ended_at, tree, images, processes);
    statistics(&mut parts, stats, *undecodable, *cross_checks);
    for Missed { program, count } in missed {
        parts.item(end::MISSED, |body| {
            put(body, *count);
            put_bytes(body, program.as_bytes());
        });
    }
    parts.bytes(end::TIER, tier.as_bytes());
    for limit in limits {
        parts.item(end::LIMIT, |body| put_limit(body, limit));
    }
    parts.number(end::PAGE_SIZE, *page_size);
    for argument in command {
        parts.bytes(end::ARGUMENT, argument);
    }
    if let Some(status) = wait_status {
        parts.number(end::WAIT_STATUS, zigzag((*status).into()));
    }
    parts.item(end::DURATIONS, |body| {
        put(body, *wall_ns);
        put(body, *user_ns);
        put(body, *system_ns);
    });
    if let Some(bytes) = maxrss_bytes {
        parts.number(end::MAXRSS, *bytes);
    }
    if let Some(at) = started_unix_ns {
        parts.number(end::STARTED, *at);
    }
    if let Some(ended) = ended_by_limit {
        parts.item(end::ENDED_BY_LIMIT, |body| put_ended(body, ended));
    }
    put_snapshots(&mut parts, snapshots, *ended_at);
    put_segments(&mut parts, segments);
    put_branches(&mut parts, branches, *ended_at);
    if let Some(sampled) = sampled {
        put_sampled(&mut parts, sampled);
    }
    if let Some(told) = own_cgroup {
        put_own_cgroup(&mut parts, told);
    }
    parts
}

fn put_ended(body: &mut Vec<u8>, ended: &EndedByLimit) {
    let EndedByLimit {
        limit,
        seen_rss,
        noticed_at_ns,
        terminated,
        killed,
        command_had_ended,
        failures,
    } = ended;
    for number in [
        *limit,
        *seen_rss,
        *noticed_at_ns,
        *terminated,
        *killed,
        u64::from(*command_had_ended),
        failures.len() as u64,
    ] {
        put(body, number);
    }
    for failure in failures {
        put_bytes(body, failure.as_bytes());
    }
}

fn ended_by_limit(mut body: Bytes<'_>) -> Result<EndedByLimit, Malformed> {
    let mut ended = EndedByLimit {
        limit: body.number()?,
        seen_rss: body.number()?,
        noticed_at_ns: body.number()?,
        terminated: body.number()?,
        killed: body.number()?,
        command_had_ended: body.number()? != 0,
        failures: Vec::new(),
    };
    // Each takes a byte at least, so no number asks for more than the file holds.
    for _ in 0..body.number()? {
        ended.failures.push(text(Bytes(body.bytes()?)));
    }
    Ok(ended)
}

fn branch(mut body: Bytes<'_>, base: u64) -> Result<BranchState, Malformed> {
    let mut branch = BranchState::default();
    let named = body.number()? != 0;
    let name = text(Bytes(body.bytes()?));
    branch.name = named.then_some(name);
    // Each takes a byte at least, so no number asks for more than the file holds.
    for _ in 0..body.number()? {
        let root = u32::try_from(body.number()?).map_err(|_| Malformed)?;
        branch.roots.push(root);
    }
    let mut v = Take::new(body);
    fields::branch(&mut v, &mut branch.totals, base);
    v.end()?;
    Ok(branch)
}

/// A result in which nothing happened.
pub(super) fn no_final(page_size: u64) -> Final {
    Final {
        ended_at: 0,
        tree: blank::TREE,
        images: Vec::new(),
        processes: Vec::new(),
        stats: Stats::default(),
        missed: Vec::new(),
        undecodable: 0,
        cross_checks: CrossChecks::default(),
        tier: String::new(),
        limits: Vec::new(),
        page_size,
        command: Vec::new(),
        wait_status: None,
        wall_ns: 0,
        user_ns: 0,
        system_ns: 0,
        maxrss_bytes: None,
        started_unix_ns: None,
        ended_by_limit: None,
        snapshots: Vec::new(),
        segments: Vec::new(),
        branches: Vec::new(),
        sampled: None,
        own_cgroup: None,
    }
}

/// # Errors
///
/// If the time or the tree are missing, or something does not follow the format.
pub(super) fn read_final(parts: &[Vec<u8>]) -> Result<Final, Malformed> {
    let mut last = no_final(0);
    let mut at = None;
    let mut tree = None;
    each_item(parts, |tag, mut body| {
        // Times are distances from it, so it comes first.
        let base = at.unwrap_or(0);
        match tag {
            end::AT => at = Some(body.number()?),
            end::TREE => {
                let mut read = blank::TREE;
                let mut v = Take::new(body);
                fields::tree(&mut v, &mut read, base);
                v.end()?;
                tree = Some(read);
            }
            end::IMAGE => {
                let mut image = blank::IMAGE;
                let mut v = Take::new(body);
                fields::image(&mut v, &mut image, base);
                v.end()?;
                last.images.push(image);
            }
            end::PROCESS => {
                let mut process = blank::PROCESS;
                let mut v = Take::new(body);
                fields::process(&mut v, &mut process, base);
                v.end()?;
                last.processes.push(process);
            }
            end::STAT => {
                let (number, total) = (body.number()?, body.number()?);
                match Stat::ALL.into_iter().find(|s| stat_number(*s) == number) {
                    Some(stat) => last.stats.set(stat, total),
                    // Whether it means a loss is not known here.
                    None => last.limits.push(Limit {
                        reason: Remedy::NewMemtrace.end(&format!(
                            "a newer memtrace recorded, and counted {total} of what this one does not know (statistic {number})"
                        )),
                        bound_bytes: None,
                        of: Limited::Rss,
                    }),
                }
            }
            end::MISSED => {
                let count = body.number()?;
                let program = text(Bytes(body.bytes()?));
                last.missed.push(Missed { program, count });
            }
            end::UNDECODABLE => last.undecodable = body.number()?,
            end::CROSS_CHECKS => {
                last.cross_checks = CrossChecks {
                    count: body.number()?,
                    largest_difference_bytes: body.number()?,
                    allowed_bytes: body.number()?,
                    ..CrossChecks::default()
                };
                // They came later.
                if !body.is_empty() {
                    last.cross_checks.segments = body.number()?;
                    last.cross_checks.segment_difference_bytes = body.number()?;
                }
            }
            end::TIER => last.tier = text(body),
            end::LIMIT => last.limits.push(limit(body)?),
            end::PAGE_SIZE => last.page_size = body.number()?,
            end::ARGUMENT => last.command.push(body.0.to_vec()),
            end::WAIT_STATUS => {
                let status = i32::try_from(body.signed()?).map_err(|_| Malformed)?;
                last.wait_status = Some(status);
            }
            end::DURATIONS => {
                last.wall_ns = body.number()?;
                last.user_ns = body.number()?;
                last.system_ns = body.number()?;
            }
            end::MAXRSS => last.maxrss_bytes = Some(body.number()?),
            end::STARTED => last.started_unix_ns = Some(body.number()?),
            end::PSS => {
                let snapshot = PssSnapshot {
                    at_ns: base.wrapping_add(body.signed()?.cast_unsigned()),
                    pss: body.number()?,
                    uss: body.number()?,
                    rss: body.number()?,
                };
                if last.snapshots.len() < MOST_SNAPSHOTS {
                    last.snapshots.push(snapshot);
                }
            }
            end::SEGMENTS => {
                let mut segments = blank::SEGMENTS;
                let mut v = Take::new(body);
                fields::segments(&mut v, &mut segments);
                v.end()?;
                last.segments.push(segments);
            }
            end::BRANCH => last.branches.push(branch(body, base)?),
            end::SAMPLED => last.sampled = Some(Box::new(sampled(body)?)),
            end::SAMPLED_IMAGE => {
                let (id, range) = sampled_image(body)?;
                // What it belongs to comes first.
                if let Some(sampled) = &mut last.sampled {
                    sampled.images.insert(id, range);
                }
            }
            end::ENDED_BY_LIMIT => last.ended_by_limit = Some(ended_by_limit(body)?),
            end::OWN_CGROUP => last.own_cgroup = Some(Box::new(own_cgroup(body)?)),
            _ => {}
        }
        Ok(())
    })?;
    last.ended_at = at.ok_or(Malformed)?;
    last.tree = tree.ok_or(Malformed)?;
    Ok(last)
}
