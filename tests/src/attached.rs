//! `memtrace attach` to workloads that run already.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{Checkpoints, Finished, Held, Lab, Partner, Summary, memtrace};

/// The point at which everything that is there has been taken in.
const TAKEN_IN: &str = "what runs is taken in";

/// The one at which it is known what its pages are for, with `--segments`.
const TOLD_APART: &str = "what its pages are for is read";

/// A workload that runs by itself.
///
/// # Errors
/// It cannot be started.
pub fn begin(lab: &Lab, words: &str) -> Result<Partner> {
    Partner::start(&mut lab.fixed(&lab.script(words)))
}

/// `memtrace attach` with options, without a process.
fn command(lab: &Lab, options: &[&str]) -> Result<Vec<String>> {
    let json = lab.path("summary.json");
    if json.exists() {
        fs::remove_file(&json)?;
    }
    let mut line = vec![memtrace()?.display().to_string()];
    line.extend(["attach", "--json", &json.display().to_string(), "-q"].map(str::to_owned));
    if let Ok(handler) = std::env::var("MEMTRACE_TEST_HANDLER") {
        line.extend(["--handler".to_owned(), handler]);
    }
    line.extend(options.iter().map(|&option| option.to_owned()));
    Ok(line)
}

/// memtrace, attached to processes.
#[derive(Debug)]
pub struct Attached<'a> {
    lab: &'a Lab,
    memtrace: Partner,
    held: Held,
}

impl<'a> Attached<'a> {
    /// Waits until everything that is there has been taken in. The targets are process ids, or options with
    /// their values.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn to(lab: &'a Lab, targets: &[String], options: &[&str]) -> Result<Self> {
        Self::behind(&[], lab, targets, options)
    }

    /// The same with words before `memtrace` in the command.
    ///
    /// # Errors
    /// As for [`Attached::to`].
    pub fn behind(
        before: &[&str],
        lab: &'a Lab,
        targets: &[String],
        options: &[&str],
    ) -> Result<Self> {
        let mut attached = Self::begun(before, lab, targets, options)?;
        attached.go_on_to(TAKEN_IN)?;
        attached.held.go_on()?;
        attached.settled(options)
    }

    /// With `--segments` not before it is known what pages are for.
    fn settled(mut self, options: &[&str]) -> Result<Self> {
        if options.contains(&"--segments") {
            self.go_on_to(TOLD_APART)?;
            self.held.go_on()?;
        }
        Ok(self)
    }

    /// memtrace, started.
    fn begun(before: &[&str], lab: &'a Lab, targets: &[String], options: &[&str]) -> Result<Self> {
        let socket = lab.path("checkpoints");
        if socket.exists() {
            fs::remove_file(&socket)?;
        }
        let checkpoints = Checkpoints::open(lab)?;
        let mut line: Vec<String> = before.iter().map(|&word| word.to_owned()).collect();
        line.extend(command(lab, options)?);
        line.extend(checkpoints.options());
        line.extend(targets.iter().cloned());
        let memtrace = Partner::start(&mut lab.fixed(&line))?;
        let held = checkpoints.accept()?;
        Ok(Self {
            lab,
            memtrace,
            held,
        })
    }

    /// Lets it go on until it reaches a point, where it waits.
    fn go_on_to(&mut self, wanted: &str) -> Result<()> {
        loop {
            let point = self.held.point()?;
            let point = point.context("memtrace ends without having attached")?;
            if point == wanted {
                return Ok(());
            }
            self.held.go_on()?;
        }
    }

    /// As [`Attached::to`], where something is done when everything has been taken in, before anything else is found
    /// out about it.
    ///
    /// # Errors
    /// As for [`Attached::to`], and of what is done.
    pub fn meanwhile(
        lab: &'a Lab,
        targets: &[String],
        options: &[&str],
        act: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let mut attached = Self::begun(&[], lab, targets, options)?;
        attached.go_on_to(TAKEN_IN)?;
        act()?;
        attached.held.go_on()?;
        attached.settled(options)
    }

    /// memtrace itself.
    #[must_use]
    pub const fn memtrace(&self) -> &Partner {
        &self.memtrace
    }

    /// Waits for its end; what it measured.
    ///
    /// # Errors
    /// It does not end, or there is no result.
    pub fn finish(self) -> Result<Summary> {
        let (status, summary) = self.finish_anyhow()?;
        assert_eq!(status, Some(0));
        Ok(summary)
    }

    /// Waits for its end, however that is; its exit status and what it measured.
    ///
    /// # Errors
    /// As for [`Attached::finish`].
    pub fn finish_anyhow(mut self) -> Result<(Option<i32>, Summary)> {
        self.held.to_end()?;
        let (status, said) = self.memtrace.finish()?;
        if !status.success() {
            eprint!("{status}: {said}");
        }
        let summary = Summary::read(&self.lab.path("summary.json"))?;
        Ok((status.code(), summary))
    }
}

/// What one memtrace that does not attach says.
///
/// # Errors
/// It cannot be run.
pub fn attach_refused(lab: &Lab, targets: &[&str]) -> Result<Finished> {
    let line = command(lab, targets)?;
    lab.to_end(&mut lab.fixed(&line))
}
