//! Files that were cut or changed: no panic, a right message, and of what is whole nothing is
//! missing or new.

use std::collections::HashSet;

use super::{
    super::{
        LoadOptions, ReadError, Reader, State,
        format::{BlockHeader, HEADER_LEN, PREAMBLE_LEN},
        load_from,
    },
    events, head,
    history::{Numbers, changes},
    open, written,
};
use crate::model::{CrossChecks, PssSnapshot, Stats, Verdict};

/// A small recording with many blocks.
fn recording() -> Vec<u8> {
    written(|writer| changes(300, 11).write(writer))
}

/// Where blocks begin.
fn blocks(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = PREAMBLE_LEN;
    while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let header = BlockHeader::parse(header).expect("a whole recording");
        starts.push(at);
        at += HEADER_LEN + header.stored_len as usize;
    }
    starts
}

fn loaded(bytes: Vec<u8>) -> (Vec<String>, Verdict, Vec<String>) {
    let mut reader = open(bytes);
    let loaded = load_from(&mut reader, &LoadOptions::default()).expect("memory");
    let certificate = loaded.summary.certificate;
    (loaded.notes, certificate.verdict, certificate.reasons)
}

/// Cut at each byte of the last block, and everywhere.
#[test]
fn every_prefix_is_read_up_to_its_last_whole_block() {
    let whole = recording();
    let all = events(&mut open(whole.clone()));
    let starts = blocks(&whole);
    let last = *starts.last().unwrap();
    let mut numbers = Numbers(3);
    let random = (0..1000).map(|_| numbers.below(whole.len() as u64) as usize);
    let mut seen = 0;
    for cut in (last..whole.len()).chain(random.collect::<Vec<_>>()) {
        let prefix = whole[..cut].to_vec();
        if cut < PREAMBLE_LEN {
            let error = Reader::from_bytes("x", prefix).unwrap_err();
            let expected = if cut == 0 {
                matches!(error, ReadError::Empty(_))
            } else {
                matches!(error, ReadError::NothingRecorded(_))
            };
            assert!(expected, "{cut}: {error}");
            continue;
        }
        let mut reader = open(prefix.clone());
        let read = events(&mut reader);
        // A cut can fall between what is told of processes and the timeline of that time.
        let mut rest = all.iter();
        let in_order = read.iter().all(|event| rest.any(|known| known == event));
        assert!(in_order, "cut at {cut}");
        let skipped = all.len() - rest.len() - read.len();
        assert!(skipped < 60, "{skipped} skipped, cut at {cut}");
        seen = seen.max(read.len());
        let (notes, verdict, reasons) = loaded(prefix);
        assert_eq!(notes.len(), 1, "cut at {cut}: {notes:?}");
        assert!(notes[0].starts_with("cut after +"), "{notes:?}");
        assert!(
            notes[0].ends_with(": memtrace was killed, or the disk was full"),
            "{notes:?}"
        );
        assert_eq!(verdict, Verdict::Incomplete, "cut at {cut}");
        let because = format!("the recording is {}: record it again", notes[0]);
        assert!(reasons.contains(&because), "{reasons:?}");
        // Where the last whole block ends, the rest is no whole block.
        let whole_until = starts
            .iter()
            .copied()
            .chain([whole.len()])
            .take_while(|start| *start <= cut)
            .last()
            .unwrap_or(PREAMBLE_LEN);
        let rest = cut - whole_until;
        assert_eq!(
            notes[0].contains(&format!("({rest} bytes behind that are no whole block)")),
            rest > 0,
            "cut at {cut}: {notes:?}"
        );
    }
    assert_eq!(seen, all.len(), "nothing but the end is in the last block");
    let (notes, ..) = loaded(whole);
    assert_eq!(notes, Vec::<String>::new());
}

/// Changes bytes in one of several ways.
fn corrupt(whole: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let at = numbers.below(bytes.len() as u64) as usize;
    let len = (1 + numbers.below(64) as usize).min(bytes.len() - at);
    match numbers.below(6) {
        0 => bytes[at] ^= 1 << numbers.below(8),
        1 => bytes[at..at + len]
            .iter_mut()
            .for_each(|byte| *byte = numbers.below(256) as u8),
        2 => bytes[at..at + len].fill(0),
        3 => drop(bytes.drain(at..at + len)),
        4 => {
            let more: Vec<u8> = (0..len).map(|_| numbers.below(256) as u8).collect();
            bytes.splice(at..at, more);
        }
        // A piece of the file itself, as file systems mix them up.
        _ => {
            let from = numbers.below((bytes.len() - len) as u64) as usize;
            let piece = bytes[from..from + len].to_vec();
            bytes[at..at + len].copy_from_slice(&piece);
        }
    }
    bytes
}

/// Whatever is changed is noticed, and what is read was written.
#[test]
fn corruptions_are_noted_and_nothing_is_made_up() {
    let whole = recording();
    let all: HashSet<Vec<u8>> = events(&mut open(whole.clone())).into_iter().collect();
    let mut numbers = Numbers(4);
    let mut most = 0;
    for i in 0..10_000 {
        let bytes = corrupt(&whole, &mut numbers);
        if bytes == whole {
            continue;
        }
        let mut reader = match Reader::from_bytes("x", bytes.clone()) {
            Ok(reader) => reader,
            Err(error) => {
                assert_ne!(
                    bytes.get(..PREAMBLE_LEN),
                    whole.get(..PREAMBLE_LEN),
                    "{i}: {error}"
                );
                continue;
            }
        };
        let read = events(&mut reader);
        assert!(read.iter().all(|event| all.contains(event)), "{i}");
        most = most.max(read.len());
        let notes = reader.notes();
        assert!(!notes.is_empty(), "corruption {i} is not noted");
        for note in &notes {
            assert!(
                note.starts_with("damaged: ") || note.starts_with("cut after +"),
                "{note}"
            );
        }
        if i % 10 == 0 {
            let (again, ..) = loaded(bytes);
            assert_eq!(again, notes, "{i}");
        }
    }
    assert!(most > all.len() / 2, "little is read of damaged files");
}

