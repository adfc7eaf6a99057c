//! Stories of made-up runs, decoded as the page's script does it, against the changes they were made of.

use memtrace_ebpf::Segment;
use serde_json::Value;

use super::*;
use crate::{
    model::{Segments, Summary},
    report::{
        chart::testing::{Change, MIB, MS, Scene, amounts, build_scene},
        html::html,
    },
};

/// Half of the anonymous pages are the heap's; more of them left than came.
fn held(change: &Change) -> [i64; SEGMENTS] {
    let pages = |bytes: u64| (bytes / 4096).cast_signed();
    let (anon, file) = (pages(change.to.anon), pages(change.to.file));
    let mut held = [0; SEGMENTS];
    held[Segment::Heap as usize] = anon / 2;
    held[Segment::Anon as usize] = anon - anon / 2 + anon / 10;
    held[Segment::Unknown as usize] = -(anon / 10);
    held[Segment::Lib as usize] = file;
    held.map(|pages| pages * 4096)
}

/// The scene's result with segments of every change.
fn told(scene: &Scene) -> (Summary, Timeline) {
    let (mut summary, mut timeline) = scene.build(10 * MS);
    // As if each change had been recorded: then times are to the nanosecond.
    timeline.recorded_width_ns = 0;
    timeline.segments = vec![Vec::new(); summary.images.len()];
    for change in scene.ordered() {
        timeline.segments[change.image].push(SegmentsMoment {
            at_ns: change.at,
            resident: held(&change),
        });
    }
    for (image, moments) in summary.images.iter_mut().zip(&timeline.segments) {
        let peak = moments.iter().max_by_key(|moment| moment.rss());
        let peak = peak.copied().unwrap_or_default();
        image.segments = Some(Box::new(Segments {
            table: Segment::ALL.map(|segment| SegmentUse {
                segment,
                resident_at_peak: peak.resident[segment as usize],
                anon_at_peak: 0,
                swapped_at_peak: 0,
                peak_resident: peak.resident[segment as usize].unsigned_abs(),
                peak_swapped: 0,
                mapped_at_peak: (segment == Segment::Heap).then_some(8 * MIB),
                peak_mapped: None,
            }),
            within: Some(0),
            left: 0,
        }));
    }
    (summary, timeline)
}

/// The page, and its data of the first run.
fn page(built: &(Summary, Timeline)) -> (String, Value) {
    let run = Run {
        summary: &built.0,
        timeline: &built.1,
        title: "make",
        notes: &[],
        limit: None,
    };
    let mut out = Vec::new();
    assert!(html(&mut out, &[run]).is_ok());
    let page = String::from_utf8(out).unwrap_or_default();
    let data = page
        .split("id=\"data\">")
        .nth(1)
        .and_then(|rest| rest.split("</script>").next());
    let data: Value = serde_json::from_str(data.unwrap_or_default()).unwrap_or_default();
    (page, data["runs"][0].clone())
}

fn integers(value: &Value) -> Vec<i64> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_i64).collect()
}

fn numbers(value: &Value) -> Vec<i64> {
    vlq::read(value.as_str().unwrap_or_default())
}

/// When, and what each segment held from then on, bytes.
fn decode(story: &[i64], tick: u64) -> Vec<(u64, [i64; SEGMENTS])> {
    let mut numbers = story.iter().copied();
    let mut out = Vec::new();
    let (mut at, mut held) = (0, [0; SEGMENTS]);
    while let (Some(later), Some(changed)) = (numbers.next(), numbers.next()) {
        at += later.unsigned_abs();
        for (i, held) in held.iter_mut().enumerate() {
            if changed & 1 << i != 0 {
                *held += numbers.next().unwrap_or(0) * 4096;
            }
        }
        out.push((at * tick, held));
    }
    out
}

/// The RSS of a process: of the image that it uses.
fn rss_at(scene: &Scene, summary: &Summary, process: usize, at: u64) -> u64 {
    let uses = summary.processes[process].images.iter();
    let used = uses
        .filter(|used| used.start_ns <= at && used.end_ns.is_none_or(|end| at < end))
        .map(|used| used.image);
    let of = |image: usize| {
        let changes = scene.ordered().into_iter();
        let mut changes = changes.filter(|change| change.image == image && change.at <= at);
        changes.next_back().map_or(0, |change| change.to.rss())
    };
    used.map(of).sum()
}

/// At every moment of every process, the segments sum to its RSS; also across fork and exec.
#[test]
fn stories_sum_to_the_rss() {
    let scene = build_scene(5);
    let built = told(&scene);
    let (_, data) = page(&built);
    let segments = &data["segments"];
    assert_eq!(segments["page_bytes"], 4096);
    let processes = integers(&segments["process"]);
    assert_eq!(processes.len(), built.0.processes.len());
    let mut seen = 0;
    for (i, process) in processes.iter().enumerate() {
        let process = usize::try_from(*process).unwrap_or_default();
        let story = decode(&numbers(&segments["story"][i]), 1);
        for (at, held) in &story {
            let sum: i64 = held.iter().sum();
            let rss = rss_at(&scene, &built.0, process, *at);
            assert_eq!(sum.cast_unsigned(), rss, "process {process} at {at}");
        }
        seen += story.len();
        // Each is whole: it has the peak, and nothing at the end.
        let most = story.iter().map(|(_, held)| held.iter().sum::<i64>()).max();
        let peak = data["processes"]["peak"][process].as_i64();
        assert_eq!(most, peak);
        let last = story.last().map(|(_, held)| held.iter().sum());
        assert_eq!(last, Some(0));
    }
    assert!(seen > 100, "{seen}");
}

