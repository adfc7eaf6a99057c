//! The result so far, which a key of the screen asks for: in a file of its own, written by a thread of its own, so that
//! neither the tracing nor the screen waits for it.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{SystemTime, UNIX_EPOCH},
};

use memtrace::{
    NoResult, SoFar,
    export::utc_stamp,
    launch::{Made, OutputError, create_output},
    report::json,
};

use super::file_size;

/// The longest part of a file's name that tells what it is of, bytes: with it what is said of the file fits into 80
/// columns.
const NAME: usize = 24;

/// So many names are tried that differ in a number only.
const NAMES: u32 = 100;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum InterimError {
    #[error(transparent)]
    None(#[from] NoResult),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("{} and {NAMES} more like it exist: remove some", .0.display())]
    Names(PathBuf),
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("there can be no thread to write it: {0}")]
    Thread(io::Error),
}

/// What is between whoever wants a report and the tracer.
#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Wanted,
    /// The tracer knows.
    Asked,
    Given(Box<Result<SoFar, NoResult>>),
}

/// A wish for the result so far.
#[derive(Debug, Default)]
pub(super) struct Wish(Mutex<State>);

impl Wish {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is one that the tracer does not know of; from now on it does.
    pub(super) fn ask(&self) -> bool {
        let mut state = self.state();
        let is_wanted = matches!(*state, State::Wanted);
        if is_wanted {
            *state = State::Asked;
        }
        is_wanted
    }

    /// What the tracer answers.
    pub(super) fn give(&self, so_far: Result<SoFar, NoResult>) {
        *self.state() = State::Given(Box::new(so_far));
    }

    /// The answer, if it is there.
    fn take(&self) -> Option<Result<SoFar, NoResult>> {
        let mut state = self.state();
        if !matches!(*state, State::Given(_)) {
            return None;
        }
        match std::mem::take(&mut *state) {
            State::Given(so_far) => Some(*so_far),
            _ => None,
        }
    }
}

/// Has reports written, one at a time.
#[derive(Debug)]
pub(super) struct Reports<'a> {
    /// What they are of.
    name: &'a str,
    wish: &'a Wish,
    writer: Option<JoinHandle<String>>,
}

impl<'a> Reports<'a> {
    pub(super) const fn new(name: &'a str, wish: &'a Wish) -> Self {
        Self {
            name,
            wish,
            writer: None,
        }
    }

    /// Wants a report, unless one is on its way.
    pub(super) fn want(&self) {
        if !self.is_pending() {
            *self.wish.state() = State::Wanted;
        }
    }

    /// Whether one is on its way.
    pub(super) fn is_pending(&self) -> bool {
        self.writer.is_some() || !matches!(*self.wish.state(), State::Idle)
    }

    /// Does what there is to do, without waiting. What is to be said of a report that is there now, or cannot be.
    pub(super) fn look(&mut self) -> Option<String> {
        if self.writer.as_ref().is_some_and(JoinHandle::is_finished) {
            return self.said();
        }
        match self.wish.take()? {
            Ok(so_far) => self.begin(so_far).err().map(no_report),
            Err(error) => Some(no_report(error.into())),
        }
    }

    /// Waits for the one that is on its way, if the tracer has given what is to be in it.
    pub(super) fn finish(mut self) -> Option<String> {
        self.look().or_else(|| self.said())
    }

    fn begin(&mut self, so_far: SoFar) -> Result<(), InterimError> {
        let name = self.name.to_owned();
        let writer = std::thread::Builder::new()
            .name("memtrace-report".to_owned())
            .spawn(move || {
                file_size::survive_limit();
                match write(&name, so_far) {
                    Ok(path) => format!("the result so far is in {}", path.display()),
                    Err(error) => no_report(error),
                }
            });
        self.writer = Some(writer.map_err(InterimError::Thread)?);
        Ok(())
    }

