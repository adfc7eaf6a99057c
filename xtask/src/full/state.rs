//! Which steps have passed, on which sources.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// Kept in a file: the sources' fingerprint, then the steps that passed.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    sources: String,
    passed: BTreeSet<String>,
}

impl State {
    /// What is known of these sources; nothing, if the file is of others.
    pub(super) fn open(path: &Path, sources: &str) -> Result<Self> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        let passed = if lines.next() == Some(sources) {
            lines.map(str::to_owned).collect()
        } else {
            BTreeSet::new()
        };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("create {}", directory.display()))?;
        }
        Ok(Self {
            path: path.to_owned(),
            sources: sources.to_owned(),
            passed,
        })
    }

    pub(super) fn has_passed(&self, step: &str) -> bool {
        self.passed.contains(step)
    }

    /// Notes how a step ended, at once: whatever comes next may be the end of this process.
    pub(super) fn note(&mut self, step: &str, passed: bool) -> Result<()> {
        if passed {
            self.passed.insert(step.to_owned());
        } else {
            self.passed.remove(step);
        }
        let lines = std::iter::once(&self.sources).chain(&self.passed);
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        fs::write(&self.path, text).with_context(|| format!("write {}", self.path.display()))
    }
}

/// Of everything that is in the work tree and not ignored, committed or not: the id of the tree that
/// git would make of it, without the table that a run writes.
pub(super) fn fingerprint(root: &Path, target: &Path) -> Result<String> {
    let index = target.join("full-index");
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git")
            .current_dir(root)
            .args(arguments)
            .env("GIT_INDEX_FILE", &index)
            .output()
            .context("run git")?;
        ensure!(
            output.status.success(),
            "git {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    fs::create_dir_all(target).with_context(|| format!("create {}", target.display()))?;
    git(&["add", "--all", "."])?;
    git(&[
        "rm",
        "--cached",
        "--quiet",
        "--ignore-unmatch",
        "docs/exactness.md",
    ])?;
    git(&["write-tree"])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::State;

    #[test]
    fn what_passed_is_known_again_of_the_same_sources_only() {
        let path = std::env::temp_dir().join(format!("memtrace-full-{}", std::process::id()));
        let mut state = State::open(&path, "a").unwrap();
        state.note("one", true).unwrap();
        state.note("two", true).unwrap();
        state.note("two", false).unwrap();
        let again = State::open(&path, "a").unwrap();
        assert!(again.has_passed("one") && !again.has_passed("two"));
        assert!(!State::open(&path, "b").unwrap().has_passed("one"));
        std::fs::remove_file(&path).unwrap();
    }
}
