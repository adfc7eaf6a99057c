//! Looks at everything that lives: the timeline between the events.
//!
//! The values of one look are read one after another, so their sum need not have existed
//! at any moment; how long the looks took is part of the certificate.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    follow::{lock, now},
    status::{self, Look},
    tree::{Target, Tree},
};

/// Between two looks at least.
pub(super) const INTERVAL: Duration = Duration::from_millis(20);

/// Looking takes at most one part in so many of the time.
const SHARE: u32 = 20;

/// An extra look at the end of a process is worth it from this part of the peak on.
const PART: u64 = 16;

/// Looks at everything; returns when to do it next.
pub(super) fn all(tree: &Mutex<Tree>) -> Duration {
    let started = Instant::now();
    let targets = lock(tree).targets();
    let from = now();
    let looks = read(&targets);
    lock(tree).sampled(from, now(), &looks);
    INTERVAL.max(started.elapsed() * SHARE)
}

/// The same from the tracer's thread, while it holds one thread that is about to end.
pub(super) fn with(tree: &Mutex<Tree>, exiting: i32) {
    let mut targets = lock(tree).targets();
    let from = now();
    {
        let tree = lock(tree);
        // Its memory is still there, but no living thread of it has it any more.
        if let Some(process) = tree.process_of(exiting)
            && let Some(image) = tree.image_of(process)
            && targets.iter().all(|target| target.image != image)
        {
            targets.push(Target {
                process,
                image,
                tid: exiting,
            });
        }
    }
    let looks = read(&targets);
    lock(tree).sampled(from, now(), &looks);
}

/// Whether an extra look is worth its cost when a process ends: it is large, and looking
/// stays within its share.
pub(super) fn worth_it(tree: &Tree, look: Option<&Look>, at: u64) -> bool {
    let held = look
        .and_then(|look| look.memory.as_ref())
        .map_or(0, |memory| memory.now.rss());
    let cost = tree
        .longest_sample
        .max(20_000)
        .saturating_mul(u64::from(SHARE));
    held >= tree.best.rss / PART && at.saturating_sub(tree.sampled_at) >= cost
}

fn read(targets: &[Target]) -> Vec<(Target, Look)> {
    targets
        .iter()
        .filter_map(|target| Some((*target, status::look_through(target.tid).ok()?)))
        .collect()
}
