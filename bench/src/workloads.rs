//! What is run with each tool.

use std::path::PathBuf;

use anyhow::Result;
use memtrace_tests::{Lab, mib, scaled, workloads};

use crate::{machine, projects, tools};

/// The program that ends at once: what a tool needs for it is its start-up.
pub(crate) const START: &str = "start";
/// The loop that does nothing but fault.
pub(crate) const FAULTS: &str = "faults";
/// Many short programs.
pub(crate) const SPAWN: &str = "spawn-400";
/// The C project.
pub(crate) const C_BUILD: &str = "c-build";

/// One workload.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// Short name.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) title: String,
    /// Its command line.
    pub(crate) line: Vec<String>,
    /// Where it runs.
    pub(crate) directory: PathBuf,
    /// Rounds of the quick and of the full benchmark.
    rounds: (usize, usize),
}

impl Workload {
    /// How often it is run with each tool, 0 if not at all.
    pub(crate) fn rounds(&self, quick: bool) -> usize {
        if quick { self.rounds.0 } else { self.rounds.1 }
    }

    #[cfg(test)]
    pub(crate) fn fake(name: &'static str) -> Self {
        Self {
            name,
            title: String::new(),
            line: Vec::new(),
            directory: PathBuf::new(),
            rounds: (1, 1),
        }
    }
}

/// Names of all workloads, what they do and whether `--quick` has them; the first is run with any other.
pub(crate) const NAMES: [(&str, &str); 12] = [
    (START, "a program that ends at once"),
    (FAULTS, "touch 256 MiB, unmap, repeat"),
    ("brk", "raise the break, touch, lower it, repeat"),
    ("maps", "map and unmap without a touch, repeat"),
    (SPAWN, "400 times vfork and exec of /bin/true"),
    ("spawn-20000", "20,000 times vfork and exec of /bin/true"),
    ("threads", "threads that fault on all CPUs"),
    (C_BUILD, "a C project, by make and gcc"),
    ("rust-build", "a Rust crate, by rustc"),
    ("python", "start of a Python interpreter, repeated"),
    ("idle", "a server of 1,000 idle processes, for a second"),
    ("shell", "a shell script of pipes and small programs"),
];

/// The workloads of these names that can be run here, and why others cannot.
pub(crate) fn make(
    lab: &Lab,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(Vec<Workload>, Vec<String>)> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (name, _) in NAMES.iter().filter(|(name, _)| wanted(name)) {
        match one(lab, name) {
            Ok(workload) => found.push(workload),
            Err(error) => missing.push(format!("not measured: {name}: {error:#}")),
        }
    }
    Ok((found, missing))
}

