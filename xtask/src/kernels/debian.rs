//! Kernels of Debian in a cache outside the repository, from the packages that
//! `kernels.lock` pins.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{apt::Apt, arch::Arch, list::Kernel, pins::Pin};

/// Modules that guests need, unless they are built in: a port where a machine has one only, a disk with
/// its file system, and compressed swap. ext4 asks for its checksum by name, not by symbol.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
    "lzo-rle",
    "lz4",
    "zram",
];

/// In a cached kernel's directory: its modules, each after those that it needs.
pub(crate) const MODULE_LIST: &str = "modules";

/// In a cached kernel's directory: what it was made from, so that it serves no other pin and
/// no longer list of modules.
const STAMP: &str = "stamp";

/// A kernel in the cache.
#[derive(Debug)]
pub(crate) struct Image {
    /// Its release, as `uname -r` prints it.
    pub(crate) release: String,
    /// Holds `vmlinuz` and modules.
    pub(crate) dir: PathBuf,
}

/// Where kernels are kept: `MEMTRACE_KERNELS`, or the user's cache directory.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("MEMTRACE_KERNELS") {
        return Ok(dir.into());
    }
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither MEMTRACE_KERNELS, XDG_CACHE_HOME nor HOME says where to keep kernels")?;
    Ok(base.join("memtrace/kernels"))
}

/// The pinned kernel: from the cache, without a word to apt, if it is there.
pub(crate) fn fetch(pin: &Pin, arch: Arch) -> Result<Image> {
    let cache = cache()?;
    let dir = cache.join(&pin.release);
    let stamp = stamp(pin);
    let found = fs::read_to_string(dir.join(STAMP)).unwrap_or_default();
    if found != stamp || !dir.join("vmlinuz").is_file() {
        eprintln!("fetching kernel {} from {}", pin.release, pin.suite);
        let apt = Apt::new(&cache, &pin.suite, arch)?;
        // Another run may fill the same cache.
        let work = cache.join(format!("{}.{}.partial", pin.release, process::id()));
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
        }
        let done = unpack(pin, &apt, &work, &stamp).and_then(|kept| {
            if dir.exists() {
                fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
            }
            fs::rename(&kept, &dir)
                .with_context(|| format!("move {} to {}", kept.display(), dir.display()))
        });
        // What went wrong before matters more than what is left behind.
        let removed = fs::remove_dir_all(&work);
        done?;
        removed.with_context(|| format!("remove {}", work.display()))?;
    }
    Ok(Image {
        release: pin.release.clone(),
        dir,
    })
}

fn stamp(pin: &Pin) -> String {
    format!("{}modules {}\n", pin.text(), MODULES.join(" "))
}

/// Downloads a pin's packages, and returns the directory of what is kept of them.
fn unpack(pin: &Pin, apt: &Apt, work: &Path, stamp: &str) -> Result<PathBuf> {
    let tree = work.join("tree");
    let kept = work.join("kept");
    for dir in [&tree, &kept] {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    for package in &pin.packages {
        let file = apt.download(&pin.kernel, package, &work.join(&package.name))?;
        run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&tree))?;
    }
    let release = &pin.release;
    let images = [
        tree.join(format!("boot/vmlinuz-{release}")),
        tree.join(format!("usr/lib/modules/{release}/vmlinuz")),
    ];
    let image = images
        .iter()
        .find(|path| path.is_file())
        .with_context(|| format!("the packages of {release} have no vmlinuz"))?;
    fs::copy(image, kept.join("vmlinuz"))?;
    keep_modules(&tree, &kept)?;
    fs::write(kept.join(STAMP), stamp)?;
    Ok(kept)
}

/// The newest packages of a kernel.
pub(crate) fn newest(kernel: &Kernel) -> Result<Pin> {
    let cache = cache()?;
    let mut found: Option<(String, &str)> = None;
    for &suite in kernel.suites {
        for release in Apt::new(&cache, suite, kernel.arch)?.releases(kernel)? {
            if found
                .as_ref()
                .is_none_or(|(best, _)| compare(&release, best) == Ordering::Greater)
            {
                found = Some((release, suite));
            }
        }
    }
    let (release, suite) = found.with_context(|| {
        format!(
            "Debian's {} have no kernel {}*-{}",
            kernel.suites.join(", "),
            kernel.release,
            kernel.flavour
        )
    })?;
    let packages = Apt::new(&cache, suite, kernel.arch)?.packages(&release)?;
    ensure!(
        !packages.is_empty(),
        "Debian's {suite} has no packages of {release}"
    );
    Ok(Pin {
        kernel: kernel.name.to_owned(),
        suite: suite.to_owned(),
        release,
        packages,
    })
}

/// Copies the modules of [`MODULES`] that are there and those that they need, unpacked,
/// and lists them in the order of loading.
fn keep_modules(tree: &Path, kept: &Path) -> Result<()> {
    let available = modules_in(tree)?;
    let mut order = Vec::new();
    for name in MODULES {
        keep_module(name, &available, kept, &mut order)?;
    }
    fs::write(kept.join(MODULE_LIST), order.join("\n") + "\n")?;
    Ok(())
}

fn keep_module(
    name: &str,
    available: &BTreeMap<String, PathBuf>,
    kept: &Path,
    order: &mut Vec<String>,
) -> Result<()> {
    // One that is not there is built in, or this kernel has none.
    let Some(path) = available.get(name) else {
        return Ok(());
    };
    if order.iter().any(|known| known == name) {
        return Ok(());
    }
    let needs = run(Command::new(find("modinfo")?)
        .args(["-F", "depends"])
        .arg(path))?;
    for needed in needs.trim().split(',').filter(|name| !name.is_empty()) {
        keep_module(&needed.replace('_', "-"), available, kept, order)?;
        keep_module(&needed.replace('-', "_"), available, kept, order)?;
    }
    let unpacker = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => "cat",
        Some("xz") => "xzcat",
        Some("zst") => "zstdcat",
        _ => bail!("unknown compression of {}", path.display()),
    };
    let out = fs::File::create(kept.join(format!("{name}.ko")))?;
    let status = Command::new(unpacker)
        .arg(path)
        .stdout(out)
        .status()
        .with_context(|| format!("run {unpacker}"))?;
    ensure!(
        status.success(),
        "{unpacker} {} failed: {status}",
        path.display()
    );
    order.push(name.to_owned());
    Ok(())
}

/// The modules below a directory, by name.
fn modules_in(tree: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![tree.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
                found.insert(name.to_owned(), entry.path());
            }
        }
    }
    Ok(found)
}

/// Runs a command and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("failed to run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program is: administrators' directories are not on every user's path.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("{program} is not installed; guests need it"))
}

/// Compares releases number by number: 6.12.9 comes before 6.12.10.
fn compare(left: &str, right: &str) -> Ordering {
    let numbers = |release: &str| -> Vec<u64> {
        release
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    numbers(left)
        .cmp(&numbers(right))
        .then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::compare;

    #[test]
    fn releases_compare_by_number() {
        assert_eq!(
            compare("6.12.9+deb13-cloud-amd64", "6.12.10+deb13-cloud-amd64"),
            Ordering::Less
        );
        assert_eq!(
            compare("7.3.4+deb13-cloud-amd64", "7.2.13+deb14-cloud-amd64"),
            Ordering::Greater
        );
        assert_eq!(
            compare("5.10.0-32-rt-amd64", "5.10.0-32-rt-amd64"),
            Ordering::Equal
        );
    }
}
