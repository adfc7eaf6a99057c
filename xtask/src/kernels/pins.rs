//! `xtask/kernels.lock`: which packages of Debian each kernel comes from, so that a run
//! today and a run next month boot the same code.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};

use super::list::KERNELS;

/// Where the pins are, below the repository's root.
pub(crate) const FILE: &str = "xtask/kernels.lock";

/// The packages of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The name in `list`.
    pub(crate) kernel: String,
    /// Debian's suite that has the packages.
    pub(crate) suite: String,
    /// The release, as `uname -r` prints it.
    pub(crate) release: String,
    /// What to unpack, by name.
    pub(crate) packages: Vec<Package>,
}

/// One `.deb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SHA-256 of the file, in lower-case hexadecimal.
    pub(crate) sha256: String,
}

const HEAD: &str = "\
# The kernels that `cargo xtask kernels` boots: name, suite of Debian, release; below each its
# packages with version and SHA-256. Written by `cargo xtask kernels --bump [KERNEL...]`.
";

impl Pin {
    /// The lines of it in the file.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{} {} {}\n", self.kernel, self.suite, self.release);
        for Package {
            name,
            version,
            sha256,
        } in &self.packages
        {
            // Writing to a string does not fail.
            let _ = writeln!(out, "    {name} {version} {sha256}");
        }
        out
    }
}

/// The pins of a repository; none if it has no such file.
pub(crate) fn read(root: &Path) -> Result<Vec<Pin>> {
    let path = root.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Writes them, in the order of the matrix.
pub(crate) fn write(root: &Path, pins: &[Pin]) -> Result<()> {
    let path = root.join(FILE);
    fs::write(&path, render(pins)).with_context(|| format!("write {}", path.display()))
}

/// The pin of a kernel.
pub(crate) fn of<'a>(pins: &'a [Pin], kernel: &str) -> Result<&'a Pin> {
    pins.iter()
        .find(|pin| pin.kernel == kernel)
        .with_context(|| {
            format!("{FILE} has no kernel {kernel}: run cargo xtask kernels --bump {kernel}")
        })
}

/// Puts a pin in the place of the kernel's former one.
pub(crate) fn replace(pins: &mut Vec<Pin>, new: Pin) {
    pins.retain(|pin| pin.kernel != new.kernel);
    pins.push(new);
}

fn render(pins: &[Pin]) -> String {
    let mut out = HEAD.to_owned();
    for kernel in KERNELS {
        for pin in pins.iter().filter(|pin| pin.kernel == kernel.name) {
            out.push('\n');
            out.push_str(&pin.text());
        }
    }
    out
}

fn parse(text: &str) -> Result<Vec<Pin>> {
    let mut pins: Vec<Pin> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[first, second, third] = words.as_slice() else {
            bail!("not three words: {line}");
        };
        // They become names of files and words of commands.
        ensure!(
            words.iter().all(|word| is_plain(word)),
            "unexpected characters: {line}"
        );
        let (first, second, third) = (first.to_owned(), second.to_owned(), third.to_owned());
        if line.starts_with(' ') {
            ensure!(
                third.len() == 64
                    && third
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)),
                "not a SHA-256: {line}"
            );
            let pin = pins
                .last_mut()
                .context("a package comes before the first kernel")?;
            pin.packages.push(Package {
                name: first,
                version: second,
                sha256: third,
            });
        } else {
            ensure!(pins.iter().all(|pin| pin.kernel != first), "twice: {first}");
            pins.push(Pin {
                kernel: first,
                suite: second,
                release: third,
                packages: Vec::new(),
            });
        }
    }
    if let Some(pin) = pins.iter().find(|pin| pin.packages.is_empty()) {
        bail!("no packages: {}", pin.kernel);
    }
    Ok(pins)
}

fn is_plain(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".+-~:_".contains(c))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{KERNELS, Package, Pin, of, parse, render, replace};

    fn pin(kernel: &str, version: &str) -> Pin {
        Pin {
            kernel: kernel.to_owned(),
            suite: "trixie".to_owned(),
            release: "6.12.9+deb13-cloud-amd64".to_owned(),
            packages: vec![Package {
                name: "linux-image-6.12.9+deb13-cloud-amd64".to_owned(),
                version: version.to_owned(),
                sha256: "0f".repeat(32),
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        // In the order of the matrix, whatever was bumped last.
        let (first, last) = (KERNELS[0].name, KERNELS[KERNELS.len() - 1].name);
        let text = render(&[pin(last, "1:6.12.9-1~bpo13+1"), pin(first, "6.12.9-1")]);
        assert_eq!(
            parse(&text).unwrap(),
            [pin(first, "6.12.9-1"), pin(last, "1:6.12.9-1~bpo13+1")]
        );
    }

    #[test]
    fn a_bump_changes_one_kernel() {
        let mut pins = vec![pin("5.10", "1"), pin("6.1", "1")];
        replace(&mut pins, pin("5.10", "2"));
        assert_eq!(of(&pins, "5.10").unwrap().packages[0].version, "2");
        assert_eq!(of(&pins, "6.1").unwrap().packages[0].version, "1");
        let error = of(&pins, "7").unwrap_err().to_string();
        assert!(error.contains("--bump 7"), "{error}");
    }

    #[test]
    fn damage_is_an_error() {
        let sum = "0f".repeat(32);
        for text in [
            format!("    name 1 {sum}\n"),
            "6.1 bookworm 6.1.0\n".to_owned(),
            "6.1 bookworm\n".to_owned(),
            format!("6.1 bookworm ../6.1.0\n    name 1 {sum}\n"),
            format!("6.1 bookworm 6.1.0\n    --name 1 {sum}\n"),
            "6.1 bookworm 6.1.0\n    name 1 0f0f\n".to_owned(),
            format!("6.1 b 6.1.0\n    name 1 {sum}\n6.1 b 6.1.0\n    name 1 {sum}\n"),
        ] {
            assert!(parse(&text).is_err(), "{text}");
        }
    }
}
