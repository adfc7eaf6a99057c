//! What is told of whom, and when.

use memtrace_ebpf::{
    Image, ImageKind, Process as Entry, Tree,
    event::{EXIT, FORK, Fork, IMAGE_END},
};

use super::{Overview, Reading};
use crate::{
    blank,
    event::Event,
    model::testing::{image, zeroed},
    screen::Look,
};

const PAGE: u64 = 4096;

fn overview() -> Overview {
    Overview::new(PAGE, 1000, true)
}

fn fork(id: u64, tgid: u32, creator: u64) -> Event {
    let Event::Fork(fork) = zeroed(FORK) else {
        unreachable!("the kind decides");
    };
    Event::Fork(Fork {
        process: id,
        creator_process: creator,
        tgid,
        started_at: 1000 + id,
        ..fork
    })
}

fn exit(id: u64, at: u64) -> Event {
    let Event::Exit(mut exit) = zeroed(EXIT) else {
        unreachable!("the kind decides");
    };
    exit.process = id;
    exit.header.at = at;
    Event::Exit(exit)
}

/// An image of a process, with a peak of so many pages.
fn image_of(id: u64, process: u64, peak: i64) -> Image {
    Image {
        process,
        peak_rss: peak,
        peak_rss_at: 1500,
        cur: [1, 2, 3, 4],
        ..image(id, ImageKind::Exec)
    }
}

fn image_end(id: u64, process: u64, peak: i64) -> Event {
    let Event::ImageEnd(mut end) = zeroed(IMAGE_END) else {
        unreachable!("the kind decides");
    };
    *end = image_of(id, process, peak);
    Event::ImageEnd(end)
}

fn entry(id: u64, image: u64) -> Entry {
    Entry {
        id,
        image,
        ..blank::PROCESS
    }
}

fn reading(processes: Vec<Entry>, images: Vec<Image>) -> Reading {
    Reading {
        tree: Tree {
            rss: 5,
            peak_rss: 9,
            peak_rss_at: 1700,
            ..blank::TREE
        },
        images,
        processes,
        lost: 0,
        off: 0,
        sampled: false,
    }
}

/// Ids of those that live and of those that ended.
fn ids(look: &Look) -> (Vec<u64>, Vec<u64>) {
    let ids = |all: &[crate::screen::Process]| all.iter().map(|process| process.id).collect();
    (ids(&look.processes), ids(&look.newly_ended))
}

/// What is alive holds what its image does, and its peak is the largest of all its images.
#[test]
fn the_living_hold_what_their_images_do() {
    let mut overview = overview();
    overview.apply(&fork(1, 70, 0));
    overview.apply(&fork(2, 71, 1));
    overview.apply(&image_end(1, 2, 40));
    overview.begin_reading();
    let read = reading(
        vec![entry(1, 2), entry(2, 3)],
        vec![image_of(2, 1, 8), image_of(3, 2, 10)],
    );
    let look = overview.look(&read, 2000);
    assert_eq!(ids(&look), (vec![1, 2], vec![]));
    assert_eq!(
        (look.at_ns, look.rss, look.peak_rss, look.peak_at_ns),
        (1000, 5 * PAGE, 9 * PAGE, 700)
    );
    assert_eq!((look.alive, look.ended), (2, 0));
    let child = &look.processes[1];
    assert_eq!((child.pid, child.parent), (71, Some(1)));
    assert_eq!(
        (child.res, child.shr, child.swap),
        (7 * PAGE, 5 * PAGE, 3 * PAGE)
    );
    assert_eq!((child.peak, child.peak_at_ns), (40 * PAGE, 500));
    assert_eq!((child.started_ns, child.before_ns), (2, 0));
}

/// One that came and went between two looks is told once, with its peak.
#[test]
fn whoever_lives_between_two_looks_is_told_once() {
    let mut overview = overview();
    overview.apply(&fork(1, 70, 0));
    overview.apply(&image_end(1, 1, 6));
    overview.apply(&exit(1, 1900));
    overview.begin_reading();
    let look = overview.look(&reading(vec![], vec![]), 2000);
    assert_eq!(ids(&look), (vec![], vec![1]));
    assert_eq!((look.alive, look.ended), (0, 1));
    let ended = &look.newly_ended[0];
    assert_eq!((ended.peak, ended.ended_ns), (6 * PAGE, Some(900)));
    overview.begin_reading();
    let look = overview.look(&reading(vec![], vec![]), 3000);
    assert_eq!(ids(&look), (vec![], vec![]));
    assert_eq!(look.ended, 1);
}

/// As long as its memory is torn down its peak can be too low.
#[test]
fn who_still_has_memory_has_not_ended() {
    let mut overview = overview();
    overview.apply(&fork(1, 70, 0));
    overview.apply(&exit(1, 1900));
    overview.begin_reading();
    let look = overview.look(&reading(vec![], vec![image_of(1, 1, 6)]), 2000);
    assert_eq!(ids(&look), (vec![1], vec![]));
    overview.begin_reading();
    overview.apply(&image_end(1, 1, 7));
    let look = overview.look(&reading(vec![], vec![]), 3000);
    assert_eq!(look.newly_ended[0].peak, 7 * PAGE);
}

/// What is told while the maps are read may not be in them yet, or not any more.
#[test]
fn who_comes_or_goes_while_the_maps_are_read_waits_for_the_next_look() {
    let mut overview = overview();
    overview.apply(&fork(1, 70, 0));
    overview.begin_reading();
    overview.apply(&fork(2, 71, 0));
    overview.apply(&exit(1, 1900));
    let look = overview.look(&reading(vec![], vec![]), 2000);
    assert_eq!(ids(&look), (vec![1, 2], vec![]));
    overview.begin_reading();
    let look = overview.look(&reading(vec![entry(2, 0)], vec![]), 3000);
    assert_eq!(ids(&look), (vec![2], vec![1]));
}

/// Where the record of its end was lost it does not stay for ever.
#[test]
fn who_is_not_there_any_more_has_ended() {
    let mut overview = overview();
    overview.apply(&fork(1, 70, 0));
    overview.begin_reading();
    let mut read = reading(vec![], vec![]);
    // All of it may not have been gone through.
    assert_eq!(ids(&overview.look(&read, 2000)), (vec![1], vec![]));
    overview.begin_reading();
    (read.lost, read.off) = (1, 7);
    let look = overview.look(&read, 2000);
    assert_eq!(ids(&look), (vec![], vec![1]));
    assert_eq!(
        (look.newly_ended[0].ended_ns, look.lost, look.off),
        (Some(1000), 1, 7)
    );
}
