//! The HTML report in a real browser: what it shows is compared with the JSON of the same run
//! and, for ranges of time, with the changes that the run was made of.
//!
//! Needs Chromium, Node.js, and `npm ci --prefix tests/browser`. With `MEMTRACE_TEST_PICTURES=1`
//! pictures of the pages are left in Cargo's directory for tests, to be looked at.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use memtrace::{
    model::{Amounts, PssSnapshot, Summary, Timeline},
    report::{Run, html::html, json},
};
use memtrace_tests::{
    Lab, Missing, announced, browser, load, memtrace, require, require_privileges,
    workloads::installed, write_many_units,
};
use serde_json::Value;

#[path = "../../memtrace/src/report/chart/testing.rs"]
mod testing;

use testing::{
    MIB, MS, S, Scene, amounts, build_scene, build_scene_of, daemon_scene, jobs_scene,
    python_scene, spike_scene,
};

/// The most that a page may have beside its data.
const EMPTY_PAGE: u64 = 150_000;

fn tools() -> Result<(), Missing> {
    match ["make", "gcc"].iter().find(|name| !installed(name)) {
        Some(name) => Err(Missing(format!(
            "no {name}; install the package `build-essential`"
        ))),
        None => Ok(()),
    }
}

fn driver() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/drive.mjs")
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Writes the page, has the browser use it, and gives what was seen.
fn seen(chromium: &Path, name: &str, runs: &[Run<'_>]) -> Result<Value> {
    drive(chromium, name, &written(name, runs)?, &[])
}

fn written(name: &str, runs: &[Run<'_>]) -> Result<PathBuf> {
    let page = file(&format!("{name}.html"));
    html(&mut BufWriter::new(File::create(&page)?), runs)?;
    Ok(page)
}

/// Has the browser do these parts with a page, or all, and gives what was seen.
fn drive(chromium: &Path, name: &str, page: &Path, parts: &[&str]) -> Result<Value> {
    let output = Command::new("node")
        .arg(driver())
        .args([chromium, page, &file(name)])
        .args(parts)
        .output()?;
    ensure!(
        output.status.success(),
        "the browser's driver failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen: Value = serde_json::from_slice(&output.stdout).context("the driver's JSON")?;
    announced_times(name, page, &seen)?;
    Ok(seen)
}

fn announced_times(name: &str, page: &Path, seen: &Value) -> Result<()> {
    let size = fs::metadata(page)?.len();
    let _ = announced(&format!("bytes of the page {name}"), size);
    let ms = seen["scriptMs"].as_u64().unwrap_or(0);
    let _ = announced(&format!("milliseconds until {name} was ready"), ms);
    Ok(())
}

fn run<'a>(built: &'a (Summary, Timeline), title: &'a str) -> Run<'a> {
    Run {
        summary: &built.0,
        timeline: &built.1,
        title,
        notes: &[],
        limit: None,
    }
}

fn json_of(summary: &Summary) -> Result<Value> {
    let mut text = Vec::new();
    json::write(summary, &mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn numbers(value: &Value) -> Vec<u64> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_u64).collect()
}

/// No page may do any of this.
fn assert_well_behaved(seen: &Value) {
    assert_eq!(seen["errors"], Value::Array(Vec::new()), "errors");
    assert_eq!(seen["requests"], Value::Array(Vec::new()), "requests");
    assert_eq!(seen["dialogs"], 0, "dialogs");
    let elements = &seen["elements"];
    assert_eq!(elements["scripts"], 3, "two of data, one that runs");
    assert_eq!(elements["styles"], 1);
    assert_eq!(elements["images"], 0, "images, frames, style sheets");
    let policy = &seen["policy"];
    assert_eq!(policy["injected"], false, "a foreign script ran");
    assert_eq!(policy["styled"], false, "a foreign style counted");
    assert_eq!(policy["reached"], false, "a request was sent");
    assert!(
        seen["refused"].as_u64().is_some_and(|refused| refused >= 4),
        "the policy refused a script, a handler, a style and a request: {}",
        seen["refused"]
    );
    assert_eq!(seen["overflow"], 0, "something sticks out of the page");
    assert_eq!(
        seen["strays"],
        Value::Array(Vec::new()),
        "something sticks out of a zoom"
    );
    assert_eq!(seen["printed"], "rgb(255, 255, 255)", "dark on paper");
}

/// Nanoseconds of seconds with decimals.
fn ns(seconds: &str) -> Result<u64> {
    let (whole, decimals) = seconds.split_once('.').unwrap_or((seconds, ""));
    let decimals = format!("{decimals:0<9}");
    Ok(whole.parse::<u64>()? * 1_000_000_000 + decimals.parse::<u64>()?)
}

/// The range in an address.
fn range(answers: &Value) -> Result<(u64, u64)> {
    let hash = answers["hash"].as_str().context("no address")?;
    let range = hash
        .trim_start_matches('#')
        .split('&')
        .find_map(|part| part.strip_prefix("t="))
        .with_context(|| format!("no range in {hash}"))?;
    let (from, until) = range.split_once('-').context("half a range")?;
    Ok((ns(from)?, ns(until)?))
}

/// A part of an address.
fn part(hash: &Value, name: &str) -> Result<String> {
    let hash = hash.as_str().context("no address")?;
    let parts = hash.trim_start_matches('#').split('&');
    let found = parts.filter_map(|part| part.strip_prefix(name)).next();
    Ok(found
        .with_context(|| format!("no {name} in {hash}"))?
        .to_owned())
}

fn zoom(hash: &Value) -> Result<String> {
    part(hash, "zoom=")
}

/// The peak of the tree within a range, who held what then, and each image's own peak, found by
/// going through all changes.
struct Truth {
    peak: u64,
    held: Vec<Amounts>,
    peaks: Vec<u64>,
}

fn truth(scene: &Scene, images: usize, (from, until): (u64, u64)) -> Truth {
    let mut held = vec![Amounts::default(); images];
    let mut truth = Truth {
        peak: 0,
        held: held.clone(),
        peaks: vec![0; images],
    };
    let mut now = 0;
    let mut entered = false;
    for change in scene.ordered() {
        if change.at >= from && !entered {
            entered = true;
            truth.peak = now;
            truth.held.clone_from(&held);
            truth.peaks = held.iter().map(Amounts::rss).collect();
        }
        if change.at >= until {
            break;
        }
        now = now + change.to.rss() - held[change.image].rss();
        held[change.image] = change.to;
        if entered {
            truth.peaks[change.image] = truth.peaks[change.image].max(change.to.rss());
            if now > truth.peak {
                truth.peak = now;
                truth.held.clone_from(&held);
            }
        }
    }
    truth
}

/// The sum of the kinds that RSS has.
fn composition(answers: &Value) -> u64 {
    let kinds = ["anon", "file", "shmem"].iter();
    kinds
        .filter_map(|kind| answers["composition"][kind].as_u64())
        .sum()
}

/// What a page says of a range is what the changes say.
fn assert_answers(answers: &Value, scene: &Scene, summary: &Summary) -> Result<()> {
    let truth = truth(scene, summary.images.len(), range(answers)?);
    assert_eq!(answers["holdersSum"], truth.peak, "{}", answers["readout"]);
    assert_eq!(numbers(&answers["holders"]).iter().sum::<u64>(), truth.peak);
    let rest = answers["tableRest"].as_u64().unwrap_or(0);
    assert_eq!(answers["tableSum"].as_u64().unwrap_or(0) + rest, truth.peak);
    // That is of the cursor, where there is one.
    assert_eq!(answers["legend"], composition(answers));
    let mut held: BTreeMap<u64, u64> = BTreeMap::new();
    let mut peaks: BTreeMap<u64, u64> = BTreeMap::new();
    for (image, (now, peak)) in summary
        .images
        .iter()
        .zip(truth.held.iter().zip(truth.peaks))
    {
        let pid = u64::from(image.pid);
        *held.entry(pid).or_default() += now.rss();
        let most = peaks.entry(pid).or_default();
        *most = peak.max(*most);
    }
    let column = |name: &str| answers[name].as_array().cloned().unwrap_or_default();
    let columns = column("held").into_iter().zip(column("peaks"));
    let mut listed = 0;
    for (pid, (row_held, row_peak)) in numbers(&answers["pids"]).into_iter().zip(columns) {
        // A page of very many processes does not know all of each; then it says nothing.
        if let (Some(row_held), Some(row_peak)) = (row_held.as_u64(), row_peak.as_u64()) {
            assert_eq!(Some(&row_held), held.get(&pid), "held by {pid}");
            assert_eq!(Some(&row_peak), peaks.get(&pid), "peak of {pid}");
            listed += 1;
        }
    }
    assert!(listed > 0, "no process is listed");
    Ok(())
}

/// What a page says of the whole run is what the JSON says.
fn assert_whole(seen: &Value, json: &Value) -> Result<()> {
    let peak = json["tree"]["peak_rss_bytes"].as_u64().context("no peak")?;
    let whole = &seen["whole"];
    assert_eq!(seen["peak"], Value::from(vec![peak]));
    assert_eq!(whole["holdersSum"], peak);
    assert_eq!(whole["legend"], peak);
    let rest = whole["tableRest"].as_u64().unwrap_or(0);
    assert_eq!(whole["tableSum"].as_u64().unwrap_or(0) + rest, peak);
    let mut programs: BTreeMap<&str, u64> = BTreeMap::new();
    let mut kinds = [0; 4];
    for holder in json["tree"]["at_peak"].as_array().context("no holders")? {
        let path = holder["command"][0].as_str().context("no name")?;
        let name = path.rsplit('/').next().unwrap_or(path);
        *programs.entry(name).or_default() += holder["rss_bytes"].as_u64().unwrap_or(0);
        for (sum, kind) in kinds.iter_mut().zip(["anon", "file", "shmem", "swap"]) {
            *sum += holder[format!("{kind}_bytes")].as_u64().unwrap_or(0);
        }
    }
    let mut held: Vec<u64> = programs.into_values().collect();
    held.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(numbers(&whole["holders"]), held);
    for (sum, kind) in kinds.iter().zip(["anon", "file", "shmem", "swap"]) {
        assert_eq!(whole["composition"][kind], *sum, "{kind} at the peak");
    }
    Ok(())
}

/// The table has every process with the JSON's numbers.
fn assert_table(seen: &Value, json: &Value) -> Result<()> {
    let mut expected = BTreeMap::new();
    for process in json["processes"].as_array().context("no processes")? {
        let images = process["images"].as_array().context("no images")?;
        let of = |image: &Value, field: &str| image[field].as_u64().unwrap_or(0);
        let peak = images.iter().map(|image| of(image, "peak_rss_bytes")).max();
        let at = |image: &Value| -> u64 {
            ["anon_bytes", "file_bytes", "shmem_bytes"]
                .iter()
                .map(|kind| of(&image["at_tree_peak"], kind))
                .sum()
        };
        let held: u64 = images.iter().map(at).sum();
        let pid = process["pid"].as_u64().context("no pid")?;
        expected.insert(pid, (peak.unwrap_or(0), held));
    }
    let whole = &seen["whole"];
    let rows = numbers(&whole["pids"]).into_iter();
    let values = numbers(&whole["peaks"])
        .into_iter()
        .zip(numbers(&whole["held"]));
    let found: BTreeMap<u64, (u64, u64)> = rows.zip(values).collect();
    assert_eq!(found, expected);
    let mut pids: Vec<u64> = expected.keys().copied().collect();
    assert_eq!(seen["sorted"], "ascending");
    assert_eq!(numbers(&seen["filtered"]).first(), pids.first());
    assert_eq!(numbers(&seen["ascending"]), pids);
    pids.reverse();
    assert_eq!(numbers(&seen["descending"]), pids);
    let csv = seen["csv"].as_str().context("no CSV")?;
    let mut lines = csv.lines();
    let header = lines.next().context("no header")?;
    assert!(
        header.starts_with("program,pid,parent_pid,start_ns,"),
        "{header}"
    );
    assert_eq!(lines.count(), expected.len(), "a line per process");
    Ok(())
}

/// A build with 200 processes: headline, bars, table, ranges by keyboard and mouse.
#[test]
fn a_page_says_what_the_json_says() -> Result<()> {
    require!(browser());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let scene = build_scene(66);
    let built = scene.build(10 * MS);
    let seen = seen(&chromium, "build", &[run(&built, "make -j8 all")])?;
    let json = json_of(&built.0)?;
    assert_well_behaved(&seen);
    assert_whole(&seen, &json)?;
    assert_table(&seen, &json)?;
    assert_answers(&seen["keyboard"], &scene, &built.0)?;
    assert_answers(&seen["mouse"], &scene, &built.0)?;
    assert_eq!(seen["linked"], seen["keyboard"], "a link shows the same");
    assert_eq!(seen["escaped"], seen["whole"], "Escape goes back");
    // Like processes are one row, which can be opened.
    let rows = serde_json::json!([["make", 1], ["gcc", 66], ["cc1", 66], ["as", 66], ["ld", 1]]);
    assert_eq!(seen["gantt"], rows);
    assert_eq!(seen["unfolded"], 40, "so many members are listed");
    let hovered = &seen["hovered"];
    assert_ne!(hovered["legend"], seen["whole"]["legend"], "at the cursor");
    assert_eq!(hovered["legend"], composition(hovered), "at the cursor");
    let zoomed = seen["zoomed"].as_str().context("no address")?;
    assert!(zoomed.contains("zoom="), "Enter zooms: {zoomed}");
    assert_eq!(zoom(&seen["back"])?, zoom(&seen["outer"])?, "the trail");
    assert_ne!(zoom(&seen["deeper"])?, zoom(&seen["outer"])?);
    let crumbs = seen["crumbs"].as_array().map_or(0, Vec::len);
    assert_eq!(crumbs, 2, "the whole run, and the first zoom");
    let peak_at = json["tree"]["peak_at_ns"].as_u64().context("no moment")?;
    let at = part(&seen["anywhere"], "at=")?;
    assert_eq!(ns(&at)?, peak_at, "p goes to the peak from anywhere");
    let plain = &seen["plain"];
    let text = plain["text"].as_str().context("no text")?;
    let bytes = json["tree"]["peak_rss_bytes"].to_string();
    let digits: String = text.chars().filter(|c| *c != ',').collect();
    assert!(digits.contains(&bytes), "the headline needs no scripts");
    assert_eq!(plain["drawings"], 1, "nor does the picture");
    assert_eq!(plain["rows"], 200, "nor does the table");
    Ok(())
}

/// Every change recorded, more than a page has windows and processes for: ranges are moved to
/// the edges of the windows, and their answers are exact.
#[test]
fn a_folded_page_is_exact() -> Result<()> {
    require!(browser());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let scene = build_scene(1500);
    let built = scene.build(0);
    ensure!(built.1.tree.len() > 20_000 && built.0.processes.len() > 4_000);
    let page = written("folded", &[run(&built, "make -j8 all")])?;
    // The others take as long as all tests of other pages together, and find the same in those.
    let parts = ["keyboard", "mouse", "policy", "plain", "pictures"];
    let seen = drive(&chromium, "folded", &page, &parts)?;
    assert_well_behaved(&seen);
    assert_whole(&seen, &json_of(&built.0)?)?;
    for answers in [&seen["keyboard"], &seen["mouse"]] {
        assert_answers(answers, &scene, &built.0)?;
    }
    Ok(())
}

/// A fork-heavy program, whose headline is what it needed; and a daemon that lives on.
#[test]
fn footprints_kills_and_survivors() -> Result<()> {
    require!(browser());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    for (name, scene) in [("python", python_scene()), ("daemon", daemon_scene())] {
        let built = scene.build(10 * MS);
        let mut run = run(&built, name);
        let notes = ["The recording was cut at +39.2 s.".to_owned()];
        run.notes = &notes;
        run.limit = Some(1 << 30);
        let seen = seen(&chromium, name, &[run])?;
        assert_well_behaved(&seen);
        assert_whole(&seen, &json_of(&built.0)?)?;
        assert_answers(&seen["keyboard"], &scene, &built.0)?;
        assert_answers(&seen["mouse"], &scene, &built.0)?;
        let text = seen["plain"]["text"].as_str().context("no text")?;
        assert!(text.contains(&notes[0]), "the note is there");
        let word = if name == "python" {
            "shared after fork"
        } else {
            "OOM kill"
        };
        assert!(text.contains(word), "{word}: {text}");
    }
    Ok(())
}

/// How many at a time, worked out by hand (see `concurrency_tests`): each further job costs
/// 105 MiB beside 1 MiB, and a sum was 10 MiB above the line. With and without scripts.
#[test]
fn a_page_tells_what_a_job_costs() -> Result<()> {
    require!(browser());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let built = jobs_scene().build(10 * MS);
    let mut run = run(&built, "sh jobs");
    run.limit = Some(600 * MIB);
    let seen = seen(&chromium, "jobs", &[run])?;
    assert_well_behaved(&seen);
    for insight in [&seen["insight"], &seen["plain"]["insight"]] {
        assert_eq!(insight["program"], "cc1");
        assert_eq!(insight["each"], 105 * MIB);
        // (256 - 11) / 105 = 2.3, (512 - 11) / 105 = 4.8, 5.6, 9.6
        let fits = [(256, 2), (512, 4), (600, 5), (1024, 9)];
        let fits = fits.map(|(mib, fit)| vec![mib * MIB, fit]);
        assert_eq!(insight["fits"], serde_json::json!(fits));
        let levels = [
            [1, S, 101 * MIB, 100 * MIB],
            [2, 2 * S, 221 * MIB, 220 * MIB],
            [3, S, 311 * MIB, 310 * MIB],
        ];
        assert_eq!(insight["levels"], serde_json::json!(levels));
        // 3.08 MiB are one per cent of the peak: the sum is above 307.92 MiB from when the third
        // job has its 90 MiB, at 2.2 s, until it ends, at 3.1 s. The windows of these two
        // moments are half in it.
        let facts = insight["facts"].to_string();
        assert!(
            facts.contains("≤ 910.000 ms at least 890.000 ms"),
            "{facts}"
        );
        assert!(
            insight["footer"]
                .to_string()
                .contains("How it was measured")
        );
    }
    Ok(())
}

/// Spikes, worked out by hand (see `spikes_tests`): in windows of 10 ms one is certain, of 60 MiB
/// for at most 50 ms; of each change, two are.
#[test]
fn a_page_tells_what_a_sampler_would_miss() -> Result<()> {
    require!(browser());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let high = [500 * MS, 500 * MS, 550 * MS, 160 * MIB, 60 * MIB];
    let both = [
        [500 * MS, 500 * MS, 540 * MS, 160 * MIB, 60 * MIB],
        [S + 2, S + 1, 1095 * MS, 130 * MIB, 30 * MIB],
    ];
    for (name, width, listed, by, sampler) in [
        (
            "spikes",
            10 * MS,
            &[high][..],
            &["server, +60.0 MiB"][..],
            &[[100 * MS, 130 * MIB], [S, 100 * MIB]][..],
        ),
        (
            "spikes-each",
            0,
            &both,
            &["server, +60.0 MiB", "helper, +30.0 MiB"],
            // For 10 ms, even the peak lasted.
            &[[10 * MS, 160 * MIB], [100 * MS, 120 * MIB], [S, 100 * MIB]],
        ),
    ] {
        let built = spike_scene().build(width);
        let seen = seen(&chromium, name, &[run(&built, "server")])?;
        assert_well_behaved(&seen);
        for insight in [&seen["insight"], &seen["plain"]["insight"]] {
            assert_eq!(insight["spikes"], listed.len());
            assert_eq!(insight["listed"], serde_json::json!(listed));
            assert_eq!(insight["by"], serde_json::json!(by));
            assert_eq!(insight["sampler"], serde_json::json!(sampler));
        }
        // A click chooses the stretch.
        let range = part(&seen["shown"], "t=")?;
        let (from, until) = range.split_once('-').context("half a range")?;
        assert_eq!([ns(from)?, ns(until)?], [listed[0][1], listed[0][2]]);
        assert!(zoom(&seen["shown"]).is_ok());
    }
    Ok(())
}

/// Two runs: the difference, and what each program contributes to it.
#[test]
fn two_runs_are_compared() -> Result<()> {
    require!(browser());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let scenes = [build_scene_of(50, 100), build_scene_of(60, 120)];
    let mut built = scenes.each_ref().map(|scene| scene.build(10 * MS));
    for (built, mib) in built.iter_mut().zip([10, 30]) {
        let tree = &mut built.0.tree;
        let near = PssSnapshot {
            at_ns: tree.peak_at_ns + 5 * MS,
            pss: 400 * MIB + mib * MIB,
            uss: 350 * MIB - mib * MIB,
            rss: tree.peak_rss - 4096,
        };
        // Closer in time, but farther from the peak.
        let low = PssSnapshot {
            at_ns: tree.peak_at_ns,
            pss: MIB,
            uss: MIB,
            rss: 2 * MIB,
        };
        tree.snapshots = vec![low, near];
    }
    let runs = built.each_ref().map(|built| run(built, "make"));
    let seen = seen(&chromium, "compare", &runs)?;
    let lines = seen["insight"]["sideBySide"].as_array().cloned();
    let lines = lines.unwrap_or_default();
    assert_eq!(
        Value::from(lines.clone()),
        seen["plain"]["insight"]["sideBySide"]
    );
    let growth = i64::try_from(20 * MIB)?;
    for expected in [
        serde_json::json!(["pss", 410 * MIB, 430 * MIB, growth]),
        serde_json::json!(["uss", 340 * MIB, 320 * MIB, -growth]),
    ] {
        assert!(lines.contains(&expected), "{lines:?}");
    }
    assert_well_behaved(&seen);
    let peaks = built.each_ref().map(|built| built.0.tree.peak_rss);
    assert_eq!(numbers(&seen["peak"]), peaks);
    assert_eq!(seen["difference"], peaks[1] - peaks[0]);
    let sums = [peaks[0], peaks[1], peaks[1] - peaks[0]];
    assert_eq!(numbers(&seen["whole"]["growth"]), sums);
    assert_eq!(numbers(&seen["whole"]["pair"]), peaks);
    let range = range(&seen["mouse"])?;
    for (r, scene) in scenes.iter().enumerate() {
        let truth = truth(scene, built[r].0.images.len(), range);
        assert_eq!(numbers(&seen["mouse"]["growth"])[r], truth.peak, "run {r}");
    }
    Ok(())
}

/// Names that would be markup, scripts, formulas, or reorder text stay text.
#[test]
fn hostile_names_stay_text() -> Result<()> {
    require!(browser());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let names: [&[u8]; 8] = [
        b"</script><img src=x onerror=alert(1)>",
        b"<!--<script>alert(2)</script>",
        b"\"><svg onload=alert(3)>",
        "\u{202e}txt.exe\u{2066}".as_bytes(),
        b"bad\xff\xfeutf8\x1b[2J",
        "line\u{2028}separator\u{2029}\0".as_bytes(),
        b"=HYPERLINK(\"http://evil\")",
        b"__proto__",
    ];
    let shown = [
        "script><img src=x onerror=alert(1)>",
        "script>",
        "\"><svg onload=alert(3)>",
        "\\u{202e}txt.exe\\u{2066}",
        "bad\\xff\\xfeutf8\\u{1b}[2J",
        "line\\u{2028}separator\\u{2029}\\u{0}",
        "evil\")",
        "__proto__",
    ];
    let mut scene = Scene::new(&[names[0], names[3]]);
    for (i, name) in (1..).zip(names) {
        let (process, _) = scene.fork(0, i * 50 * MS);
        let image = scene.exec(process, i * 50 * MS + MS, &[name, names[1]]);
        scene.set(image, i * 50 * MS + 2 * MS, amounts(i * 20 * MIB, MIB));
    }
    scene.exit(0, 900 * MS, 0);
    let built = scene.build(MS);
    let title = String::from_utf8_lossy(names[0]).into_owned();
    let notes = names.map(|name| String::from_utf8_lossy(name).into_owned());
    let mut run = run(&built, &title);
    run.notes = &notes;
    let seen = seen(&chromium, "hostile", &[run])?;
    assert_well_behaved(&seen);
    assert_eq!(seen["title"], format!("{title} - memory"));
    let mut found: Vec<&str> = seen["names"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut expected = shown.to_vec();
    // The root has the first name too.
    expected.push(shown[0]);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let csv = seen["csv"].as_str().context("no CSV")?;
    assert!(!csv.contains("\n="), "a formula in the CSV: {csv}");
    assert!(!csv.contains('\u{202e}'), "text is reordered in the CSV");
    Ok(())
}

/// A real run, recorded and drawn by the command: the page says what the JSON says.
#[test]
fn a_recording_becomes_a_page_and_a_picture() -> Result<()> {
    require_privileges!();
    require!(browser());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    let recording = lab.path("run.memtrace").display().to_string();
    let script = "anon 500 fork{ touch 200 anon 3000 exec{ NOTHING } } wait \
                  fork{ exec{ SELF anon 9000 nap-us 3000 } } wait anon 100";
    lab.trace_with(&["-o", &recording, "--force"], script)?;
    let [page, picture, json] = ["page.html", "page.svg", "page.json"].map(|name| lab.path(name));
    let options = [("--html", &page), ("--svg", &picture), ("--json", &json)];
    let status = Command::new(memtrace()?)
        .args(["report", &recording])
        .args(options.map(|(option, path)| format!("{option}={}", path.display())))
        .arg("--limit=64MiB")
        .status()?;
    ensure!(status.success(), "memtrace report ended with {status}");
    let json: Value = serde_json::from_slice(&fs::read(json)?)?;
    let seen = drive(&chromium, "recorded", &page, &[])?;
    assert_well_behaved(&seen);
    assert_whole(&seen, &json)?;
    assert_table(&seen, &json)?;
    let peak = json["tree"]["peak_rss_bytes"].to_string();
    let picture = fs::read_to_string(picture)?.replace(',', "");
    assert!(picture.contains(">limit 64.0 MiB<"), "{picture}");
    let text = fs::read_to_string(&page)?;
    assert!(text.contains("\"limit\":67108864"), "the page's data");
    assert!(
        picture.starts_with("<svg") && picture.contains(&peak),
        "{picture}"
    );
    Ok(())
}

/// A real parallel build in one step, at full size of more than 200 processes: the page says what the JSON says,
/// what a further job costs, and which command is of which file.
#[test]
fn a_build_becomes_a_page_in_one_step() -> Result<()> {
    require_privileges!();
    require!(browser());
    require!(tools());
    let chromium = browser().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    // In fewer units, or moments, one compiler alone may not be seen, and what a further one costs not be told.
    let units = load(70, 50);
    write_many_units(&lab, units)?;
    let page = lab.path("page.html").display().to_string();
    let options = ["--html", &page, "--resolution", "1ms", "--max-peak", "1TiB"];
    let run = lab.run(&options, &["make", "-s", "-j2", "CC=gcc"])?;
    assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
    assert!(run.summary.processes.len() > 3 * units);
    let files: Vec<_> = fs::read_dir(lab.dir())?.flatten().collect();
    assert!(
        files.iter().all(|file| !file.path().ends_with(".memtrace")),
        "no recording is left: {files:?}"
    );
    let json: Value = serde_json::from_slice(&fs::read(lab.path("summary.json"))?)?;
    let seen = drive(&chromium, "make", Path::new(&page), &[])?;
    assert_well_behaved(&seen);
    assert_whole(&seen, &json)?;
    assert_table(&seen, &json)?;
    for insight in [&seen["insight"], &seen["plain"]["insight"]] {
        let each = insight["each"].as_u64();
        assert!(each.is_some_and(|each| each > MIB), "{insight}");
        let fits = insight["fits"].as_array().map_or(&[][..], Vec::as_slice);
        let last = fits.last().context("sizes")?;
        assert_eq!(last[0], 1_u64 << 40, "the limit is among the sizes");
    }
    let commands = seen["commands"].as_array().context("no commands")?;
    let told = |unit: &str| {
        let mut commands = commands.iter().filter_map(Value::as_str);
        commands.any(|command| command.starts_with("… ") && command.contains(unit))
    };
    let last = format!("unit{}.c", units - 1);
    assert!(told("unit7.c") && told(&last), "{commands:?}");
    Ok(())
}

/// A page without data is small.
#[test]
fn an_empty_page_is_small() -> Result<()> {
    let mut scene = Scene::new(&[b"true"]);
    scene.exit(0, MS, 0);
    let built = scene.build(MS);
    let mut page = Vec::new();
    html(&mut page, &[run(&built, "true")])?;
    assert!(page.len() as u64 <= EMPTY_PAGE, "{} bytes", page.len());
    Ok(())
}
