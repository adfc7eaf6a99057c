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
