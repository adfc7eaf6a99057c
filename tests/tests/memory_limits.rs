//! Limits on memory: memtrace takes what it may have, the command keeps what it was given, and
//! where there is too little for memtrace it says so before anything runs.

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{Finished, Lab, Missing, memtrace, require, workloads};

/// What a limit is called: by the shell, in KiB.
#[derive(Clone, Copy)]
struct Limit {
    option: &'static str,
    kib: u64,
}

impl Limit {
    /// A command line that sets it, softly so that it can be raised again, or for good.
    fn before(self, soft: bool) -> Vec<String> {
        let Self { option, kib } = self;
        let how = if soft { "-S" } else { "" };
        let script = format!("ulimit {how} {option} {kib} && exec \"$@\"");
        let mut line = Vec::new();
        if !soft && nix::unistd::geteuid().is_root() {
            // Root raises hard limits too, by that capability.
            line.extend(["setpriv", "--bounding-set=-sys_resource"].map(str::to_owned));
        }
        line.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
        line
    }
}

/// Whether `Limit::before` can give up the privilege to raise hard limits.
fn no_privileges_to_raise() -> Result<(), Missing> {
    if nix::unistd::geteuid().is_root() && !workloads::installed("setpriv") {
        return Err(Missing("needs setpriv of util-linux".to_owned()));
    }
    Ok(())
}

fn run(
    lab: &Lab,
    limit: Limit,
    soft: bool,
    options: &[&str],
    command: &[&str],
) -> Result<Finished> {
    let mut line = limit.before(soft);
    line.extend(lab.memtrace_run(options)?);
    line.extend(command.iter().map(|&word| word.to_owned()));
    lab.to_end(&mut lab.fixed(&line))
}

/// The least address space, in KiB, in which the system can start memtrace at all: how large its
/// file is differs from build to build.
fn least_to_start(lab: &Lab) -> Result<u64> {
    let memtrace = memtrace()?.display().to_string();
    for kib in (2..200).map(|step| step * 1024) {
        let limit = Limit { option: "-v", kib };
        let mut line = limit.before(true);
        line.extend([memtrace.clone(), "--version".to_owned()]);
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        // 127 and signals are the loader's and the kernel's.
        if finished.code().is_some_and(|code| code != 127) {
            ensure!(finished.code() == Some(0), "{kib} KiB: {finished:?}");
            // The runtime takes some before the first line of memtrace.
            return Ok(kib + 512);
        }
    }
    anyhow::bail!("memtrace does not start in 200 MiB")
}

/// Limits that can be raised are raised for memtrace alone; the command has those that it was
/// given.
#[test]
fn soft_limits_are_the_commands_alone() -> Result<()> {
    let lab = Lab::new()?;
    let least = least_to_start(&lab)?;
    for (option, kib) in [("-v", least), ("-d", 2000), ("-s", 128), ("-s", 9000)] {
        let ask = format!("ulimit -S {option}; ulimit -H {option}");
        let hard = lab.to_end(lab.fixed(&["sh", "-c"]).arg(format!("ulimit -H {option}")))?;
        for options in [&[][..], &["--backend", "ptrace"]] {
            let limit = Limit { option, kib };
            let finished = run(&lab, limit, true, options, &["sh", "-c", &ask])?;
            assert_eq!(finished.code(), Some(0), "{option} {kib}: {finished:?}");
            let expected = format!("{kib}\n{}", hard.stdout);
            assert_eq!(finished.stdout, expected, "{option} {kib}");
            lab.summary(finished)?;
        }
    }
    Ok(())
}

/// Whatever the limit: memtrace measures, or it fails before the command runs, and names the
/// limit and the remedy. It never dies of it.
#[test]
fn hard_limits_are_told_before_the_command_runs() -> Result<()> {
    require!(no_privileges_to_raise());
    let lab = Lab::new()?;
    let least = least_to_start(&lab)?;
    let mark = lab.path("ran").display().to_string();
    for (option, limits) in [
        (
            "-v",
            (0..16).map(|step| least + step * 3000).collect::<Vec<_>>(),
        ),
        ("-d", (1..12).map(|step| 1000 + step * step * 300).collect()),
        ("-s", vec![128, 256, 400, 600, 9000]),
    ] {
        for options in [&[][..], &["--backend", "ptrace"], &["--backend", "poll"]] {
            let (mut refused, mut ran) = (0, 0);
            for &kib in &limits {
                let _ = std::fs::remove_file(&mark);
                let limit = Limit { option, kib };
                let finished = run(
                    &lab,
                    limit,
                    false,
                    options,
                    &[workloads::SCRIPT, "status", &mark],
                )?;
                match finished.code() {
                    Some(0) => {
                        ran += 1;
                        ensure!(lab.has("ran"), "{option} {kib}: {finished:?}");
                        lab.summary(finished)?;
                    }
                    Some(125) => {
                        refused += 1;
                        let remedy = finished.stderr.contains(&format!("ulimit {option}"));
                        ensure!(remedy, "{option} {kib}: {finished:?}");
                        ensure!(!lab.has("ran"), "{option} {kib}: the command ran");
                    }
                    _ => panic!("{option} {kib} {options:?}: {finished:?}"),
                }
            }
            ensure!(
                refused > 0 && ran > 0,
                "{option}: {refused} refused, {ran} ran"
            );
        }
    }
    Ok(())
}

/// A second command of the same memtrace has the limits, too.
#[test]
fn every_command_keeps_its_limits() -> Result<()> {
    let lab = Lab::new()?;
    let out = lab.path("out").display().to_string();
    let mut line = Limit {
        option: "-d",
        kib: 30_000,
    }
    .before(true);
    line.push(memtrace()?.display().to_string());
    let command = format!("sh -c 'ulimit -S -d >>{out}'");
    line.extend(["compare", "-n", "3", "--", &command].map(str::to_owned));
    let finished = lab.to_end(&mut lab.fixed(&line))?;
    ensure!(finished.code() == Some(0), "{finished:?}");
    let told = std::fs::read_to_string(&out).context("no command ran")?;
    let told: Vec<&str> = told.lines().collect();
    ensure!(told.len() >= 3, "{told:?}");
    assert!(told.iter().all(|limit| *limit == "30000"), "{told:?}");
    Ok(())
}
