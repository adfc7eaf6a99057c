//! Packs what guests need into initial file systems: the tests as Cargo built them, at the
//! paths they were built for, the programs they call with their libraries, and `init.sh`.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    build::Built,
    cross::Cross,
    debian::{Image, MODULE_LIST, find, run},
    run::Program,
};

/// Programs of this machine that tests call. Everything else is busybox.
const PROGRAMS: &[&str] = &[
    "bash", "bpftool", "cat", "chrt", "dash", "env", "false", "head", "id", "ls", "mount",
    "prlimit", "script", "setarch", "setpriv", "setsid", "sleep", "stat", "tail", "swapoff",
    "swapon", "taskset", "time", "timeout", "true", "umount", "unshare",
];

/// What busybox is for in `init.sh` and tests.
const APPLETS: &[&str] = &[
    "chmod", "chown", "cp", "echo", "grep", "insmod", "ip", "ln", "mkdir", "mkfifo", "mkswap",
    "mv", "nproc", "poweroff", "ps", "rm", "rmdir", "sed", "sync", "touch", "uname", "wc",
];

/// Makes the part that all guests share, with these test programs, and returns its file.
pub(crate) fn base(
    built: &Built,
    tests: &BTreeSet<&Path>,
    cross: Option<&Cross>,
    work: &Path,
) -> Result<PathBuf> {
    let tree = work.join("base");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for dir in [
        "dev", "proc", "sys", "tmp", "root", "etc", "run", "memtrace", "usr/bin", "usr/lib",
    ] {
        fs::create_dir_all(tree.join(dir))?;
    }
    // As on Debian, and as the programs' own paths expect.
    for (link, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("usr/sbin", "bin"),
    ] {
        symlink(target, tree.join(link))?;
    }
    fs::create_dir_all(tree.join("usr/lib64"))?;
    fs::write(
        tree.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    )?;
    fs::write(tree.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;

    let find = |name: &str| match cross {
        None => find(name),
        Some(cross) => cross.find(name),
    };
    let libraries_of = |file: &Path| match cross {
        None => libraries_of(file),
        Some(cross) => cross.libraries_of(file),
    };
    let strip = cross.map_or_else(|| "strip".to_owned(), Cross::strip);
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let from = find(name)?;
        libraries.extend(libraries_of(&from)?);
        copy(&from, &tree.join("usr/bin").join(name))?;
    }
    symlink("dash", tree.join("usr/bin/sh"))?;
    let busybox = find("busybox")?;
    copy(&busybox, &tree.join("usr/bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", tree.join("usr/bin").join(applet))?;
    }
    for file in built
        .files
        .iter()
        .map(PathBuf::as_path)
        .chain(tests.iter().copied())
    {
        libraries.extend(libraries_of(file)?);
        let to = inside(&tree, file);
        copy(file, &to)?;
        // Only a debugger misses it, and every guest would have to unpack it.
        let status = Command::new(&strip)
            .arg("--strip-debug")
            .arg(&to)
            .status()
            .with_context(|| format!("run {strip}"))?;
        ensure!(status.success(), "strip {} failed", to.display());
    }
    for (path, here) in &libraries {
        copy(here, &inside(&tree, path))?;
    }
    let init = tree.join("init");
    fs::write(&init, include_str!("init.sh"))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let archive = work.join("base.cpio");
    pack(&tree, &archive)?;
    Ok(archive)
}

/// Makes the disk of a guest, and returns its file.
pub(crate) fn disk(dir: &Path) -> Result<PathBuf> {
    const SIZE: u64 = 1 << 30;
    let path = dir.join("disk");
    File::create(&path)
        .and_then(|file| file.set_len(SIZE))
        .with_context(|| format!("create {}", path.display()))?;
    run(Command::new(find("mke2fs")?)
        .args(["-q", "-F", "-t", "ext4"])
        .arg(&path))?;
    Ok(path)
}

/// What one boot runs.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The port that it says it through.
    pub(crate) port: &'a str,
    /// What the guest says of itself before everything else.
    pub(crate) header: &'a str,
    /// Commands, in this order.
    pub(crate) programs: &'a [Program],
    /// Variables for the tests.
    pub(crate) environment: &'a [(&'a str, String)],
}

/// Makes the initial file system of one boot, and returns its file.
pub(crate) fn complete(base: &Path, image: &Image, plan: &Plan<'_>, dir: &Path) -> Result<PathBuf> {
    let tree = dir.join("own");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let modules = tree.join("memtrace/modules.d");
    fs::create_dir_all(&modules)?;
    let order = fs::read_to_string(image.dir.join(MODULE_LIST))
        .with_context(|| format!("read the list of modules of {}", image.release))?;
    for name in order.lines() {
        let file = format!("{name}.ko");
        fs::copy(image.dir.join(&file), modules.join(&file))?;
    }
    fs::write(tree.join("memtrace/modules"), &order)?;
    let lines: String = plan
        .programs
        .iter()
        .map(
            |Program {
                 name, limit, words, ..
             }| format!("{limit} {name} {words}\n"),
        )
        .collect();
    fs::write(tree.join("memtrace/plan"), lines)?;
    fs::write(tree.join("memtrace/port"), plan.port)?;
    fs::write(tree.join("memtrace/header"), plan.header)?;
    let variables: String = plan
        .environment
        .iter()
        .map(|(name, value)| format!("export {name}='{value}'\n"))
        .collect();
    fs::write(tree.join("memtrace/environment"), variables)?;
    let own = dir.join("own.cpio");
    pack(&tree, &own)?;
    // The kernel unpacks archives that follow each other into one file system.
    let whole = dir.join("initrd");
    let mut bytes = fs::read(base)?;
    bytes.extend(fs::read(&own)?);
    fs::write(&whole, bytes)?;
    Ok(whole)
}

fn pack(tree: &Path, archive: &Path) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", "cd \"$1\" && find . -print0 | LC_ALL=C sort -z | cpio --null --create --format=newc --quiet >\"$2\"", "pack"])
        .arg(tree)
        .arg(archive)
        .status()
        .context("run cpio")?;
    ensure!(
        status.success(),
        "packing {} failed; is cpio installed?",
        tree.display()
    );
    Ok(())
}

fn inside(tree: &Path, path: &Path) -> PathBuf {
    tree.join(path.strip_prefix("/").unwrap_or(path))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

/// The shared libraries of a program, by the dynamic linker's own answer: where guests look for each,
/// and where it is here.
fn libraries_of(program: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("run ldd")?;
    if !output.status.success() {
        return Ok(Vec::new()); // static
    }
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("not found") {
        bail!("{} lacks libraries: {text}", program.display());
    }
    Ok(text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|path| (PathBuf::from(path), PathBuf::from(path)))
        .collect())
}
