//! `cargo xtask bpf`: builds the BPF object, or checks the committed one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    stamp::{self, Stamp},
    toolchain::Toolchain,
};

/// Where the committed object and its stamp are.
const OBJECT: &str = "memtrace-ebpf/object/memtrace.bpf.o";
const STAMP: &str = "memtrace-ebpf/object/memtrace.bpf.stamp";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Do not build, but fail unless the committed object belongs to the sources
    #[arg(long)]
    check: bool,
    /// Write the object to FILE instead of the committed one's place
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    out: Option<PathBuf>,
}

pub(crate) fn run(root: &Path, options: Options) -> Result<()> {
    let Options { check, out } = options;
    if check {
        return self::check(root);
    }
    let toolchain = Toolchain::find()?;
    eprintln!("building with {toolchain} ({})", toolchain.identity()?);
    let object = build(root, &toolchain)?;
    let path = out.clone().unwrap_or_else(|| root.join(OBJECT));
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
    }
    fs::write(&path, &object).with_context(|| format!("failed to write {}", path.display()))?;
    if out.is_none() {
        Stamp {
            sources: stamp::sources(root)?,
            object: stamp::hash(&object),
            toolchain: toolchain.identity()?,
        }
        .write(&root.join(STAMP))?;
    }
    eprintln!("wrote {} ({} bytes)", path.display(), object.len());
    if out.is_some() {
        eprintln!(
            "to embed it: MEMTRACE_BPF_OBJECT={} cargo build",
            path.display()
        );
    }
    Ok(())
}

fn check(root: &Path) -> Result<()> {
    const REBUILD: &str = "run `cargo xtask bpf` and commit memtrace-ebpf/object";
    let stamp = Stamp::read(&root.join(STAMP))?;
    let committed =
        fs::read(root.join(OBJECT)).with_context(|| format!("failed to read {OBJECT}"))?;
    if stamp.object != stamp::hash(&committed) {
        bail!("{OBJECT} is not the file that its stamp describes; {REBUILD}");
    }
    if stamp.sources != stamp::sources(root)? {
        bail!("{OBJECT} was built from other sources; {REBUILD}");
    }
    println!("{OBJECT}: built from these sources");
    let toolchain = match Toolchain::find() {
        Ok(toolchain) if toolchain.identity()? == stamp.toolchain => toolchain,
        Ok(toolchain) => {
            println!(
                "not compared byte by byte: it was built by {}, here is {}",
                stamp.toolchain,
                toolchain.identity()?
            );
            return Ok(());
        }
        Err(_) => {
            println!(
                "not compared byte by byte: {} is not installed",
                stamp.toolchain
            );
            return Ok(());
        }
    };
    let fresh = build(root, &toolchain)?;
    if fresh != committed {
        bail!("{OBJECT} differs from what the same compiler makes of the sources; {REBUILD}");
    }
    println!("{OBJECT}: byte for byte what {toolchain} makes of them");
    Ok(())
}

/// Builds the object and strips what only a debugger reads.
fn build(root: &Path, toolchain: &Toolchain) -> Result<Vec<u8>> {
    const TARGET: &str = "bpfel-unknown-none";
    let target_dir = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("bpf");
    let home = env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    // Fetching atomics need the v3 instruction set (kernel 5.12). Paths are mapped, so that
    // the object does not depend on where it was built.
    let flags = [
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        "-Clinker=bpf-linker".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--remap-path-prefix={}=.", root.display()),
        format!("--remap-path-prefix={}=cargo", home.display()),
    ];
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(root)
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(["--package", "memtrace-ebpf", "--features", "programs"])
        .args(["--bin", "memtrace-bpf", "--target-dir"])
        .arg(&target_dir)
        .args(toolchain.build_arguments())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN");
    let status = cargo
        .status()
        .with_context(|| format!("failed to run {cargo:?}"))?;
    if !status.success() {
        bail!("building the BPF object failed: {cargo:?}");
    }
    let built = target_dir.join(TARGET).join("release/memtrace-bpf");
    let stripped = target_dir.join("memtrace.bpf.o");
    strip(&built, &stripped)?;
    fs::read(&stripped).with_context(|| format!("failed to read {}", stripped.display()))
}

/// DWARF goes; BTF, which the kernel reads, stays.
fn strip(from: &Path, to: &Path) -> Result<()> {
    for tool in [
        "/usr/lib/llvm-22/bin/llvm-objcopy",
        "llvm-objcopy-22",
        "llvm-objcopy",
    ] {
        let mut command = Command::new(tool);
        command.arg("--strip-debug").arg(from).arg(to);
        match command.status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(_) => bail!("stripping failed: {command:?}"),
            Err(_) => {}
        }
    }
    bail!("llvm-objcopy is not installed (Debian: apt-get install llvm-22)")
}
