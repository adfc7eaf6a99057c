//! Pictures are XML whatever programs are called, and show what they should.

use super::*;
use crate::report::chart::testing::{MS, Scene, build_scene, daemon_scene};

fn picture(scene: &Scene, title: &str, limit: Option<u64>, size: Size) -> String {
    let (summary, timeline) = scene.build(10 * MS);
    let run = Run {
        summary: &summary,
        timeline: &timeline,
        title,
        notes: &[],
        limit,
    };
    let mut out = Vec::new();
    assert!(svg(&mut out, &run, size).is_ok());
    String::from_utf8(out).unwrap_or_default()
}

/// Goes through the tags: each that is opened is closed, in order, attributes are quoted, and
/// no text has markup in it. Gives the texts.
fn texts(picture: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut texts = Vec::new();
    let mut rest = picture;
    while let Some(start) = rest.find('<') {
        let (text, tag) = rest.split_at(start);
        assert!(!text.contains('>'), "{text}");
        if open.last() == Some(&"text") {
            texts.push(text.to_owned());
        }
        let end = tag.find('>').unwrap_or(tag.len());
        let inner = &tag[1..end];
        assert_eq!(inner.matches('"').count() % 2, 0, "{inner}");
        let name = inner.trim_start_matches('/').split([' ', '/']).next();
        let name = name.unwrap_or_default();
        if inner.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{inner}");
        } else if !inner.ends_with('/') {
            open.push(name);
        }
        rest = &tag[end + 1..];
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    texts
}

/// Headline, axes, legend, limit and kill are there.
#[test]
fn a_picture_tells_the_story() {
    let picture = picture(
        &daemon_scene(),
        "/usr/sbin/cached",
        Some(1 << 30),
        Size::default(),
    );
    let texts = texts(&picture);
    let has = |text: &str| assert!(texts.iter().any(|t| t.contains(text)), "{text}: {texts:?}");
    for text in [
        "of memory",
        "exact",
        "/usr/sbin/cached · 3 processes",
        "256 MiB",
        "1 GiB",
        "20 s",
        "peak ",
        "limit 1.0 GiB",
        "OOM kill [4243]",
        "cached-worker",
    ] {
        has(text);
    }
    assert!(!picture.contains("NaN") && !picture.contains("<script"));
}

/// A limit of many times the peak is told, and does not press the run to the ground.
#[test]
fn a_limit_far_above_is_told() {
    let of = |limit| picture(&daemon_scene(), "cached", limit, Size::default());
    let far = of(Some(1 << 40));
    let texts_of_far = texts(&far);
    let told = |text: &&String| text.contains("limit 1.0 TiB, far above");
    assert_eq!(texts_of_far.iter().filter(told).count(), 1);
    assert!(!far.contains("class=\"mt-limit\""), "a line is drawn");
    let others = |texts: Vec<String>| -> Vec<String> {
        texts
            .into_iter()
            .filter(|text| !text.contains("limit"))
            .collect()
    };
    assert_eq!(others(texts_of_far), others(texts(&of(None))), "the axes");
}

/// Names that would be markup are text, in any size.
#[test]
fn hostile_names_are_text() {
    let names: [&[u8]; 3] = [b"</text><script>1</script>", b"a\"b'&\xff", b"]]>\x1b[2J"];
    let mut scene = Scene::new(&[names[0]]);
    for name in names {
        let (process, _) = scene.fork(0, 10 * MS);
        scene.exec(process, 20 * MS, &[name]);
    }
    scene.exit(0, 300 * MS, 0);
    for (width, height) in [(0, 0), (960, 400), (u32::MAX, u32::MAX)] {
        let picture = picture(&scene, "<&>\"'\u{202e}\0", None, Size { width, height });
        let texts = texts(&picture);
        assert!(
            texts.iter().any(|text| text.contains("script&gt;")),
            "{texts:?}"
        );
        assert!(!picture.contains('\u{202e}') && !picture.contains('\0'));
    }
}

/// Without a timeline the numbers are there, and it is said that there is none.
#[test]
fn no_timeline() {
    let (summary, _) = build_scene(2).build(MS);
    let run = Run {
        summary: &summary,
        timeline: &crate::model::Timeline::default(),
        title: "make",
        notes: &[],
        limit: None,
    };
    let mut out = Vec::new();
    assert!(svg(&mut out, &run, Size::default()).is_ok());
    let texts = texts(&String::from_utf8(out).unwrap_or_default());
    assert!(texts.iter().any(|text| text == "no timeline was recorded"));
}

/// Snapshots are points on a line of their own, named as what they are.
#[test]
fn snapshots_are_shown() {
    let (mut summary, timeline) = build_scene(1).build(10 * MS);
    let draw = |summary: &crate::model::Summary| {
        let run = Run {
            summary,
            timeline: &timeline,
            title: "make",
            notes: &[],
            limit: None,
        };
        let mut out = Vec::new();
        assert!(svg(&mut out, &run, Size::default()).is_ok());
        String::from_utf8(out).unwrap_or_default()
    };
    let without = draw(&summary);
    let body = |picture: &str| picture.split("</style>").nth(1).unwrap_or("").to_owned();
    assert!(!body(&without).contains("mt-pss"));
    let peak = summary.tree.peak_rss;
    summary.tree.snapshots = [(100 * MS, 5), (200 * MS, peak)]
        .map(|(at_ns, pss)| crate::model::PssSnapshot {
            at_ns,
            pss,
            uss: 0,
            rss: pss,
        })
        .to_vec();
    let picture = draw(&summary);
    let words = texts(&picture);
    assert!(words.iter().any(|text| text == "PSS snapshot"), "{words:?}");
    let body = body(&picture);
    assert_eq!(
        body.matches("class=\"mt-pssdot\"").count(),
        3,
        "two and the key"
    );
    assert_eq!(body.matches("class=\"mt-pss\"").count(), 1);
}
