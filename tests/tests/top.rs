//! `memtrace top`: what processes hold now, and everyone who ended with what peak.

use std::process::Command;

use anyhow::{Context as _, Result};
use memtrace_tests::{
    ENTERS, LEAVES, Lab, OnTerminal, Partner, await_state, begin, exact_status, memtrace, require,
    require_privileges, workloads::NOTHING,
};
use nix::sys::signal::Signal;

/// `memtrace top --batch` of a process.
fn batch(lab: &Lab, pid: u32, options: &[&str]) -> Result<Partner> {
    let mut line = vec![memtrace()?.display().to_string()];
    line.extend(["top", "--batch"].map(str::to_owned));
    line.extend(options.iter().map(|&option| option.to_owned()));
    line.push(pid.to_string());
    Partner::start(&mut lab.fixed(&line))
}

/// The number before a word, as in `12,345 B`.
fn number_before(line: &str, word: &str) -> Result<u64> {
    let (before, _) = line
        .split_once(word)
        .with_context(|| format!("no {word:?} in {line:?}"))?;
    let digits = before
        .rsplit(|c: char| !c.is_ascii_digit() && c != ',')
        .next();
    Ok(digits.unwrap_or_default().replace(',', "").parse()?)
}

#[test]
fn the_sum_and_its_peak_are_exact() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let words = "anon 300 status @held say ready hear anon 900 status @top unmap say done hear";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let mut top = batch(&lab, workload.pid(), &["--interval", "50ms"])?;
    let first = top.paragraph()?;
    assert_eq!(
        number_before(&first[0], " B), peak")?,
        lab.status("held")?.rss()?
    );
    assert!(
        first[1].starts_with("1 process alive, 0 ended") && first[1].ends_with("; exact"),
        "{first:?}"
    );
    assert!(
        first[3]
            .trim_start()
            .starts_with(&workload.pid().to_string()),
        "{first:?}"
    );
    workload.tell()?;
    workload.expect("done")?;
    let peak = lab.status("top")?.rss()?;
    let mut seen = top.paragraph()?;
    while number_before(&seen[0], " B) at ")? < peak {
        seen = top.paragraph()?;
    }
    assert_eq!(number_before(&seen[0], " B) at ")?, peak);
    workload.tell()?;
    workload.finish()?;
    // It ends with the process.
    let (status, rest) = top.finish()?;
    assert!(status.success(), "{status}");
    assert!(rest.contains("0 processes alive, 1 ended"), "{rest}");
    Ok(())
}

/// However short they live.
#[test]
fn everyone_who_ended_is_told_once() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "say ready hear loop{ 300 fork{ exec{ NOTHING } } wait }";
    let mut workload = begin(&lab, words)?;
    workload.expect("ready")?;
    let mut top = batch(&lab, workload.pid(), &["--interval", "20ms"])?;
    top.paragraph()?;
    workload.tell()?;
    workload.finish()?;
    let (status, rest) = top.finish()?;
    assert!(status.success(), "{status}");
    let ended = rest
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some("ended"));
    let names = ended.filter(|line| line.ends_with(NOTHING)).count();
    assert_eq!(names, 300);
    assert!(rest.contains("0 processes alive, 301 ended"), "{rest}");
    assert!(!rest.contains("not exact"), "{rest}");
    Ok(())
}

/// Without a process it is all of the machine, but for memtrace itself.
#[test]
fn without_a_process_everything_is_shown() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut workload = begin(&lab, "anon 5000 say ready hear")?;
    workload.expect("ready")?;
    let mut line = vec![memtrace()?.display().to_string()];
    line.extend(["top", "--batch", "--count", "1", "--rows", "100000"].map(str::to_owned));
    let finished = lab.to_end(&mut lab.fixed(&line))?.success()?;
    let pids: Vec<u32> = finished
        .stdout
        .lines()
        .skip(3)
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    assert!(pids.contains(&workload.pid()), "{}", finished.stdout);
    assert!(pids.contains(&std::process::id()), "{}", finished.stdout);
    assert!(
        !finished.stdout.contains("top --batch --count 1"),
        "{}",
        finished.stdout
    );
    workload.tell()?;
    workload.finish()?;
    Ok(())
}

/// A key ends it, and so does a signal; the terminal is then as it was.
#[test]
fn the_terminal_is_given_back() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut workload = begin(&lab, "anon 300 say ready hear")?;
    workload.expect("ready")?;
    for by_key in [true, false] {
        let line = ["top", "--interval", "50ms", &workload.pid().to_string()];
        let mut top = OnTerminal::start(&lab, &line)?;
        assert!(!top.is_raw()?);
        top.await_text("COMMAND")?;
        top.await_text("exact")?;
        assert!(top.is_raw()?);
        top.press("?")?;
        top.await_text("pause")?;
        top.press("?")?;
        // Ctrl-Z, and fg.
        top.forget();
        top.press("\x1a")?;
        top.await_text(LEAVES)?;
        await_state(top.pid(), "T")?;
        assert!(!top.is_raw()?);
        top.forget();
        top.signal(Signal::SIGCONT)?;
        top.await_text(ENTERS)?;
        top.await_text("COMMAND")?;
        assert!(top.is_raw()?);
        top.forget();
        if by_key {
            top.press("q")?;
        } else {
            top.signal(Signal::SIGTERM)?;
        }
        top.await_text(LEAVES)?;
        let status = top.end()?;
        assert!(!top.is_raw()?);
        assert!(status.success(), "{status}");
    }
    workload.tell()?;
    workload.finish()?;
    Ok(())
}

#[test]
fn where_it_cannot_be_it_says_so() -> Result<()> {
    let lab = Lab::new()?;
    let run = |options: &[&str]| -> Result<_> {
        let mut command = Command::new(memtrace()?);
        command.arg("top").args(options);
        lab.to_end(&mut command)
    };
    for (options, words) in [
        (&["1"][..], "standard output is not a terminal: --batch"),
        (
            &["--batch", "--segments"][..],
            "--segments has no place in top",
        ),
        (&["--count", "3"][..], "--batch"),
        (&["--batch", "0"][..], "ids are from 1"),
    ] {
        let finished = run(options)?;
        assert_eq!(finished.code(), Some(125), "{finished:?}");
        assert!(finished.stderr.contains(words), "{finished:?}");
    }
    Ok(())
}
