#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;

use super::{
    Diff, DiffReadError, Numbers, Part, Side, TextOptions, Threshold, read_json, write_text,
};
use crate::model::{Verdict, golden};

fn part(name: &str, args: &str, start_ns: u64, peak: u64) -> Part {
    Part {
        name: name.to_owned(),
        command: vec![name.to_owned(), args.to_owned()],
        start_ns,
        numbers: Numbers {
            peak,
            average: peak / 2,
            at_tree_peak: peak,
            count: 1,
            time_ns: 100,
        },
    }
}

fn side(peak: u64, parts: Vec<Part>) -> Side {
    Side {
        command: vec!["make".to_owned()],
        total: Numbers {
            peak,
            average: peak / 2,
            at_tree_peak: peak,
            count: parts.len() as u64,
            time_ns: 1_000_000,
        },
        peak_bounds: (peak, Some(peak)),
        verdict: Verdict::Exact,
        parts,
    }
}

/// JSON and the result that it was made from are the same side: the JSON is the golden file,
/// the result a replay.
#[test]
fn a_result_is_the_same_from_json() {
    let json = include_bytes!("../../tests/golden/make.json");
    let read = read_json(&json[..]).unwrap();
    let mut made = Side::from(&golden::make());
    made.parts
        .sort_by(|a, b| (a.start_ns, &a.name).cmp(&(b.start_ns, &b.name)));
    let mut sorted = read.clone();
    sorted
        .parts
        .sort_by(|a, b| (a.start_ns, &a.name).cmp(&(b.start_ns, &b.name)));
    assert_eq!(sorted, made);
    // And as it stands in the file.
    assert_eq!(read.total.peak, 1_536_000);
    assert_eq!((read.total.average, read.total.count), (410_208, 4));
    let mut peaks: Vec<(&str, u64)> = read
        .parts
        .iter()
        .map(|part| (part.name.as_str(), part.numbers.peak))
        .collect();
    peaks.sort_unstable();
    assert_eq!(
        peaks,
        [
            ("cc", 122_880),
            ("cc", 921_600),
            ("make", 614_400),
            ("make (fork)", 61_440),
            ("make (fork)", 409_600),
        ]
    );
}

/// The same command lines belong together whatever their order; the rest by order.
#[test]
fn images_are_matched_by_command_line_then_by_order() {
    let before = side(
        100,
        vec![
            part("cc", "a.c", 1, 10),
            part("cc", "b.c", 2, 20),
            part("cc", "b.c", 3, 21),
            part("cc", "gone.c", 4, 40),
            part("ld", "x", 5, 50),
        ],
    );
    let after = side(
        180,
        vec![
            part("cc", "b.c", 1, 25),
            part("cc", "a.c", 2, 12),
            part("cc", "new.c", 3, 70),
            part("cc", "b.c", 4, 21),
            part("cc", "newer.c", 5, 5),
            part("as", "x", 6, 1),
        ],
    );
    let diff = Diff::new(&before, &after);
    let programs: Vec<(&str, i128)> = diff
        .programs
        .iter()
        .map(|program| (program.name.as_str(), program.pair.growth(|side| side.peak)))
        .collect();
    // The largest cc: 70 instead of 40.
    assert_eq!(programs, [("cc", 30), ("as", 1), ("ld", -50)]);
    let images: Vec<(&str, Option<u64>, Option<u64>)> = diff.programs[0]
        .images
        .iter()
        .map(|image| {
            let peak = |side: Option<Numbers>| side.map(|side| side.peak);
            (
                image.command[1].as_str(),
                peak(image.pair.before),
                peak(image.pair.after),
            )
        })
        .collect();
    assert_eq!(
        images,
        [
            ("new.c", Some(40), Some(70)),
            ("b.c", Some(20), Some(25)),
            ("newer.c", None, Some(5)),
            ("a.c", Some(10), Some(12)),
            ("b.c", Some(21), Some(21)),
        ]
    );
    let total = diff.programs[0].pair.after.unwrap();
    assert_eq!(
        (total.count, total.time_ns, total.at_tree_peak),
        (5, 500, 133)
    );
    // (12 + 6 + 35 + 10 + 2) / 5, all of the same length.
    assert_eq!(total.average, 13);
}