    /// Waits for the writer, if there is one.
    fn said(&mut self) -> Option<String> {
        let said = self.writer.take()?.join();
        Some(said.unwrap_or_else(|_| "no report: the thread that writes has panicked".to_owned()))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "errors are mapped to what is said of them"
)]
fn no_report(error: InterimError) -> String {
    format!("no report: {error}")
}

/// Writes a result to a new file in the current directory. Nothing stays of a file that cannot be written.
fn write(name: &str, so_far: SoFar) -> Result<PathBuf, InterimError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0));
    let (path, file, made) = create(&stem(name, &utc_stamp(seconds)))?;
    let mut out = BufWriter::new(file);
    json::write(&so_far.summary(), &mut out)
        .and_then(|()| out.flush())
        .map_err(|source| {
            made.remove();
            InterimError::Write {
                path: path.clone(),
                source,
            }
        })?;
    Ok(path)
}

/// A file that was not there, with a number in its name if the name without one is somebody's.
fn create(stem: &str) -> Result<(PathBuf, File, Made), InterimError> {
    let plain = PathBuf::from(format!("{stem}.json"));
    let others = (2..=NAMES).map(|number| PathBuf::from(format!("{stem}-{number}.json")));
    for path in std::iter::once(plain.clone()).chain(others) {
        match create_output(&path) {
            Ok((file, made)) => return Ok((path, file, made)),
            Err(OutputError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(InterimError::Names(plain))
}

/// A file's name without its end: what it is of, in characters that mean nothing to shells and terminals, and when.
fn stem(name: &str, at: &str) -> String {
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let harmless = |c: char| if is_harmless(c) { c } else { '_' };
    let name: String = name.chars().map(harmless).take(NAME).collect();
    format!("memtrace-{name}-{at}")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::fs;

    use super::{NoResult, Reports, State, Wish, create, stem};

    #[test]
    fn names_tell_what_it_is_and_do_no_harm() {
        let at = "20261126T095831Z";
        assert_eq!(stem("make", at), "memtrace-make-20261126T095831Z");
        assert_eq!(
            stem("../a b\u{1b}[2J;日", at),
            "memtrace-.._a_b__2J__-20261126T095831Z"
        );
        let long = stem(&"x".repeat(1000), at);
        assert!(
            "the result so far is in .json".len() + long.len() <= 80,
            "{long}"
        );
    }

    /// Neither what is there nor what a link points to is written to.
    #[test]
    fn files_are_new() {
        let directory = tempfile::tempdir().unwrap();
        let stem = directory.path().join("it").display().to_string();
        let path = |end: &str| directory.path().join(format!("it{end}.json"));
        fs::write(path(""), "").unwrap();
        std::os::unix::fs::symlink(path("-elsewhere"), path("-2")).unwrap();
        let (created, _, made) = create(&stem).unwrap();
        assert_eq!(created, path("-3"));
        assert!(!path("-elsewhere").exists());
        made.remove();
        assert!(!path("-3").exists());
        for number in 3..=100 {
            fs::write(path(&format!("-{number}")), "").unwrap();
        }
        let error = create(&stem).unwrap_err().to_string();
        assert!(error.ends_with("exist: remove some"), "{error}");
    }

    /// The tracer is asked once for each wish, and what it answers is told once.
    #[test]
    fn a_wish_is_asked_and_answered_once() {
        let wish = Wish::default();
        assert!(!wish.ask());
        let mut reports = Reports::new("it", &wish);
        assert!(!reports.is_pending());
        reports.want();
        assert!(reports.is_pending());
        assert_eq!(reports.look(), None);
        assert!(wish.ask());
        assert!(!wish.ask());
        reports.want();
        assert!(!wish.ask(), "one is on its way");
        wish.give(Err(NoResult::Sampled));
        let said = reports.look().unwrap();
        assert!(said.starts_with("no report: without BPF"), "{said}");
        assert!(!reports.is_pending());
        assert!(matches!(*wish.state(), State::Idle));
        assert_eq!(reports.finish(), None);
    }
}
