//! What the BPF programs cost per event, measured by the kernel itself, while few and while many
//! images are followed.

use std::{fs::File, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{Lab, Partner, memtrace, mib, scaled};

use crate::{
    once, own,
    programs::{Counting, Reading, attached, without_foreign},
    progress,
    results::{HandlerCost, ProgramCost},
    statistics::median,
};

/// How long a crowd gets to come to rest.
const SETTLE: Duration = Duration::from_secs(1);

/// The fault loop: how often, and how many pages each time.
fn loop_of() -> (u64, u64) {
    (scaled(20, 2), mib(scaled(128, 8)))
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Each program on its own, with one image.
    pub(crate) programs: Vec<ProgramCost>,
    /// Programs on counter changes together.
    pub(crate) handler: Vec<HandlerCost>,
}

/// Measures a process that is not followed, one that is followed while so many other images of
/// its tree live, and one that shares pages with a child. The rounds go through all of them in turn.
pub(crate) fn measure(
    lab: &Lab,
    sizes: &[u64],
    rounds: usize,
    remarks: &mut Vec<String>,
) -> Result<Found> {
    let mut found = Found::default();
    let mut untracked = Vec::new();
    let mut forked = Vec::new();
    let mut tracked: Vec<Vec<Sample>> = sizes.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        progress(&format!(
            "handler, round {} of {rounds}: untracked",
            round + 1
        ));
        let sample = Sample::take(lab, Subject::Untracked)?;
        if round == 0 {
            found.programs.extend(
                sample
                    .between
                    .costs("a process that is not followed faults"),
            );
        }
        untracked.push(sample);
        for (&images, samples) in sizes.iter().zip(&mut tracked) {
            progress(&format!(
                "handler, round {} of {rounds}: {images} other images",
                round + 1
            ));
            let sample = Sample::take(lab, Subject::Tracked(images))?;
            if round == 0 && images == 1 {
                found
                    .programs
                    .extend(sample.between.costs("a process that is followed faults"));
            }
            samples.push(sample);
        }
        forked.push(Sample::take(lab, Subject::Forked)?);
    }
    if sizes.contains(&1) {
        progress("programs of processes that come and go");
        let sample = Sample::take(lab, Subject::Spawning)?;
        let costs = sample
            .between
            .costs("processes that are followed start and end");
        found.programs.extend(costs);
    }
    let net = |sample: &Sample| sample.between.handler_ns();
    let nets: Vec<f64> = untracked.iter().filter_map(net).collect();
    let untracked_ns = median(&nets).context("no program saw a counter change")?;
    found.handler.push(cost(&untracked, untracked_ns)?);
    let trees = sizes.iter().map(|&images| (images, false)).zip(&tracked);
    for ((images, shares), samples) in trees.chain([((1, true), &forked)]) {
        let nets: Vec<f64> = samples
            .iter()
            .filter_map(|sample| {
                let all = net(sample)?;
                let events = sample.between.empty.runs;
                Some(without_foreign(all, events, sample.known, untracked_ns))
            })
            .collect();
        let net_ns = median(&nets).context("no program saw a counter change")?;
        found.handler.push(HandlerCost {
            tracked: true,
            shares,
            images,
            ..cost(samples, net_ns)?
        });
        if let Some(said) = samples.iter().find_map(|sample| sample.said.as_deref()) {
            remarks.push(format!("{images} other images: {said}"));
        }
    }
    Ok(found)
}

/// Medians of samples.
fn cost(samples: &[Sample], net_ns: f64) -> Result<HandlerCost> {
    let of = |what: fn(&Sample) -> Option<f64>| {
        let values: Vec<f64> = samples.iter().filter_map(what).collect();
        median(&values)
    };
    let foreign = of(|sample| {
        let events = sample.between.empty.runs.max(1) as f64;
        Some((1.0 - sample.known as f64 / events).max(0.0))
    });
    let empty_ns = of(|sample| sample.between.empty_ns());
    Ok(HandlerCost {
        rounds: samples.len(),
        events: samples.iter().map(|sample| sample.between.empty.runs).sum(),
        foreign: foreign.unwrap_or(0.0),
        empty_ns: empty_ns.context("the empty program did not run")?,
        net_ns,
        rss_bytes: samples.iter().filter_map(|sample| sample.rss).max(),
        rss_peak_bytes: samples.iter().filter_map(|sample| sample.rss_peak).max(),
        ..HandlerCost::default()
    })
}

