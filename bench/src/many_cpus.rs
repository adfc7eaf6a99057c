//! What summing a counter costs where it has shares on many CPUs. Few machines have those, so
//! they are simulated: memtrace reads as many words more as it would there.

use anyhow::{Context as _, Result};
use memtrace::kernel::cpus;
use memtrace_tests::Lab;

use crate::{
    handler::{Sample, Subject},
    progress,
    results::ManyCpus,
    statistics::median,
};

/// How many CPUs are simulated; 0: the machine's own.
const SIZES: [u32; 4] = [0, 16, 64, 256];

/// Ways to sum, as `--sum-cpus` and `--handler` name them.
const WAYS: [(&str, &str); 3] = [
    ("all", "optimised"),
    ("touched", "optimised"),
    ("all", "plain"),
];

/// Measures every way at every size.
pub(crate) fn measure(lab: &Lab, rounds: usize) -> Result<Vec<ManyCpus>> {
    let own = cpus::possible()?;
    let mut rows = Vec::new();
    for (sum_cpus, handler) in WAYS {
        for size in SIZES {
            rows.push(ManyCpus {
                cpus: size.max(own),
                simulated: size > own,
                sum_cpus: sum_cpus.to_owned(),
                handler: handler.to_owned(),
                rounds,
                ..ManyCpus::default()
            });
        }
    }
    let mut samples = vec![Vec::new(); rows.len()];
    for round in 0..rounds {
        progress(&format!("many CPUs, round {} of {rounds}", round + 1));
        for (row, samples) in rows.iter_mut().zip(&mut samples) {
            let cpus = row.cpus.to_string();
            let options = [
                "--sum-cpus",
                &row.sum_cpus,
                "--handler",
                &row.handler,
                "--simulate-cpus",
                &cpus,
            ];
            let sample = Sample::take_with(lab, Subject::Tracked(1), &options)?;
            samples.extend(sample.between.handler_ns());
            row.verified = sample
                .between
                .costs("")
                .into_iter()
                .filter(|cost| cost.program.starts_with("rss_stat"))
                .find_map(|cost| cost.verified);
        }
    }
    for (row, samples) in rows.iter_mut().zip(&samples) {
        row.net_ns = median(samples).context("no program saw a counter change")?;
    }
    Ok(rows)
}
