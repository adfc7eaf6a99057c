//! `memtrace diff`: two results of runs that differ by known pages.

use anyhow::Result;
use memtrace_tests::{Finished, Lab, memtrace, page, require_privileges};
use serde_json::Value;

fn diff(lab: &Lab, words: &[&str]) -> Result<Finished> {
    let mut line = vec![memtrace()?.display().to_string(), "diff".to_owned()];
    line.extend(words.iter().map(|&word| word.to_owned()));
    lab.to_end(&mut lab.fixed(&line))
}

/// Two runs, the second of which needs 500 pages more in one of its programs.
fn two_results(lab: &Lab) -> Result<()> {
    for (name, pages) in [("before", 1000), ("after", 1500)] {
        let words = format!(
            "fork{{ exec{{ SELF tag big anon {pages} }} }} wait fork{{ exec{{ NOTHING }} }} wait"
        );
        lab.trace(&words)?.summary.assert_exact();
        std::fs::rename(lab.path("summary.json"), lab.path(name))?;
    }
    Ok(())
}

/// What grew is told to the page, in total and by program; the exit status knows limits.
#[test]
fn growth_is_told_to_the_page() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    two_results(&lab)?;
    let growth = 500 * page();
    let json = diff(&lab, &["before", "after", "--json", "-"])?.success()?;
    let json: Value = serde_json::from_str(&json.stdout)?;
    assert_eq!(json["schema"], "memtrace.diff/1");
    assert_eq!(json["total"]["peak_rss_growth_bytes"], growth);
    assert_eq!(json["total"]["count_growth"], 0);
    let programs = json["programs"].as_array().cloned().unwrap_or_default();
    let of = |name: &str| programs.iter().find(|program| program["name"] == name);
    let script = of("script").cloned().unwrap_or_default();
    assert_eq!(
        programs.first(),
        Some(&script),
        "the one that grew most comes first: {json}"
    );
    assert_eq!(script["peak_rss_growth_bytes"], growth);
    assert_eq!(script["at_tree_peak_growth_bytes"], growth);
    // The command itself, which has the same arguments but for the number, and the one that grew.
    assert_eq!(
        script["images"].as_array().map(Vec::len),
        Some(2),
        "{script}"
    );
    assert_eq!(
        of("nothing").map(|program| &program["peak_rss_growth_bytes"]),
        Some(&0.into())
    );
    for (limit, status) in [
        (growth.to_string(), 0),
        ((growth - 1).to_string(), 124),
        ("1000%".to_owned(), 0),
        ("1%".to_owned(), 124),
    ] {
        let run = diff(&lab, &["before", "after", "--fail-above", &limit])?;
        assert_eq!(run.code(), Some(status), "{limit}: {}", run.stderr);
        assert_eq!(
            run.stderr.contains("the peak grew from"),
            status != 0,
            "{}",
            run.stderr
        );
    }
    let shrunk = diff(&lab, &["after", "before", "--fail-above", "0"])?.success()?;
    assert!(shrunk.stdout.contains("-2.0 MiB"), "{}", shrunk.stdout);
    let same = diff(&lab, &["before", "before", "--fail-above", "0%"])?.success()?;
    assert!(
        same.stdout.contains("need what they needed before"),
        "{}",
        same.stdout
    );
    Ok(())
}

/// Recordings give the same as the JSON of the same runs, and a page of both.
#[test]
fn recordings_are_compared_like_json() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for (name, pages) in [("before", 1000), ("after", 1500)] {
        let recording = format!("{name}.memtrace");
        let words = format!("fork{{ exec{{ SELF tag big anon {pages} }} }} wait nap-us 20000");
        lab.trace_with(&["-o", &recording], &words)?
            .summary
            .assert_exact();
        std::fs::rename(lab.path("summary.json"), lab.path(name))?;
    }
    let json = |before: &str, after: &str| -> Result<Value> {
        let run = diff(&lab, &[before, after, "--json", "-"])?.success()?;
        assert_eq!(run.stderr, "");
        Ok(serde_json::from_str(&run.stdout)?)
    };
    let of_json = json("before", "after")?;
    assert_eq!(of_json["total"]["peak_rss_growth_bytes"], 500 * page());
    assert_eq!(json("before.memtrace", "after.memtrace")?, of_json);
    assert_eq!(json("before", "after.memtrace")?, of_json);
    diff(
        &lab,
        &["before.memtrace", "after.memtrace", "--html", "page.html"],
    )?
    .success()?;
    let html = std::fs::read_to_string(lab.path("page.html"))?;
    assert!(html.contains("before.memtrace") && html.contains("after.memtrace"));
    let refused = diff(&lab, &["before", "after.memtrace", "--html", "page.html"])?;
    assert_eq!(refused.code(), Some(125));
    assert!(
        refused.stderr.contains("--html needs two recordings"),
        "{}",
        refused.stderr
    );
    Ok(())
}

/// Files that are no results.
#[test]
fn other_files_are_refused() -> Result<()> {
    let lab = Lab::new()?;
    std::fs::write(lab.path("text"), "hello")?;
    std::fs::write(lab.path("other"), "{\"schema\":\"x\\u001b[2J\"}")?;
    for (file, part) in [
        ("text", "text is not a recording of memtrace"),
        ("other", "its schema is 'x\\u{1b}[2J'"),
        ("missing", "missing: cannot open"),
    ] {
        let refused = diff(&lab, &[file, file])?;
        assert_eq!(refused.code(), Some(125), "{file}");
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert_eq!(diff(&lab, &["text"])?.code(), Some(125));
    Ok(())
}
