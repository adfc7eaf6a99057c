//! What memtrace costs: `cargo xtask bench`.
//!
//! All measurements of one run happen side by side on the same machine, with the tools
//! that memtrace competes with; ratios are what counts. Results are printed as tables,
//! and on request as JSON and as `docs/performance.md`.

mod budgets;
mod empty;
mod handler;
mod instructions;
mod lost;
mod machine;
mod many_cpus;
mod once;
mod output;
mod own;
mod programs;
mod projects;
mod reported;
mod results;
mod screens;
mod statistics;
mod storm;
mod tools;
mod wall;
mod workloads;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};
use budgets::Part;
use clap::Parser;
use memtrace_tests::{Lab, scaled};
use results::{Results, Verdict};

/// What is measured beside the workloads.
const PARTS: [(&str, &str); 8] = [
    ("reported", "what tools report, beside the truth"),
    (
        "handler",
        "cost of the BPF programs, with 1 and with many images",
    ),
    (
        "cpus",
        "cost of a counter change on machines with many CPUs, simulated",
    ),
    ("own", "CPU time of memtrace's process"),
    ("recording", "size of recordings"),
    ("lost", "100,000 times fork and exec: is any lost"),
    (
        "storm",
        "a storm of forks while memtrace top, attach or run looks on",
    ),
    (
        "instructions",
        "instructions of parts of memtrace, by callgrind",
    ),
];

/// Measure what memtrace costs, beside other tools.
///
/// Needs root and BPF. For each budget the figure, the budget and whether it is kept are printed.
/// The exit status is 0 if all figures were measured, also if budgets were missed.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// What to measure (see --list); everything if nothing is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only what the budgets need, in less than five minutes
    #[arg(long)]
    quick: bool,
    /// Rounds, instead of each workload's own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Write everything as JSON to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a document such as docs/performance.md to FILE; a part kept by hand stays
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Measure nothing; take everything from a FILE that --json wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["names", "quick", "rounds", "json"])]
    from: Option<PathBuf>,
    /// List the names
    #[arg(long)]
    list: bool,
    /// Do the work of a part whose instructions are counted, in this process
    #[arg(long, value_name = "PART", hide = true)]
    repeat: Option<String>,
    /// How often
    #[arg(long, value_name = "N", default_value_t = 1, hide = true)]
    repetitions: u32,
}

