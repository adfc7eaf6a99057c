//! Reports are as wide as the terminal, and as wide as they need to be in files.

use anyhow::{Result, ensure};
use memtrace_tests::{Lab, memtrace};

/// A word that is wider than any terminal here.
fn long() -> String {
    "x".repeat(150)
}

fn widest(text: &str) -> usize {
    text.lines()
        .map(|line| line.trim_end().chars().count())
        .max()
        .unwrap_or(0)
}

/// Into a file the command is whole; COLUMNS limits it there, too.
#[test]
fn files_have_no_width_but_columns() -> Result<()> {
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let long = long();
    let line = [&memtrace, "run", "--per-process", "--", "true", &long];
    let whole = lab.to_end(&mut lab.fixed(&line))?.success()?;
    let row = format!("  true {long}\n");
    ensure!(whole.stderr.contains(&row), "{}", whole.stderr);
    for columns in [40, 72, 100] {
        let mut command = lab.fixed(&line);
        command.env("COLUMNS", columns.to_string());
        let cut = lab.to_end(&mut command)?.success()?;
        assert!(widest(&cut.stderr) <= columns, "{columns}: {}", cut.stderr);
        ensure!(cut.stderr.contains("  true xx"), "{}", cut.stderr);
    }
    for nonsense in ["0", "-5", "wide", ""] {
        let mut command = lab.fixed(&line);
        command.env("COLUMNS", nonsense);
        let whole = lab.to_end(&mut command)?.success()?;
        ensure!(
            whole.stderr.contains(&row),
            "{nonsense:?}: {}",
            whole.stderr
        );
    }
    Ok(())
}

/// A terminal's own width, of the stream that the report goes to.
#[test]
fn terminals_have_their_width() -> Result<()> {
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let long = long();
    for columns in [47, 90] {
        let words = format!("{memtrace} run --per-process -v -- true {long} 2>/dev/tty");
        let text = lab.on_columns(columns, &words)?;
        ensure!(
            text.contains("memtrace: ") && text.contains("PID"),
            "{text}"
        );
        assert!(widest(&text) <= columns, "{columns}: {text}");
    }
    Ok(())
}
