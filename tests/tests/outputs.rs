//! Outputs that are one file are refused before the command runs, because one would overwrite
//! the other.

use std::{fs, fs::File, os::unix::fs::symlink, process::Stdio};

use anyhow::{Result, ensure};
use memtrace_tests::{Finished, Lab, memtrace};

/// Runs memtrace with `sh -c 'echo out; echo err >&2; touch ran'` behind its options.
fn run(lab: &Lab, options: &[&str]) -> Result<Finished> {
    let memtrace = memtrace()?.display().to_string();
    let mut line = vec![memtrace.as_str()];
    line.extend(options);
    line.extend(["--", "sh", "-c", "echo out; echo err >&2; touch ran"]);
    lab.to_end(&mut lab.fixed(&line))
}

/// Every pair of options that write, by every way of naming one file. What is there stays, what
/// is not there is not made, and the command does not run.
#[test]
fn one_file_for_two_outputs_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    fs::write(lab.path("kept"), "kept")?;
    fs::write(lab.path("budgets"), "[[budget]]\nmax-peak = \"1GiB\"\n")?;
    fs::hard_link(lab.path("kept"), lab.path("hard"))?;
    symlink("kept", lab.path("soft"))?;
    symlink("new", lab.path("dangling"))?;
    let dir = lab.dir().display().to_string();
    let absolute = format!("{dir}/new");
    for options in [
        ["run", "--json", "kept", "--stdout", "kept"].as_slice(),
        &["run", "--json", "kept", "--stdout", "hard"],
        &["run", "--json", "soft", "--stdout", "kept"],
        &["run", "--json", "new", "--stdout", "./new"],
        &["run", "--json", "new", "--stdout", &absolute],
        &["run", "--json", "new", "--stdout", "dangling"],
        &["run", "--json", "new", "-o", "new"],
        &["run", "-o", "new", "--stdout", "new"],
        &["run", "-o", "kept", "--force", "--json", "kept"],
        &["run", "--live", "--live-to", "new", "--json", "new"],
        &["run", "--live", "--live-to", "new", "--stdout", "new"],
        &[
            "run",
            "--max-peak",
            "1GiB",
            "--junit",
            "new",
            "--json",
            "new",
        ],
        &["run", "--budgets", "budgets", "--json", "budgets"],
        &["run", "--text", "new", "--stdout", "./new"],
        &["run", "--text", "kept", "--json", "soft"],
        &["run", "--text", "dangling", "-o", "new"],
        &["run", "--budgets", "budgets", "--text", "budgets"],
        &["compare", "--json", "kept", "--markdown", "soft"],
        &["compare", "--json", "new", "--markdown", "dangling"],
    ] {
        let finished = run(&lab, options)?;
        let stderr = &finished.stderr;
        assert_eq!(finished.code(), Some(125), "{options:?}: {stderr}");
        assert!(
            stderr.contains("are the same file"),
            "{options:?}: {stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{options:?}: {stderr}");
        assert_eq!(finished.stdout, "", "{options:?}");
        assert!(!lab.has("ran"), "{options:?}: the command ran");
        assert!(!lab.has("new"), "{options:?}: a file was made");
        assert_eq!(fs::read_to_string(lab.path("kept"))?, "kept", "{options:?}");
    }
    Ok(())
}

/// Where standard output or error goes to a file, that is an output like others: what it has is
/// not overwritten. GNU time's `-a` beside `>>` is fine, both append.
#[test]
fn the_shells_redirections_count() -> Result<()> {
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    for (words, refused) in [
        ("run --json log -- touch ran >log", true),
        ("run -q --json log -- touch ran 2>log", true),
        ("run -q --json log -- touch ran >>log", true),
        ("run --stdout log --json - -- touch ran >log", true),
        ("run --text log -- touch ran >log", true),
        ("run --text log -- touch ran 2>log", true),
        ("run --stdout log --text - -- touch ran >log", true),
        ("time -o log touch ran >log", true),
        ("time -a -o log touch ran 2>log", true),
        ("time -a -o log touch ran >>log 2>&1", false),
        ("run --stdout log --json else -- touch ran 2>&1", false),
        // Not used: the command's goes elsewhere.
        ("run --stdout else -- touch ran >log", false),
    ] {
        let script = format!("rm -f ran log else; {memtrace} {words}");
        let finished = lab.to_end(&mut lab.fixed(&["sh", "-c", &script]))?;
        let log = fs::read_to_string(lab.path("log")).unwrap_or_default();
        let said = format!("{words}: {}{}{log}", finished.stdout, finished.stderr);
        if refused {
            assert_eq!(finished.code(), Some(125), "{said}");
            assert!(said.contains("are the same file"), "{said}");
            assert!(!lab.has("ran"), "{said}");
        } else {
            assert_eq!(finished.code(), Some(0), "{said}");
            assert!(lab.has("ran"), "{said}");
        }
    }
    Ok(())
}

