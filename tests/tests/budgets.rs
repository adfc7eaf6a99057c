//! Budgets: kept and missed to the page, and trees that are ended at a limit.

use std::fs;

use anyhow::{Context as _, Result};
use memtrace_tests::{
    Finished, Lab, await_some, descendants, lacks, memtrace, mib, page, require_privileges,
    tier_p::PTRACE, workloads,
};

const MISSED: Option<i32> = Some(124);

/// Runs a script under `memtrace run` with options, whatever becomes of it.
fn run(lab: &Lab, options: &[&str], words: &str) -> Result<Finished> {
    let mut line = vec![memtrace()?.display().to_string(), "run".to_owned()];
    line.extend(options.iter().map(|&option| option.to_owned()));
    line.push("--".to_owned());
    line.extend(lab.script(words));
    lab.to_end(&mut lab.fixed(&line))
}

/// The lines on standard error that say something about budgets.
fn said(finished: &Finished) -> Vec<&str> {
    let lines = finished.stderr.lines();
    lines.filter(|line| line.contains("budget")).collect()
}

/// One page decides.
#[test]
fn a_budget_of_the_peak_is_kept_and_one_page_less_is_missed() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "anon 100 fork{ anon 300 } wait exit 0";
    let traced = lab.trace(words)?;
    traced.summary.assert_exact();
    let peak = traced.summary.tree.peak_rss_bytes;
    let images = traced
        .summary
        .processes
        .iter()
        .flat_map(|process| &process.images);
    let largest = images
        .map(|image| image.peak_rss_bytes)
        .max()
        .context("no image")?;
    assert!(peak > 500 * page() && largest > 400 * page() && largest < peak);
    for (option, value) in [("--max-peak", peak), ("--max-process-peak", largest)] {
        let kept = run(&lab, &["-q", option, &value.to_string()], words)?;
        assert_eq!((kept.code(), &*kept.stderr), (Some(0), ""), "{option}");
        let missed = run(&lab, &["-q", option, &(value - page()).to_string()], words)?;
        assert_eq!(missed.code(), MISSED, "{option}: {}", missed.stderr);
        let lines = said(&missed);
        assert_eq!(lines.len(), 1, "{}", missed.stderr);
        let expected = "is 4.0 KiB over the limit of";
        assert!(
            lines[0].contains(option) && lines[0].contains(expected),
            "{}",
            lines[0]
        );
        assert!(
            lines[0].contains(" script ") && lines[0].contains(", at +"),
            "{}",
            lines[0]
        );
    }
    Ok(())
}

/// What the command says of itself comes first; a budget is still told.
#[test]
fn the_commands_own_failure_wins() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let failed = run(&lab, &["-q", "--max-peak", "1"], "anon 10 exit 3")?;
    assert_eq!(failed.code(), Some(3));
    assert_eq!(said(&failed).len(), 1, "{}", failed.stderr);
    let killed = run(&lab, &["-q", "--max-peak", "1"], "anon 10 kill 9")?;
    assert_eq!(killed.signal(), Some(9));
    Ok(())
}

/// `memtrace time` has the same limits and the same status.
#[test]
fn time_has_budgets_too() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let time = |limit: &str, words: &str| {
        let mut line = vec![memtrace()?.display().to_string()];
        line.extend(["time", "-f", "%x", limit].map(str::to_owned));
        line.extend(lab.script(words));
        lab.to_end(&mut lab.fixed(&line))
    };
    let kept = time("--max-process-peak=1GiB", "anon 10")?;
    assert_eq!((kept.code(), &*kept.stderr), (Some(0), "0\n"));
    let missed = time("--max-process-peak=4096", "anon 10")?;
    assert_eq!(missed.code(), MISSED);
    assert_eq!(said(&missed).len(), 1, "{}", missed.stderr);
    assert_eq!(
        time("--max-average=4096", "anon 10 exit 3")?.code(),
        Some(3)
    );
    assert_eq!(time("--max-peak=1GB", "anon 10")?.code(), Some(125));
    Ok(())
}

