//! Finds a compiler for the BPF target.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// What to install, in the words of a shell.
const INSTALL: &str = "\
On Debian 12 or later:
    sudo apt-get install rustc-web libstd-rust-web-dev-bpf llvm-22-dev clang
    LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.10.3 --locked \\
        --no-default-features --features llvm-22
With rustup:
    rustup toolchain install nightly --component rust-src
    cargo install bpf-linker --version 0.10.3 --locked";

/// The linker's version that the committed object is built with.
const LINKER: &str = "bpf-linker";

/// A compiler that can build for `bpfel-unknown-none`.
#[derive(Debug)]
pub(crate) enum Toolchain {
    /// A compiler that has `core` for the target installed, like Debian's rustc-web.
    Prebuilt { rustc: PathBuf },
    /// Nightly with rust-src: `core` is built with the object.
    Nightly,
}

impl Toolchain {
    /// The first that works.
    pub(crate) fn find() -> Result<Self> {
        if output(Command::new(LINKER).arg("--version")).is_none() {
            bail!("bpf-linker is not installed.\n{INSTALL}");
        }
        let own = env::var_os("MEMTRACE_BPF_RUSTC").map(PathBuf::from);
        for rustc in own.into_iter().chain([PathBuf::from("/usr/bin/rustc")]) {
            if has_core(&rustc) {
                return Ok(Self::Prebuilt { rustc });
            }
        }
        let sysroot =
            output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
        if let Some(sysroot) = sysroot
            && Path::new(&sysroot)
                .join("lib/rustlib/src/rust/library/core/Cargo.toml")
                .exists()
        {
            return Ok(Self::Nightly);
        }
        bail!(
            "no Rust compiler with the target bpfel-unknown-none was found: neither /usr/bin/rustc with its core library for BPF, nor nightly with rust-src.\n{INSTALL}"
        );
    }

    /// `cargo`, set up to use it, without arguments.
    pub(crate) fn cargo(&self) -> Command {
        match self {
            Self::Prebuilt { rustc } => {
                let mut cargo =
                    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                // Never RUSTC_BOOTSTRAP=1: only these crates need unstable features.
                cargo
                    .env("RUSTC", rustc)
                    .env("RUSTC_BOOTSTRAP", "aya_ebpf,memtrace_bpf");
                cargo
            }
            Self::Nightly => {
                let mut cargo = Command::new("rustup");
                cargo
                    .args(["run", "nightly", "cargo"])
                    .env_remove("RUSTC")
                    .env_remove("CARGO");
                cargo
            }
        }
    }

    /// Arguments of `cargo build` that it needs.
    pub(crate) const fn build_arguments(&self) -> &'static [&'static str] {
        match self {
            Self::Prebuilt { .. } => &[],
            Self::Nightly => &["-Z", "build-std=core"],
        }
    }

    /// What decides about the object's bytes: the compiler's and the linker's versions.
    pub(crate) fn identity(&self) -> Result<String> {
        let rustc = match self {
            Self::Prebuilt { rustc } => output(Command::new(rustc).arg("--version")),
            Self::Nightly => {
                output(Command::new("rustup").args(["run", "nightly", "rustc", "--version"]))
            }
        }
        .context("failed to ask the compiler for its version")?;
        let linker = output(Command::new(LINKER).arg("--version"))
            .context("failed to ask bpf-linker for its version")?;
        Ok(format!("{rustc}; {linker}"))
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prebuilt { rustc } => write!(f, "{}", rustc.display()),
            Self::Nightly => f.write_str("nightly with rust-src"),
        }
    }
}

/// Does this compiler have `core` for the target?
fn has_core(rustc: &Path) -> bool {
    output(Command::new(rustc).args(["--target", "bpfel-unknown-none", "--print", "target-libdir"]))
        .is_some_and(|directory| {
            std::fs::read_dir(directory).is_ok_and(|mut entries| {
                entries.any(|entry| {
                    entry.is_ok_and(|entry| {
                        entry.file_name().to_string_lossy().starts_with("libcore-")
                    })
                })
            })
        })
}

/// The first line a command prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}
