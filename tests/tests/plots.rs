//! The timeline in one line, below the summary of a run that was recorded.

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{Lab, memtrace, require_privileges};

/// What memtrace with these words shows on a terminal of 80 columns; standard error goes there, too.
fn shown(lab: &Lab, locale: &str, words: &[String]) -> Result<String> {
    let memtrace = memtrace()?.display();
    lab.on_columns(
        80,
        &format!("LC_ALL={locale} {memtrace} {}", words.join(" ")),
    )
}

/// The two lines of the plot, without what they begin with.
fn plot(text: &str) -> Option<(&str, &str)> {
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("timeline  "));
    Some((lines.next()?.strip_prefix("timeline  ")?, lines.next()?))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// On a terminal the report of a recording is what the run printed, plot and all; its peak is marked. It is in
/// no file and no pipe unless it is asked for, and without a recording there is none.
#[test]
fn a_terminal_shows_the_timeline() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let script = lab.script("nap-us 60000 anon 5000 nap-us 60000 unmap anon 200 nap-us 60000");
    let run = |options: &str| [words(options), script.clone()].concat();
    for (locale, full) in [("C.UTF-8", '█'), ("C", '@')] {
        let told = shown(&lab, locale, &run("run -f -o x.memtrace --"))?;
        let (line, mark) = plot(&told).with_context(|| told.clone())?;
        ensure!(line.contains(full), "{told}");
        ensure!(line.chars().count() <= 70, "{told}");
        let at = line.chars().position(|cell| cell == full);
        let marked = mark.chars().position(|cell| cell == '^');
        let (at, marked) = at.zip(marked).with_context(|| told.clone())?;
        let lines = line.chars().skip(at).take_while(|cell| *cell == full);
        ensure!((at..at + lines.count()).contains(&(marked - 10)), "{told}");
        ensure!(mark.contains(" at +"), "{told}");

        let reported = shown(&lab, locale, &words("report x.memtrace"))?;
        assert_eq!(reported, told);
        let mut ascii = shown(&lab, locale, &words("report --ascii x.memtrace"))?;
        ensure!(ascii.is_ascii() && plot(&ascii).is_some(), "{ascii}");
        ascii = shown(
            &lab,
            locale,
            &words("report --per-process x.memtrace | cat"),
        )?;
        ensure!(plot(&ascii).is_none(), "{ascii}");
        let asked = shown(&lab, locale, &words("report --timeline x.memtrace | cat"))?;
        ensure!(
            plot(&asked).is_some_and(|(line, _)| line.contains(full)),
            "{asked}"
        );
    }
    for none in [
        "run --",
        "run -q -f -o x.memtrace --",
        "run -f -o x.memtrace --text x.txt --",
        "run -o /dev/null --",
        "run --format runit -f -o x.memtrace --",
    ] {
        let told = shown(&lab, "C.UTF-8", &run(none))?;
        ensure!(plot(&told).is_none(), "{none}: {told}");
    }
    Ok(())
}
