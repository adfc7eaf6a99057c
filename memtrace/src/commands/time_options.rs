//! The options of GNU time, read as `getopt_long` reads them.
//!
//! Written by hand, not with clap: a drop-in must accept what scripts give
//! `/usr/bin/time` today (`-vp`, `-fFMT`, `-ao FILE`, `--form=x`, options only
//! before the command, a later `-f` winning over an earlier `-p`) and must
//! answer mistakes with the same words. clap has its own words, guesses no
//! ambiguous prefix in getopt's way, and rejects repeated options unless told
//! for each; the whole of getopt needed here is smaller than its configuration.
//!
//! Known differences: `--backend`, `--kill` and `--max-...` are ours; `-h` is accepted for `--help`. GNU time's help offers it,
//! but its parser refuses it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::{path::PathBuf, time::Duration};

use clap::ValueEnum as _;

use memtrace::budget::Size;

use crate::{
    cli::{BackendArg, BudgetArgs, duration},
    report::gnu_time::Format,
};

/// A valid command line of GNU time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimeOptions {
    /// What to print.
    pub format: Format,
    /// `-o`: where to print it; standard error otherwise.
    pub output: Option<PathBuf>,
    /// `-a`: add to the output file instead of replacing it.
    pub append: bool,
    /// `-q`: nothing about an abnormal end of the command.
    pub quiet: bool,
    /// `--backend`: how the command is observed.
    pub backend: BackendArg,
    /// `--max-peak` and others like it.
    pub limits: Limits,
    /// The command and its arguments; never empty.
    pub command: Vec<OsString>,
}

/// Limits on memory, and what crossing them leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `--max-peak`.
    pub max_peak: Option<Size>,
    /// `--max-process-peak`.
    pub max_process_peak: Option<Size>,
    /// `--max-average`.
    pub max_average: Option<Size>,
    /// `--kill`.
    pub kill: bool,
    /// `--kill-after`.
    pub kill_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_peak: None,
            max_process_peak: None,
            max_average: None,
            kill: false,
            kill_after: Duration::from_secs(5),
        }
    }
}

