//! Test support: a reference simulator of the kernel side, and hand-written
//! histories as text.

mod certificates;
pub(crate) mod golden;
mod properties;
mod recorder;
mod segments;
mod segments_timeline;
mod simulator;
mod timeline;

use memtrace_ebpf::{
    Change, Image, ImageKind, ImageState, ImageWindow, Process, SizesChange, Tree, TreeWindow,
    event,
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
        event::FREED => size_of::<event::Freed>(),
        event::IMAGE_END => size_of::<Image>(),
        event::IMAGE_WINDOW => size_of::<ImageWindow>(),
        event::TREE_WINDOW => size_of::<TreeWindow>(),
        event::CHANGE => size_of::<Change>(),
        event::SIZES_CHANGE => size_of::<SizesChange>(),
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
    crate::blank::TREE
}

/// A live process.
pub(crate) fn process(tgid: u32, started_at: u64, creator: u32) -> Process {
    Process {
        started_at,
        tgid,
        ns_tgid: tgid,
        creator,
        threads: 1,
        ..crate::blank::PROCESS
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
        ended_by_limit: None,
        own_cgroup: None,
        snapshots: Vec::new(),
        segments: Vec::new(),
        branches: Vec::new(),
        sampled: None,
    }
}
