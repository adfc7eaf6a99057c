//! What one boot left behind: two logs, and what they say. A run that is read again from its
//! logs goes through the same code as one that is watched.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    protocol::{Console, Results},
    retry::BOOTS,
};

/// How a boot ended, beside what its tests say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It switched itself off after the last test.
    Done,
    /// Its kernel said this, and died.
    Died(String),
    /// No sign of life came for too long.
    Stalled,
    /// It took too long.
    TooLong,
    /// QEMU ended before the tests did.
    Gone,
}

impl End {
    /// How it is written to the log of results, where nothing else tells.
    const fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Died(_) => "died",
            Self::Stalled => "stalled",
            Self::TooLong => "too-long",
            Self::Gone => "gone",
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Done => "it came to its end".to_owned(),
            Self::Died(words) => format!("the kernel died: {words}"),
            Self::Stalled => "it fell silent".to_owned(),
            Self::TooLong => "it took too long".to_owned(),
            Self::Gone => "QEMU ended".to_owned(),
        }
    }
}

/// Everything about one boot.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) console: Console,
    pub(crate) results: Results,
    pub(crate) end: End,
    /// From QEMU's start to the first program.
    pub(crate) booted: Option<Duration>,
    /// From QEMU's start to its end.
    pub(crate) time: Duration,
    /// How many times it was booted for this.
    pub(crate) boots: u32,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            console: Console::default(),
            results: Results::default(),
            end: End::Gone,
            booted: None,
            time: Duration::ZERO,
            boots: 1,
        }
    }
}

/// The word of the host's own lines in the log of results.
const HOST: &str = "@@host ";

impl Record {
    /// Takes a line of the console.
    pub(crate) fn console(&mut self, line: &str) {
        self.console.line(line);
    }

    /// Takes a line of the second port.
    pub(crate) fn result(&mut self, at: Duration, line: &str) {
        self.results.line(line);
        if self.booted.is_none() && self.results.release.is_some() {
            self.booted = Some(at);
        }
    }

    /// Reads a boot's logs again.
    pub(crate) fn read(logs: &Logs) -> Result<Self> {
        let read = |path: &Path| -> Result<String> {
            let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self::parse(&read(&logs.console)?, &read(&logs.results)?))
    }

    fn parse(console: &str, results: &str) -> Self {
        let mut record = Self::default();
        let mut end = None;
        for (at, line) in timed(results) {
            record.time = record.time.max(at);
            if let Some(words) = line.strip_prefix(HOST) {
                let mut words = words.split_whitespace();
                match (words.next(), words.next()) {
                    (Some("boot"), Some(number)) => record.boots = number.parse().unwrap_or(1),
                    (Some("end"), Some(word)) => end = Some(word),
                    _ => {}
                }
            } else {
                record.result(at, line);
            }
        }
        for (at, line) in timed(console) {
            record.time = record.time.max(at);
            record.console(line);
        }
        record.end = match end {
            _ if record.results.done => End::Done,
            Some("stalled") => End::Stalled,
            Some("too-long") => End::TooLong,
            // Of a run that was stopped there may be no word at all.
            _ => record.died(),
        };
        record
    }

    /// How it ended if QEMU did.
    pub(crate) fn died(&self) -> End {
        self.dead_or(End::Gone)
    }

    /// How it ended if no sign of life comes: a kernel that died may leave QEMU running.
    pub(crate) fn silent(&self) -> End {
        self.dead_or(End::Stalled)
    }

    fn dead_or(&self, end: End) -> End {
        self.console.death.clone().map_or(end, End::Died)
    }
}

/// Lines of a log with their times: `[   12.3] words`.
fn timed(text: &str) -> impl Iterator<Item = (Duration, &str)> {
    text.lines().filter_map(|line| {
        let (time, words) = line.strip_prefix('[')?.split_once("] ")?;
        let time = Duration::try_from_secs_f64(time.trim().parse().ok()?).ok()?;
        Some((time, words))
    })
}

