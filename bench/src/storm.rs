//! A storm of forks, with each way of looking on beside it.

use std::{fs, path::Path, process::Stdio, thread, time::Instant};

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{Attached, Lab, Partner, begin, descendants, memtrace, scaled};

use crate::{
    own::{SETTLE, family_ms, peak, process_ms},
    progress,
    results::Storm,
    screens::{LOOKS, OnTerminal, Screens},
    statistics::{median, quantile, ratio},
    tools::MEMTRACE,
};

/// Nobody looks on.
pub(crate) const ALONE: &str = "untraced";
/// What the budget is for.
pub(crate) const TOP: &str = "memtrace top";
const BATCH: &str = "memtrace top --batch";
const ATTACH: &str = "memtrace attach PID";

/// In turn.
const HOW: [&str; 5] = [ALONE, TOP, BATCH, ATTACH, MEMTRACE];

/// One storm.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    wall_ms: f64,
    /// CPU time of the storm itself, and what memtrace's programs take in it.
    cpu_ms: f64,
    /// CPU time of memtrace meanwhile.
    own_ms: f64,
    rss_peak: Option<u64>,
    screens: Option<f64>,
}

/// Each round has one storm with each way, so that what else the machine does meets all of them, in an order that
/// is another one in each round.
pub(crate) fn measure(lab: &Lab, rounds: usize) -> Result<Vec<Storm>> {
    let forks = scaled(20_000, 50);
    let mut samples = [const { Vec::new() }; HOW.len()];
    for round in 0..rounds {
        progress(&format!(
            "a storm of {forks} forks, round {} of {rounds}",
            round + 1
        ));
        for turn in 0..HOW.len() {
            let at = (turn + round) % HOW.len();
            if let (Some(how), Some(samples)) = (HOW.get(at), samples.get_mut(at)) {
                let sample = one(lab, how, forks).with_context(|| (*how).to_owned())?;
                samples.push(sample);
            }
        }
    }
    let [alone, ..] = &samples;
    let rows = HOW.iter().zip(&samples);
    Ok(rows
        .map(|(how, samples)| row(how, forks, samples, alone))
        .collect())
}

fn row(how: &str, forks: u64, samples: &[Sample], alone: &[Sample]) -> Storm {
    let of = |what: fn(&Sample) -> f64| -> Vec<f64> { samples.iter().map(what).collect() };
    let ratios_of = |what: fn(&Sample) -> f64| -> Vec<f64> {
        let pairs = samples.iter().zip(alone);
        pairs
            .filter_map(|(with, without)| ratio(what(with), what(without)))
            .collect()
    };
    let ratios = ratios_of(|sample| sample.wall_ms);
    let rates: Vec<f64> = samples
        .iter()
        .filter_map(|sample| ratio(sample.screens? * 1e3, sample.wall_ms))
        .collect();
    Storm {
        how: how.to_owned(),
        forks,
        rounds: samples.len(),
        wall_ms: median(&of(|sample| sample.wall_ms)).unwrap_or(0.0),
        ratio: median(&ratios),
        low: quantile(&ratios, 0.25),
        high: quantile(&ratios, 0.75),
        cpu_ms: median(&of(|sample| sample.cpu_ms)).unwrap_or(0.0),
        cpu_ratio: median(&ratios_of(|sample| sample.cpu_ms)),
        own_ms: median(&of(|sample| sample.own_ms)).unwrap_or(0.0),
        rss_peak_bytes: samples.iter().filter_map(|sample| sample.rss_peak).max(),
        screens_per_second: median(&rates),
    }
}

/// What the storm is, between two words of it.
fn words(forks: u64) -> String {
    format!("say ready hear loop{{ {forks} fork{{ }} wait }} say done hear")
}

fn one(lab: &Lab, how: &str, forks: u64) -> Result<Sample> {
    if how == MEMTRACE {
        return run(lab, forks);
    }
    let mut storm = begin(lab, &words(forks))?;
    storm.expect("ready")?;
    let own = storm.pid();
    match how {
        TOP => {
            let mut top = OnTerminal::start(memtrace()?, lab.dir())?;
            let sample = seen(&mut storm, top.pid(), top.screens())?;
            top.leave()?;
            storm.finish()?;
            Ok(sample)
        }
        BATCH => batch(lab, storm),
        ATTACH => {
            let pid = own.to_string();
            let attached = Attached::to(lab, &[pid], &[])?;
            let sample = timed(&mut storm, own, Some(attached.memtrace().pid()))?;
            storm.finish()?;
            let summary = attached.finish()?;
            ensure!(
                summary.processes.len() as u64 == forks + 1,
                "{} processes are reported of {forks} and one",
                summary.processes.len()
            );
            Ok(sample)
        }
        _ => {
            let sample = timed(&mut storm, own, None)?;
            storm.finish()?;
            Ok(sample)
        }
    }
}

/// `memtrace top --batch` of the whole machine.
fn batch(lab: &Lab, mut storm: Partner) -> Result<Sample> {
    let memtrace = memtrace()?.display().to_string();
    let line = [memtrace.as_str(), "top", "--batch"];
    let mut child = lab.fixed(&line).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("no pipe to memtrace")?;
    let mut screens = Screens::read(output, LOOKS);
    let sample = seen(&mut storm, child.id(), &mut screens);
    child.kill()?;
    child.wait()?;
    storm.finish()?;
    sample
}

/// A storm that somebody looks at who shows something again and again.
fn seen(storm: &mut Partner, pid: u32, screens: &mut Screens) -> Result<Sample> {
    screens.first()?;
    let own = storm.pid();
    let sample = timed(storm, own, Some(pid))?;
    Ok(Sample {
        screens: Some(screens.since_last() as f64),
        ..sample
    })
}

/// `memtrace run` of the storm itself.
fn run(lab: &Lab, forks: u64) -> Result<Sample> {
    let mut line = vec![memtrace()?.display().to_string()];
    line.extend(["run", "-q", "--"].map(str::to_owned));
    line.extend(lab.script(&words(forks)));
    let errors = lab.path("stderr-of-storm");
    let mut command = lab.fixed(&line);
    command.stderr(fs::File::create(&errors)?);
    let mut storm = Partner::start(&mut command)?;
    storm.expect("ready")?;
    let pid = storm.pid();
    let own = descendants(pid);
    let own = *own.first().context("the storm is not there")?;
    let sample = timed(&mut storm, own, Some(pid))?;
    let (status, _) = storm.finish()?;
    ensure!(status.success(), "{status}: {}", said(&errors));
    Ok(sample)
}

fn said(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Lets the storm, which is the process `own`, go, and waits until it is over. With the id of whoever looks on, what
/// that one used meanwhile.
fn timed(storm: &mut Partner, own: u32, pid: Option<u32>) -> Result<Sample> {
    // What is there has been taken in; the rest of a start is not to be in it.
    thread::sleep(SETTLE);
    let before = pid.map(process_ms).transpose()?;
    let cpu_before = family_ms(own)?;
    let start = Instant::now();
    storm.tell()?;
    storm.expect("done")?;
    let wall_ms = start.elapsed().as_secs_f64() * 1e3;
    let mut sample = Sample {
        wall_ms,
        cpu_ms: family_ms(own)? - cpu_before,
        ..Sample::default()
    };
    if let (Some(pid), Some(before)) = (pid, before) {
        sample.own_ms = process_ms(pid)? - before;
        sample.rss_peak = peak(pid)?.1;
    }
    Ok(sample)
}
