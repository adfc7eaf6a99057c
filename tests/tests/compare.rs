//! `memtrace compare`: commands whose pages are known, over several runs.

use std::fs;

use anyhow::Result;
use memtrace_tests::{Finished, Lab, memtrace, page, require_privileges};
use serde_json::Value;

fn compare(lab: &Lab, options: &[&str], commands: &[String]) -> Result<Finished> {
    let mut line = vec![memtrace()?.display().to_string(), "compare".to_owned()];
    line.extend(options.iter().map(|&option| option.to_owned()));
    line.push("--".to_owned());
    for (index, command) in commands.iter().enumerate() {
        if index > 0 {
            line.push("--".to_owned());
        }
        line.push(command.clone());
    }
    lab.to_end(&mut lab.fixed(&line))
}

fn json(lab: &Lab) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(lab.path("out.json"))?)?)
}

/// Peaks are those of the trees, equal in every run, and differ by the pages that differ.
#[test]
fn peaks_differ_by_the_pages_that_differ() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    // The large one first: its peak must not leak into those after it.
    let words = |pages: u32| format!("fork{{ anon {pages:05} }} wait");
    let commands = [10_000, 1_000].map(|pages| lab.script(&words(pages)).join(" "));
    let run = compare(
        &lab,
        &[
            "-n",
            "3",
            "--warmup",
            "1",
            "--json",
            "out.json",
            "--markdown",
            "out.md",
        ],
        &commands,
    )?
    .success()?;
    let json = json(&lab)?;
    assert_eq!(json["schema"], "memtrace.compare/1");
    assert_eq!(json["order"], "interleaved");
    let number = |command: usize, path: &str| {
        json.pointer(&format!("/commands/{command}/{path}"))
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    };
    for command in 0..2 {
        let runs = json["commands"][command]["runs"]
            .as_array()
            .map_or(0, Vec::len);
        assert_eq!(runs, 3);
        for run in 0..runs {
            let peak = number(command, &format!("runs/{run}/peak_rss_bytes"));
            assert_eq!(peak, number(command, "peak_rss_bytes/mean"), "{json}");
            assert_eq!(number(command, &format!("runs/{run}/processes")), 2.0);
        }
        assert_eq!(json["commands"][command]["certificate"]["verdict"], "exact");
        assert_eq!(number(command, "peak_rss_bytes/stddev"), 0.0);
        assert_eq!(number(command, "peak_rss_bytes/outliers"), 0.0);
    }
    let (large, small) = (
        number(0, "peak_rss_bytes/mean"),
        number(1, "peak_rss_bytes/mean"),
    );
    assert_eq!(large - small, (9_000 * page()) as f64);
    // The JSON reader may be off by the last digit.
    let relative = number(0, "peak_rss_bytes/relative");
    assert!(
        (relative / (large / small) - 1.0).abs() < 1e-12,
        "{relative}"
    );
    assert_eq!(number(1, "peak_rss_bytes/relative"), 1.0);
    assert!(
        run.stdout
            .contains(&format!("peak    least: {}", commands[1])),
        "{}",
        run.stdout
    );
    assert_eq!(
        run.stdout.matches("exact   yes, in all 3 runs").count(),
        2,
        "{}",
        run.stdout
    );
    assert_eq!(run.stderr, "");
    let markdown = fs::read_to_string(lab.path("out.md"))?;
    assert_eq!(markdown.lines().count(), 4, "{markdown}");
    Ok(())
}

/// Parameters take each of their values, and the files say which; hyperfine's names are there.
#[test]
fn parameters_take_their_values() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let command = lab.script("fork{ anon {pages} } wait").join(" ");
    let options = [
        "-n2",
        "-L",
        "pages",
        "01000,03000",
        "--json",
        "out.json",
        "--csv",
        "out.csv",
    ];
    let run = compare(&lab, &options, std::slice::from_ref(&command))?.success()?;
    assert_eq!(run.stderr, "");
    let json = json(&lab)?;
    let results = json["results"].as_array().cloned().unwrap_or_default();
    assert_eq!(results.len(), 2, "{json}");
    let mut peaks = Vec::new();
    for (result, value) in results.iter().zip(["01000", "03000"]) {
        assert_eq!(result["command"], command.replace("{pages}", value));
        assert_eq!(result["parameters"]["pages"], value);
        assert_eq!(result["times"].as_array().map(Vec::len), Some(2));
        assert_eq!(result["exit_codes"], serde_json::json!([0, 0]));
        let of_runs = result["memory_usage_byte"].as_array().cloned();
        let of_runs = of_runs.unwrap_or_default();
        assert!(of_runs.len() == 2 && of_runs[0] == of_runs[1], "{result}");
        peaks.extend(of_runs.first().and_then(Value::as_u64));
        let mean = result["mean"].as_f64().unwrap_or(f64::NAN);
        let times = result["min"].as_f64().zip(result["max"].as_f64());
        assert!(times.is_some_and(|(min, max)| min <= mean && mean <= max));
    }
    assert_eq!(peaks[1] - peaks[0], 2000 * page());
    let csv = fs::read_to_string(lab.path("out.csv"))?;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("command,mean,stddev,median,user,system,min,max,"));
    assert!(lines[0].ends_with(",verdict,parameter_pages"), "{csv}");
    for (line, (peak, value)) in lines[1..].iter().zip(peaks.iter().zip(["01000", "03000"])) {
        assert!(line.ends_with(&format!(",exact,{value}")), "{line}");
        assert!(
            line.contains(&format!(",{peak},0,{peak},{peak},{peak},")),
            "{line}"
        );
    }
    assert_eq!(lines.len(), 3);
    Ok(())
}