impl From<Limits> for BudgetArgs {
    fn from(limits: Limits) -> Self {
        Self {
            max_peak: limits.max_peak,
            max_process_peak: limits.max_process_peak,
            max_average: limits.max_average,
            kill: limits.kill,
            kill_after: limits.kill_after,
            ..Self::default()
        }
    }
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimeRequest {
    /// Run a command.
    Run(TimeOptions),
    /// `--help`: print the help to standard output and succeed.
    Help,
    /// `-V`: print the version to standard output and succeed.
    Version,
}

/// Why a command line is not valid; exit status 125.
///
/// The text is all that GNU time prints after `PROGRAM: `, without the second
/// line, which [`UsageError::message`] adds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    /// A letter that is no option.
    #[error("invalid option -- '{}'", show(.0))]
    InvalidLetter(Vec<u8>),
    /// A word that is no option.
    #[error("unrecognized option '{}'", show(.0))]
    Unrecognized(Vec<u8>),
    /// An abbreviation of several options.
    #[error("option '{}' is ambiguous; possibilities:{}", show(.given), list(.possible))]
    Ambiguous {
        /// The argument as given.
        given: Vec<u8>,
        /// The names it could stand for.
        possible: Vec<&'static str>,
    },
    /// A letter whose value is missing.
    #[error("option requires an argument -- '{0}'")]
    LetterNeedsValue(char),
    /// A word whose value is missing.
    #[error("option '--{0}' requires an argument")]
    NeedsValue(&'static str),
    /// A word that takes no value was given one.
    #[error("option '--{0}' doesn't allow an argument")]
    AllowsNoValue(&'static str),
    /// A value of `--backend` that is none.
    #[error("invalid argument '{}' for '--backend'; valid arguments are auto, bpf, ptrace, poll", show(.0))]
    NoBackend(Vec<u8>),
    /// A value of an option of ours that is none.
    #[error("invalid argument '{}' for '--{option}': {problem}", show(.given))]
    Invalid {
        /// The option.
        option: &'static str,
        /// The value as given.
        given: Vec<u8>,
        /// What is wrong with it.
        problem: String,
    },
    /// A delay of what is not asked for.
    #[error("'--kill-after' needs '--kill'")]
    NothingKills,
    /// No command.
    #[error("missing program to run")]
    MissingProgram,
}

impl UsageError {
    /// The two lines for standard error, with the last newline.
    #[must_use]
    pub(crate) fn message(&self, program: &str) -> String {
        format!("{program}: {self}\nTry '{program} --help' for more information.\n")
    }
}

/// Arguments come from anywhere, and the message goes to a terminal.
fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .flat_map(|character| {
            let escape = character.is_control();
            let plain = (!escape).then_some(character);
            let escaped = escape.then(|| character.escape_default());
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!(" '--{name}'")).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opt {
    Append,
    Backend,
    Format,
    Help,
    Kill,
    KillAfter,
    MaxAverage,
    MaxPeak,
    MaxProcessPeak,
    Output,
    Portability,
    Quiet,
    Verbose,
    Version,
}

/// In the order in which GNU time lists them when a prefix is ambiguous. Its
/// long name for `-o` is `output-file`; the documented `--output` is a prefix.
const OPTIONS: [(&str, char, Opt); 14] = [
    ("append", 'a', Opt::Append),
    ("format", 'f', Opt::Format),
    ("help", 'h', Opt::Help),
    ("output-file", 'o', Opt::Output),
    ("portability", 'p', Opt::Portability),
    ("quiet", 'q', Opt::Quiet),
    ("verbose", 'v', Opt::Verbose),
    ("version", 'V', Opt::Version),
    // Ours, so without a letter: no argument can contain a NUL.
    ("backend", '\0', Opt::Backend),
    ("kill", '\0', Opt::Kill),
    ("kill-after", '\0', Opt::KillAfter),
    ("max-average", '\0', Opt::MaxAverage),
    ("max-peak", '\0', Opt::MaxPeak),
    ("max-process-peak", '\0', Opt::MaxProcessPeak),
];

impl Opt {
    fn takes_value(self) -> bool {
        matches!(
            self,
            Self::Backend
                | Self::Format
                | Self::Output
                | Self::KillAfter
                | Self::MaxAverage
                | Self::MaxPeak
                | Self::MaxProcessPeak
        )
    }

    /// Whether it is an option of memtrace that GNU time does not have.
    fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Backend
                | Self::Kill
                | Self::KillAfter
                | Self::MaxAverage
                | Self::MaxPeak
                | Self::MaxProcessPeak
        )
    }
}

/// What has been read so far.
#[derive(Default)]
struct Parsed {
    format: Format,
    output: Option<PathBuf>,
    append: bool,
    quiet: bool,
    verbose: bool,
    backend: BackendArg,
    limits: Limits,
    kill_after: bool,
}

impl Parsed {
    /// Takes one option; `Some` ends the parsing.
    fn apply(&mut self, option: Opt, value: OsString) -> Result<Option<TimeRequest>, UsageError> {
        match option {
            Opt::Append => self.append = true,
            Opt::Format => self.format = Format::Custom(value.into_vec()),
            Opt::Output => self.output = Some(value.into()),
            Opt::Portability => self.format = Format::Portable,
            Opt::Quiet => self.quiet = true,
            Opt::Verbose => self.verbose = true,
            Opt::Backend => {
                self.backend = value
                    .to_str()
                    .and_then(|name| BackendArg::from_str(name, false).ok())
                    .ok_or_else(|| UsageError::NoBackend(value.into_vec()))?;
            }
            Opt::Kill => self.limits.kill = true,
            Opt::KillAfter => {
                self.limits.kill_after = read("kill-after", value, duration)?;
                self.kill_after = true;
            }
            Opt::MaxAverage => {
                self.limits.max_average = Some(read("max-average", value, size)?);
            }
            Opt::MaxPeak => self.limits.max_peak = Some(read("max-peak", value, size)?),
            Opt::MaxProcessPeak => {
                self.limits.max_process_peak = Some(read("max-process-peak", value, size)?);
            }
            Opt::Help => return Ok(Some(TimeRequest::Help)),
            Opt::Version => return Ok(Some(TimeRequest::Version)),
        }
        Ok(None)
    }
}

fn size(text: &str) -> Result<Size, String> {
    text.parse()
        .map_err(|error: memtrace::budget::SizeError| error.to_string())
}

/// The value of an option of ours.
fn read<T>(
    option: &'static str,
    value: OsString,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, UsageError> {
    let read = match value.to_str() {
        Some(text) => parse(text),
        None => Err("it is no text".to_owned()),
    };
    read.map_err(|problem| UsageError::Invalid {
        option,
        given: value.into_vec(),
        problem,
    })
}

/// Reads the arguments after the program's name. `time_format` is the value of
/// the environment variable `TIME`, which replaces the default format.
///
/// # Errors
///
/// The first mistake, as GNU time reports it.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    time_format: Option<OsString>,
) -> Result<TimeRequest, UsageError> {
    let mut arguments = arguments.into_iter();
    let mut parsed = Parsed::default();
    if let Some(format) = time_format {
        parsed.format = Format::Custom(format.into_vec());
    }
    let first = loop {
        let Some(argument) = arguments.next() else {
            break None;
        };
        let done = match argument.as_bytes() {
            b"--" => break arguments.next(),
            [b'-', b'-', long @ ..] => {
                let (option, value) = long_option(long, &mut arguments)?;
                parsed.apply(option, value)?
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                short_options(letters, &mut arguments, &mut parsed)?
            }
            _ => break Some(argument),
        };
        if let Some(request) = done {
            return Ok(request);
        }
    };
    if parsed.kill_after && !parsed.limits.kill {
        return Err(UsageError::NothingKills);
    }
    let first = first.ok_or(UsageError::MissingProgram)?;
    Ok(TimeRequest::Run(TimeOptions {
        // Verbose wins wherever it stands.
        format: if parsed.verbose {
            Format::Verbose
        } else {
            parsed.format
        },
        output: parsed.output,
        append: parsed.append,
        quiet: parsed.quiet,
        backend: parsed.backend,
        limits: parsed.limits,
        command: std::iter::once(first).chain(arguments).collect(),
    }))
}

/// `--name`, `--name=value` or `--name value`, where the name may be cut short.
fn long_option(
    text: &[u8],
    arguments: &mut impl Iterator<Item = OsString>,
) -> Result<(Opt, OsString), UsageError> {
    let mut halves = text.splitn(2, |&byte| byte == b'=');
    let name = halves.next().unwrap_or_default();
    let value = halves.next().map(OsStr::from_bytes);
    let given = || [b"--", text].concat();

    let exact = OPTIONS.iter().filter(|option| option.0.as_bytes() == name);
    let prefixed = OPTIONS
        .iter()
        .filter(|option| option.0.as_bytes().starts_with(name));
    let mut candidates: Vec<_> = exact.collect();
    if candidates.is_empty() {
        candidates = prefixed.collect();
    }
    let &(name, _, option) = match candidates.as_slice() {
        [] => return Err(UsageError::Unrecognized(given())),
        [one] => *one,
        several => {
            // As GNU time lists them, which does not have ours; unless all are ours.
            let all_ours = several.iter().all(|(_, _, option)| option.is_ours());
            let possible = several
                .iter()
                .filter(|(_, _, option)| all_ours || !option.is_ours())
                .map(|option| option.0)
                .collect();
            return Err(UsageError::Ambiguous {
                given: given(),
                possible,
            });
        }
    };
    match (option.takes_value(), value) {
        (true, Some(value)) => Ok((option, value.to_owned())),
        (true, None) => {
            let value = arguments.next().ok_or(UsageError::NeedsValue(name))?;
            Ok((option, value))
        }
        (false, None) => Ok((option, OsString::new())),
        (false, Some(_)) => Err(UsageError::AllowsNoValue(name)),
    }
}

/// `-abc`, `-oFILE` or `-o FILE`; `Some` ends the parsing.
fn short_options(
    letters: &[u8],
    arguments: &mut impl Iterator<Item = OsString>,
    parsed: &mut Parsed,
) -> Result<Option<TimeRequest>, UsageError> {
    let mut rest = letters;
    while let [letter, tail @ ..] = rest {
        rest = tail;
        let found = OPTIONS
            .iter()
            .find(|option| option.1 == char::from(*letter));
        let Some(&(_, name, option)) = found else {
            return Err(UsageError::InvalidLetter(vec![*letter]));
        };
        let value = if !option.takes_value() {
            OsString::new()
        } else if tail.is_empty() {
            arguments.next().ok_or(UsageError::LetterNeedsValue(name))?
        } else {
            rest = &[];
            OsStr::from_bytes(tail).to_owned()
        };
        if let Some(request) = parsed.apply(option, value)? {
            return Ok(Some(request));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "time_options/tests.rs"]
mod tests;