/// Devices and pipes lose nothing, and the standard streams by their names are written on where
/// they are, also where they are files.
#[test]
fn what_is_no_file_takes_several_outputs() -> Result<()> {
    let lab = Lab::new()?;
    let both = ["run", "-q", "--json", "/dev/null", "--stdout", "/dev/null"];
    let finished = run(&lab, &both)?.success()?;
    assert_eq!(finished.stdout, "");

    // The lab's streams are files.
    let finished = run(&lab, &["run", "--json", "/dev/stdout"])?.success()?;
    let json = finished.stdout.strip_prefix("out\n");
    ensure!(
        json.is_some_and(|json| json.starts_with('{') && json.trim_end().ends_with('}')),
        "{}",
        finished.stdout
    );
    let finished = run(&lab, &["run", "--json", "/dev/stderr"])?.success()?;
    let own = finished.stderr.find("memtrace: ");
    let json = finished.stderr.find("\n{");
    ensure!(
        finished.stderr.contains("err\n") && own.is_some() && own < json,
        "{}",
        finished.stderr
    );
    let finished = run(&lab, &["time", "-f", "%M KiB", "-o", "/dev/stdout"])?.success()?;
    ensure!(
        finished.stdout.starts_with("out\n") && finished.stdout.ends_with(" KiB\n"),
        "{}",
        finished.stdout
    );
    let memtrace = memtrace()?.display().to_string();
    let words = [
        &memtrace,
        "run",
        "-q",
        "--json",
        "/dev/stdout",
        "--",
        "echo",
        "out",
    ];
    let mut command = lab.fixed(&words);
    let piped = command
        .stdout(Stdio::piped())
        .stderr(File::create(lab.path("errors"))?)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&piped.stdout);
    ensure!(
        piped.status.success() && said.starts_with("out\n{"),
        "{said}"
    );
    Ok(())
}

/// A recording or result that is read is not overwritten by what is made of it.
#[test]
fn what_is_read_is_not_overwritten() -> Result<()> {
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    fs::write(lab.path("input"), "input")?;
    symlink("input", lab.path("link"))?;
    for options in [
        ["report", "input", "--json", "link"].as_slice(),
        &["report", "input", "--html", "input"],
        &["report", "input", "--svg", "x", "--html", "x"],
        &["diff", "input", "else", "--json", "link"],
        &["diff", "else", "input", "--html", "input"],
        &["maps", "input", "--json", "link"],
    ] {
        let mut line = vec![memtrace.as_str()];
        line.extend(options);
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        let stderr = &finished.stderr;
        assert!(!finished.status.success(), "{options:?}");
        assert!(
            stderr.contains("are the same file"),
            "{options:?}: {stderr}"
        );
        assert_eq!(fs::read_to_string(lab.path("input"))?, "input");
        assert!(!lab.has("x"), "{options:?}");
    }
    Ok(())
}

