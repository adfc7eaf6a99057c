//! The screen as it is on a terminal, by real keys.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
};

use anyhow::{Context as _, Result};
use memtrace_tests::{
    Lab, Summary, Tmux, await_some, begin, exact_status, require, require_privileges,
    workloads::SCRIPT,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};

/// What is said of a report before its name.
const WRITTEN: &str = "the result so far is in ";

/// A shell, a `sleep` and a script that holds 5000 pages and waits for a byte.
struct Job {
    tmux: Tmux,
    /// What it waits for comes from here.
    input: File,
}

impl Job {
    /// Under `memtrace run --tui`, once all of it is shown.
    fn start(lab: &Lab) -> Result<Self> {
        // By a name that leaves room for its words.
        symlink(SCRIPT, lab.path("job"))?;
        let words = "sleep 1000 &\n./job anon 5000 status held hear\nkill $!\nwait\necho the end\n";
        fs::write(lab.path("job.sh"), words)?;
        let fifo = lab.path("fifo");
        mkfifo(&fifo, Mode::S_IRWXU)?;
        // Nobody waits for the other end.
        let input = File::options().read(true).write(true).open(&fifo)?;
        let tmux = Tmux::start(lab)?;
        tmux.type_line("$MEMTRACE run --tui -- sh job.sh <fifo")?;
        let job = Self { tmux, input };
        job.await_rows("three rows", |rows| {
            (rows.len() == 3 && rows[0].contains(" ./job anon 5000")).then_some(())
        })?;
        // Only then it has written what it holds.
        await_some("a status", || Ok(lab.status("held").ok()))?;
        Ok(job)
    }

    /// Waits until the rows of the table are as they shall be.
    fn await_rows<T>(&self, what: &str, look: impl Fn(&[String]) -> Option<T>) -> Result<T> {
        self.tmux.await_screen(what, |lines| look(&rows(lines)?))
    }

    /// Lets it come to its end.
    fn finish(mut self) -> Result<Tmux> {
        self.input.write_all(b"\n")?;
        Ok(self.tmux)
    }
}

/// The rows of the table, if it is shown.
fn rows(lines: &[String]) -> Option<Vec<String>> {
    let heading =
        |line: &String| line.trim_start().starts_with("PID ") && line.ends_with("COMMAND");
    let first = lines.iter().position(heading)? + 1;
    let last = lines.len().checked_sub(1)?;
    let rows = lines.get(first..last)?.iter();
    Some(rows.filter(|line| !line.is_empty()).cloned().collect())
}

/// The process that a row is of.
fn row_pid(row: &str) -> Option<u32> {
    row.split_whitespace().next()?.parse().ok()
}

/// Each key that looks at something shows it, in any size.
#[test]
fn keys_show_what_they_say() -> Result<()> {
    require_privileges!();
    require!(Tmux::installed());
    let lab = Lab::new()?;
    let job = Job::start(&lab)?;
    let tmux = &job.tmux;
    assert_eq!(tmux.modes()?, "1 0", "the other screen, without a cursor");

    tmux.press(&["?"])?;
    tmux.await_text("write the result so far")?;
    tmux.await_text("any key: back")?;
    tmux.press(&["x"])?;
    tmux.await_no_text("any key: back")?;

    tmux.press(&["t"])?;
    job.await_rows("a tree", |rows| {
        let is_child = |row: &String| row.contains("├─ ") || row.contains("└─ ");
        (rows.iter().filter(|row| is_child(row)).count() == 2).then_some(())
    })?;
    tmux.press(&["t"])?;
    job.await_rows("no tree", |rows| {
        rows.iter().all(|row| !row.contains("─ ")).then_some(())
    })?;

    // What is typed is looked for, not done.
    tmux.press(&["/"])?;
    tmux.await_text("/_  Enter: keep")?;
    tmux.type_text("sleqp")?;
    tmux.press(&["BSpace", "BSpace"])?;
    tmux.type_text("ep")?;
    tmux.await_text("/sleep_")?;
    tmux.press(&["Enter"])?;
    job.await_rows("the one that was looked for", |rows| {
        matches!(rows, [row] if row.ends_with("sleep 1000")).then_some(())
    })?;
    tmux.press(&["Escape"])?;
    job.await_rows("all again", |rows| (rows.len() == 3).then_some(()))?;

    tmux.press(&["Space"])?;
    let paused = tmux.await_text("  paused at ")?;
    tmux.press(&["Left"])?;
    tmux.await_text("  looking at ")?;
    tmux.press(&["Space"])?;
    tmux.await_no_text("  looking at ")?;
    assert!(paused.starts_with("memtrace  run sh job.sh"), "{paused}");

    tmux.resize(120, 40)?;
    tmux.await_screen("a wide heading", |lines| {
        let foot = lines.get(39)?;
        let title = lines.first()?;
        (foot.starts_with("? help") && title.chars().count() > 100).then_some(())
    })?;
    tmux.press(&["s", "s"])?;
    tmux.await_text("by growth")?;
    tmux.press(&["s"])?;
    tmux.await_text("by age")?;
    tmux.press(&["s"])?;
    let pids = job.await_rows("three by number", |rows| {
        let pids: Option<Vec<u32>> = rows.iter().map(|row| row_pid(row)).collect();
        pids.filter(|pids| pids.len() == 3 && pids.is_sorted())
    })?;
    tmux.await_no_text("by age")?;
    tmux.press(&["Down", "Enter"])?;
    let details = |of: u32| tmux.await_text(&format!(" PID       {of}"));
    details(pids[1])?;
    tmux.press(&["Down"])?;
    details(pids[2])?;
    tmux.press(&["Up", "Up"])?;
    details(pids[0])?;
    tmux.press(&["Escape"])?;
    job.await_rows("the table", |rows| (rows.len() == 3).then_some(()))?;

    tmux.resize(20, 5)?;
    tmux.await_text("too small")?;
    tmux.resize(80, 24)?;
    job.await_rows("the table", |rows| (rows.len() == 3).then_some(()))?;

    // It goes on without the screen, and says so where the screen was.
    tmux.press(&["q"])?;
    tmux.await_text("the command goes on")?;
    assert_eq!(tmux.modes()?, "0 1");
    let tmux = job.finish()?;
    tmux.await_text("the end")?;
    tmux.assert_restored()
}

