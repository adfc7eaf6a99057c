//! Builds the static workloads with the compiler that builds the rest.
//!
//! They are no Cargo targets because they need linker options and panic settings of
//! their own, and no package because they must not see the workspace's profiles: their
//! page counts shall be the same in every build.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::Command,
};

const WORKLOADS: [&str; 3] = ["nothing", "script", "churn"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=workloads");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;
    let known = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
    if !known.contains(&target.as_str()) {
        return Err(format!(
            "no static workloads for {target}; there are some for {}",
            known.join(" and ")
        )
        .into());
    }
    for name in WORKLOADS {
        build(name, &target, &out)?;
    }
    Ok(())
}

fn build(name: &str, target: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc.args([
        "--edition=2024",
        "--crate-type=bin",
        "--crate-name",
        name,
        "--target",
        target,
    ]);
    for option in [
        "panic=abort",
        "opt-level=2",
        "debuginfo=0",
        "strip=symbols",
        // A fixed address and no dynamic linker, so that no relocation touches a page.
        "relocation-model=static",
        "target-feature=+crt-static",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
        "link-arg=-no-pie",
    ] {
        rustc.arg("-C").arg(option);
    }
    if target.starts_with("aarch64") {
        // Else atomics are functions that ask libc, which is not there, what the processor can do.
        rustc.args(["-C", "target-feature=-outline-atomics"]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    rustc
        .arg("-o")
        .arg(out.join(name))
        .arg(format!("workloads/{name}.rs"));
    let status = rustc
        .status()
        .map_err(|error| format!("run rustc for workload {name}: {error}"))?;
    if !status.success() {
        return Err(format!("rustc failed on workload {name}: {status}").into());
    }
    Ok(())
}
