//! What memtrace's own process uses, and how large recordings are.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use memtrace::{
    event::Event,
    recording::{Entry, Reader},
};
use memtrace_tests::{Lab, Partner, Status, descendants, memtrace, scaled};
use nix::{
    sys::time::TimeValLike as _,
    time::{clock_getcpuclockid, clock_gettime},
    unistd::{Pid, SysconfVar, sysconf},
};

use crate::{
    once, progress,
    results::{Own, RecordingSize},
    statistics::{median, ratio},
    tools::{MEMTRACE, RECORDING},
    workloads::{self, C_BUILD},
};

/// How long memtrace gets to read what is in its buffers when the work is done.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);

/// CPU time of memtrace and of the command, for some workloads.
pub(crate) fn measure(lab: &Lab, rounds: usize, remarks: &mut Vec<String>) -> Result<Vec<Own>> {
    let mut rows = Vec::new();
    let build = workloads::one(lab, C_BUILD)?;
    // A word of the script's language may not end in a brace, and none does.
    let words = format!("vfork{{ exec{{ {} }} }} wait", build.line.join(" "));
    let faults = workloads::one(lab, workloads::FAULTS)?;
    let spawn = workloads::one(lab, workloads::SPAWN)?;
    let without_program = |line: &[String]| line.iter().skip(1).cloned().collect::<Vec<_>>();
    let spawns = without_program(&spawn.line).join(" ");
    let works = [
        (build.title, words),
        (faults.title, without_program(&faults.line).join(" ")),
        (
            format!("5 times: {}", spawn.title),
            format!("loop{{ 5 {spawns} }}"),
        ),
    ];
    for (title, words) in &works {
        for (tool, options) in [
            (MEMTRACE, &[][..]),
            (RECORDING, &["-o", "recording", "--force"][..]),
        ] {
            progress(&format!("CPU time of {tool}: {title}"));
            let found: Vec<_> = (0..rounds)
                .map(|_| one(lab, &build.directory, options, words))
                .collect::<Result<_>>()
                .with_context(|| format!("{tool}: {title}"))?;
            let of = |what: fn(&Sample) -> f64| {
                let values: Vec<f64> = found.iter().map(what).collect();
                median(&values).unwrap_or(0.0)
            };
            if let Some(said) = found.iter().find_map(|sample| sample.said.as_deref()) {
                remarks.push(format!("{title} with {tool}: {said}"));
            }
            let percents: Vec<f64> = found
                .iter()
                .filter_map(|sample| ratio(100.0 * sample.own_ms, sample.traced_ms))
                .collect();
            rows.push(Own {
                workload: title.clone(),
                tool: tool.to_owned(),
                rounds,
                own_ms: of(|sample| sample.own_ms),
                traced_ms: of(|sample| sample.traced_ms),
                percent: median(&percents),
                rss_peak_bytes: found.iter().filter_map(|sample| sample.rss_peak).max(),
            });
        }
    }
    Ok(rows)
}

struct Sample {
    own_ms: f64,
    traced_ms: f64,
    rss_peak: Option<u64>,
    said: Option<String>,
}

/// One run: CPU times between the moment when the command is ready and the one when it is done,
/// so that start-up and the report are not in it.
fn one(lab: &Lab, directory: &std::path::Path, options: &[&str], words: &str) -> Result<Sample> {
    let mut line = vec![
        memtrace()?.display().to_string(),
        "run".to_owned(),
        "-q".to_owned(),
    ];
    line.extend(options.iter().map(|&option| option.to_owned()));
    line.push("--".to_owned());
    line.extend(lab.script(&format!("say ready hear {words} say done hear")));
    let errors = lab.path("stderr-of-own");
    let mut command = lab.fixed(&line);
    command
        .current_dir(directory)
        .stderr(fs::File::create(&errors)?);
    let mut partner = Partner::start(&mut command)?;
    partner.expect("ready")?;
    thread::sleep(SETTLE);
    let own = partner.pid();
    let traced = descendants(own);
    let traced = *traced.first().context("the command is not there")?;
    let (own_before, traced_before) = (process_ms(own)?, family_ms(traced)?);
    partner.tell()?;
    partner.expect("done")?;
    thread::sleep(SETTLE);
    let own_ms = process_ms(own)? - own_before;
    let traced_ms = family_ms(traced)? - traced_before;
    let rss_peak = peak(own)?.1;
    let (status, _) = partner.finish()?;
    ensure!(status.success(), "memtrace ended with {status}");
    let said = fs::read_to_string(&errors)?;
    Ok(Sample {
        own_ms,
        traced_ms,
        rss_peak,
        said: said.lines().next().map(str::to_owned),
    })
}

