//! Where the `memtrace` under test is.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};

/// The path of `memtrace`: `MEMTRACE_BIN` if that is set, else the one of this workspace
/// and profile, brought up to date first when Cargo runs the tests.
///
/// # Errors
/// It is not there and cannot be built.
pub fn memtrace() -> Result<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(error) => bail!("no memtrace to test: {error}"),
    }
}

fn find() -> Result<PathBuf> {
    if let Some(path) = env::var_os("MEMTRACE_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("MEMTRACE_BIN names {}, which is no file", path.display());
        }
        return Ok(path);
    }
    // Tests lie in TARGET/PROFILE/deps/.
    let me = env::current_exe().context("find the test's own path")?;
    let profile = me
        .parent()
        .and_then(Path::parent)
        .context("the test is not below a target directory")?;
    let path = profile.join("memtrace");
    if let Some(cargo) = env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        // Of the whole workspace, as its tests are: with the same features of dependencies.
        build.args(["build", "--quiet", "--workspace", "--bin", "memtrace"]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        build
            .arg("--target-dir")
            .arg(profile.parent().context("no target directory")?);
        if profile.file_name().is_some_and(|name| name == "release") {
            build.arg("--release");
        }
        let status = build.status().context("run cargo build")?;
        if !status.success() {
            bail!("cargo build --workspace --bin memtrace failed: {status}");
        }
    }
    if !path.is_file() {
        bail!(
            "{} does not exist; build it with `cargo build --package memtrace` or set MEMTRACE_BIN",
            path.display()
        );
    }
    Ok(path)
}
