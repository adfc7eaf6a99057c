//! `docs/json.md` against real results: every field that occurs is in it, with its unit, and every
//! field that is in it occurs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{
    Lab, Missing, Partner, memtrace, require_privileges, skip,
    tier_p::PTRACE,
    workloads::{self, installed},
};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../docs/json.md");
const README: &str = include_str!("../../README.md");

/// An image without a process is what a lost record leaves, and only thousands of processes are just counted.
const RARE: [&str; 2] = ["other_images", "only_counted_processes"];

/// Fields with their units, as the tables have them.
fn documented() -> BTreeMap<&'static str, &'static str> {
    DOCUMENT
        .lines()
        .filter_map(|line| {
            let (field, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            Some((field, rest.split_once(" | ")?.0))
        })
        .collect()
}

/// Whether a value is of a unit.
fn fits(value: &Value, unit: &str) -> bool {
    let words = unit.trim_end_matches(", optional");
    let (kind, nullable) = match words.strip_suffix(" or null") {
        Some(kind) => (kind, true),
        None => (words, false),
    };
    match value {
        Value::Null => nullable,
        Value::Bool(_) => kind == "flag",
        Value::Number(number) => {
            matches!(kind, "number" | "bytes" | "ns") && (number.is_u64() || number.is_i64())
        }
        Value::String(_) => matches!(kind, "text" | "base64"),
        Value::Array(list) => match kind.strip_prefix("list of ") {
            Some("objects") => list.iter().all(Value::is_object),
            Some("text" | "base64") => list.iter().all(Value::is_string),
            Some("numbers") => list.iter().all(Value::is_u64),
            _ => false,
        },
        Value::Object(_) => matches!(kind, "object" | "objects by name"),
    }
}

/// All fields of a value, with what is wrong about them.
fn walk(path: &str, value: &Value, seen: &mut BTreeSet<String>, wrong: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let by_name = documented().get(path) == Some(&"objects by name");
            for (name, value) in fields {
                if by_name && !DOCUMENT.contains(&format!("\n| `{name}` | ")) {
                    wrong.push(format!("{path}.{name} is not in docs/json.md"));
                }
                let name = if by_name { "*" } else { name };
                let path = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                };
                match documented().get(path.as_str()) {
                    None => wrong.push(format!("{path} is not in docs/json.md")),
                    Some(unit) if !fits(value, unit) => {
                        wrong.push(format!("{path} is no {unit}: {value}"));
                    }
                    Some(unit) => {
                        // Names tell the unit, too.
                        let is_base64 = unit.contains("base64");
                        let named = (
                            name.ends_with("_bytes") && !is_base64,
                            name.ends_with("_ns"),
                        );
                        let told = (unit.starts_with("bytes"), unit.starts_with("ns"));
                        if named != told {
                            wrong.push(format!("{path} is called so, and is of {unit}"));
                        }
                    }
                }
                walk(&path, value, seen, wrong);
                seen.insert(path);
            }
        }
        Value::Array(list) => {
            // The same fields elsewhere.
            let path = if path == "other_images" {
                "processes[].images"
            } else {
                path
            };
            for value in list {
                walk(&format!("{path}[]"), value, seen, wrong);
            }
        }
        _ => {}
    }
}

/// One result.
fn result(lab: &Lab, options: &[&str], command: &[OsString]) -> Result<Value> {
    let line = lab.memtrace_run(options)?;
    let finished = lab.to_end(lab.fixed(&line).args(command))?;
    let text = fs::read_to_string(lab.path("summary.json"))
        .with_context(|| format!("{options:?}: {finished:?}"))?;
    Ok(serde_json::from_str(&text)?)
}

fn script(lab: &Lab, words: &str) -> Vec<OsString> {
    lab.script(words).into_iter().map(OsString::from).collect()
}

