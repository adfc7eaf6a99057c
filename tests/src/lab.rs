//! Where a test works: alone on the machine, in a directory of its own.

use std::{
    env, fs,
    fs::{File, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::{Certificate, Finished, Partner, Status, Summary, memtrace, run_to_end, workloads};

static ALONE: Mutex<()> = Mutex::new(());

/// A place for one test. While it exists, no other test has one: neither a thread of
/// this process nor another test binary.
#[derive(Debug)]
pub struct Lab {
    dir: tempfile::TempDir,
    // Fields are dropped in order: first the machine is free, then this process's threads.
    _machine: Flock<File>,
    _process: MutexGuard<'static, ()>,
}

/// What a traced command did.
#[derive(Debug)]
pub struct Run {
    /// memtrace's end and output.
    pub finished: Finished,
    /// memtrace's JSON.
    pub summary: Summary,
}

impl Lab {
    /// Waits until no other test runs and makes the directory.
    ///
    /// # Errors
    /// The directory or the lock cannot be made.
    pub fn new() -> Result<Self> {
        let process = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let base = Path::new(env!("OUT_DIR"));
        let lock = File::create(base.join("lock")).context("create the lock file of the tests")?;
        let machine = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| anyhow!("lock the tests' lock file: {error}"))?;
        // No name made of the PID: storms of processes use all PIDs up, and what a survivor wrote may be
        // all that is left of an earlier test.
        let dir = tempfile::Builder::new()
            .prefix("memtrace-tests-")
            // Other users' workloads find their way into it.
            .permissions(Permissions::from_mode(0o755))
            .disable_cleanup(env::var_os("MEMTRACE_KEEP").is_some())
            .tempdir()
            .context("make a directory for the test")?;
        Ok(Self {
            dir,
            _machine: machine,
            _process: process,
        })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A script's command line (see [`workloads::script`]); `@NAME` is a path in the directory.
    #[must_use]
    pub fn script(&self, words: &str) -> Vec<String> {
        let expand = |word: String| match word.strip_prefix('@') {
            Some(name) => self.path(name).display().to_string(),
            None => word,
        };
        workloads::script(words).into_iter().map(expand).collect()
    }

    /// The status that a script wrote with `status @NAME`.
    ///
    /// # Errors
    /// It did not.
    pub fn status(&self, name: &str) -> Result<Status> {
        Status::read(&self.path(name))
    }

    /// Whether a file was written by the last script.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Runs a script without memtrace, under the same conditions otherwise, and checks
    /// that it ends with status 0: a test's own workload must be right first.
    ///
    /// # Errors
    /// It cannot be run or fails.
    pub fn alone(&self, words: &str) -> Result<Finished> {
        self.to_end(&mut self.fixed(&self.script(words)))?
            .success()
            .context("the workload fails without memtrace")
    }

    /// Runs a script under `memtrace run` and checks that it ends with status 0.
    ///
    /// # Errors
    /// It cannot be run or fails, or memtrace's JSON breaks the contract.
    pub fn trace(&self, words: &str) -> Result<Run> {
        self.trace_with(&[], words)
    }

    /// The same with options of `memtrace run`.
    ///
    /// # Errors
    /// As for [`Lab::trace`].
    pub fn trace_with(&self, options: &[&str], words: &str) -> Result<Run> {
        let Run { finished, summary } = self.run(options, &self.script(words))?;
        Ok(Run {
            finished: finished.success()?,
            summary,
        })
    }

    /// Runs any command under `memtrace run --json FILE -q` with further options, an empty
    /// environment but for PATH, and without address randomisation.
    ///
    /// # Errors
    /// It cannot be run, or memtrace's JSON breaks the contract.
    pub fn run<S: AsRef<str>>(&self, options: &[&str], command: &[S]) -> Result<Run> {
        let mut line = self.memtrace_run(options)?;
        line.extend(command.iter().map(|word| word.as_ref().to_owned()));
        let finished = self.to_end(&mut self.fixed(&line))?;
        self.summary(finished)
    }

    /// The words `memtrace run --json FILE -q OPTION... --`. `MEMTRACE_TEST_HANDLER` can name
    /// which programs are loaded, `plain` or `optimised`: results must not depend on it.
    ///
    /// # Errors
    /// There is no memtrace.
    pub fn memtrace_run(&self, options: &[&str]) -> Result<Vec<String>> {
        let json = self.path("summary.json");
        if json.exists() {
            fs::remove_file(&json)?;
        }
        let mut line = vec![memtrace()?.display().to_string()];
        line.extend(["run", "--json", &json.display().to_string(), "-q"].map(str::to_owned));
        if let Ok(handler) = env::var("MEMTRACE_TEST_HANDLER")
            && !options.contains(&"--handler")
        {
            line.extend(["--handler".to_owned(), handler]);
        }
        line.extend(options.iter().map(|&option| option.to_owned()));
        line.push("--".to_owned());
        Ok(line)
    }

    /// A partner for a conversation: a script under `memtrace run` with options.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn converse(&self, options: &[&str], words: &str) -> Result<Partner> {
        let mut line = self.memtrace_run(options)?;
        line.extend(self.script(words));
        Partner::start(&mut self.fixed(&line))
    }

    /// Adds the JSON that [`Lab::memtrace_run`] asked for.
    ///
    /// # Errors
    /// There is none, or it breaks the contract.
    pub fn summary(&self, finished: Finished) -> Result<Run> {
        let summary = Summary::read(&self.path("summary.json")).with_context(|| {
            format!(
                "memtrace ended with {}; stderr: {}",
                finished.status, finished.stderr
            )
        })?;
        evidence(&summary.certificate)
            .context("write the evidence that MEMTRACE_EVIDENCE asks for")?;
        Ok(Run { finished, summary })
    }

    /// A command with an empty environment but for PATH, with the default disposition of every
    /// signal (whoever started the tests may ignore some, as `nohup` does), and without address
    /// randomisation (which would move the stack across page boundaries).
    #[must_use]
    pub fn fixed<S: AsRef<str>>(&self, line: &[S]) -> Command {
        let mut command = Command::new("env");
        command.args(["--default-signal", "setarch", "-R"]);
        command.args(line.iter().map(AsRef::as_ref));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .current_dir(self.dir.path());
        command
    }

    /// What a shell's words show on a terminal of so many columns, as script(1) writes it down.
    ///
    /// # Errors
    /// They fail, or there is no script(1).
    pub fn on_columns(&self, columns: usize, words: &str) -> Result<String> {
        let words = format!("stty cols {columns}; {words}");
        let shown = Command::new("script")
            .args(["-qec", &words, "/dev/null"])
            .env_remove("COLUMNS")
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .output()
            .context("run script(1)")?;
        let text = String::from_utf8_lossy(&shown.stdout).replace('\r', "");
        ensure!(shown.status.success(), "{text}");
        Ok(text)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started or takes too long.
    pub fn to_end(&self, command: &mut Command) -> Result<Finished> {
        run_to_end(command, self.dir.path())
    }
}

/// Notes what memtrace said of its own result, for the table of what holds on which kernel
/// (`cargo xtask kernels --table`): a line `PROGRAM::TEST VERDICT BYTES TIER` in the file
/// that `MEMTRACE_EVIDENCE` names.
fn evidence(certificate: &Certificate) -> Result<()> {
    let Some(path) = env::var_os("MEMTRACE_EVIDENCE") else {
        return Ok(());
    };
    let program = env::current_exe()?;
    let program = program.file_stem().unwrap_or_default().to_string_lossy();
    // Cargo appends a hash.
    let program = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
    let test = std::thread::current().name().unwrap_or("main").to_owned();
    let Certificate {
        verdict,
        within_bytes,
        tier,
        ..
    } = certificate;
    let mut file = File::options().append(true).create(true).open(path)?;
    writeln!(file, "{program}::{test} {verdict} {within_bytes} {tier}")?;
    Ok(())
}

impl Drop for Lab {
    fn drop(&mut self) {
        if env::var_os("MEMTRACE_KEEP").is_some() {
            eprintln!("the test's files are kept in {}", self.dir().display());
        }
    }
}
