//! What a run of the benchmark found: the JSON, schema `memtrace.bench/1`, and the source of
//! every table.

use serde::{Deserialize, Serialize};

/// The schema's name.
pub(crate) const SCHEMA: &str = "memtrace.bench/1";

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// `memtrace.bench/1`; fields are only added.
    pub(crate) schema: String,
    /// Where it was measured.
    pub(crate) machine: Machine,
    /// Whether only what the budgets need was measured.
    pub(crate) quick: bool,
    /// What memtrace is compared with.
    pub(crate) tools: Vec<ToolUse>,
    /// What is reported, beside other tools.
    pub(crate) reported: Vec<Reported>,
    /// Wall and CPU time.
    pub(crate) wall: Vec<Wall>,
    /// Cost of each BPF program.
    pub(crate) programs: Vec<ProgramCost>,
    /// Cost of the handler of counter changes as a whole.
    pub(crate) handler: Vec<HandlerCost>,
    /// The same on machines with many CPUs.
    #[serde(default)]
    pub(crate) many_cpus: Vec<ManyCpus>,
    /// What memtrace's own process uses.
    pub(crate) own: Vec<Own>,
    /// Sizes of recordings.
    pub(crate) recordings: Vec<RecordingSize>,
    /// Processes that were lost.
    pub(crate) lost: Option<Lost>,
    /// A storm of forks, with whoever looks on.
    #[serde(default)]
    pub(crate) storm: Vec<Storm>,
    /// Instructions of parts of memtrace, counted by callgrind.
    pub(crate) instructions: Vec<Instructions>,
    /// Budgets of the parts that were measured.
    pub(crate) budgets: Vec<Budget>,
    /// What went wrong, or makes a number less trustworthy.
    pub(crate) remarks: Vec<String>,
}

/// The machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// `uname -r`.
    pub(crate) kernel: String,
    /// The processor's name, as `/proc/cpuinfo` has it.
    pub(crate) processor: String,
    /// CPUs on which this process may run.
    pub(crate) cpus: usize,
    /// Memory, MiB.
    pub(crate) memory_mib: u64,
    /// Whether the processor says that it is virtual.
    pub(crate) virtual_machine: bool,
    /// Runnable tasks, mean of the minute before the start.
    pub(crate) load: f64,
    /// Version of memtrace, as it prints it.
    pub(crate) memtrace: String,
}

/// A tool and why it was left out, if it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ToolUse {
    /// As in the tables.
    pub(crate) name: String,
    /// The command line before the measured command's.
    pub(crate) line: String,
    /// Why it was not measured.
    pub(crate) left_out: Option<String>,
}

/// One thing that tools report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reported {
    /// What was run.
    pub(crate) what: String,
    /// What is true, by construction.
    pub(crate) truth: String,
    /// Who reports it.
    pub(crate) tool: String,
    /// What it reports, bytes.
    pub(crate) bytes: Option<u64>,
}

/// A workload with a tool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wall {
    /// Short name of the workload.
    pub(crate) workload: String,
    /// What it does.
    pub(crate) title: String,
    /// The tool.
    pub(crate) tool: String,
    /// Runs of each.
    pub(crate) rounds: usize,
    /// Median wall time, ms.
    pub(crate) wall_ms: f64,
    /// Median wall time without a tool in the same rounds, ms.
    pub(crate) untraced_ms: f64,
    /// Median, over the rounds, of the ratio of the two.
    pub(crate) ratio: Option<f64>,
    /// The same of what remains beyond start-up.
    pub(crate) beyond_start: Option<f64>,
    /// Its first quartile.
    pub(crate) beyond_low: Option<f64>,
    /// Its third quartile.
    pub(crate) beyond_high: Option<f64>,
    /// Median CPU time of the tool, the command and all its descendants that were waited for, ms.
    pub(crate) cpu_ms: f64,
    /// The same without a tool, ms.
    pub(crate) untraced_cpu_ms: f64,
}

/// One BPF program in one situation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProgramCost {
    /// What happened meanwhile.
    pub(crate) situation: String,
    /// Its name; the kernel keeps 15 characters.
    pub(crate) program: String,
    /// The event it is attached to; empty for the empty program.
    pub(crate) on: String,
    /// How often it ran.
    pub(crate) runs: u64,
    /// Time of one run as the kernel measures it, ns.
    pub(crate) gross_ns: Option<f64>,
    /// The same without what an empty program needs, ns.
    pub(crate) net_ns: Option<f64>,
    /// Instructions that the verifier looked at.
    pub(crate) verified: Option<u32>,
    /// Bytes of machine code.
    pub(crate) jited_bytes: u32,
}