/// Where a boot's logs are.
#[derive(Clone, Debug)]
pub(crate) struct Logs {
    /// What the kernel said.
    pub(crate) console: PathBuf,
    /// What the tests said.
    pub(crate) results: PathBuf,
}

impl Logs {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            console: dir.join("console.log"),
            results: dir.join("results.log"),
        }
    }

    /// Puts the logs of a boot that is repeated aside.
    pub(crate) fn keep(&self, boot: u32) -> Result<()> {
        for path in [&self.console, &self.results] {
            let kept = aside(path, boot);
            fs::rename(path, &kept)
                .with_context(|| format!("move {} to {}", path.display(), kept.display()))?;
        }
        Ok(())
    }

    /// Removes what an earlier run has left, so that nobody takes it for this one's.
    pub(crate) fn clear(&self) -> Result<()> {
        for path in [&self.console, &self.results] {
            for path in (1..BOOTS)
                .map(|boot| aside(path, boot))
                .chain([path.to_owned()])
            {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("remove {}", path.display()));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn aside(path: &Path, boot: u32) -> PathBuf {
    path.with_extension(format!("{boot}.log"))
}

/// Logs that are being written.
#[derive(Debug)]
pub(crate) struct Writer {
    console: File,
    results: File,
}

impl Writer {
    pub(crate) fn create(logs: &Logs, boot: u32) -> Result<Self> {
        let create =
            |path: &Path| File::create(path).with_context(|| format!("create {}", path.display()));
        let mut writer = Self {
            console: create(&logs.console)?,
            results: create(&logs.results)?,
        };
        writer.result(Duration::ZERO, &format!("{HOST}boot {boot}"))?;
        Ok(writer)
    }

    pub(crate) fn console(&mut self, at: Duration, line: &str) -> Result<()> {
        write(&mut self.console, at, line)
    }

    pub(crate) fn result(&mut self, at: Duration, line: &str) -> Result<()> {
        write(&mut self.results, at, line)
    }

    pub(crate) fn end(&mut self, at: Duration, end: &End) -> Result<()> {
        self.result(at, &format!("{HOST}end {}", end.word()))
    }
}

fn write(log: &mut File, at: Duration, line: &str) -> Result<()> {
    writeln!(log, "[{:7.1}] {line}", at.as_secs_f64()).context("write a guest's log")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{End, Record};

    #[test]
    fn logs_say_how_and_when_a_boot_ended() {
        let text = "[    0.0] @@host boot 2\n[   11.5] @@kernel 6.1.0 2\n[   12.0] @@begin x\n[   14.0] test a ... ok\n";
        let record = Record::parse("", &format!("{text}[  140.5] @@host end stalled\n"));
        assert_eq!(record.end, End::Stalled);
        assert_eq!(record.boots, 2);
        assert_eq!(record.booted, Some(Duration::from_secs_f64(11.5)));
        assert_eq!(record.time, Duration::from_secs_f64(140.5));
        assert_eq!(record.results.tests.len(), 1);

        let record = Record::parse("[ 3.0] Kernel panic - x\n", text);
        assert!(matches!(record.end, End::Died(_)));
        let record = Record::parse("[ 3.0] nothing special\n", text);
        assert_eq!(record.end, End::Gone);
        let record = Record::parse(
            "",
            &format!("{text}[ 20.0] @@done\n[ 20.1] @@host end done"),
        );
        assert_eq!(record.end, End::Done);
    }

    #[test]
    fn a_dead_kernel_is_not_a_silent_one() {
        let mut record = Record::default();
        assert_eq!(record.silent(), End::Stalled);
        record.console("Kernel panic - x");
        assert!(matches!(record.silent(), End::Died(_)));
    }

    #[test]
    fn a_test_cannot_kill_a_kernel_with_words() {
        let record = Record::parse("", "[ 3.0] Kernel panic - not syncing\n[ 4.0] @@done\n");
        assert_eq!((record.end, record.console.death), (End::Done, None));
    }
}