/// Without BPF the result is a range: what it cannot decide is told, and an option decides.
#[test]
fn what_cannot_be_decided_is_told_and_an_option_decides() -> Result<()> {
    let lab = Lab::new()?;
    let tier_p = |options: &[&str]| {
        let options: Vec<&str> = PTRACE
            .iter()
            .chain(&["-q"])
            .chain(options)
            .copied()
            .collect();
        run(
            &lab,
            &options,
            "fork{ anon 2000 nap-us 100000 } fork{ anon 2000 nap-us 100000 } reap reap",
        )
    };
    // Over each process, below their sum, and near enough to be within the bound: the two
    // processes need not have been at their tops at the same time.
    let sum = |kib: u64| format!("{kib}KiB");
    let limit = sum(2500 * page() / 1024);
    for (undecided, status) in [("kept", 0), ("missed", 124)] {
        let run = tier_p(&["--max-peak", &limit, "--undecided", undecided])?;
        assert_eq!(run.code(), Some(status), "{}", run.stderr);
        let lines = said(&run);
        assert_eq!(lines.len(), 1, "{}", run.stderr);
        let expected = format!("cannot be decided and counts as {undecided}");
        assert!(lines[0].contains(&expected), "{}", lines[0]);
    }
    // Below a single process it is certain, and above everything. (Up to 6.1 a thread can hold
    // back 66 faults, each of up to 16 pages of a file.)
    let run = tier_p(&[
        "--max-peak",
        &sum(500 * page() / 1024),
        "--undecided",
        "kept",
    ])?;
    assert_eq!(run.code(), MISSED, "{}", run.stderr);
    let run = tier_p(&["--max-peak", "1GiB", "--undecided", "missed"])?;
    assert_eq!(
        (run.code(), said(&run).len()),
        (Some(0), 0),
        "{}",
        run.stderr
    );
    Ok(())
}

/// Everything that a budget file can hold, and both reports for CI.
#[test]
fn a_budget_file_limits_trees_and_programs() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let file = lab.path("memtrace.toml");
    fs::write(
        &file,
        "[[budget]]\ncommand = \"make\"\nmax-peak = 1\n\n\
         [[budget]]\ncommand = \"script *\"\nmax-peak = \"1GiB\"\n\n\
         [[budget]]\nname = \"big, 100%: <big>\"\nprogram = \"*tag big*\"\nmax-peak = \"1MiB\"\n\n\
         [[budget]]\nname = \"small\"\nprogram = \"*tag small*\"\nmax-peak = \"1MiB\"\n\n\
         [[budget]]\nprogram = \"nobody\"\nmax-average = 0\n",
    )?;
    let junit = lab.path("junit.xml");
    let options = [
        "-q",
        "--budgets",
        &file.display().to_string(),
        "--annotations",
        "github",
        "--junit",
        &junit.display().to_string(),
    ];
    let words =
        "fork{ exec{ SELF tag small anon 10 } } wait fork{ exec{ SELF tag big anon 1000 } } wait";
    let finished = run(&lab, &options, words)?;
    assert_eq!(finished.code(), MISSED, "{}", finished.stderr);
    let lines = said(&finished);
    let (errors, notices): (Vec<_>, Vec<_>) = (
        lines
            .iter()
            .filter(|line| line.starts_with("::error "))
            .collect(),
        lines
            .iter()
            .filter(|line| line.starts_with("::notice "))
            .collect(),
    );
    assert_eq!((errors.len(), notices.len()), (1, 1), "{}", finished.stderr);
    assert!(
        errors[0].contains(",line=12,title=memtrace%3A big%2C 100%25%3A <big> max-peak::"),
        "{}",
        errors[0]
    );
    assert!(errors[0].contains("of script ["), "{}", errors[0]);
    let xml = fs::read_to_string(&junit)?;
    assert_eq!(xml.matches("<testcase ").count(), 4, "{xml}");
    // It is called by its whole path.
    assert!(xml.contains("name=\"script * max-peak\""), "{xml}");
    assert_eq!(xml.matches("<failure ").count(), 1, "{xml}");
    assert_eq!(xml.matches("<skipped ").count(), 1, "{xml}");
    assert!(
        xml.contains("name=\"big, 100%: &lt;big&gt; max-peak\""),
        "{xml}"
    );

    fs::write(&file, "[[budget]]\nmax-peak = \"1GiB\"\nmax-peek = 1\n")?;
    let wrong = run(&lab, &options, "make-file @ran 1")?;
    assert_eq!(wrong.code(), Some(125));
    assert!(
        wrong.stderr.contains("memtrace.toml:3: ") && wrong.stderr.contains("max-peek"),
        "{}",
        wrong.stderr
    );
    assert!(!lab.has("ran"), "the command ran");
    Ok(())
}