/// All programs on counter changes together, per change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HandlerCost {
    /// Whether the process that caused the changes is followed.
    pub(crate) tracked: bool,
    /// Whether it shares pages with a child that it forked.
    pub(crate) shares: bool,
    /// Other images that are followed at the same time.
    pub(crate) images: u64,
    /// Rounds, of which the numbers are medians.
    pub(crate) rounds: usize,
    /// Changes that were seen.
    pub(crate) events: u64,
    /// Part of them that other processes on the machine caused, 0 to 1.
    pub(crate) foreign: f64,
    /// Time of an empty program on the same event in the same run, ns.
    pub(crate) empty_ns: f64,
    /// Cost per change, net of an empty program, ns.
    pub(crate) net_ns: f64,
    /// RSS of memtrace's process meanwhile, bytes.
    pub(crate) rss_bytes: Option<u64>,
    /// Its high-water mark, bytes.
    pub(crate) rss_peak_bytes: Option<u64>,
}

/// Programs on counter changes where counters have shares on so many CPUs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ManyCpus {
    /// CPUs that shares are summed over.
    pub(crate) cpus: u32,
    /// Whether those beyond the machine's own are simulated.
    pub(crate) simulated: bool,
    /// `--sum-cpus`.
    pub(crate) sum_cpus: String,
    /// `--handler`.
    pub(crate) handler: String,
    /// Rounds, of which the numbers are medians.
    pub(crate) rounds: usize,
    /// Cost per change, net of an empty program, ns.
    pub(crate) net_ns: f64,
    /// Instructions that the verifier looked at.
    pub(crate) verified: Option<u32>,
}

/// CPU time of memtrace's process while the command ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Own {
    /// What ran.
    pub(crate) workload: String,
    /// How memtrace was called.
    pub(crate) tool: String,
    /// Rounds, of which the numbers are medians.
    pub(crate) rounds: usize,
    /// CPU time of memtrace, ms.
    pub(crate) own_ms: f64,
    /// CPU time of the command, ms.
    pub(crate) traced_ms: f64,
    /// The first in percent of the second.
    pub(crate) percent: Option<f64>,
    /// Largest RSS of memtrace, bytes.
    pub(crate) rss_peak_bytes: Option<u64>,
}

/// Size of a recording.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RecordingSize {
    /// What ran.
    pub(crate) workload: String,
    /// `--resolution`.
    pub(crate) resolution: String,
    /// Of the whole file.
    pub(crate) bytes: u64,
    /// Entries of the timeline: changes, or windows.
    pub(crate) entries: u64,
    /// Entries that were lost because the buffer was full.
    pub(crate) lost: u64,
}

/// A storm of processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lost {
    /// Processes that were created, with the first one.
    pub(crate) created: u64,
    /// Those in memtrace's result.
    pub(crate) reported: u64,
    /// Whether its certificate says that nothing was lost.
    pub(crate) none_lost: bool,
}

/// A storm of forks while somebody looks on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Storm {
    /// Who.
    pub(crate) how: String,
    /// Processes that are created, one after the other.
    pub(crate) forks: u64,
    /// Rounds, of which the numbers are medians.
    pub(crate) rounds: usize,
    /// How long the storm takes, ms.
    pub(crate) wall_ms: f64,
    /// Median, over the rounds, of the ratio to a storm that nobody looks at.
    pub(crate) ratio: Option<f64>,
    /// Its first quartile.
    pub(crate) low: Option<f64>,
    /// Its third quartile.
    pub(crate) high: Option<f64>,
    /// CPU time of the storm itself, with what memtrace's programs take in it, ms.
    pub(crate) cpu_ms: f64,
    /// Median, over the rounds, of its ratio to that of a storm that nobody looks at. What else runs on a machine
    /// moves it less than the other.
    pub(crate) cpu_ratio: Option<f64>,
    /// CPU time of memtrace meanwhile, ms.
    pub(crate) own_ms: f64,
    /// Largest RSS of memtrace, bytes.
    pub(crate) rss_peak_bytes: Option<u64>,
    /// How often it showed something new.
    pub(crate) screens_per_second: Option<f64>,
}

/// Instructions of a part of memtrace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Instructions {
    /// The part.
    pub(crate) part: String,
    /// What one operation is.
    pub(crate) operation: String,
    /// Instructions of one operation.
    pub(crate) each: f64,
}

/// A budget and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Budget {
    /// What is limited.
    pub(crate) what: String,
    /// Unit of both numbers.
    pub(crate) unit: String,
    /// The most that is allowed.
    pub(crate) budget: f64,
    /// What was measured.
    pub(crate) figure: Option<f64>,
    /// What came of it.
    pub(crate) verdict: Verdict,
}

/// Whether a budget is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// Unknown.
    NotMeasured,
}
