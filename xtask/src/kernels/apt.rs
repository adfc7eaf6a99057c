//! Debian's packages by apt, with lists of its own: the machine's own package sources stay
//! as they are.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    arch::Arch,
    debian::run,
    identity::sha256_of,
    list::Kernel,
    pins::{self, Package},
};

/// The public key of Debian's archive, from the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with one suite's lists, or those of the machine's own sources, for one architecture.
#[derive(Debug)]
pub(crate) struct Apt {
    suite: String,
    options: Vec<String>,
}

fn set(name: &str, value: &dyn std::fmt::Display) -> String {
    format!("-o{name}={value}")
}

impl Apt {
    /// With the lists of this suite, kept and renewed below the cache.
    pub(crate) fn new(cache: &Path, suite: &str, arch: Arch) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).is_file(),
            "{KEYRING} is missing: apt-get install debian-archive-keyring"
        );
        let dir = directory(cache, suite, arch)?;
        let source = dir.join("sources.list");
        fs::write(
            &source,
            format!(
                "deb [arch={} signed-by={KEYRING}] {} {suite} main\n",
                arch.debian(),
                mirror()?
            ),
        )
        .with_context(|| format!("write {}", source.display()))?;
        Self::with(
            suite,
            arch,
            &dir,
            [
                set("Dir::Etc::sourcelist", &source.display()),
                set("Dir::Etc::sourceparts", &"/dev/null"),
            ],
        )
    }

    /// With the sources of the machine it runs on, which has the same packages for others.
    pub(crate) fn of_this_machine(cache: &Path, arch: Arch) -> Result<Self> {
        let dir = directory(cache, "this-machine", arch)?;
        let status = dir.join("status");
        fs::write(&status, "").with_context(|| format!("write {}", status.display()))?;
        // Nothing of that architecture is installed.
        let status = set("Dir::State::status", &status.display());
        Self::with("sources of this machine", arch, &dir, [status])
    }

    fn with(
        suite: &str,
        arch: Arch,
        dir: &Path,
        own: impl IntoIterator<Item = String>,
    ) -> Result<Self> {
        let mut options = vec![
            set("APT::Architecture", &arch.debian()),
            set("APT::Architectures", &arch.debian()),
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
        ];
        options.extend(own);
        let apt = Self {
            suite: suite.to_owned(),
            options,
        };
        apt.update(dir)?;
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
    pub(crate) fn releases(&self, kernel: &Kernel) -> Result<Vec<String>> {
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

    /// The newest packages of a release.
    pub(crate) fn packages(&self, release: &str) -> Result<Vec<Package>> {
        let names = run(self.command("apt-cache").args([
            "search",
            "--names-only",
            &format!(
                "^linux-(image|binary|modules)-{}$",
                release.replace('.', r"\.").replace('+', r"\+")
            ),
        ]))?;
        let mut names: Vec<&str> = names
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        names.sort_unstable();
        names
            .into_iter()
            .map(|name| {
                let text =
                    run(self
                        .command("apt-cache")
                        .args(["show", "--no-all-versions", name]))?;
                let field = |field: &str| {
                    text.lines()
                        .find_map(|line| line.strip_prefix(field))
                        .map(|value| value.trim().to_owned())
                        .with_context(|| format!("apt-cache show {name}: no {field}"))
                };
                Ok(Package {
                    name: name.to_owned(),
                    version: field("Version:")?,
                    sha256: field("SHA256:")?,
                })
            })
            .collect()
    }

    /// Downloads exactly this package into a directory of its own, and returns the file if
    /// it is what was pinned.
    pub(crate) fn download(&self, kernel: &str, package: &Package, dir: &Path) -> Result<PathBuf> {
        let Package {
            name,
            version,
            sha256,
        } = package;
        let exact = format!("{name}={version}");
        // Asked first: what fails after this is the network's fault, not the pin's. For an
        // unknown package apt-cache fails, for an unknown version it only says nothing.
        let known = run(self.command("apt-cache").args(["show", &exact])).is_ok_and(|text| {
            text.lines()
                .any(|line| line.strip_prefix("Version: ") == Some(version))
        });
        ensure!(
            known,
            "the pinned {name} {version} is no longer served by Debian's {}; cargo xtask kernels --bump {kernel} pins what is",
            self.suite
        );
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        run(self
            .command("apt-get")
            .args(["-qq", "download", &exact])
            .current_dir(dir))?;
        let file = packages_in(dir)?
            .pop()
            .with_context(|| format!("apt-get download {exact} left no file"))?;
        let found = sha256_of(&file)?;
        ensure!(
            found == *sha256,
            "{name} {version} has the SHA-256 {found}, but {} says {sha256}",
            pins::FILE
        );
        Ok(file)
    }

    /// Downloads these packages, whatever their versions are if none are given, into a directory.
    pub(crate) fn download_newest(&self, packages: &[&str], dir: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        run(self
            .command("apt-get")
            .args(["-qq", "download"])
            .args(packages)
            .current_dir(dir))?;
        packages_in(dir)
    }

    /// The same with everything that they need to be installed.
    pub(crate) fn download_with_dependencies(
        &self,
        packages: &[&str],
        dir: &Path,
    ) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(dir.join("partial"))
            .with_context(|| format!("create {}", dir.display()))?;
        run(self
            .command("apt-get")
            .arg(set("Dir::Cache::archives", &dir.display()))
            .args([
                "-qq",
                "-y",
                "--no-install-recommends",
                "--download-only",
                "install",
            ])
            .args(packages))?;
        packages_in(dir)
    }
}

/// Where lists are kept.
fn directory(cache: &Path, name: &str, arch: Arch) -> Result<PathBuf> {
    let dir = cache.join("apt").join(match arch {
        Arch::Amd64 => name.to_owned(),
        Arch::Arm64 => format!("{name}-{}", arch.debian()),
    });
    fs::create_dir_all(dir.join("lists/partial"))
        .and_then(|()| fs::create_dir_all(dir.join("cache/archives/partial")))
        .with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// The packages in a directory.
fn packages_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("read {}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    found.sort();
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
