//! What memory was for, in the HTML report: in a real browser, against arithmetic and the JSON of the same run.
//!
//! Needs Chromium, Node.js, and `npm ci --prefix tests/browser`. With `MEMTRACE_TEST_PICTURES=1` pictures of the page are left in Cargo's
//! directory for tests, to be looked at.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use memtrace_tests::{
    Lab, Process, browser, memtrace, page, require, require_privileges,
    smaps::{self, Segments},
    workloads,
};
use serde::Deserialize;

/// Names of segments in the JSON and in the page.
const NAMES: [(&str, &str); 9] = [
    ("text", "text"),
    ("data", "data + bss"),
    ("heap", "heap"),
    ("stack", "stack"),
    ("anon", "anonymous"),
    ("lib", "libraries"),
    ("file", "files"),
    ("shmem", "shared memory"),
    ("unknown", "unknown"),
];

/// What a legend says, bytes.
#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Legend {
    rss: i64,
    held: BTreeMap<String, i64>,
}

impl Legend {
    /// What a page has to say of what the workload's own smaps say.
    fn of(own: &Segments) -> Result<Self> {
        let mut held = BTreeMap::new();
        for (name, title) in NAMES {
            let pages = own.get(name).map_or(0, |held| held.resident);
            held.insert(title.to_owned(), i64::try_from(pages * page())?);
        }
        let rss = held.values().sum();
        Ok(Self { rss, held })
    }

    /// Whether it is the same, where segments that are always empty are left out.
    fn is(&self, other: &Self) -> bool {
        let of = |legend: &Self, title: &str| legend.held.get(title).copied().unwrap_or(0);
        let same = |title| of(self, title) == of(other, title);
        self.rss == other.rss && NAMES.iter().all(|(_, title)| same(title))
    }
}

/// What tests/browser/segments.mjs prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    errors: Vec<String>,
    before: String,
    chosen: String,
    focused: bool,
    label: String,
    at_peak: Legend,
    described: String,
    table: Vec<(String, BTreeMap<String, Option<i64>>)>,
    words: String,
    moments: Vec<Legend>,
    hovered: Legend,
    cursors: u64,
    keyboard: Legend,
    spoken: String,
    linked: Legend,
    overflow: i64,
    escaped: Legend,
}

