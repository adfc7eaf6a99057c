//! `/proc/PID/status` as a workload wrote it at its top.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result};

/// One `/proc/PID/status`.
#[derive(Clone, Debug)]
pub struct Status {
    fields: HashMap<String, String>,
}

impl Status {
    /// Reads one from a file.
    ///
    /// # Errors
    /// The file cannot be read: the workload did not get that far.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| {
            format!(
                "read the status that the workload wrote to {}",
                path.display()
            )
        })?;
        Ok(Self::parse(&text))
    }

    /// Takes one from text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let fields = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self { fields }
    }

    fn number(&self, name: &str) -> Result<u64> {
        let text = self
            .fields
            .get(name)
            .with_context(|| format!("no {name} in the status"))?;
        let digits = text.split_whitespace().next().unwrap_or_default();
        digits
            .parse()
            .with_context(|| format!("{name} is {text:?}"))
    }

    /// The process id (of the thread group).
    ///
    /// # Errors
    /// There is none.
    pub fn pid(&self) -> Result<u32> {
        Ok(u32::try_from(self.number("Tgid")?)?)
    }

    /// A size in bytes: `VmRSS`, `RssAnon`, `VmPeak` and so on.
    ///
    /// # Errors
    /// There is no such line (a zombie has no sizes).
    pub fn bytes(&self, name: &str) -> Result<u64> {
        Ok(self.number(name)? * 1024)
    }

    /// `VmRSS` in bytes.
    ///
    /// # Errors
    /// As for [`Status::bytes`].
    pub fn rss(&self) -> Result<u64> {
        self.bytes("VmRSS")
    }
}