/// The key w writes what is known into a new file, says where, and nothing else changes.
#[test]
fn a_report_is_written_and_named() -> Result<()> {
    require_privileges!();
    require!(Tmux::installed());
    require!(exact_status());
    let lab = Lab::new()?;
    let job = Job::start(&lab)?;
    let held = lab.status("held")?.rss()?;
    let mut names = Vec::new();
    for _ in 0..2 {
        job.tmux.press(&["w"])?;
        let name = job.tmux.await_screen("another report", |lines| {
            let said = lines.last()?.strip_prefix(WRITTEN)?.to_owned();
            (!names.contains(&said)).then_some(said)
        })?;
        assert!(name.starts_with("memtrace-sh-"), "{name}");
        // It was there before it was said.
        let summary = Summary::read(&lab.path(&name))?;
        summary.assert_exact();
        assert_eq!(summary.command, ["sh", "job.sh"]);
        assert_eq!((summary.exit_status, summary.signal), (None, None));
        assert_eq!((summary.user_ns, summary.kernel_maxrss_bytes), (None, None));
        assert_eq!(summary.tree.processes, 3);
        assert!(summary.processes.iter().all(|one| one.end_ns.is_none()));
        assert_eq!(summary.image_with("5000")?.peak_rss_bytes, held);
        assert!(summary.tree.peak_rss_bytes > held);
        assert!(summary.wall_ns > 0);
        names.push(name);
    }
    // The next key takes it away.
    job.tmux.press(&["Home"])?;
    job.tmux.await_no_text(WRITTEN)?;
    let tmux = job.finish()?;
    tmux.await_text("the end")?;
    tmux.assert_restored()
}

/// Where it cannot be written, or there is nothing to write, that is said, and the screen goes on.
#[test]
fn without_a_report_it_is_said_why() -> Result<()> {
    require!(Tmux::installed());
    let lab = Lab::new()?;
    let mut workload = begin(&lab, "anon 300 say ready hear")?;
    workload.expect("ready")?;
    let pid = workload.pid();
    let gone = "no report: memtrace-";
    let sampled = "no report: without BPF there is no result before the end";
    let mut lines = vec![(format!("$MEMTRACE top --backend poll {pid}"), sampled)];
    if memtrace_tests::capability().is_ok() {
        let in_no_directory = "mkdir gone; cd gone; rmdir ../gone; $MEMTRACE top";
        lines.push((
            format!("{in_no_directory} {pid}; cd {}", lab.dir().display()),
            gone,
        ));
    }
    let tmux = Tmux::start(&lab)?;
    for (line, said) in lines {
        tmux.type_line(&line)?;
        tmux.await_screen("its row", |lines| {
            let rows = rows(lines)?;
            rows.iter()
                .find(|row| row_pid(row) == Some(workload.pid()))
                .map(drop)
        })?;
        tmux.press(&["w"])?;
        tmux.await_text(said)?;
        tmux.press(&["t"])?;
        tmux.await_no_text("no report")?;
        tmux.press(&["q"])?;
        tmux.assert_restored()?;
    }
    drop(tmux);
    let is_report = |name: &str| name.starts_with("memtrace-");
    for entry in fs::read_dir(lab.dir())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        assert!(!is_report(&name), "{name}");
    }
    workload.tell()?;
    workload.finish()?;
    Ok(())
}

/// Also by a signal memtrace leaves the terminal as it found it.
#[test]
fn signals_give_the_terminal_back() -> Result<()> {
    require_privileges!();
    require!(Tmux::installed());
    let lab = Lab::new()?;
    let mut workload = begin(&lab, "anon 300 say ready hear")?;
    workload.expect("ready")?;
    let tmux = Tmux::start(&lab)?;
    for line in [
        &format!("top {}", workload.pid()),
        &format!("attach --tui -q {}", workload.pid()),
        "run --tui -q -- sleep 1000",
    ] {
        let file = lab.path("pid");
        let _ = fs::remove_file(&file);
        tmux.type_line(&format!("sh -c 'echo $$ >pid; exec $MEMTRACE {line}'"))?;
        let pid = await_some("a process id", || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let line = text.strip_suffix('\n');
            line.map(|line| line.parse().context("a number"))
                .transpose()
        })?;
        tmux.await_screen("a row", |lines| rows(lines).filter(|rows| !rows.is_empty()))?;
        assert_eq!(tmux.modes()?, "1 0", "{line}");
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        tmux.assert_restored().context(line.to_owned())?;
    }
    workload.tell()?;
    workload.finish()?;
    Ok(())
}
