//! What it takes to build and furnish guests of another instruction set: a compiler that has the
//! standard library for it, and Debian's programs for it, both kept beside the kernels.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    apt::Apt,
    arch::Arch,
    debian::{cache, run},
};

/// Debian's compiler: the only one whose standard libraries for other instruction sets are packages.
const RUSTC: &str = "/usr/bin/rustc";

/// Its package, and the one with the library, of the same version.
const COMPILER: &str = "rustc-web";
const LIBRARY: &str = "libstd-rust-web-dev";

/// Packages with what guests run and what those need (see `bundle`).
const GUEST: &[&str] = &[
    "bash",
    "bpftool",
    "bsdutils",
    "busybox-static",
    "coreutils",
    "dash",
    "libc6",
    "libgcc-s1",
    "mount",
    "time",
    "util-linux",
    "util-linux-extra",
];

/// In a filled directory of the cache: what it is filled with.
const STAMP: &str = "stamp";

/// Everything for one instruction set.
#[derive(Debug)]
pub(crate) struct Cross {
    arch: Arch,
    /// A compiler that finds the libraries of both.
    pub(crate) rustc: PathBuf,
    /// Debian's programs and libraries for guests, as they lie on a disk.
    pub(crate) root: PathBuf,
}

impl Cross {
    /// From the cache, or from Debian's packages.
    pub(crate) fn fetch(arch: Arch) -> Result<Self> {
        let version = run(Command::new("dpkg-query").args(["-W", "-f", "${Version}", COMPILER]))
            .with_context(|| format!("{COMPILER} is needed; .ci/install --full installs it"))?;
        find_linker(arch)?;
        let dir = cache()?.join(format!("cross-{}-{version}", arch.debian()));
        let cross = Self {
            arch,
            rustc: dir.join("rustc"),
            root: dir.join("root"),
        };
        let stamp = GUEST.join("\n");
        if fs::read_to_string(dir.join(STAMP)).unwrap_or_default() != stamp {
            eprintln!("fetching Debian's packages for {}", arch.debian());
            if dir.exists() {
                fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
            }
            cross.fill(&dir, &version)?;
            fs::write(dir.join(STAMP), stamp)?;
        }
        Ok(cross)
    }

    fn fill(&self, dir: &Path, version: &str) -> Result<()> {
        let apt = Apt::of_this_machine(&cache()?, self.arch)?;
        let library = dir.join("library");
        for file in apt.download_newest(&[&format!("{LIBRARY}={version}")], &dir.join("rust"))? {
            unpack(&file, &library)?;
        }
        for file in apt.download_with_dependencies(GUEST, &dir.join("packages"))? {
            unpack(&file, &self.root)?;
        }
        // The compiler looks for all libraries in one place.
        let sysroot = dir.join("sysroot/lib/rustlib");
        fs::create_dir_all(&sysroot)?;
        for (base, target) in [
            (Path::new("/"), Arch::Amd64.target()),
            (&library, self.arch.target()),
        ] {
            let libraries = base.join("usr/lib/rustlib").join(target);
            ensure!(
                libraries.is_dir(),
                "there is no {}: {LIBRARY} is missing or arranged in another way",
                libraries.display()
            );
            symlink(libraries, sysroot.join(target))?;
        }
        fs::write(
            &self.rustc,
            format!(
                "#!/bin/sh\nexec {RUSTC} --sysroot '{}' \"$@\"\n",
                dir.join("sysroot").display()
            ),
        )?;
        fs::set_permissions(&self.rustc, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Has a `cargo` build for it.
    pub(crate) fn set(&self, cargo: &mut Command) {
        let variable = self.arch.target().replace('-', "_").to_uppercase();
        cargo
            .env("RUSTC", &self.rustc)
            .env(format!("CARGO_TARGET_{variable}_LINKER"), linker(self.arch))
            .args(["--target", self.arch.target()]);
    }

    /// A program of its packages.
    pub(crate) fn find(&self, name: &str) -> Result<PathBuf> {
        ["usr/bin", "bin", "usr/sbin", "sbin"]
            .iter()
            .map(|dir| self.root.join(dir).join(name))
            .find(|path| path.is_file())
            .with_context(|| format!("no package for {} has {name}", self.arch.debian()))
    }

    /// The libraries that a program needs, with the linker that loads them, and theirs: where guests
    /// look for each, and where it is here.
    pub(crate) fn libraries_of(&self, program: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
        let mut files = vec![program.to_owned()];
        while let Some(file) = files.pop() {
            let text = run(Command::new("readelf").args(["-dlW"]).arg(&file))?;
            for name in needed(&text) {
                let name = name.trim_start_matches('/');
                let (inside, here) = self.library(name).with_context(|| {
                    format!("{} needs {name}, which no package has", file.display())
                })?;
                if !found.iter().any(|(known, _)| *known == inside) {
                    files.push(here.clone());
                    found.push((inside, here));
                }
            }
        }
        Ok(found)
    }

    /// A library by its name or, as the linker has it, by its path.
    fn library(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        let triplet = self.arch.target().replace("-unknown", "");
        if name.contains('/') {
            let here = self.root.join(name);
            return here
                .is_file()
                .then(|| (PathBuf::from("/").join(name), here));
        }
        ["usr/lib", "lib"].iter().find_map(|dir| {
            let here = self.root.join(dir).join(&triplet).join(name);
            here.is_file()
                .then(|| (Path::new("/usr/lib").join(&triplet).join(name), here))
        })
    }

    /// What removes symbols from its programs.
    pub(crate) fn strip(&self) -> String {
        format!("{}-strip", prefix(self.arch))
    }
}

fn prefix(arch: Arch) -> String {
    arch.target().replace("-unknown", "")
}

fn linker(arch: Arch) -> String {
    format!("{}-gcc", prefix(arch))
}

fn find_linker(arch: Arch) -> Result<()> {
    let linker = linker(arch);
    run(Command::new(&linker).arg("--version"))
        .map(drop)
        .with_context(|| format!("{linker} is needed; .ci/install --full installs it"))
}

fn unpack(package: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(to)).map(drop)
}

/// The names of the libraries and of the linker in what `readelf -dl` prints.
fn needed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (_, name) = line
            .split_once("(NEEDED)")
            .and_then(|(_, rest)| rest.split_once('['))
            .or_else(|| line.split_once("[Requesting program interpreter: "))?;
        name.split_once(']').map(|(name, _)| name)
    })
}

#[cfg(test)]
mod tests {
    use super::needed;

    #[test]
    fn libraries_are_read_off() {
        let text = "      [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]\n 0x01 (NEEDED)  Shared library: [libc.so.6]\n 0x0e (SONAME) Library soname: [libx.so.1]\n";
        assert_eq!(
            needed(text).collect::<Vec<_>>(),
            ["/lib/ld-linux-aarch64.so.1", "libc.so.6"]
        );
    }
}
