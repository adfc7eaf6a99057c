//! `memtrace check`: what this kernel and this user can do, and a self-test.

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use memtrace::{
    abi::CounterLayout,
    kernel::{Access, Btf, Features, MarkVictim, Obstacle, Proc, cpus, tracefs},
    phases::Phases,
    probe::{Ahead, Fentry, FentryState, Options, Probe, TreeLock},
    ptrace::{Permission, permission},
};
use serde::Serialize;

use super::self_test::{self, Round};
use crate::cli::CheckArgs;

/// Everything found out, in the order printed.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    version: &'static str,
    kernel: String,
    machine: String,
    cpus: Option<u32>,
    page_size: u64,
    uid: u32,
    may_trace: bool,
    lockdown: String,
    btf: bool,
    tracefs: Option<String>,
    counters: Option<&'static str>,
    limits: Vec<String>,
    programs: Programs,
    tier: Option<&'static str>,
    /// What tier P needs.
    ptrace: bool,
    why_no_ptrace: Option<String>,
    why_not_better: String,
    self_test: Vec<TestRound>,
    exact: bool,
}

#[derive(Debug, Serialize)]
struct Programs {
    loaded: bool,
    /// Whether programs on kernel functions load: `yes`, or why not.
    fentry: Option<String>,
    /// What orders the changes of the numbers.
    lock: Option<&'static str>,
    error: Option<String>,
    remedy: Option<String>,
}

#[derive(Debug, Serialize)]
struct TestRound {
    pages: usize,
    passed: bool,
    faults: Vec<String>,
}

impl From<Round> for TestRound {
    fn from(round: Round) -> Self {
        Self {
            pages: round.pages,
            passed: round.faults.is_empty(),
            faults: round.faults,
        }
    }
}

