//! What is written is read back.

use memtrace_ebpf::{
    Branch, Call, Change, Image, ImageWindow, Process, SegmentsChange, SegmentsRecord, SizesChange,
    Tree, TreeWindow,
    event::{
        CALL, CHANGE, EXEC, EXIT, Exec, Exit, FORK, FREED, Fork, Freed, IMAGE_END, IMAGE_WINDOW,
        OOM, Oom, SEGMENTS, SEGMENTS_CHANGE, SIZES_CHANGE, TREE_WINDOW,
    },
};
use proptest::{collection::vec, prelude::*};

use super::{
    super::{Entry, Loss, State},
    events, head, open, recorded, written,
};
use crate::{
    blank,
    event::Event,
    model::{
        BranchState, CgroupEvents, CgroupStat, CrossChecks, EndedByLimit, Final, Limit, Limited,
        Missed, OwnCgroup, PeakRange, PssSnapshot, Sampled, Stats, Verdict,
    },
};

const SIZES: [(u32, usize); 13] = [
    (FORK, size_of::<Fork>()),
    (EXEC, size_of::<Exec>()),
    (EXIT, size_of::<Exit>()),
    (FREED, size_of::<Freed>()),
    (IMAGE_END, size_of::<Image>()),
    (OOM, size_of::<Oom>()),
    (IMAGE_WINDOW, size_of::<ImageWindow>()),
    (TREE_WINDOW, size_of::<TreeWindow>()),
    (CHANGE, size_of::<Change>()),
    (SIZES_CHANGE, size_of::<SizesChange>()),
    (SEGMENTS, size_of::<SegmentsRecord>()),
    (SEGMENTS_CHANGE, size_of::<SegmentsChange>()),
    (CALL, size_of::<Call>()),
];

/// A record of any kind with anything in it.
fn event() -> impl Strategy<Value = Event> {
    (0..SIZES.len()).prop_flat_map(|i| {
        let (kind, size) = SIZES[i];
        vec(any::<u8>(), size).prop_map(move |mut bytes| {
            bytes[..4].copy_from_slice(&kind.to_ne_bytes());
            Event::decode(&bytes).expect("a record of its size")
        })
    })
}

proptest! {
    /// Any records come back in the order in which they were given, whatever is in them.
    #[test]
    fn records_round_trip(given in vec(event(), 0..60), every in 1_usize..20) {
        let loss = Loss { from: 1, until: 2, records: 3, life: false, reason: "why".to_owned() };
        let bytes = written(|writer| {
            for (i, event) in given.iter().enumerate() {
                writer.event(event);
                // Ends the stretch.
                if i % every == 0 {
                    writer.loss(&loss);
                }
            }
        });
        let mut reader = open(bytes);
        prop_assert_eq!(reader.head(), &head());
        let read = events(&mut reader);
        let expected: Vec<_> = given.iter().map(recorded).collect();
        prop_assert!(read == expected);
        // Only the end is missing, as none was given.
        let notes = reader.notes();
        prop_assert_eq!(notes.len(), 1, "{:?}", notes);
        prop_assert!(notes[0].starts_with("cut after +"), "{:?}", notes);
    }
}

/// Structs with numbers in all fields.
fn kernel_side() -> (Tree, Image, Process) {
    let mut tree = blank::TREE;
    tree.unlocked = 1;
    tree.cur = [2, 3, 4, 5];
    tree.rss = 6;
    tree.peak_rss = 7;
    tree.peak_rss_at = 8;
    tree.peak_seq = 9;
    tree.peak = [10, 11, 12, 13];
    tree.peak_rss_swap = 14;
    tree.held_rss_swap = -15;
    tree.integral[2].hi = 16;
    tree.integral_at = [17, 18, 19, u64::MAX];
    tree.shared = 21;
    tree.uncertain = 22;
    tree.peak_footprint_low = 23;
    tree.peak_footprint_low_at = 24;
    tree.peak_footprint_high = 25;
    tree.peak_footprint_high_at = 26;
    tree.shared_integral.lo = 27;
    tree.shared_integral_at = 28;
    tree.started_at = 29;
    tree.events = 30;
    tree.images = 31;
    tree.processes = 32;
    tree.live = -33;
    tree.threads = 34;
    tree.peak_threads = 35;
    tree.family_lost = 36;
    tree.window.header.kind = TREE_WINDOW;
    tree.window.updates = 37;
    tree.window.uncertain = -38;
    tree.window.max_rss_at = 39;
    let mut image = blank::IMAGE;
    image.id = 40;
    image.process = 63;
    image.vm_peak = [41, 42, 43, 44, 45, 46, 53];
    image.vm_cur = [54, 55, 56, 57, 58, 59, 60, 61];
    image.vm_integral[7].hi = 62;
    image.residual = i64::MIN;
    image.end_reason = 3;
    image.window.header.kind = IMAGE_WINDOW;
    image.window.image = 40;
    image.window.updates = 47;
    image.window.counted = 48;
    image.window.last = [49, -50, 51, 52];
    let mut process = blank::PROCESS;
    process.id = 64;
    process.tgid = 50;
    process.maj_flt = 51;
    process.started_at = 52;
    (tree, image, process)
}

