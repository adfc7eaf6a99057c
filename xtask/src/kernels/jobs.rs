//! Which kernels to boot with which tests, as the command line has it.

use std::{cmp::Reverse, collections::BTreeMap};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    Builds, Options,
    build::{Built, GUEST_TESTS, TestProgram},
    list::{BOOTS, Kernel, SENSITIVE, is_due},
    run::{Job, Program},
};

/// Test programs that guests have no use for.
const HOST_ONLY: [&str; 12] = [
    // Compilers and browsers do not fit into an initial file system, nor do the readers of
    // exports; what they read is the same on every kernel.
    "builds",
    "export",
    "formats",
    "html",
    "html_segments",
    "recordings",
    // Of the form of results, read by programs that do not fit either, and with a snapshot that a slow
    // machine has no time for.
    "json",
    "plots",
    // Of the screen as a terminal draws it, and of keys, which are the same on every kernel.
    "keys",
    "readme",
    // Statistics over many runs, which take minutes where each takes seconds to start.
    "compare",
    "diff",
];

/// Whether what was asked for contains programs of [`GUEST_TESTS`].
pub(super) fn needs_guest_tests(options: &Options) -> bool {
    let is = |name: &str| GUEST_TESTS.contains(&name);
    if options.program.is_empty() {
        options.broken.is_none() || SENSITIVE.iter().any(|(name, _)| is(name))
    } else {
        wanted(options).any(|(name, _)| is(name))
    }
}

/// The test programs that were asked for, each with a part of its tests' names.
fn wanted(options: &Options) -> impl Iterator<Item = (&str, Option<&str>)> {
    let all = options.test.as_deref();
    options.program.iter().map(move |words| {
        let (name, test) = words
            .split_once("::")
            .map_or((words.as_str(), None), |(name, test)| (name, Some(test)));
        (name, test.or(all))
    })
}

/// What to boot: each kernel with all tests, then those with more CPUs with some. Without
/// tests, only which boots there are.
pub(super) fn jobs(
    kernels: &[&'static Kernel],
    builds: Option<&Builds>,
    options: &Options,
) -> Result<Vec<Job>> {
    let built = |kernel: &Kernel| {
        builds
            .and_then(|builds| builds.get(&kernel.arch))
            .map(|(built, _)| built)
    };
    let mut programs_of = BTreeMap::new();
    for kernel in kernels {
        if let Some(built) = built(kernel) {
            programs_of.insert(kernel.arch, programs(built, options)?);
        }
    }
    let whole = options.program.is_empty() && options.test.is_none() && options.command.is_none();
    let mut jobs: Vec<Job> = Vec::new();
    for &kernel in kernels {
        jobs.push(Job {
            order: jobs.len(),
            kernel,
            boot: None,
            cpus: options.cpus.unwrap_or(2),
            programs: programs_of
                .get(&kernel.arch)
                .into_iter()
                .flatten()
                .filter(|program| !whole || is_due(&program.name, kernel, options.kernel_tests))
                .cloned()
                .collect(),
        });
    }
    for boot in BOOTS {
        let Some(&kernel) = kernels.iter().find(|kernel| kernel.name == boot.kernel) else {
            continue;
        };
        if !whole || options.cpus.is_some() || options.broken.is_some() {
            break;
        }
        jobs.push(Job {
            order: jobs.len(),
            kernel,
            boot: Some(boot.name),
            cpus: boot.cpus,
            programs: match built(kernel) {
                Some(built) => some(built, boot.programs, options.limit)?,
                None => Vec::new(),
            },
        });
    }
    // The longest first, so that none is left to run alone at the end.
    jobs.sort_by_key(|job| Reverse(job.programs.len()));
    Ok(jobs)
}

/// The test programs to run.
fn programs(built: &Built, options: &Options) -> Result<Vec<Program>> {
    let limit = options.limit;
    if let Some(command) = &options.command {
        return Ok(vec![Program {
            name: "command".to_owned(),
            limit,
            words: command.clone(),
            tests: Vec::new(),
            path: None,
        }]);
    }
    if options.broken.is_some() && options.program.is_empty() {
        return some(built, SENSITIVE, limit);
    }
    for (name, _) in wanted(options) {
        if !built.tests.iter().any(|test| test.name == name) {
            bail!("there is no test program {name}");
        }
        ensure!(!HOST_ONLY.contains(&name), "guests have no use for {name}");
    }
    let mut programs = Vec::new();
    for program in &built.tests {
        let name = &program.name;
        let test = match wanted(options).find(|(other, _)| other == name) {
            Some((_, test)) => test,
            None if !options.program.is_empty() || HOST_ONLY.contains(&name.as_str()) => continue,
            None => options.test.as_deref(),
        };
        let program = Program::test(program, test, limit)?;
        if !program.tests.is_empty() {
            programs.push(program);
        }
    }
    ensure!(
        !programs.is_empty(),
        "no test has such a name: {}",
        options.test.as_deref().unwrap_or_default()
    );
    Ok(programs)
}

/// Test programs with filters.
fn some(built: &Built, programs: &[(&str, &str)], limit: u32) -> Result<Vec<Program>> {
    programs
        .iter()
        .map(|(name, filter)| {
            let program: &TestProgram = built
                .tests
                .iter()
                .find(|test| test.name == *name)
                .with_context(|| format!("there is no test program {name}"))?;
            let program = Program::test(program, Some(filter), limit)?;
            ensure!(
                !program.tests.is_empty(),
                "no test of {name} is called {filter}"
            );
            Ok(program)
        })
        .collect()
}
