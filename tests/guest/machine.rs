//! What a test changes of the machine, put back when dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, Partner, Run, Summary};

/// A file of sysfs or procfs with another value.
#[derive(Debug)]
pub(crate) struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    /// Writes the value.
    pub(crate) fn set(path: impl AsRef<Path>, value: &str) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        // `always [madvise] never`, or a plain value.
        let chosen = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map_or(text.trim(), |(word, _)| word);
        let setting = Self {
            before: chosen.to_owned(),
            path,
        };
        fs::write(&setting.path, value)
            .with_context(|| format!("write {value} to {}", setting.path.display()))?;
        Ok(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // A test that fails must not hide why.
        let _ = fs::write(&self.path, &self.before);
    }
}

/// Swap space in compressed memory.
#[derive(Debug)]
pub(crate) struct Zram;

const ZRAM: &str = "/dev/zram0";

impl Zram {
    /// Makes some of 256 MiB, used before any other.
    pub(crate) fn on() -> Result<Self> {
        fs::write("/sys/block/zram0/disksize", "256M").context("give zram a size")?;
        let zram = Self;
        for line in [["mkswap", ZRAM].as_slice(), &["swapon", "-p", "100", ZRAM]] {
            let output = Command::new(line[0])
                .args(&line[1..])
                .output()
                .with_context(|| format!("run {line:?}"))?;
            anyhow::ensure!(output.status.success(), "{line:?}: {output:?}");
        }
        Ok(zram)
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        let _ = Command::new("swapoff").arg(ZRAM).output();
        let _ = fs::write("/sys/block/zram0/reset", "1");
    }
}

/// A script under `memtrace run` that the test talks with.
pub(crate) fn talk(lab: &Lab, options: &[&str], words: &str) -> Result<Partner> {
    let mut line = lab.memtrace_run(options)?;
    line.extend(lab.script(words));
    Partner::start(&mut lab.fixed(&line))
}

/// Its end, which must be a good one, and what memtrace made of it.
pub(crate) fn finish(lab: &Lab, partner: Partner) -> Result<Summary> {
    let (status, said) = partner.finish()?;
    anyhow::ensure!(status.success(), "ended with {status}, saying {said:?}");
    Summary::read(&lab.path("summary.json"))
}

/// How much more anonymous memory than at `status @base` the one process of a run had at its
/// top, in pages; the run must be exact.
pub(crate) fn grown(lab: &Lab, run: &Run) -> Result<u64> {
    run.summary.assert_exact();
    assert_eq!(run.summary.processes.len(), 1);
    let peak = run.summary.root()?.last_image()?.peak_anon_bytes;
    let base = lab.status("base")?.bytes("RssAnon")?;
    Ok(peak.wrapping_sub(base) / memtrace_tests::page())
}