/// The table has what the segments have: numbers that are not known are -1.
#[test]
fn tables_have_the_segments() {
    let mut scene = Scene::new(&[b"true"]);
    scene.set(0, MS, amounts(10 * MIB, MIB));
    let built = told(&scene);
    let (html, data) = page(&built);
    let [anon, file] = [10 * 256_i64, 256];
    let more = anon - anon / 2 + anon / 10;
    let expected = [
        [2, anon / 2, 0, 8 * 256, 0, 0, -1],
        [4, more, 0, -1, 0, 0, -1],
        [5, file, 0, -1, 0, 0, -1],
        [8, -(anon / 10), 0, -1, 2 * (anon / 10), 0, -1],
    ];
    assert_eq!(numbers(&data["segments"]["table"][0]), expected.concat());
    assert_eq!(data["segments"]["within"], serde_json::json!([0]));
    // Those who run no scripts have the largest one's table.
    let cells = |row: &str| row.matches("<td class=\"number\">").count();
    let row = html.split("<tr><th scope=\"row\">heap</th>").nth(1);
    let row = row.and_then(|rest| rest.split("</tr>").next());
    let row = row.unwrap_or_default();
    assert_eq!(cells(row), 5, "{row}");
    assert!(
        row.contains(">5,242,880<") && row.contains(">8,388,608<"),
        "{row}"
    );
}

/// Very many moments become few, each as it was, and the peak among them.
#[test]
fn stories_are_bounded() {
    let mut scene = Scene::new(&[b"busy"]);
    for i in 1..=30_000 {
        let held = if i == 12_345 { 90 } else { i % 13 };
        scene.set(0, i * MS / 7, amounts(held * MIB, MIB));
    }
    scene.exit(0, 9_000 * MS, 0);
    let built = told(&scene);
    let (_, data) = page(&built);
    let story = decode(&numbers(&data["segments"]["story"][0]), 1);
    assert!(story.len() > 400 && story.len() <= 1_002, "{}", story.len());
    let recorded = data["segments"]["moments"][0].as_u64();
    assert!(recorded > Some(29_000), "{recorded:?}");
    let changes: std::collections::BTreeMap<u64, u64> = scene
        .ordered()
        .iter()
        .map(|change| (change.at, change.to.rss()))
        .collect();
    let rss = |held: &[i64; SEGMENTS]| held.iter().sum::<i64>().cast_unsigned();
    for (at, held) in &story {
        assert_eq!(Some(&rss(held)), changes.get(at), "at {at}");
    }
    let most = story.iter().map(|(_, held)| rss(held)).max();
    assert_eq!(most, Some(91 * MIB));
}

/// Many processes share what there is room for.
#[test]
fn all_stories_together_are_bounded() {
    let mut told: Vec<Told> = (0..1_000)
        .map(|process| Told {
            process,
            peak: 0,
            within: 0,
            table: String::new(),
            moments: (0..500)
                .map(|at_ns| SegmentsMoment {
                    at_ns,
                    resident: [at_ns.cast_signed() % 11; SEGMENTS],
                })
                .collect(),
            recorded: 500,
        })
        .collect();
    limit(&mut told);
    let all: usize = told.iter().map(|told| told.moments.len()).sum();
    assert!(all as u64 <= ALL_MOMENTS, "{all}");
    assert!(told.iter().all(|told| told.moments.len() > 7));
}

/// Without segments nothing is embedded: no data, no script, no style.
#[test]
fn nothing_without_segments() {
    let built = build_scene(1).build(MS);
    let (without, data) = page(&built);
    assert!(data.get("segments").is_none() && data.is_object());
    for part in ["function segmentsSection", "--l8"] {
        assert!(!without.contains(part), "{part}");
    }
    assert!(!without.contains("What memory was for"));
    let (with, _) = page(&told(&build_scene(1)));
    assert!(with.contains("function segmentsSection") && with.contains("--l8"));
}

/// Numbers that JavaScript cannot hold, from a damaged recording, do no harm.
#[test]
fn huge_numbers_are_cut() {
    let moments = [
        SegmentsMoment {
            at_ns: u64::MAX,
            resident: [i64::MAX; SEGMENTS],
        },
        SegmentsMoment {
            at_ns: 5,
            resident: [i64::MIN; SEGMENTS],
        },
    ];
    let story = vlq::read(&encode(&moments, 1, 1));
    assert!(story.iter().all(|n| n.unsigned_abs() <= EXACT), "{story:?}");
}