pub(crate) fn main(args: &CheckArgs) -> ExitCode {
    let report = examine();
    let mut out = io::stdout().lock();
    let written = if args.json {
        serde_json::to_writer_pretty(&mut out, &report)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        print(&report, &mut out)
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(125),
        _ if report.exact => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn examine() -> Report {
    let access = Access::of_this_process();
    let features = Btf::from_sys_fs()
        .map_err(|error| error.to_string())
        .and_then(|btf| match Features::from_btf(&btf) {
            Ok(features) => Ok((btf, features)),
            Err(error) => Err(error.to_string()),
        });
    let programs = match &features {
        _ if access.proc == Proc::Missing => Programs {
            loaded: false,
            fentry: None,
            lock: None,
            error: Some(Obstacle::NoProc.to_string()),
            remedy: Some(Obstacle::NoProc.remedy().to_owned()),
        },
        Ok((btf, features)) => load(btf, features, &access),
        Err(error) => Programs {
            loaded: false,
            fentry: None,
            lock: None,
            error: Some(error.clone()),
            remedy: Some(access.explain(None).remedy().to_owned()),
        },
    };
    let features = features.map(|(_, features)| features);
    let self_test: Vec<TestRound> = if programs.loaded {
        self_test::run().into_iter().map(Into::into).collect()
    } else {
        Vec::new()
    };
    let exact =
        programs.loaded && programs.error.is_none() && self_test.iter().all(|round| round.passed);
    let why_no_ptrace = match permission() {
        Permission::Granted if access.proc == Proc::Missing => Some(Obstacle::NoProc.to_string()),
        Permission::Granted if access.proc == Proc::OfOthers => {
            Some(Obstacle::ProcOfOthers.to_string())
        }
        Permission::Granted => None,
        Permission::Refused(why) => Some(why),
    };
    let read = |path: &str| {
        fs::read_to_string(path)
            .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    };
    Report {
        schema: "memtrace.check/1",
        version: env!("CARGO_PKG_VERSION"),
        kernel: read("/proc/sys/kernel/osrelease"),
        machine: std::env::consts::ARCH.to_owned(),
        cpus: cpus::possible().ok(),
        page_size: cpus::page_size(),
        uid: access.uid,
        may_trace: access.may_trace(),
        lockdown: format!("{:?}", access.lockdown).to_lowercase(),
        btf: access.btf,
        tracefs: access
            .tracefs
            .as_ref()
            .map(|path| path.display().to_string()),
        counters: features
            .as_ref()
            .ok()
            .map(|features| match features.layout {
                CounterLayout::PerCpu => {
                    "a count and a share per CPU, summed exactly (6.2 and later)"
                }
                CounterLayout::Atomic => "one atomic count, with caches per thread (before 6.2)",
                CounterLayout::Classic => "unknown, taken from the tracepoint",
            }),
        limits: features.as_ref().map_or_else(
            |_| Vec::new(),
            |features| features.limits.iter().map(ToString::to_string).collect(),
        ),
        tier: if programs.loaded {
            Some(tier(features.as_ref().ok(), &programs))
        } else {
            why_no_ptrace.is_none().then_some("P")
        },
        ptrace: why_no_ptrace.is_none(),
        why_no_ptrace,
        why_not_better: why_not_better(features.as_ref().ok().filter(|_| programs.loaded)),
        programs,
        self_test,
        exact,
    }
}

/// Tries our own programs: the only test that answers the question.
fn load(btf: &Btf, features: &Features, access: &Access) -> Programs {
    let mut options = Options::new(cpus::possible().unwrap_or(1), cpus::page_size());
    // No number depends on it except up to 6.1, but it tells what the kernel allows.
    options.fentry = Fentry::Try;
    if features.layout == CounterLayout::Classic {
        options.classic_size = tracefs::rss_stat_size().ok();
    }
    match Probe::load(
        btf,
        features,
        &options,
        *b"mt-check-check\0\0",
        &mut Ahead::begin(),
        &mut Phases::begin(None),
    ) {
        Ok(mut probe) => Programs {
            loaded: true,
            fentry: Some(match probe.fentry() {
                FentryState::Attached => "yes".to_owned(),
                FentryState::Unused => "not tried".to_owned(),
                FentryState::Refused(why) => format!("no: {why}"),
            }),
            lock: Some(match probe.lock() {
                TreeLock::Spin => "bpf_spin_lock",
                TreeLock::Word => "a word in the map",
            }),
            error: match probe.check_atomics() {
                Ok(None) => None,
                Ok(Some(which)) => Some(format!("atomic operation {which} of BPF is wrong here")),
                Err(error) => Some(error.to_string()),
            },
            remedy: None,
        },
        Err(error) => {
            let obstacle = error.obstacle(access);
            Programs {
                loaded: false,
                fentry: None,
                lock: None,
                error: Some(format!("{error}: {obstacle}")),
                remedy: Some(obstacle.remedy().to_owned()),
            }
        }
    }
}

/// The tier that a run would use.
fn tier(features: Option<&Features>, programs: &Programs) -> &'static str {
    let needed = features.is_some_and(|features| features.task_caches);
    if needed && programs.fentry.as_deref() == Some("yes") {
        "A+B"
    } else {
        "A"
    }
}

fn why_not_better(features: Option<&Features>) -> String {
    match features {
        None => "the programs cannot be loaded".to_owned(),
        Some(features) if features.mark_victim == MarkVictim::Absent => {
            "tier A is all this version has; OOM kills cannot be told apart on this kernel".to_owned()
        }
        Some(_) => {
            "tier A is all this version has: exact totals per member; what each segment holds, and VM peaks of mappings that are never touched, need more hooks".to_owned()
        }
    }
}

fn print(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let yes = |value: bool| if value { "yes" } else { "no" };
    let cpus = report
        .cpus
        .map_or_else(|| "unknown".to_owned(), |cpus| cpus.to_string());
    let rows = [
        ("memtrace", report.version.to_owned()),
        ("kernel", format!("{} {}", report.kernel, report.machine)),
        ("possible CPUs", cpus),
        ("page size", format!("{} bytes", report.page_size)),
        ("user id", report.uid.to_string()),
        ("may trace", yes(report.may_trace).to_owned()),
        ("lockdown", report.lockdown.clone()),
        ("BTF", yes(report.btf).to_owned()),
        (
            "tracefs",
            report
                .tracefs
                .clone()
                .unwrap_or_else(|| "not mounted (not needed)".to_owned()),
        ),
        (
            "RSS counters",
            report.counters.unwrap_or("unknown").to_owned(),
        ),
        ("programs load", yes(report.programs.loaded).to_owned()),
        (
            "fentry, fexit",
            report
                .programs
                .fentry
                .clone()
                .unwrap_or_else(|| "not tried".to_owned()),
        ),
        ("lock", report.programs.lock.unwrap_or("unknown").to_owned()),
        (
            "ptrace",
            match &report.why_no_ptrace {
                None => {
                    "permitted: tier P, with sampled peaks, works without privileges".to_owned()
                }
                Some(why) => format!("not permitted: {why}"),
            },
        ),
        ("tier", report.tier.unwrap_or("none").to_owned()),
        ("why not more", report.why_not_better.clone()),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:14} {value}")?;
    }
    for limit in &report.limits {
        writeln!(out, "{:14} {limit}", "limit")?;
    }
    if let Some(error) = &report.programs.error {
        writeln!(out, "{:14} {error}", "error")?;
    }
    if let Some(remedy) = &report.programs.remedy {
        writeln!(out, "{:14} {remedy}", "remedy")?;
    }
    for round in &report.self_test {
        let verdict = if round.passed { "passed" } else { "FAILED" };
        writeln!(
            out,
            "{:14} {verdict}: {} pages each of anonymous, shared and file memory",
            "self-test", round.pages
        )?;
        for fault in &round.faults {
            writeln!(out, "{:14} {fault}", "")?;
        }
    }
    let verdict = if report.exact {
        "exact to the page on this machine"
    } else if report.ptrace {
        "not exact as it is; `memtrace run` samples by ptrace instead"
    } else {
        "not usable as it is"
    };
    writeln!(out, "{:14} {verdict}", "verdict")
}