/// One of [`NAMES`].
pub(crate) fn one(lab: &Lab, name: &str) -> Result<Workload> {
    let script = |words: String| lab.script(&words);
    let spawns = |count: u64| {
        script(format!(
            "loop{{ {count} vfork{{ exec{{ /bin/true }} }} wait }}"
        ))
    };
    let here = lab.dir().to_path_buf();
    let make = |name, title: String, line, rounds| Workload {
        name,
        title,
        line,
        directory: here.clone(),
        rounds,
    };
    let large = mib(scaled(256, 16));
    Ok(match name {
        START => make(
            START,
            "/bin/true".to_owned(),
            vec!["/bin/true".to_owned()],
            (15, 25),
        ),
        FAULTS => {
            let times = scaled(10, 2);
            make(
                FAULTS,
                format!("touch {} MiB and unmap, {times} times", large / mib(1)),
                script(format!("loop{{ {times} anon {large} unmap }}")),
                (9, 9),
            )
        }
        "brk" => {
            let (times, pages) = (scaled(2_000, 20), 256);
            make(
                "brk",
                format!("raise the break by {pages} pages, touch, lower it, {times} times"),
                script(format!("loop{{ {times} brk {pages} brk-down {pages} }}")),
                (0, 9),
            )
        }
        "maps" => {
            let times = scaled(300_000, 1_000);
            make(
                "maps",
                format!("map 16 pages and unmap, untouched, {times} times"),
                script(format!("loop{{ {times} map 16 unmap }}")),
                (0, 9),
            )
        }
        SPAWN => {
            let times = scaled(400, 10);
            let title = format!("{times} times vfork and exec of /bin/true");
            make(SPAWN, title, spawns(times), (11, 11))
        }
        "spawn-20000" => {
            let times = scaled(20_000, 20);
            let title = format!("{times} times vfork and exec of /bin/true");
            make("spawn-20000", title, spawns(times), (0, 3))
        }
        "threads" => {
            let threads = machine::cpus();
            let (pages, times) = (mib(scaled(32, 4)), scaled(20, 2));
            let line = [
                workloads::CHURN.to_owned(),
                threads.to_string(),
                pages.to_string(),
                times.to_string(),
                "free".to_owned(),
                lab.path("status-of-threads").display().to_string(),
            ];
            make(
                "threads",
                format!(
                    "{threads} threads, each touches {} MiB and drops it, {times} times",
                    pages / mib(1)
                ),
                line.to_vec(),
                (0, 9),
            )
        }
        C_BUILD => c_build(lab)?,
        "rust-build" => rust_build(lab)?,
        "python" => {
            let (python, times) = (projects::python()?, scaled(30, 2));
            let python = python.display();
            make(
                "python",
                format!("{times} times `python3 -c pass`"),
                script(format!(
                    "loop{{ {times} vfork{{ exec{{ {python} -c pass }} }} wait }}"
                )),
                (0, 9),
            )
        }
        "idle" => {
            let processes = scaled(1_000, 20);
            make(
                "idle",
                format!("a server of {processes} processes that are idle for a second"),
                script(format!(
                    "pipe 0 loop{{ {processes} fork{{ anon 20 await 0 }} }} nap-us 1000000 \
                     loop{{ {processes} post 0 }} loop{{ {processes} wait }}"
                )),
                (0, 5),
            )
        }
        "shell" => {
            let times = scaled(60, 2);
            let line = [
                "/bin/sh",
                "-c",
                "i=0; while [ $i -lt $0 ]; do seq 200 | sort -rn | head -3 | wc -l; i=$((i+1)); done",
            ];
            let mut line: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
            line.push(times.to_string());
            make(
                "shell",
                format!("{times} times a pipe of four small programs"),
                line,
                (0, 9),
            )
        }
        other => anyhow::bail!("there is no workload {other}"),
    })
}

fn c_build(lab: &Lab) -> Result<Workload> {
    for program in ["make", "gcc"] {
        anyhow::ensure!(
            tools::find(program).is_some(),
            "{program} is not installed; apt-get install build-essential"
        );
    }
    let (directory, units) = (lab.path("c-project"), scaled(10, 2));
    projects::write_c(&directory, units)?;
    let jobs = machine::cpus();
    let line = ["/usr/bin/make", "-B", "-s", "CC=gcc", &format!("-j{jobs}")];
    Ok(Workload {
        name: C_BUILD,
        title: format!("{units} C files, by make -j{jobs} and gcc -O2"),
        line: line.iter().map(|&word| word.to_owned()).collect(),
        directory,
        rounds: (7, 9),
    })
}

fn rust_build(lab: &Lab) -> Result<Workload> {
    let rustc = projects::rustc()?.display().to_string();
    let (directory, modules) = (lab.path("rust-crate"), scaled(16, 1));
    projects::write_rust(&directory, modules)?;
    let line = [
        &rustc,
        "-O",
        "-C",
        "codegen-units=8",
        "-o",
        "program",
        "main.rs",
    ];
    Ok(Workload {
        name: "rust-build",
        title: format!("a Rust crate of {modules} modules, by rustc -O"),
        line: line.iter().map(|&word| word.to_owned()).collect(),
        directory,
        rounds: (0, 7),
    })
}
