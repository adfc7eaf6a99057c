//! Other programs that read what memtrace exports. `tests/export/install` installs them.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Missing;

/// Perfetto's own `trace_processor`.
#[derive(Debug)]
pub struct TraceProcessor(PathBuf);

/// `DuckDB`.
#[derive(Debug)]
pub struct DuckDb(PathBuf);

impl TraceProcessor {
    /// Finds it.
    ///
    /// # Errors
    /// It is not installed.
    pub fn find() -> Result<Self, Missing> {
        tool("trace-processor").map(Self)
    }

    /// The rows of each query about a trace, as objects.
    ///
    /// # Errors
    /// The trace or a query is wrong.
    pub fn ask(&self, trace: &Path, queries: &[&str]) -> Result<Vec<Value>> {
        let mut command = Command::new("node");
        command.arg(script("query.mjs")).arg(&self.0).arg(trace);
        ask(&mut command, queries)
    }
}

impl DuckDb {
    /// Finds it.
    ///
    /// # Errors
    /// It is not installed.
    pub fn find() -> Result<Self, Missing> {
        tool("python/bin/python").map(Self)
    }

    /// The rows of each query about files in a directory, as arrays.
    ///
    /// # Errors
    /// A file or a query is wrong.
    pub fn ask(&self, directory: &Path, queries: &[&str]) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.0);
        command.arg(script("query.py")).arg(directory);
        ask(&mut command, queries)
    }
}

/// Python's `mprof`, which reads what it wrote itself, and what memtrace exports.
#[derive(Clone, Debug)]
pub struct Mprof(PathBuf);

impl Mprof {
    /// Finds it.
    ///
    /// # Errors
    /// It is not installed.
    pub fn find() -> Result<Self, Missing> {
        tool("python/bin/mprof").map(Self)
    }

    /// The peak that it finds, in MiB.
    ///
    /// # Errors
    /// It cannot read the file.
    pub fn peak(&self, file: &Path) -> Result<String> {
        let output = Command::new(&self.0).arg("peak").arg(file).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "mprof ended with {}: {said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let peak = said.trim_end().rsplit('\t').next();
        let peak = peak.and_then(|peak| peak.strip_suffix(" MiB"));
        Ok(peak.context("a line with the peak")?.to_owned())
    }
}

/// Perfetto's UI, as people open it.
#[derive(Clone, Debug)]
pub struct PerfettoUi {
    chromium: PathBuf,
    pages: PathBuf,
}

impl PerfettoUi {
    /// Finds its pages and a browser for them.
    ///
    /// # Errors
    /// One of them is not installed.
    pub fn find() -> Result<Self, Missing> {
        Ok(Self {
            chromium: browser()?,
            pages: tool("perfetto-ui")?,
        })
    }

    /// What it shows of a trace, after `tests/browser/perfetto.mjs`; a picture of it goes to a file.
    ///
    /// # Errors
    /// It does not open the trace.
    pub fn open(&self, trace: &Path, picture: &Path) -> Result<Value> {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/perfetto.mjs");
        let mut command = Command::new("node");
        command.arg(driver).args([&self.chromium, &self.pages]);
        let output = command.args([trace, picture]).output()?;
        ensure!(
            output.status.success(),
            "the browser's driver failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).context("the driver's JSON")
    }
}

/// A Chromium; and what drives it is there.
///
/// # Errors
/// Either is missing.
pub fn browser() -> Result<PathBuf, Missing> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let find = |names: &[&str]| {
        let directories: Vec<PathBuf> = env::split_paths(&paths).collect();
        let all = names.iter().flat_map(|name| {
            directories
                .iter()
                .map(move |directory| directory.join(name))
        });
        all.into_iter().find(|path| path.is_file())
    };
    let chromium = find(&["chromium", "chromium-browser", "google-chrome"]);
    let chromium = chromium.ok_or_else(|| Missing("no chromium in PATH".to_owned()))?;
    find(&["node"]).ok_or_else(|| Missing("no node in PATH".to_owned()))?;
    let modules =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/node_modules/playwright-core");
    if !modules.is_dir() {
        let needed = "no playwright-core: run `npm ci --prefix tests/browser`";
        return Err(Missing(needed.to_owned()));
    }
    Ok(chromium)
}

fn tool(name: &str) -> Result<PathBuf, Missing> {
    let tools = env::var_os("MEMTRACE_EXPORT_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/export-tools"),
        PathBuf::from,
    );
    let path = tools.join(name);
    if path.exists() {
        return Ok(path);
    }
    Err(Missing(format!(
        "{} is missing; run tests/export/install",
        path.display()
    )))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("export")
        .join(name)
}

fn ask(command: &mut Command, queries: &[&str]) -> Result<Vec<Value>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let mut stdin = child.stdin.take().context("a pipe to it")?;
    stdin.write_all(&serde_json::to_vec(queries)?)?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("its answer")
}