/// Names that programs give themselves stay text in what CI systems read.
#[test]
fn hostile_names_stay_text() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let name = "x\n::error::forged]]><failure message='&\u{1b}[2J";
    fs::copy(workloads::SCRIPT, lab.path(name))?;
    let junit = lab.path("junit.xml");
    let mut line = vec![memtrace()?.display().to_string()];
    line.extend(
        [
            "run",
            "-q",
            "--max-process-peak",
            "4096",
            "--annotations",
            "github",
            "--junit",
        ]
        .map(str::to_owned),
    );
    line.extend([
        junit.display().to_string(),
        "--".to_owned(),
        lab.path(name).display().to_string(),
    ]);
    line.extend(["anon", "100"].map(str::to_owned));
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(finished.code(), MISSED, "{}", finished.stderr);
    let forged = finished
        .stderr
        .lines()
        .filter(|line| line.starts_with("::error::"));
    assert_eq!(forged.count(), 0, "{}", finished.stderr);
    assert_eq!(finished.stderr.lines().count(), 2, "{}", finished.stderr);
    assert!(!finished.stderr.contains('\u{1b}'), "{}", finished.stderr);
    let xml = fs::read(&junit)?;
    let xml = String::from_utf8(xml)?;
    assert_eq!(xml.matches("<failure").count(), 1, "{xml}");
    assert!(!xml.contains("]]>") && !xml.contains('\u{1b}'), "{xml}");
    if workloads::installed("python3") {
        let check = "import sys, xml.etree.ElementTree as tree; suites = tree.parse(sys.argv[1]).getroot(); \
            assert suites.tag == 'testsuites' and len(suites[0]) == 1 and suites[0][0][0].tag == 'failure'";
        let mut python = std::process::Command::new("python3");
        python.args(["-c", check]).arg(&junit);
        lab.to_end(&mut python)?.success()?;
    }
    Ok(())
}

/// Bad amounts and options that have nothing to act on are refused before anything runs.
#[test]
fn budgets_that_make_no_sense_are_refused() -> Result<()> {
    let lab = Lab::new()?;
    for (options, part) in [
        (&["--max-peak", "2GB"][..], "write GiB"),
        (&["--max-peak", "lots"], "begin with a number"),
        (&["--kill"], "--kill needs a limit"),
        (&["--kill", "--max-average", "1G"], "--kill needs a limit"),
        (&["--junit", "/dev/null"], "--junit reports on budgets"),
        (&["--budgets", "/nonexistent"], "cannot read /nonexistent"),
        (&["--kill-after", "soon"], "write a time"),
    ] {
        let refused = run(&lab, options, "make-file @ran 1")?;
        assert_eq!(refused.code(), Some(125), "{options:?}");
        assert!(
            refused.stderr.contains(part),
            "{options:?}: {}",
            refused.stderr
        );
        assert!(!lab.has("ran"), "{options:?}: the command ran");
    }
    Ok(())
}

/// A tree of several levels, each process with memory, that lasts for minutes unless ended.
/// The root crosses the limit when all are there.
const LASTING: &str = "pipe 0 \
    loop{ 4 fork{ anon 50 fork{ setsid anon 50 fork{ anon 50 post 0 nap-us 100000000 } nap-us 100000000 } nap-us 100000000 } } \
    await 0 await 0 await 0 await 0 status @ready";

fn assert_nothing_left(lab: &Lab) -> Result<()> {
    // Whoever is left has this command line.
    let own = lab.path("ready").display().to_string();
    await_some("the whole tree ends", || {
        let mut left = 0;
        for entry in fs::read_dir("/proc")?.flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let numeric = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok());
            left += u32::from(numeric && String::from_utf8_lossy(&line).contains(&own));
        }
        Ok((left == 0).then_some(()))
    })
}