/// The text is in its file, whole lines, also with -q; standard error has what the command wrote.
#[test]
fn the_text_goes_to_its_file() -> Result<()> {
    let lab = Lab::new()?;
    for options in [[].as_slice(), &["-q"], &["--format", "runit"]] {
        fs::write(lab.path("text"), "of an earlier run\n")?;
        let options = [&["run", "--text", "text"], options].concat();
        let finished = run(&lab, &options)?.success()?;
        assert_eq!(finished.stdout, "out\n", "{options:?}");
        assert_eq!(finished.stderr, "err\n", "{options:?}");
        let text = fs::read_to_string(lab.path("text"))?;
        let (start, end) = if options.contains(&"runit") {
            ("-- CMD: sh", "\n-- maxrss ")
        } else {
            ("memtrace: ", "\nexact ")
        };
        ensure!(
            text.contains(start) && text.contains(end) && !text.contains("earlier"),
            "{options:?}: {text}"
        );
    }
    let memtrace = memtrace()?.display().to_string();
    let last = "the-last-argument";
    let line = "run --per-process --text text -- true";
    let mut line: Vec<String> = line.split(' ').map(str::to_owned).collect();
    line.insert(0, memtrace);
    line.extend((0..20).map(|number| format!("argument-{number}")));
    line.push(last.to_owned());
    let mut command = lab.fixed(&line);
    lab.to_end(command.env("COLUMNS", "40"))?.success()?;
    let text = fs::read_to_string(lab.path("text"))?;
    // In the table; the holders are cut everywhere.
    ensure!(text.contains(last), "{text}");
    Ok(())
}

/// `-` is standard output, where the command's own is elsewhere.
#[test]
fn the_text_may_be_on_standard_output() -> Result<()> {
    let lab = Lab::new()?;
    let finished = run(&lab, &["run", "--text", "-", "--stdout", "own"])?.success()?;
    ensure!(finished.stdout.contains("\nexact "), "{finished:?}");
    assert_eq!(finished.stderr, "err\n");
    assert_eq!(fs::read_to_string(lab.path("own"))?, "out\n");
    fs::remove_file(lab.path("ran"))?;
    for (options, said) in [
        (["--text", "-"].as_slice(), "--text - would mix"),
        (&["--text", "-", "--json", "-"], "would mix"),
        (
            &["--text", "-", "--json", "-", "--stdout", "x"],
            "would mix on standard output",
        ),
        (&["--text", "no/such/directory/x"], "no/such/directory/x: "),
    ] {
        let finished = run(&lab, &[&["run"], options].concat())?;
        let stderr = &finished.stderr;
        assert_eq!(finished.code(), Some(125), "{options:?}: {stderr}");
        assert!(stderr.contains(said), "{options:?}: {stderr}");
        assert!(!lab.has("ran") && !lab.has("x"), "{options:?}");
    }
    Ok(())
}

/// What nobody may miss is on standard error, wherever the text is.
#[test]
fn what_must_be_seen_stays_on_standard_error() -> Result<()> {
    let lab = Lab::new()?;
    for (options, status, said) in [
        (["--backend", "poll"].as_slice(), 0, "memtrace: not exact: "),
        (&["--max-peak", "4096"], 124, "--max-peak"),
        (&["--self-stats"], 0, "memtrace itself"),
    ] {
        let options = [&["run", "--text", "text"], options].concat();
        let finished = run(&lab, &options)?;
        let stderr = &finished.stderr;
        assert_eq!(finished.code(), Some(status), "{options:?}: {stderr}");
        assert!(stderr.contains(said), "{options:?}: {stderr}");
        assert!(!stderr.contains("\nat peak "), "{options:?}: {stderr}");
        let text = fs::read_to_string(lab.path("text"))?;
        assert!(text.contains("\nat peak "), "{options:?}: {text}");
    }
    let memtrace = memtrace()?.display().to_string();
    let line = "run --text text --max-peak 4096 --kill -- sleep 60";
    let line: Vec<&str> = [memtrace.as_str()]
        .into_iter()
        .chain(line.split(' '))
        .collect();
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    let stderr = &finished.stderr;
    assert_eq!(finished.code(), Some(124), "{stderr}");
    let ended = |text: &str| text.contains("memtrace ended the tree");
    assert!(ended(stderr), "{stderr}");
    fs::remove_file(lab.path("ran"))?;
    let finished = run(&lab, &["run", "--text", "/dev/full"])?;
    assert_eq!(finished.code(), Some(125), "{}", finished.stderr);
    let said = "memtrace: cannot write the text: ";
    assert!(finished.stderr.contains(said), "{}", finished.stderr);
    assert!(lab.has("ran"));
    Ok(())
}