/// Sizes and percentages, to the byte.
#[test]
fn thresholds() {
    for (text, before, after, crossed) in [
        ("4KiB", 1000, 5096, false),
        ("4KiB", 1000, 5097, true),
        ("0", 1000, 1000, false),
        ("0", 1000, 1001, true),
        ("5%", 1000, 1050, false),
        ("5%", 1000, 1051, true),
        ("2.5 %", 1000, 1026, true),
        ("5%", 0, 1, true),
        ("5%", 1000, 1, false),
        ("1G", 0, u64::MAX, true),
    ] {
        let threshold: Threshold = text.parse().unwrap();
        assert_eq!(
            threshold.is_crossed(before, after),
            crossed,
            "{text} {before} {after}"
        );
    }
    for text in ["", "%", "-1%", "nan%", "inf%", "5 %%", "2GB", "x"] {
        assert!(text.parse::<Threshold>().is_err(), "{text}");
    }
}

/// Where results are ranges, growth is one, too.
#[test]
fn growth_within_the_bounds_is_not_decided() {
    let with = |low, high| Side {
        peak_bounds: (low, high),
        ..side(100, Vec::new())
    };
    let most = Threshold::Bytes(10);
    for (before, after, expected) in [
        ((100, Some(100)), (110, Some(110)), Some(false)),
        ((100, Some(100)), (111, Some(111)), Some(true)),
        ((99, Some(101)), (112, Some(114)), Some(true)),
        ((99, Some(101)), (111, Some(113)), None),
        ((100, Some(100)), (50, None), None),
        ((100, None), (500, Some(500)), None),
        ((100, None), (105, Some(105)), Some(false)),
    ] {
        let (before, after) = (with(before.0, before.1), with(after.0, after.1));
        assert_eq!(
            most.judge(&before, &after),
            expected,
            "{before:?} {after:?}"
        );
    }
}

/// The text, with a hostile name.
#[test]
fn a_difference_for_people() {
    let mib = 1 << 20;
    let before = side(
        100 * mib,
        vec![part("cc", "a.c", 1, 60 * mib), part("ld", "x", 2, mib)],
    );
    let after = side(
        150 * mib,
        vec![
            part("cc", "a.c", 1, 80 * mib),
            part("ld", "x", 2, mib),
            part("e\u{1b}[2J", "y", 3, mib),
        ],
    );
    let mut out = Vec::new();
    let diff = Diff::new(&before, &after);
    write_text(&diff, &before, &after, TextOptions::default(), &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "\
before    make
after     make
peak      100.0 MiB -> 150.0 MiB   +50.0 MiB (+50.0 %)
average   50.0 MiB -> 75.0 MiB   +25.0 MiB (+50.0 %)
time      1.000 ms -> 1.000 ms   0 ns (+0.0 %)
processes 2 -> 3
exact     before: yes; after: yes

peak before       after       growth       average at tree peak        count           time  program
   60.0 MiB    80.0 MiB    +20.0 MiB     +10.0 MiB    +20.0 MiB            1           0 ns  cc
          -     1.0 MiB     +1.0 MiB    +512.0 KiB     +1.0 MiB       0 -> 1        +100 ns  e\\u{1b}[2J

1 programs need what they needed before (--all shows them)
"
    );
}

/// Other files are called what they are.
#[test]
fn other_files_are_refused() {
    assert!(matches!(
        read_json(&b"{\"schema\":\"memtrace.compare/1\"}"[..]),
        Err(DiffReadError::Schema(schema)) if schema == "memtrace.compare/1"
    ));
    for text in [
        "",
        "{",
        "[]",
        "{}",
        "{\"schema\":\"memtrace.summary/1\"}",
        "\u{0}",
        "null",
    ] {
        assert!(
            matches!(read_json(text.as_bytes()), Err(DiffReadError::Json(_))),
            "{text}"
        );
    }
    let deep = "[".repeat(1_000_000);
    assert!(read_json(deep.as_bytes()).is_err());
}

proptest! {
    /// A golden file with any byte changed or cut anywhere is read or refused.
    #[test]
    fn damaged_files_are_answered(at in 0_usize..20_000, byte: u8, cut: bool) {
        let mut json = include_bytes!("../../tests/golden/make.json").to_vec();
        let at = at % json.len();
        if cut {
            json.truncate(at);
        } else {
            json[at] = byte;
        }
        if let Ok(side) = read_json(&json[..]) {
            let diff = Diff::new(&side, &side);
            let mut out = Vec::new();
            write_text(&diff, &side, &side, TextOptions { per_process: true, all: true }, &mut out).unwrap();
        }
    }
}