/// One block less, all others there: the message says where and when.
#[test]
fn damage_is_told_with_place_and_time() {
    let whole = recording();
    let starts = blocks(&whole);
    // The second block of records; the first three are the head, and what is told first.
    let at = starts[5];
    let header = BlockHeader::parse(whole[at..].first_chunk().unwrap()).unwrap();
    let mut bytes = whole.clone();
    bytes[at + HEADER_LEN] ^= 0xff;
    let mut reader = open(bytes);
    let read = events(&mut reader).len();
    let all = events(&mut open(whole)).len();
    assert!(read < all && read + 60 > all, "{read} of {all}");
    let notes = reader.notes();
    assert_eq!(notes.len(), 1, "{notes:?}");
    let len = HEADER_LEN + header.stored_len as usize;
    let expected = format!("damaged: {len} bytes at offset {at} skipped, between +");
    assert!(notes[0].starts_with(&expected), "{notes:?}");
}

/// A block that is taken out as a whole is missed, too.
#[test]
fn missing_blocks_are_noted() {
    let whole = recording();
    let starts = blocks(&whole);
    let mut bytes = whole;
    bytes.drain(starts[4]..starts[6]);
    let mut reader = open(bytes);
    events(&mut reader);
    let notes = reader.notes();
    assert_eq!(notes.len(), 1, "{notes:?}");
    let expected = format!("damaged: blocks are missing at offset {}", starts[4]);
    assert!(notes[0].starts_with(&expected), "{notes:?}");
}

/// What is behind the end is not read.
#[test]
fn bytes_behind_the_end_are_noted() {
    let mut bytes = recording();
    let twice = bytes.clone();
    bytes.extend(twice);
    let len = bytes.len() / 2;
    let mut reader = open(bytes);
    events(&mut reader);
    let note = format!("damaged: {len} bytes behind the recording's end skipped");
    assert_eq!(reader.notes(), [note]);
}

/// Files that are something else.
#[test]
fn other_files_are_refused() {
    let refused = |bytes: &[u8]| Reader::from_bytes("x", bytes.to_vec()).unwrap_err();
    assert!(matches!(refused(b""), ReadError::Empty(_)));
    assert!(matches!(refused(b"MEMTR"), ReadError::NothingRecorded(_)));
    assert!(matches!(refused(b"hello"), ReadError::NotARecording(_)));
    assert!(matches!(
        refused(&b"{\"schema\":\"memtrace.summary/1\"}".repeat(9)),
        ReadError::NotARecording(_)
    ));
    let mut newer = recording();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    let error = refused(&newer);
    assert!(matches!(error, ReadError::Newer { version: 2, .. }));
    assert_eq!(
        error.to_string(),
        "x has format version 2, and this memtrace reads versions up to 1: use the memtrace that recorded it, or a newer one"
    );
    assert!(matches!(
        Reader::open("/").unwrap_err(),
        ReadError::NotAFile {
            what: "a directory",
            ..
        }
    ));
    assert!(matches!(
        Reader::open("/nonexistent").unwrap_err(),
        ReadError::Open { .. }
    ));
}

/// The head survives damage elsewhere, and its loss does not take the rest away.
#[test]
fn a_damaged_head_is_not_all() {
    let whole = recording();
    let mut bytes = whole.clone();
    bytes[PREAMBLE_LEN + 1] ^= 1;
    let mut reader = open(bytes);
    assert_ne!(reader.head(), &head());
    let all = events(&mut open(whole));
    assert!(events(&mut reader) == all);
    assert_eq!(reader.notes().len(), 1);
}

/// Snapshots of PSS survive memtrace: each checkpoint has those since the one before.
#[test]
fn without_an_end_the_snapshots_of_the_checkpoints_are_shown() {
    let state = |at: u64, pss: u64| {
        let mut tree = crate::blank::TREE;
        tree.started_at = 1_000_000_000;
        State {
            at,
            tree,
            images: Vec::new(),
            processes: Vec::new(),
            stats: Stats::default(),
            undecodable: 0,
            cross_checks: CrossChecks::default(),
            snapshots: vec![PssSnapshot {
                at_ns: at - 500,
                pss,
                uss: pss / 2,
                rss: 2 * pss,
            }],
            segments: Vec::new(),
        }
    };
    let bytes = written(|writer| {
        writer.checkpoint(&state(2_000_000_000, 8192));
        writer.checkpoint(&state(3_000_000_000, 4096));
    });
    let loaded = load_from(&mut open(bytes), &LoadOptions::default()).unwrap();
    let shown = loaded.summary.tree.snapshots.iter();
    let shown: Vec<(u64, u64)> = shown.map(|one| (one.at_ns, one.pss)).collect();
    assert_eq!(shown, [(999_999_500, 8192), (1_999_999_500, 4096)]);
}