/// CPU time of a process with all its threads, also those that ended, ms.
pub(crate) fn process_ms(pid: u32) -> Result<f64> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))
        .with_context(|| format!("find the CPU clock of process {pid}"))?;
    let time = clock_gettime(clock).context("read a CPU clock")?;
    Ok(time.num_nanoseconds() as f64 / 1e6)
}

/// CPU time of a process and of its descendants that were waited for, ms, in the kernel's ticks.
pub(crate) fn family_ms(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("read the CPU time of process {pid}"))?;
    let ticks = family_ticks(&stat).with_context(|| format!("cannot understand {stat:?}"))?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(ticks as f64 * 1e3 / per_second as f64)
}

/// `utime`, `stime`, `cutime` and `cstime` of `proc_pid_stat(5)`, fields 14 to 17.
fn family_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().skip(11).take(4).collect();
    if fields.len() != 4 {
        return None;
    }
    fields.iter().map(|field| field.parse::<u64>().ok()).sum()
}

/// RSS of a process and its high-water mark, bytes.
pub(crate) fn peak(pid: u32) -> Result<(Option<u64>, Option<u64>)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("read the status of process {pid}"))?;
    let status = Status::parse(&text);
    Ok((status.rss().ok(), status.bytes("VmHWM").ok()))
}

/// Sizes of recordings of a C build.
pub(crate) fn recordings(lab: &Lab) -> Result<Vec<RecordingSize>> {
    let build = workloads::one(lab, C_BUILD)?;
    let file = lab.path("size.memtrace");
    let mut rows = Vec::new();
    for resolution in ["0", "10ms"] {
        progress(&format!(
            "size of a recording with --resolution {resolution}"
        ));
        let mut line = vec![memtrace()?.display().to_string()];
        let output = file.display().to_string();
        let words = [
            "run",
            "-q",
            "--force",
            "--resolution",
            resolution,
            "-o",
            &output,
            "--",
        ];
        line.extend(words.map(str::to_owned));
        line.extend_from_slice(&build.line);
        once::run(lab, &line, &build.directory)?;
        let mut row = RecordingSize {
            workload: build.title.clone(),
            resolution: resolution.to_owned(),
            bytes: fs::metadata(&file)?.len(),
            ..RecordingSize::default()
        };
        let mut reader = Reader::open(&file)?;
        while let Some(entry) = reader.next_entry()? {
            match entry {
                Entry::Event(
                    Event::Change(_)
                    | Event::SizesChange(_)
                    | Event::ImageWindow(_)
                    | Event::TreeWindow(_),
                ) => row.entries += 1,
                Entry::Loss(loss) => row.lost += loss.records,
                _ => {}
            }
        }
        rows.push(row);
    }
    // A build that was made small has nothing to say. Windows are few anyway.
    let enough = |row: &RecordingSize| match row.resolution.as_str() {
        "0" => row.entries > scaled(10_000, 1),
        _ => row.entries > 0,
    };
    ensure!(
        rows.iter().all(enough),
        "the recordings are empty: {rows:?}"
    );
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::family_ticks;

    #[test]
    fn cpu_times_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 200 0 0 3 5 70 900 20 0 1 0 12 0 0";
        assert_eq!(family_ticks(stat), Some(978));
        assert_eq!(family_ticks("42 (a) S 1 2"), None);
        assert_eq!(family_ticks(""), None);
    }
}
