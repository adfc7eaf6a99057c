//! Builds memtrace and its tests as any other build does, so that Cargo reuses what it made
//! for `cargo test --workspace` before.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use super::{cross::Cross, debian::run};

/// How memtrace is built for guests; its tests are always built as Cargo does it by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// As tests on the host use it; nothing is built twice
    Dev,
    /// As users have it; starts faster on an emulated CPU
    Release,
}

/// The tests as built here.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) tests: Vec<TestProgram>,
    /// Other files that tests need, at their present paths.
    pub(crate) files: BTreeSet<PathBuf>,
    /// The memtrace under test.
    pub(crate) memtrace: PathBuf,
    /// Where tests expect room for large files (`CARGO_TARGET_TMPDIR`).
    pub(crate) tmp: PathBuf,
}

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TestProgram {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The same for this machine, which tells what tests it has.
    pub(crate) here: PathBuf,
}

/// Programs in `memtrace-tests` that only guests run. They need a feature, with which the
/// package's library is built once more; nothing else is.
pub(crate) const GUEST_TESTS: [&str; 2] = ["guest", "z_lockdown"];

/// What to build.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) profile: Profile,
    /// Other BPF objects than any other build would take.
    pub(crate) objects: Option<&'a Path>,
    /// Where such a memtrace is built, so that the next build of the usual one finds
    /// everything as it was.
    pub(crate) apart: &'a Path,
    /// Whether to build [`GUEST_TESTS`] as well.
    pub(crate) guest: bool,
    /// What builds for another instruction set, if it is for one.
    pub(crate) cross: Option<&'a Cross>,
}

impl Request<'_> {
    /// A `cargo` that does it.
    fn cargo(&self, words: &[&str]) -> Command {
        let mut cargo = Command::new(program());
        cargo.args(words);
        if let Some(cross) = self.cross {
            cross.set(&mut cargo);
            // Another compiler, for which everything is built anew.
            cargo.env("CARGO_TARGET_DIR", self.apart);
        }
        cargo
    }
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    target: Option<Target>,
    profile: Option<MessageProfile>,
    executable: Option<PathBuf>,
    out_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct MessageProfile {
    test: bool,
}

/// Builds memtrace and its tests.
pub(crate) fn build(root: &Path, request: &Request<'_>) -> Result<Built> {
    let mut built = Built {
        tests: Vec::new(),
        files: BTreeSet::new(),
        memtrace: PathBuf::new(),
        tmp: PathBuf::new(),
    };
    // The whole workspace: of a part of it, dependencies would have other features. For another
    // instruction set nothing is there to be reused, and less is built.
    let what: &[&str] = match request.cross {
        None => &["test", "--no-run", "--workspace"],
        Some(_) => &["test", "--no-run", "--package", "memtrace-tests"],
    };
    built.take(cargo(root, &mut request.cargo(what))?)?;
    if request.guest {
        let mut words = [what, &["--features", "memtrace-tests/guest"]].concat();
        for name in GUEST_TESTS {
            words.extend(["--test", name]);
        }
        built.take(cargo(root, &mut request.cargo(&words))?)?;
    }
    built.tests.sort();
    ensure!(!built.tests.is_empty(), "cargo test made no tests");
    // TARGET/PROFILE/deps/PROGRAM
    built.tmp = built
        .tests
        .first()
        .and_then(|test| test.path.ancestors().nth(3))
        .context("the tests are not in a target directory")?
        .join("tmp");
    if request.objects.is_some() || request.profile == Profile::Release || request.cross.is_some() {
        let mut words = vec!["build", "--package", "memtrace", "--bin", "memtrace"];
        if request.profile == Profile::Release {
            words.push("--release");
        }
        let mut command = request.cargo(&words);
        if let Some(objects) = request.objects {
            command.env("MEMTRACE_BPF_OBJECTS", objects);
            command.env("CARGO_TARGET_DIR", request.apart);
        }
        for message in cargo(root, &mut command)? {
            if let (Some(executable), Some(target)) = (message.executable, message.target)
                && target.name == "memtrace"
            {
                built.files.remove(&built.memtrace);
                built.memtrace = executable;
            }
        }
    }
    ensure!(built.memtrace.is_file(), "cargo made no memtrace");
    built.files.insert(built.memtrace.clone());
    Ok(built)
}

impl Built {
    /// Says which programs tell what tests those of another instruction set have.
    pub(crate) fn told_by(&mut self, native: &Self) -> Result<()> {
        for test in &mut self.tests {
            let twin = native.tests.iter().find(|twin| twin.name == test.name);
            let twin = twin.with_context(|| format!("{} is not built here", test.name))?;
            test.here.clone_from(&twin.path);
        }
        Ok(())
    }

    /// Takes what guests need from Cargo's messages.
    fn take(&mut self, messages: Vec<Message>) -> Result<()> {
        for message in messages {
            let is_tests = message.package_id.contains("memtrace-tests");
            match (message.reason.as_str(), message.target, message.profile) {
                ("build-script-executed", ..) if is_tests => {
                    let dir = message.out_dir.context("a build script without OUT_DIR")?;
                    for entry in
                        fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?
                    {
                        let path = entry?.path();
                        if is_program(&path) {
                            self.files.insert(path);
                        }
                    }
                }
                ("compiler-artifact", Some(target), Some(profile)) => {
                    let Some(executable) = message.executable else {
                        continue;
                    };
                    let kind = target.kind.first().map(String::as_str);
                    if is_tests && profile.test && kind == Some("test") {
                        self.tests.push(TestProgram {
                            name: target.name,
                            here: executable.clone(),
                            path: executable,
                        });
                    } else if is_tests && !profile.test && kind == Some("bin") {
                        self.files.insert(executable);
                    } else if !profile.test && kind == Some("bin") && target.name == "memtrace" {
                        self.memtrace = executable;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The tests that a program of these would run with this filter.
    pub(crate) fn list(program: &Path, filter: Option<&str>) -> Result<Vec<String>> {
        let text = run(Command::new(program)
            .args(["--list", "--format", "terse"])
            .args(filter))?;
        Ok(listed(&text))
    }
}

/// The tests in what `--list --format terse` prints: `NAME: test`.
fn listed(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

fn program() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn cargo(root: &Path, cargo: &mut Command) -> Result<Vec<Message>> {
    cargo
        .current_dir(root)
        .args(["--locked", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit());
    let output = cargo.output().context("failed to run cargo")?;
    ensure!(output.status.success(), "{cargo:?} failed");
    let text = String::from_utf8_lossy(&output.stdout);
    // Lines that are no messages are the build's other output.
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn tests_are_listed_with_their_modules() {
        assert_eq!(
            listed("a: test\ncpus::b: test\nc: benchmark\n"),
            ["a", "cpus::b"]
        );
    }
}