/// Every field of the end comes back.
#[test]
fn the_end_round_trips() {
    let (tree, image, process) = kernel_side();
    let mut segments = blank::SEGMENTS;
    segments.image = 40;
    segments.untold = 3;
    segments.residual = 4;
    segments.cur[8] = [-1, 2, -3, 4];
    segments.at_peak[2] = [5, i64::MIN, 7, 8];
    segments.peak_resident[1] = i64::MAX;
    segments.peak_swapped[7] = 9;
    let mut stats = Stats::default();
    for (i, stat) in memtrace_ebpf::Stat::ALL.into_iter().enumerate() {
        stats.set(stat, 100 + i as u64);
    }
    let state = State {
        at: 12_345,
        tree,
        images: vec![image; 3],
        processes: vec![process; 2],
        stats,
        undecodable: 4,
        cross_checks: CrossChecks {
            count: 5,
            largest_difference_bytes: 6,
            allowed_bytes: 7,
            segments: 8,
            segment_difference_bytes: 9,
        },
        snapshots: vec![PssSnapshot {
            at_ns: 12_000,
            pss: 8,
            uss: 9,
            rss: 10,
        }],
        segments: vec![segments; 2],
    };
    let last = Final {
        ended_at: 67_890,
        tree,
        images: vec![image],
        processes: vec![process],
        stats,
        missed: vec![Missed {
            program: "fork".to_owned(),
            count: 8,
        }],
        undecodable: 9,
        cross_checks: state.cross_checks,
        tier: "A+B".to_owned(),
        limits: vec![
            Limit {
                reason: "no bound".to_owned(),
                bound_bytes: None,
                of: Limited::Rss,
            },
            Limit {
                reason: "bound".to_owned(),
                bound_bytes: Some(0),
                of: Limited::Rss,
            },
            Limit {
                reason: "of swap, no bound".to_owned(),
                bound_bytes: None,
                of: Limited::RssSwap,
            },
            Limit {
                reason: "of swap".to_owned(),
                bound_bytes: Some(77),
                of: Limited::RssSwap,
            },
        ],
        page_size: 65_536,
        command: vec![b"a".to_vec(), Vec::new(), vec![0xff; 200_000]],
        wait_status: Some(-2),
        wall_ns: 10,
        user_ns: 11,
        system_ns: 12,
        maxrss_bytes: Some(0),
        started_unix_ns: Some(13),
        ended_by_limit: Some(EndedByLimit {
            limit: 14,
            seen_rss: 15,
            noticed_at_ns: 16,
            terminated: 17,
            killed: 18,
            command_had_ended: true,
            failures: vec!["it\nis".to_owned(), String::new()],
        }),
        own_cgroup: Some(Box::new(OwnCgroup {
            path: b"/a\xff\nb".to_vec(),
            peak: Some(u64::MAX),
            current: None,
            swap_peak: Some(0),
            stat: CgroupStat {
                anon: Some(1),
                sock: Some(2),
                ..CgroupStat::default()
            },
            events: CgroupEvents {
                oom_kill: Some(3),
                ..CgroupEvents::default()
            },
            remains: true,
        })),
        snapshots: vec![
            PssSnapshot {
                at_ns: 19,
                pss: 20,
                uss: 21,
                rss: 22,
            },
            PssSnapshot {
                at_ns: 70_000,
                pss: u64::MAX,
                uss: 0,
                rss: u64::MAX,
            },
        ],
        segments: vec![segments],
        branches: [None, Some("cgroup /a\nb".to_owned())]
            .map(|name| BranchState {
                name,
                roots: vec![1, u32::MAX],
                totals: Branch {
                    cur: [1, -2, 3, 4],
                    rss: i64::MIN,
                    peak_rss: 6,
                    peak_rss_at: 70_001,
                    at_peak: [7, 8, 9, i64::MAX],
                },
            })
            .to_vec(),
        sampled: Some(Box::new(Sampled {
            verdict: Verdict::Within(23),
            range: Some(PeakRange {
                low: 24,
                high: None,
            }),
            images: [
                (
                    1,
                    PeakRange {
                        low: 25,
                        high: Some(u64::MAX),
                    },
                ),
                (u64::MAX, PeakRange { low: 0, high: None }),
            ]
            .into(),
            reasons: vec!["why\nnot".to_owned(), String::new()],
            remarks: vec!["so".to_owned()],
        })),
    };
    let bytes = written(|writer| {
        writer.checkpoint(&state);
        writer.finish(&last).expect("memory");
    });
    let mut reader = open(bytes);
    let entries: Vec<Entry> = reader
        .entries()
        .map(|entry| entry.expect("memory"))
        .collect();
    let [Entry::Checkpoint(read_state), Entry::End(read_last)] = &entries[..] else {
        panic!("{entries:?}");
    };
    assert_eq!(format!("{read_state:?}"), format!("{:?}", Box::new(state)));
    assert_eq!(format!("{read_last:?}"), format!("{:?}", Box::new(last)));
    assert_eq!(reader.notes(), Vec::<String>::new());
}

/// A state larger than a block is spread over several.
#[test]
fn large_states_round_trip() {
    let (tree, image, process) = kernel_side();
    let mut images = vec![image; 10_000];
    for (image, id) in images.iter_mut().zip(0..) {
        image.id = id;
        image.window.image = id;
    }
    let state = State {
        at: 1,
        tree,
        images,
        processes: vec![process; 10_000],
        stats: Stats::default(),
        undecodable: 0,
        cross_checks: CrossChecks::default(),
        snapshots: Vec::new(),
        segments: Vec::new(),
    };
    let bytes = written(|writer| writer.checkpoint(&state));
    let mut reader = open(bytes);
    let Some(Ok(Entry::Checkpoint(read))) = reader.entries().next() else {
        panic!("a checkpoint");
    };
    assert_eq!(read.images.len(), 10_000);
    assert_eq!(read.processes.len(), 10_000);
    assert!(
        read.images
            .iter()
            .zip(0..)
            .all(|(image, id)| image.id == id)
    );
}