fn drive(chromium: &Path, name: &str, html: &Path, pid: u32) -> Result<Seen> {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/segments.mjs");
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = Command::new("node")
        .arg(driver)
        .args([chromium, html])
        .arg(pid.to_string())
        .arg(pictures)
        .output()?;
    ensure!(
        output.status.success(),
        "the browser's driver failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("the driver's JSON")
}

/// The page of a recording.
fn html(lab: &Lab, recording: &str) -> Result<PathBuf> {
    let html = lab.path("page.html");
    let status = Command::new(memtrace()?)
        .args(["report", recording, "--html"])
        .arg(&html)
        .status()?;
    ensure!(status.success(), "memtrace report ended with {status}");
    Ok(html)
}

/// Whether `moments` has these in this order, whatever is between them.
fn come_in_order(moments: &[Legend], expected: &[Legend]) -> bool {
    let mut moments = moments.iter();
    expected
        .iter()
        .all(|wanted| moments.any(|seen| seen.is(wanted)))
}

/// Each row of the table is what the JSON says of the process's largest image.
fn assert_table(seen: &Seen, process: &Process) -> Result<()> {
    let largest = process.images.iter().max_by_key(|i| i.peak_rss_bytes);
    let image = largest.context("no image")?;
    let signed = |bytes: Option<u64>| bytes.map(i64::try_from).transpose();
    let mut rows = seen.table.iter();
    for of in &image.segments {
        let (_, title) = NAMES
            .into_iter()
            .find(|(name, _)| *name == &*of.segment)
            .context("an unknown segment")?;
        let resident = of.at_peak.resident_bytes;
        if of.peak_resident_bytes == 0 && resident == 0 && of.peak_swapped_bytes == 0 {
            continue;
        }
        let (name, row) = rows.next().context("a row is missing")?;
        assert_eq!(name, title);
        for (key, bytes) in [
            ("mapped", signed(of.at_peak.virtual_bytes)?),
            ("resident", Some(resident)),
            ("swapped", Some(of.at_peak.swapped_bytes)),
            ("mostMapped", signed(of.peak_virtual_bytes)?),
            ("mostResident", signed(Some(of.peak_resident_bytes))?),
            ("mostSwapped", signed(Some(of.peak_swapped_bytes))?),
        ] {
            assert_eq!(row[key], bytes, "{key} of {name}");
        }
        // And so does the legend, which is that of the peak while nothing is pointed at.
        let held = seen.at_peak.held.get(name).copied();
        assert_eq!(held.unwrap_or(0), resident, "{name} at the peak");
    }
    assert!(rows.next().is_none(), "{:?}", seen.table);
    let peak = i64::try_from(image.peak_rss_bytes)?;
    assert_eq!(seen.at_peak.rss, peak);
    Ok(())
}

/// What the workload knew of itself after each step: it grew by what the step says.
fn own_steps(lab: &Lab) -> Result<Vec<Legend>> {
    let own = ["warm", "anon", "heap", "stack"];
    let own = own.map(|name| smaps::read(&lab.path(name), workloads::SCRIPT));
    let own = own.into_iter().collect::<Result<Vec<Segments>>>()?;
    let pages = |step: usize, name: &str| own[step].get(name).map_or(0, |held| held.resident);
    for (step, grows, by) in [(1, "anon", 120), (2, "heap", 80), (3, "stack", 100)] {
        for (name, _) in NAMES {
            let more = pages(step, name) - pages(step - 1, name);
            // A frame that is more than a page can need one more.
            let slack = u64::from(name == "stack" && more > by);
            let by = if name == grows { by + slack } else { 0 };
            assert_eq!(more, by, "{name} in the step of {grows}");
        }
    }
    own.iter().map(Legend::of).collect()
}

/// A process grows anonymous mappings, heap and stack by known amounts, one after the other: the legend under the
/// pointer says so after each. Between two of them it sleeps for longer than a window is wide, so that each is the
/// last change of a window, and wider than a column of the drawing.
#[test]
fn segments_grow_as_the_page_shows() -> Result<()> {
    require_privileges!();
    require!(browser());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    let recording = lab.path("run.memtrace").display().to_string();
    // Each once before, so that later no code is needed that was not. The parent is larger: it is shown at first.
    let script = "fork{ exec{ SELF anon 1 brk 1 descend 32 smaps @warm smaps @warm nap-us 30000 \
                  anon 120 smaps @anon nap-us 30000 brk 80 smaps @heap nap-us 30000 \
                  descend 132 smaps @stack nap-us 30000 anon 1 nap-us 30000 } } wait anon 3000";
    let run = lab.trace_with(&["--segments", "-o", &recording], script)?;
    let [parent, child] = &*run.summary.processes else {
        anyhow::bail!("two processes were made");
    };
    let steps = own_steps(&lab)?;
    let seen = drive(&chromium, "segments", &html(&lab, &recording)?, child.pid)?;
    assert_eq!(seen.errors, Vec::<String>::new());
    let named = |process: &Process| format!("[{}]", process.pid);
    assert!(seen.before.contains(&named(parent)), "{}", seen.before);
    assert!(seen.chosen.contains(&named(child)), "{}", seen.chosen);
    assert!(seen.label.contains(&named(child)), "{}", seen.label);
    assert!(seen.focused, "who chooses by keys goes on by keys");
    assert_table(&seen, child)?;

    for legend in seen.moments.iter().chain([&seen.at_peak, &seen.keyboard]) {
        assert_eq!(legend.held.values().sum::<i64>(), legend.rss, "{legend:?}");
    }
    let mut expected = steps;
    // The last page made the peak, which the table has.
    expected.push(seen.at_peak.clone());
    assert!(
        come_in_order(&seen.moments, &expected),
        "{expected:#?} are not in this order in {:#?}",
        seen.moments
    );
    assert_moves(&seen);
    Ok(())
}

/// Pointer, keys, links and words agree.
fn assert_moves(seen: &Seen) {
    let moments = &seen.moments;
    assert!(moments.contains(&seen.hovered), "{:?}", seen.hovered);
    assert_eq!(seen.cursors, 2, "both drawings show the moment");
    assert!(moments.contains(&seen.keyboard), "{:?}", seen.keyboard);
    assert_ne!(seen.keyboard, seen.at_peak);
    assert_eq!(seen.linked, seen.keyboard, "a link shows the same");
    assert_eq!(seen.escaped, seen.at_peak, "Escape goes back");
    for spoken in [&seen.described, &seen.spoken] {
        assert!(
            spoken.contains("; ") && spoken.contains("heap "),
            "a text for those who do not see it: {spoken}"
        );
    }
    assert_eq!(seen.overflow, 0, "something sticks out of the page");
    assert!(seen.words.contains("10.000 ms"), "{}", seen.words);
}