/// The whole tree is ended, those in other sessions too, and the report says by whom.
#[test]
fn a_tree_that_crosses_its_limit_is_ended_whole() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = format!("{LASTING} anon {} nap-us 100000000", mib(64));
    let run = run(
        &lab,
        &[
            "--kill",
            "--max-peak",
            "60MiB",
            "--json",
            "json",
            "-o",
            "run.memtrace",
        ],
        &words,
    )?;
    assert_eq!(run.code(), MISSED, "{}", run.stderr);
    // The recording knows it, too.
    let report = [memtrace()?.display().to_string(), "report".to_owned()]
        .into_iter()
        .chain(["--json", "-", "run.memtrace"].map(str::to_owned))
        .collect::<Vec<_>>();
    let report = lab.to_end(&mut lab.fixed(&report))?.success()?;
    assert_eq!(report.stdout.as_bytes(), fs::read(lab.path("json"))?);
    assert!(lab.has("ready"), "ended too early: {}", run.stderr);
    assert!(
        run.stderr.contains("memtrace ended the tree: ") && run.stderr.contains("SIGTERM to 13"),
        "{}",
        run.stderr
    );
    assert_eq!(said(&run).len(), 1, "{}", run.stderr);
    let json: serde_json::Value = serde_json::from_slice(&fs::read(lab.path("json"))?)?;
    let ended = &json["ended_by_limit"];
    assert_eq!(ended["limit_bytes"], 60 << 20);
    assert_eq!(
        (&ended["terminated"], &ended["killed"]),
        (&13.into(), &0.into()),
        "{ended}"
    );
    assert_eq!(ended["command_had_ended"], false);
    assert_eq!(json["signal"], 15);
    assert!(ended["seen_rss_bytes"].as_u64() > Some(60 << 20), "{ended}");
    assert_nothing_left(&lab)
}

/// Whoever ignores SIGTERM is killed, also while it goes on creating processes.
#[test]
fn a_forking_tree_that_ignores_sigterm_is_killed() -> Result<()> {
    require_privileges!();
    if !workloads::installed("sh") {
        return Ok(());
    }
    let lab = Lab::new()?;
    // The signal stays ignored across fork and exec.
    let script = lab.script(&format!("anon {} loop{{ 1000000 fork{{ anon 10 fork{{ nap-us 3000 }} nap-us 2000 }} nap-us 1000 }} status @ready", mib(8)));
    let shell = "trap '' TERM; \"$@\" & \"$@\" & \"$@\"";
    let mut line = vec![memtrace()?.display().to_string()];
    line.extend(
        [
            "run",
            "--kill",
            "--max-peak",
            "20MiB",
            "--kill-after",
            "300ms",
            "--",
            "sh",
            "-c",
            shell,
            "sh",
        ]
        .map(str::to_owned),
    );
    line.extend(script);
    let run = lab.to_end(&mut lab.fixed(&line))?;
    assert_eq!(run.code(), MISSED, "{}", run.stderr);
    assert!(run.stderr.contains("SIGKILL to "), "{}", run.stderr);
    assert_nothing_left(&lab)
}

/// The same without BPF: traced, and only looked at.
#[test]
fn a_tree_is_ended_without_bpf_too() -> Result<()> {
    let lab = Lab::new()?;
    if lacks("ptrace") {
        return Ok(());
    }
    for backend in ["ptrace", "poll"] {
        let words = format!("{LASTING} anon {} nap-us 100000000", mib(64));
        let run = run(
            &lab,
            &[
                "--backend",
                backend,
                "--kill",
                "--max-peak",
                "60MiB",
                "--undecided",
                "missed",
            ],
            &words,
        )?;
        assert_eq!(run.code(), MISSED, "{backend}: {}", run.stderr);
        assert!(
            run.stderr.contains("memtrace ended the tree: "),
            "{backend}: {}",
            run.stderr
        );
        assert_nothing_left(&lab)?;
    }
    Ok(())
}

/// Below the limit, and without --kill, nobody is ended; nor is anybody else's process.
#[test]
fn nobody_else_is_ended() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let line = lab.script("nap-us 100000000");
    let mut bystander = lab.fixed(&line).spawn()?;
    let kept = run(&lab, &["-q", "--kill", "--max-peak", "1GiB"], "anon 100")?;
    assert_eq!((kept.code(), &*kept.stderr), (Some(0), ""));
    let told = run(
        &lab,
        &["-q", "--max-peak", "1MiB"],
        "anon 1000 nap-us 100000",
    )?;
    assert_eq!(told.code(), MISSED);
    assert!(!told.stderr.contains("ended"), "{}", told.stderr);
    let ended = run(
        &lab,
        &["-q", "--kill", "--max-peak", "1MiB"],
        "anon 1000 nap-us 100000000",
    )?;
    assert_eq!(ended.code(), MISSED, "{}", ended.stderr);
    let alive = bystander.try_wait()?.is_none();
    bystander.kill()?;
    bystander.wait()?;
    assert!(alive, "a process outside of the tree was ended");
    assert!(descendants(std::process::id()).is_empty());
    Ok(())
}
