//! Test support: a reference simulator of the kernel side, and hand-written
//! histories as text.

mod certificates;
mod golden;
mod properties;
mod simulator;

use memtrace_ebpf::{
    EPOCHS, Image, ImageKind, ImageState, Integral, MEMBERS, Process, Tree, event,
};

use super::{CrossChecks, Final, Stats};
use crate::event::Event;

/// Bytes per page in all tests.
const PAGE: u64 = 4096;

/// An event of a kind with everything else 0.
pub(crate) fn zeroed(kind: u32) -> Event {
    let size = match kind {
        event::FORK => size_of::<event::Fork>(),
        event::EXEC => size_of::<event::Exec>(),
        event::EXIT => size_of::<event::Exit>(),
        event::IMAGE_END => size_of::<Image>(),
        _ => size_of::<event::Oom>(),
    };
    let mut bytes = vec![0; size];
    bytes[..4].copy_from_slice(&kind.to_ne_bytes());
    Event::decode(&bytes).expect("a record of the right size")
}

/// An active image of no size.
pub(crate) fn image(id: u64, kind: ImageKind) -> Image {
    let Event::ImageEnd(mut image) = zeroed(event::IMAGE_END) else {
        unreachable!("the kind decides");
    };
    image.id = id;
    image.kind = kind as u32;
    image.state = ImageState::Active as u32;
    *image
}

/// A tree in which nothing happened.
pub(crate) fn tree() -> Tree {
    Tree {
        lock: 0,
        unlocked: 0,
        cur: [0; MEMBERS],
        rss: 0,
        peak_rss: 0,
        peak_rss_at: 0,
        peak_seq: 0,
        peak: [0; MEMBERS],
        peak_rss_swap: 0,
        held_rss_swap: 0,
        integral: [Integral::default(); MEMBERS],
        integral_at: [0; MEMBERS],
        shared: 0,
        uncertain: 0,
        peak_footprint_low: 0,
        peak_footprint_low_at: 0,
        peak_footprint_high: 0,
        peak_footprint_high_at: 0,
        shared_integral: Integral::default(),
        shared_integral_at: 0,
        epoch: 0,
        epoch_start: [0; EPOCHS],
        epoch_high: [0; EPOCHS],
        epoch_rss: [0; EPOCHS],
        started_at: 0,
        events: 0,
        images: 0,
        processes: 0,
        live: 0,
        threads: 0,
        peak_threads: 0,
        family_lost: 0,
    }
}

/// A live process.
pub(crate) fn process(tgid: u32, started_at: u64, creator: u32) -> Process {
    Process {
        mm: 0,
        image: 0,
        started_at,
        tgid,
        ns_tgid: tgid,
        creator,
        tree: 0,
        flags: 0,
        threads: 1,
        exits: 0,
        refused_child: 0,
        refused_mm: 0,
        utime: 0,
        stime: 0,
        min_flt: 0,
        maj_flt: 0,
    }
}

/// A flawless end with nothing alive.
pub(crate) fn last(tree: Tree, ended_at: u64) -> Final {
    Final {
        ended_at,
        tree,
        images: Vec::new(),
        processes: Vec::new(),
        stats: Stats::default(),
        missed: Vec::new(),
        undecodable: 0,
        cross_checks: CrossChecks::default(),
        tier: "A".to_owned(),
        limits: Vec::new(),
        page_size: PAGE,
        command: vec![b"cmd".to_vec()],
        wait_status: Some(0),
        wall_ns: 0,
        user_ns: 0,
        system_ns: 0,
        maxrss_bytes: None,
        started_unix_ns: None,
    }
}
