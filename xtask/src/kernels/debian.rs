//! Fetches kernels from Debian, with package lists of its own: the machine's own package
//! sources stay as they are. What is kept lies in a cache outside the repository.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::list::Kernel;

/// Modules that guests need, unless they are built in: a disk with its file system, and
/// compressed swap. ext4 asks for its checksum by name, not by symbol.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
    "lzo-rle",
    "lz4",
    "zram",
];

/// In a cached kernel's directory: its modules, each after those that it needs.
pub(crate) const MODULE_LIST: &str = "modules";

/// In a cached kernel's directory: which of [`MODULES`] it was searched for, so that a
/// longer list is not served from an older cache.
const WANTED_LIST: &str = "modules-wanted";

/// The public key of Debian's archive, from the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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

/// The newest package of this kernel, fetched if it is not in the cache yet.
pub(crate) fn fetch(kernel: &Kernel) -> Result<Image> {
    let cache = cache()?;
    let mut found: Option<(String, &str)> = None;
    for &suite in kernel.suites {
        let apt = Apt::new(&cache, suite)?;
        for release in apt.releases(kernel)? {
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
    let dir = cache.join(&release);
    let wanted = fs::read_to_string(dir.join(WANTED_LIST)).unwrap_or_default();
    if !dir.join("vmlinuz").is_file() || wanted != MODULES.join("\n") {
        eprintln!("fetching kernel {release} from {suite}");
        Apt::new(&cache, suite)?.download(&release, &dir)?;
    }
    Ok(Image { release, dir })
}

/// apt with one suite's lists.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(cache: &Path, suite: &str) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).is_file(),
            "{KEYRING} is missing: apt-get install debian-archive-keyring"
        );
        let dir = cache.join("apt").join(suite);
        fs::create_dir_all(dir.join("lists/partial"))
            .and_then(|()| fs::create_dir_all(dir.join("cache/archives/partial")))
            .with_context(|| format!("create {}", dir.display()))?;
        let source = dir.join("sources.list");
        fs::write(
            &source,
            format!(
                "deb [arch=amd64 signed-by={KEYRING}] {} {suite} main\n",
                mirror()?
            ),
        )
        .with_context(|| format!("write {}", source.display()))?;
        let set = |name: &str, value: &dyn std::fmt::Display| format!("-o{name}={value}");
        let apt = Self {
            options: vec![
                set("Dir::Etc::sourcelist", &source.display()),
                set("Dir::Etc::sourceparts", &"/dev/null"),
                set("Dir::State::lists", &dir.join("lists").display()),
                set("Dir::Cache", &dir.join("cache").display()),
                set("APT::Sandbox::User", &"root"),
                set("Acquire::Languages", &"none"),
                set(
                    "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                    &"false",
                ),
                set(
                    "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled",
                    &"false",
                ),
                // An old suite's lists are no longer renewed.
                set("Acquire::Check-Valid-Until", &"false"),
                set("Acquire::Retries", &"3"),
            ],
        };
        apt.update(&dir)?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).env("LC_ALL", "C");
        command
    }

    /// Renews the lists, unless that was done a short while ago.
    fn update(&self, dir: &Path) -> Result<()> {
        const FRESH: std::time::Duration = std::time::Duration::from_secs(3600);
        let stamp = dir.join("updated");
        if fs::metadata(&stamp)
            .and_then(|data| data.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < FRESH))
        {
            return Ok(());
        }
        run(self.command("apt-get").args(["-qq", "update"]))?;
        fs::write(&stamp, "").with_context(|| format!("write {}", stamp.display()))
    }

    /// The releases that the suite has of this kernel. From 6.19 on Debian splits its
    /// packages: the image is in `linux-binary-*`, and `linux-image-*` only depends on it.
    fn releases(&self, kernel: &Kernel) -> Result<Vec<String>> {
        let pattern = format!(
            "^linux-(image|binary)-{}.*{}$",
            kernel.release.replace('.', r"\."),
            kernel.flavour
        );
        let names = run(self
            .command("apt-cache")
            .args(["search", "--names-only", &pattern]))?;
        let mut releases: Vec<String> = names
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter_map(|name| {
                name.strip_prefix("linux-image-")
                    .or_else(|| name.strip_prefix("linux-binary-"))
            })
            .map(str::to_owned)
            .collect();
        releases.sort();
        releases.dedup();
        Ok(releases)
    }

    /// Downloads a release and keeps its image and the modules that tests need.
    fn download(&self, release: &str, to: &Path) -> Result<()> {
        let work = to.with_extension("partial");
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
        }
        let tree = work.join("tree");
        fs::create_dir_all(&tree).with_context(|| format!("create {}", tree.display()))?;
        let names = run(self.command("apt-cache").args([
            "search",
            "--names-only",
            &format!(
                "^linux-(image|binary|modules)-{}$",
                release.replace('.', r"\.").replace('+', r"\+")
            ),
        ]))?;
        for name in names
            .lines()
            .filter_map(|line| line.split_whitespace().next())
        {
            run(self
                .command("apt-get")
                .args(["-qq", "download", name])
                .current_dir(&work))?;
        }
        for entry in fs::read_dir(&work)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&tree))?;
            }
        }
        let kept = work.join("kept");
        fs::create_dir(&kept)?;
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
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        fs::rename(&kept, to).with_context(|| format!("move the kernel to {}", to.display()))?;
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))
    }
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
    fs::write(kept.join(WANTED_LIST), MODULES.join("\n"))?;
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

/// The mirror that this machine's Debian packages come from.
fn mirror() -> Result<String> {
    if let Ok(mirror) = env::var("MEMTRACE_DEBIAN_MIRROR") {
        return Ok(mirror);
    }
    let list = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(ORIGIN) $(SUITE) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    list.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (uri, origin) = (words.next()?, words.next()?);
            (origin == "Debian" && uri.trim_end_matches('/').ends_with("/debian")).then(|| uri.to_owned())
        })
        .next()
        .context("apt knows no mirror of Debian; name one with MEMTRACE_DEBIAN_MIRROR, and run apt-get update")
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