#[derive(Clone, Copy)]
pub(crate) enum Subject {
    /// A process outside of the tree faults.
    Untracked,
    /// A program that shares no pages faults while so many other images of its tree live.
    Tracked(u64),
    /// A process that has a child by fork, with which it shares its first pages, faults.
    Forked,
    /// The tree's processes start and end.
    Spawning,
}

pub(crate) struct Sample {
    /// What the programs cost.
    pub(crate) between: Reading,
    /// Changes that the workload caused for sure.
    known: u64,
    rss: Option<u64>,
    rss_peak: Option<u64>,
    said: Option<String>,
}

impl Sample {
    fn take(lab: &Lab, subject: Subject) -> Result<Self> {
        Self::take_with(lab, subject, &[])
    }

    /// With further options of `memtrace run`.
    pub(crate) fn take_with(lab: &Lab, subject: Subject, more: &[&str]) -> Result<Self> {
        let (times, pages) = loop_of();
        let faults = format!("loop{{ {times} anon {pages} unmap }}");
        let around = |words: &str| format!("say ready hear {words} say done hear");
        let (work, others) = match subject {
            Subject::Untracked => (around(""), 0),
            // The tree's first process is one of the others.
            Subject::Tracked(images) => (
                format!("fork{{ exec{{ SELF {} }} }} wait", around(&faults)),
                images.saturating_sub(1),
            ),
            Subject::Forked => (around(&faults), 1),
            Subject::Spawning => {
                let times = scaled(1_000, 20);
                let words = format!("loop{{ {times} fork{{ exec{{ NOTHING }} }} wait }}");
                (around(&words), 0)
            }
        };
        let crowd = format!(
            "pipe 0 pipe 1 loop{{ {others} fork{{ post 0 await 1 }} }} loop{{ {others} await 0 }} \
             {work} loop{{ {others} post 1 }} loop{{ {others} wait }}"
        );
        let mut line = vec![memtrace()?.display().to_string()];
        let room = (others + 100).max(16_384).to_string();
        let processes = (others + 100).max(32_768).to_string();
        let options = [
            "run",
            "-q",
            "--max-images",
            &room,
            "--max-processes",
            &processes,
        ];
        line.extend(options.iter().chain(more).map(|&word| word.to_owned()));
        line.push("--".to_owned());
        line.extend(lab.script(&crowd));

        let errors = lab.path("stderr-of-handler");
        let mut command = lab.fixed(&line);
        command.stderr(File::create(&errors)?);
        let counting = Counting::start()?;
        let mut partner = Partner::start(&mut command)?;
        partner.expect("ready")?;
        thread::sleep(SETTLE);
        let programs = attached(partner.pid());
        ensure!(!programs.is_empty(), "memtrace holds no BPF programs");
        let before = counting.read(&programs);
        let known = match subject {
            Subject::Untracked => {
                once::run(lab, &lab.script(&faults), lab.dir())?;
                times * pages
            }
            Subject::Tracked(_) | Subject::Forked => {
                partner.tell()?;
                partner.expect("done")?;
                times * pages
            }
            Subject::Spawning => {
                partner.tell()?;
                partner.expect("done")?;
                0
            }
        };
        let between = counting.read(&programs).since(&before);
        let (rss, rss_peak) = own::peak(partner.pid())?;
        if matches!(subject, Subject::Untracked) {
            partner.tell()?;
            partner.expect("done")?;
        }
        let (status, _) = partner.finish()?;
        ensure!(status.success(), "memtrace ended with {status}");
        let said = std::fs::read_to_string(&errors)?;
        Ok(Self {
            between,
            known,
            rss,
            rss_peak,
            said: said.lines().next().map(str::to_owned),
        })
    }
}