impl Options {
    fn selects(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|one| one == name)
    }

    /// Whether a part is wanted that no budget needs: --quick has it only if it was named.
    fn selects_beside_budgets(&self, name: &str) -> bool {
        self.selects(name) && !(self.quick && self.names.is_empty())
    }

    /// Whether a workload is wanted: any that was named, and the one that ends at once with them.
    fn selects_workload(&self, name: &str) -> bool {
        let is_workload = |name: &String| workloads::NAMES.iter().any(|(one, _)| one == name);
        self.selects(name) || (name == workloads::START && self.names.iter().any(is_workload))
    }

    fn rounds(&self, quick: usize, full: usize) -> usize {
        let own = if self.quick { quick } else { full };
        self.rounds.map_or(own, usize::from)
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nothing can be done if standard error is gone.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says on standard error what is being done: some of it takes a while.
fn progress(what: &str) {
    let _ = writeln!(io::stderr(), "... {what}");
}

fn run(options: &Options) -> Result<ExitCode> {
    if let Some(part) = &options.repeat {
        instructions::repeat(part, options.repetitions)?;
        return Ok(ExitCode::SUCCESS);
    }
    let names = || workloads::NAMES.iter().chain(&PARTS);
    if options.list {
        for (name, what) in names() {
            writeln!(io::stdout(), "{name:<12} {what}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = options
        .names
        .iter()
        .find(|name| !names().any(|(one, _)| one == name))
    {
        bail!("there is nothing called {unknown}; --list has all names");
    }
    let results = match &options.from {
        Some(path) => output::read_json(path)?,
        None => measure(options)?,
    };
    write!(io::stdout(), "{}", output::text(&results))?;
    if let Some(path) = &options.json {
        output::write_json(&results, path)?;
    }
    if let Some(path) = &options.markdown {
        output::write_markdown(&results, path)?;
    }
    let unmeasured = |budget: &&results::Budget| budget.verdict == Verdict::NotMeasured;
    let count = results.budgets.iter().filter(unmeasured).count();
    if count > 0 {
        bail!(
            "{count} of {} figures were not measured",
            results.budgets.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures what was asked for. A part that fails leaves its figures out, and says why.
fn measure(options: &Options) -> Result<Results> {
    let counting_alone = |name: &String| name == "instructions";
    if options.names.is_empty() || !options.names.iter().all(counting_alone) {
        machine::require_privileges()?;
        machine::keep_mounts()?;
    }
    let lab = Lab::new()?;
    let (tools, uses) = tools::available(&lab, options.quick)?;
    let mut results = Results {
        schema: results::SCHEMA.to_owned(),
        machine: machine::describe()?,
        quick: options.quick,
        tools: uses,
        reported: Vec::new(),
        wall: Vec::new(),
        programs: Vec::new(),
        handler: Vec::new(),
        many_cpus: Vec::new(),
        own: Vec::new(),
        recordings: Vec::new(),
        lost: None,
        storm: Vec::new(),
        instructions: Vec::new(),
        budgets: Vec::new(),
        remarks: Vec::new(),
    };
    let mut remarks = Vec::new();
    if results.machine.load > results.machine.cpus as f64 * 0.25 {
        remarks.push("the machine was not quiet: a figure is good to about 5 % at best".to_owned());
    }
    let (workloads, missing) = workloads::make(&lab, &|name| options.selects_workload(name))?;
    remarks.extend(missing);
    let rounds = options.rounds.map(usize::from);
    let walls = wall::measure(
        &lab,
        &workloads,
        &tools,
        options.quick,
        rounds,
        &mut remarks,
    );
    results.wall = kept(walls, "wall time", &mut remarks).unwrap_or_default();
    if options.selects_beside_budgets("reported") {
        let reported = reported::measure(&lab);
        results.reported = kept(reported, "reported", &mut remarks).unwrap_or_default();
    }
    if options.selects("handler") {
        let sizes = crowds(options, &mut remarks);
        let found = handler::measure(&lab, &sizes, options.rounds(3, 5), &mut remarks);
        let found = kept(found, "handler", &mut remarks).unwrap_or_default();
        (results.programs, results.handler) = (found.programs, found.handler);
    }
    if options.selects_beside_budgets("cpus") {
        let costs = many_cpus::measure(&lab, options.rounds(1, 3));
        results.many_cpus = kept(costs, "cpus", &mut remarks).unwrap_or_default();
    }
    if options.selects("own") {
        let own = own::measure(&lab, options.rounds(1, 3), &mut remarks);
        results.own = kept(own, "own", &mut remarks).unwrap_or_default();
    }
    if options.selects("recording") {
        let sizes = own::recordings(&lab);
        results.recordings = kept(sizes, "recording", &mut remarks).unwrap_or_default();
    }
    if options.selects("lost") {
        results.lost = kept(lost::measure(&lab), "lost", &mut remarks);
    }
    if options.selects("storm") {
        let storm = storm::measure(&lab, options.rounds(5, 11));
        results.storm = kept(storm, "storm", &mut remarks).unwrap_or_default();
    }
    if options.selects_beside_budgets("instructions") {
        let counted = instructions::measure(&lab);
        results.instructions = kept(counted, "instructions", &mut remarks).unwrap_or_default();
    }
    results.remarks = remarks;
    results.budgets = budgets::judge(&results, &|part| match part {
        Part::Wall(name) => options.selects_workload(name),
        Part::Handler => options.selects("handler"),
        Part::Own => options.selects("own"),
        Part::Recording => options.selects("recording"),
        Part::Lost => options.selects("lost"),
        Part::Storm => options.selects("storm"),
    });
    Ok(results)
}

/// The value, or nothing and a remark.
fn kept<T>(result: Result<T>, part: &str, remarks: &mut Vec<String>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            remarks.push(format!("not measured: {part}: {error:#}"));
            None
        }
    }
}

/// How many images live at once in the measurements of the handler.
fn crowds(options: &Options, remarks: &mut Vec<String>) -> Vec<u64> {
    let mut sizes = vec![1, scaled(1_000, 20), scaled(10_000, 100)];
    if !options.quick {
        sizes.push(scaled(50_000, 200));
    }
    let room = machine::room_for_processes();
    if let Some(most) = sizes.last_mut()
        && *most > room
    {
        remarks.push(format!(
            "{most} processes cannot live here at once, {room} are taken instead: raise kernel.pid_max"
        ));
        *most = room;
    }
    sizes
}