/// Turns are taken one by one, or all of one command first.
#[test]
fn runs_are_interleaved_unless_told_otherwise() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let commands = ["a", "b"].map(|name| lab.script(&format!("say {name}")).join(" "));
    let order = |options: &[&str]| -> Result<String> {
        let run = compare(&lab, options, &commands)?.success()?;
        Ok(run
            .stdout
            .lines()
            .filter(|line| ["a", "b"].contains(line))
            .collect())
    };
    assert_eq!(order(&["-n2", "-w1", "--show-output"])?, "ababab");
    assert_eq!(
        order(&["-n2", "-w1", "--show-output", "--sequential"])?,
        "aaabbb"
    );
    assert_eq!(order(&["-n2"])?, "");
    Ok(())
}

/// On a terminal it is told which run it is, for as long as it lasts.
#[test]
fn a_terminal_sees_how_far_it_is() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let line = [
        memtrace()?.display().to_string(),
        "compare -n2 -w1 true".to_owned(),
    ]
    .join(" ");
    let run = lab.to_end(&mut lab.fixed(&["script", "-qec", &line, "/dev/null"]))?;
    let said = run.success()?.stdout;
    for run in 1..=3 {
        let told = format!("\r\u{1b}[Krun {run} of 3: true\r\u{1b}[K");
        assert!(said.contains(&told), "{run}: {said:?}");
    }
    Ok(())
}

/// A command that fails stops everything, unless told otherwise; then it is told.
#[test]
fn failing_commands_stop_it() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let commands = ["exit 0", "exit 3"].map(|words| lab.script(words).join(" "));
    let stopped = compare(&lab, &["-n2"], &commands)?;
    assert_eq!(stopped.code(), Some(1));
    assert!(
        stopped.stderr.contains("ended with status 3 in run 2;"),
        "{}",
        stopped.stderr
    );
    let run = compare(&lab, &["-n2", "-i", "--json", "out.json"], &commands)?.success()?;
    assert!(run.stdout.contains("FAILED  2 of 2 runs"), "{}", run.stdout);
    assert_eq!(json(&lab)?["commands"][1]["failures"], 2);
    let missing = compare(&lab, &["-n2"], &["/nonexistent/command".to_owned()])?;
    assert_eq!(missing.code(), Some(127), "{}", missing.stderr);
    Ok(())
}

/// A shell runs only where it was asked for.
#[test]
fn a_shell_only_on_request() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let command = "echo $((6 * 7)) > out".to_owned();
    let shell = ["-n1", "--shell", "--json", "out.json"];
    compare(&lab, &shell, std::slice::from_ref(&command))?.success()?;
    assert_eq!(fs::read_to_string(lab.path("out"))?, "42\n");
    assert_eq!(json(&lab)?["commands"][0]["argv"][0], "sh");
    fs::remove_file(lab.path("out"))?;
    let run = compare(&lab, &["-n1", "--show-output"], &[command])?.success()?;
    assert!(run.stdout.contains("$((6 * 7)) > out\n"), "{}", run.stdout);
    assert!(!lab.has("out"));
    Ok(())
}

/// Mistakes are told before anything runs.
#[test]
fn mistakes_are_told_first() -> Result<()> {
    let lab = Lab::new()?;
    let command = lab.script("make-file @ran 1").join(" ");
    for (options, commands, status) in [
        (&["-n0"][..], vec![command.clone()], 125),
        (&[], vec![command.clone(), String::new()], 125),
        (&[], vec![command.clone(), "echo 'x".to_owned()], 125),
        (&["--json", "/nonexistent/x"], vec![command.clone()], 125),
        (&["-L", "n", "1,2"], vec![command.clone()], 125),
        (
            &["--csv", "out", "--json", "out"],
            vec![command.clone()],
            125,
        ),
    ] {
        let refused = compare(&lab, options, &commands)?;
        assert_eq!(
            refused.code(),
            Some(status),
            "{options:?}: {}",
            refused.stderr
        );
        assert!(!lab.has("ran"), "{options:?}: the command ran");
    }
    Ok(())
}
