//! What does not need a browser: the browser's tests are the end-to-end test `html`.

use super::*;
use crate::{
    model::{Amounts, PssSnapshot, Timeline},
    report::chart::testing::{MIB, MS, build_scene, program, spike_scene},
};

fn page(runs: &[Run<'_>]) -> String {
    let mut out = Vec::new();
    assert!(html(&mut out, runs).is_ok());
    String::from_utf8(out).unwrap_or_default()
}

/// The JSON of the script element with that id.
fn embedded(page: &str, id: &str) -> serde_json::Value {
    let start = format!("<script type=\"application/json\" id=\"{id}\">");
    let data = page.split(start.as_str()).nth(1).unwrap_or_default();
    let data = data.split("</script>").next().unwrap_or_default();
    serde_json::from_str(data).unwrap_or_default()
}

/// One run or two.
#[test]
fn how_many_runs() {
    let (summary, timeline) = build_scene(1).build(MS);
    let run = Run {
        summary: &summary,
        timeline: &timeline,
        title: "make",
        notes: &[],
        limit: None,
    };
    for runs in [&[][..], &[run; 3]] {
        let error = html(&mut Vec::new(), runs).map_err(|error| error.kind());
        assert_eq!(error, Err(io::ErrorKind::InvalidInput));
    }
    assert_eq!(page(&[run]), page(&[run]), "the same each time");
    assert!(page(&[run, run]).contains("The peaks of RSS are equal."));
}

/// Nothing in the markup but the three script elements and the style: no handlers, no inline
/// style, no address. Each text is in an element.
#[test]
fn a_page_refers_to_nothing() {
    let (summary, timeline) = build_scene(3).build(MS);
    let hostile = "</style><script>x</script>\" onload=\"x";
    let notes = [hostile.to_owned()];
    let run = Run {
        summary: &summary,
        timeline: &timeline,
        title: hostile,
        notes: &notes,
        limit: Some(1),
    };
    let page = page(&[run]);
    assert_eq!(page.matches("<script").count(), 3);
    assert_eq!(page.matches("<style").count(), 1);
    let (before, after) = page.split_once("<style>").unwrap_or_default();
    let markup = after.split("</style>").nth(1).unwrap_or_default();
    let markup = markup.split("<script").next().unwrap_or_default();
    for text in [before, markup] {
        for reference in [
            " src=",
            "url(",
            " style=",
            "@import",
            " onload=\"",
            " onclick=",
        ] {
            assert!(!text.contains(reference), "{reference}");
        }
    }
    let addresses = page.matches("://").count();
    let namespaces = page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(addresses, namespaces, "no address but the name of SVG");
    assert!(
        page.contains(
            "Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-"
        )
    );
}

/// What is embedded sums to the peak, also when images have no row of their own.
#[test]
fn data_sum_to_the_peak() {
    let (mut summary, timeline) = build_scene(8).build(10 * MS);
    // As many programs as to need the layer of the rest.
    for (i, image) in summary.images.iter_mut().enumerate() {
        image.program = program(&[format!("program-{}", i % 20).as_bytes()]);
    }
    let run = Run {
        summary: &summary,
        timeline: &timeline,
        title: "make",
        notes: &[],
        limit: None,
    };
    let page = page(&[run]);
    let data = embedded(&page, "data");
    let peak = &data["runs"][0]["peak"];
    let sum = |kind: &str| -> u64 {
        let column = peak[kind].as_array().cloned().unwrap_or_default();
        column.iter().filter_map(serde_json::Value::as_u64).sum()
    };
    assert_eq!(
        sum("anon") + sum("file") + sum("shmem"),
        summary.tree.peak_rss
    );
    assert_eq!(peak["rss_bytes"], summary.tree.peak_rss);
    let layers = &data["runs"][0]["layers"];
    assert_eq!(layers[7]["name"], "13 other programs");
}

/// Numbers that JavaScript cannot hold, from a damaged recording, do not become others.
#[test]
fn numbers_stay_exact() {
    let (mut summary, _) = build_scene(1).build(MS);
    let huge = Amounts {
        anon: u64::MAX,
        file: u64::MAX,
        shmem: 1,
        swap: u64::MAX,
    };
    summary.tree.peak_rss = u64::MAX;
    summary.tree.peak_at_ns = u64::MAX;
    summary.tree.snapshots = vec![
        PssSnapshot::default(),
        PssSnapshot {
            at_ns: u64::MAX,
            pss: u64::MAX,
            uss: u64::MAX,
            rss: u64::MAX,
        },
    ];
    for image in &mut summary.images {
        image.peak_rss = u64::MAX;
        image.own_peak = huge;
        image.average_rss = u64::MAX;
        image.lifetime_ns = u64::MAX;
    }
    for holder in &mut summary.tree.at_peak {
        holder.held = huge;
        holder.shared = u64::MAX;
    }
    let timeline = Timeline {
        end_ns: u64::MAX,
        ..Timeline::default()
    };
    let run = Run {
        summary: &summary,
        timeline: &timeline,
        title: "damaged",
        notes: &[],
        limit: Some(u64::MAX),
    };
    let page = page(&[run, run]);
    let data = embedded(&page, "data");
    let most = (1_u64 << 53) - 1;
    assert_eq!(data["runs"][0]["peak"]["rss_bytes"], most);
    assert_eq!(data["runs"][0]["limit"], most);
    for name in ["at", "pss", "uss", "rss"] {
        let column = &data["runs"][0]["snapshots"][name];
        assert_eq!(column, &serde_json::json!([0, most]), "{name}");
    }
    let peaks = &data["runs"][0]["processes"]["peak"];
    assert!(
        peaks
            .as_array()
            .is_some_and(|list| list.iter().all(|peak| *peak == most))
    );
}

/// The sections in the markup have names of programs too.
#[test]
fn insights_are_text() {
    let (mut summary, timeline) = spike_scene().build(0);
    for image in &mut summary.images {
        image.program = program(&[b"<b onload=x>"]);
    }
    let run = Run {
        summary: &summary,
        timeline: &timeline,
        title: "server",
        notes: &[],
        limit: None,
    };
    let page = page(&[run]);
    assert!(page.contains("<td>&lt;b onload=x&gt;, +60.0 MiB</td>"));
    assert!(page.contains("<b class=\"program\">&lt;b onload=x&gt;</b>"));
    assert!(!page.contains("<b onload"));
}

/// A snapshot that only one of two runs has is compared with nothing.
#[test]
fn one_snapshot_is_no_comparison() {
    let (summary, timeline) = build_scene(1).build(MS);
    let mut other = summary.clone();
    other.tree.snapshots = vec![PssSnapshot {
        pss: 7 * MIB,
        rss: other.tree.peak_rss,
        ..PssSnapshot::default()
    }];
    let runs = [&summary, &other].map(|summary| Run {
        summary,
        timeline: &timeline,
        title: "make",
        notes: &[],
        limit: None,
    });
    let page = page(&runs);
    let line = page.split("data-line=\"pss\"").nth(1).unwrap_or_default();
    let line = line.split("</tr>").next().unwrap_or_default();
    assert!(line.contains(">not recorded<") && line.contains(">7.0 MiB<"));
    assert!(line.ends_with("<td class=\"number\">–</td><td class=\"number\">–</td>"));
    assert!(!self::page(&runs[..1]).contains("data-line"));
}
