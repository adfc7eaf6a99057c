//! `cargo xtask bpf`: builds the BPF objects, or checks the committed ones.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    stamp::{self, Stamp},
    toolchain::Toolchain,
};

/// Where the committed objects and their stamps are.
const DIRECTORY: &str = "memtrace-ebpf/object";

/// A way to build the programs.
#[derive(Clone, Copy, Debug)]
struct Variant {
    /// The object's file is called so.
    name: &'static str,
    /// The instruction set it is built for.
    cpu: &'static str,
    /// Further Cargo features.
    features: &'static str,
}

/// The object that most runs take: what they need is all that it has.
pub(crate) const LEAN: &str = "memtrace-lean";

const VARIANTS: [Variant; 3] = [
    Variant {
        name: "memtrace",
        // Atomics that return something: kernel 5.12.
        cpu: "-Ctarget-cpu=v3",
        features: "programs",
    },
    Variant {
        name: LEAN,
        cpu: "-Ctarget-cpu=v3",
        features: "programs,lean",
    },
    Variant {
        name: "memtrace-plain",
        cpu: "-Ctarget-cpu=v2",
        features: "programs,plain",
    },
];

impl Variant {
    fn object(self) -> String {
        format!("{}.bpf.o", self.name)
    }

    fn stamp(self) -> String {
        format!("{}.bpf.stamp", self.name)
    }
}

/// Ways to count wrongly on purpose: tests have to notice each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Broken {
    /// One event in 1,000 is dropped
    Events,
    /// The share of one CPU is left out of every sum, and where threads have caches
    /// instead, those
    Share,
}

impl Broken {
    const fn feature(self) -> &'static str {
        match self {
            Self::Events => "broken-events",
            Self::Share => "broken-share",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Write nothing, but fail unless the committed objects belong to the sources; with --out,
    /// write there what was built for it
    #[arg(long)]
    check: bool,
    /// Write the objects to DIRECTORY instead of the committed ones' place
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// Build programs that count wrongly, for tests of the tests
    #[arg(long, value_name = "HOW", requires = "out", conflicts_with = "check")]
    broken: Option<Broken>,
}

pub(crate) fn run(root: &Path, options: Options) -> Result<()> {
    let Options { check, out, broken } = options;
    if check {
        return self::check(root, out.as_deref());
    }
    let directory = out.clone().unwrap_or_else(|| root.join(DIRECTORY));
    write(root, &directory, broken, out.is_none(), |_| true)?;
    if out.is_some() {
        eprintln!(
            "to embed them: MEMTRACE_BPF_OBJECTS={} cargo build",
            directory.display()
        );
    }
    Ok(())
}

/// Builds the objects whose names are wanted into a directory; with their stamps if they are to be
/// committed.
pub(crate) fn write(
    root: &Path,
    directory: &Path,
    broken: Option<Broken>,
    stamped: bool,
    wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    let toolchain = Toolchain::find()?;
    eprintln!("building with {toolchain} ({})", toolchain.identity()?);
    fs::create_dir_all(directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    for variant in VARIANTS.into_iter().filter(|variant| wanted(variant.name)) {
        let object = build(root, &toolchain, variant, broken)?;
        let path = directory.join(variant.object());
        fs::write(&path, &object).with_context(|| format!("failed to write {}", path.display()))?;
        if stamped {
            Stamp {
                sources: stamp::sources(root)?,
                object: stamp::hash(&object),
                toolchain: toolchain.identity()?,
            }
            .write(&directory.join(variant.stamp()))?;
        }
        eprintln!("wrote {} ({} bytes)", path.display(), object.len());
    }
    Ok(())
}

/// Makes a directory's objects the committed ones.
pub(crate) fn copy(root: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    for variant in VARIANTS {
        let path = root.join(DIRECTORY).join(variant.object());
        fs::copy(&path, directory.join(variant.object()))
            .with_context(|| format!("failed to copy {}", path.display()))?;
    }
    Ok(())
}

fn check(root: &Path, out: Option<&Path>) -> Result<()> {
    for variant in VARIANTS {
        let toolchain = match (check_stamp(root, variant)?, out) {
            (Some(toolchain), _) => toolchain,
            (None, Some(_)) => Toolchain::find()?,
            (None, None) => continue,
        };
        let fresh = build(root, &toolchain, variant, None)?;
        compare(root, &toolchain, variant, &fresh)?;
        if let Some(directory) = out {
            fs::create_dir_all(directory)
                .with_context(|| format!("failed to create {}", directory.display()))?;
            let path = directory.join(variant.object());
            fs::write(&path, &fresh)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
    }
    Ok(())
}

const REBUILD: &str = "run `cargo xtask bpf` and commit memtrace-ebpf/object";

/// Fails unless the committed object is the one that its stamp describes, and of these sources;
/// gives the compiler that it can be built with again, if that is here.
fn check_stamp(root: &Path, variant: Variant) -> Result<Option<Toolchain>> {
    let object = format!("{DIRECTORY}/{}", variant.object());
    let stamp = Stamp::read(&root.join(DIRECTORY).join(variant.stamp()))?;
    let committed =
        fs::read(root.join(&object)).with_context(|| format!("failed to read {object}"))?;
    if stamp.object != stamp::hash(&committed) {
        bail!("{object} is not the file that its stamp describes; {REBUILD}");
    }
    if stamp.sources != stamp::sources(root)? {
        bail!("{object} was built from other sources; {REBUILD}");
    }
    println!("{object}: built from these sources");
    match Toolchain::find() {
        Ok(toolchain) if toolchain.identity()? == stamp.toolchain => return Ok(Some(toolchain)),
        Ok(toolchain) => println!(
            "not compared byte by byte: it was built by {}, here is {}",
            stamp.toolchain,
            toolchain.identity()?
        ),
        Err(_) => println!(
            "not compared byte by byte: {} is not installed",
            stamp.toolchain
        ),
    }
    Ok(None)
}

/// Fails unless a fresh object is the committed one, if the same compiler made both.
fn compare(root: &Path, toolchain: &Toolchain, variant: Variant, fresh: &[u8]) -> Result<()> {
    let object = format!("{DIRECTORY}/{}", variant.object());
    let stamp = Stamp::read(&root.join(DIRECTORY).join(variant.stamp()))?;
    if toolchain.identity()? != stamp.toolchain {
        return Ok(());
    }
    if stamp.object != stamp::hash(fresh) {
        bail!("{object} differs from what the same compiler makes of the sources; {REBUILD}");
    }
    println!("{object}: byte for byte what {toolchain} makes of them");
    Ok(())
}

/// Builds the object and strips what only a debugger reads.
fn build(
    root: &Path,
    toolchain: &Toolchain,
    variant: Variant,
    broken: Option<Broken>,
) -> Result<Vec<u8>> {
    const TARGET: &str = "bpfel-unknown-none";
    // One for all, so that what runs on the host while they are built is built once.
    let target_dir = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("bpf");
    let home = env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    // Paths are mapped, so that the object does not depend on where it was built.
    let flags = [
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        variant.cpu.to_owned(),
        "-Clinker=bpf-linker".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--remap-path-prefix={}=.", root.display()),
        format!("--remap-path-prefix={}=cargo", home.display()),
    ];
    let features = [variant.features]
        .into_iter()
        .chain(broken.map(Broken::feature))
        .collect::<Vec<_>>()
        .join(",");
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(root)
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(["--package", "memtrace-ebpf", "--features", &features])
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