fn check(results: &[Value]) -> BTreeSet<String> {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for result in results {
        walk("", result, &mut seen, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    seen
}

/// Results of all kinds together have all that is in the document.
#[test]
fn every_field_is_in_the_document_and_the_other_way_round() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let recording = lab.path("run.memtrace").display().to_string();
    // Its name and its arguments are not UTF-8.
    let evil = OsString::from_vec(lab.dir().join("a").as_os_str().as_bytes().to_vec());
    let mut evil = evil.into_vec();
    evil.push(0xff);
    let evil = OsString::from_vec(evil);
    fs::copy(workloads::SCRIPT, &evil)?;
    let tag = OsString::from_vec(b"\xfe".to_vec());
    let strange = [evil, "tag".into(), tag, "anon".into(), "50".into()];
    let hold = format!(
        "anon 2000 fork{{ exec{{ {} }} }} wait nap-us 1500000",
        workloads::NOTHING
    );
    let mut results = vec![
        result(&lab, &[], &script(&lab, "fork{ anon 100 } wait exit 3"))?,
        result(&lab, &["-o", &recording], &script(&lab, &hold))?,
        result(&lab, &["--segments"], &script(&lab, "anon 100"))?,
        result(&lab, &PTRACE, &script(&lab, "fork{ anon 100 } wait"))?,
        result(
            &lab,
            &["--max-peak", "1MiB", "--kill"],
            &script(&lab, "anon 3000 hear nap-us 60000000"),
        )?,
        result(&lab, &[], &strange)?,
    ];
    // Only version 2 of cgroups tells what a cgroup had at most.
    let own_cgroup = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if own_cgroup {
        results.push(result(&lab, &["--own-cgroup"], &script(&lab, "anon 100"))?);
    }
    // A recording that is cut.
    let bytes = fs::read(&recording)?;
    let cut = lab.path("cut.memtrace");
    fs::write(&cut, bytes.get(..bytes.len() - 40).context("too short")?)?;
    let output = lab
        .fixed(&[memtrace()?.display().to_string(), "report".to_owned()])
        .args(["--json", "-"])
        .arg(&cut)
        .output()?;
    results.push(serde_json::from_slice(&output.stdout).context("the cut recording")?);
    // Processes that ran before.
    let words = lab.script("anon 100 say ready hear");
    let (mut one, mut other) = (
        Partner::start(&mut lab.fixed(&words))?,
        Partner::start(&mut lab.fixed(&words))?,
    );
    one.expect("ready")?;
    other.expect("ready")?;
    let output = lab
        .fixed(&[memtrace()?.display().to_string(), "attach".to_owned()])
        .args(["-q", "--json", "-", "--duration", "20ms"])
        .args([one.pid().to_string(), other.pid().to_string()])
        .output()?;
    one.finish()?;
    other.finish()?;
    results.push(serde_json::from_slice(&output.stdout).context("what was attached to")?);
    let seen = check(&results);

    let never: Vec<&str> = documented()
        .into_keys()
        .filter(|field| !seen.contains(*field) && !RARE.contains(field))
        .filter(|field| own_cgroup || !field.starts_with("own_cgroup"))
        .collect();
    assert!(
        never.is_empty(),
        "in the document and in no result: {never:#?}"
    );
    Ok(())
}

/// Without privileges there is less, and nothing else.
#[test]
fn every_field_of_tier_p_is_in_the_document() -> Result<()> {
    let lab = Lab::new()?;
    let seen = check(&[result(
        &lab,
        &PTRACE,
        &script(&lab, "fork{ anon 100 } wait"),
    )?]);
    ensure!(
        seen.contains("processes[].images[].peak_rss_high_bytes"),
        "{seen:?}"
    );
    Ok(())
}

/// What is not UTF-8 is all there, as other tools decode it.
#[test]
fn arguments_that_are_not_utf8_are_recoverable() -> Result<()> {
    let lab = Lab::new()?;
    let all: Vec<u8> = (1..=255).collect();
    let mut command = script(&lab, "tag");
    command.push(OsString::from_vec(all.clone()));
    let value = result(&lab, &PTRACE, &command)?;
    for place in [&value, &value["processes"][0]["images"][0]] {
        let text = place["command_bytes"][2].as_str().context("no bytes")?;
        fs::write(lab.path("text"), text)?;
        let decoded = Command::new("base64")
            .arg("-d")
            .arg(lab.path("text"))
            .output()?;
        assert_eq!(decoded.stdout, all, "{text}");
    }
    let value = result(&lab, &PTRACE, &script(&lab, "tag ä"))?;
    assert_eq!(value["command"][2], "ä");
    assert_eq!(value["command_bytes"], Value::Null);
    Ok(())
}

/// The line for jq in the README and in the document does what is said of it.
#[test]
fn the_example_for_jq_works() -> Result<()> {
    if !installed("jq") {
        skip(&Missing("no jq; install the package `jq`".to_owned()));
        return Ok(());
    }
    let lab = Lab::new()?;
    let value = result(
        &lab,
        &PTRACE,
        &script(
            &lab,
            "anon 3000 fork{ exec{ SELF anon 500 } } wait loop{ 12 vfork{ exec{ NOTHING } } wait }",
        ),
    )?;
    fs::copy(lab.path("summary.json"), lab.path("out.json"))?;
    let images = value["processes"]
        .as_array()
        .context("no processes")?
        .iter();
    let mut peaks: Vec<u64> = images
        .flat_map(|process| process["images"].as_array().cloned().unwrap_or_default())
        .filter(|image| image["kind"] != "shared")
        .filter_map(|image| image["peak_rss_bytes"].as_u64())
        .collect();
    peaks.sort_unstable();
    let largest: Vec<u64> = peaks.into_iter().rev().take(10).collect();
    for document in [README, DOCUMENT] {
        let example = document
            .lines()
            .find(|line| line.starts_with("    jq -r '.processes"));
        let example = example.context("no example for jq")?.trim();
        let finished = lab
            .to_end(&mut lab.fixed(&["sh", "-c", example]))?
            .success()?;
        let told: Vec<u64> = finished
            .stdout
            .lines()
            .filter_map(|line| line.split_once('\t')?.0.parse().ok())
            .collect();
        assert_eq!(told, largest, "{example}\n{}", finished.stdout);
        ensure!(finished.stdout.contains(workloads::SCRIPT), "{finished:?}");
    }
    Ok(())
}
