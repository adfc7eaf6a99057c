//! The budget file, `memtrace.toml`: limits that are reviewed and checked in.
//!
//! ```toml
//! [[budget]]
//! command = "make *"          # which runs: the command's name or whole line, with or without its directory; any if absent
//! max-peak = "2GiB"           # the largest sum of RSS over the tree
//! max-process-peak = "900MiB" # the largest single process
//! max-average = "1GiB"        # the time-weighted mean
//!
//! [[budget]]
//! name = "compiler"           # for messages
//! program = "cc1plus"         # each image of these programs, on its own
//! max-peak = "600MiB"
//! ```

use serde::Deserialize;
use toml::Spanned;

use super::{Budget, Pattern, PatternError, Place, Quantity, Scope, Size};

/// A budget file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetFile {
    entries: Vec<Entry>,
}

/// One `[[budget]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Which runs it is for.
    command: Option<Pattern>,
    budgets: Vec<Budget>,
}

/// What is wrong with a budget file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct FileError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The cause and, where that is not plain from it, what to write instead.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    budget: Vec<Spanned<RawEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawEntry {
    name: Option<String>,
    command: Option<Spanned<String>>,
    program: Option<Spanned<String>>,
    max_peak: Option<Spanned<Size>>,
    max_process_peak: Option<Spanned<Size>>,
    max_average: Option<Spanned<Size>>,
}

impl BudgetFile {
    /// Reads the text of a budget file; `file` is its name, for messages.
    ///
    /// # Errors
    ///
    /// When it is not TOML, has a key or a value that is not known, or an entry without a limit.
    pub fn parse(text: &str, file: &str) -> Result<Self, FileError> {
        let error = |at: usize, problem: String| FileError {
            file: file.to_owned(),
            line: line(text, at),
            problem,
        };
        let document: Document = toml::from_str(text).map_err(|wrong| {
            let at = wrong.span().map_or(0, |span| span.start);
            error(at, wrong.message().to_owned())
        })?;
        if document.budget.is_empty() {
            return Err(error(0, "it has no [[budget]]".to_owned()));
        }
        let entries = document
            .budget
            .into_iter()
            .map(|raw| entry(raw, &error))
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// The budgets for a run of this command.
    #[must_use]
    pub fn budgets_for(&self, command: &[Vec<u8>]) -> Vec<Budget> {
        self.entries
            .iter()
            .filter(|entry| {
                entry
                    .command
                    .as_ref()
                    .is_none_or(|pattern| pattern.matches_command(command))
            })
            .flat_map(|entry| entry.budgets.iter().cloned())
            .collect()
    }
}

fn entry(
    raw: Spanned<RawEntry>,
    error: &impl Fn(usize, String) -> FileError,
) -> Result<Entry, FileError> {
    let start = raw.span().start;
    let RawEntry {
        name,
        command,
        program,
        max_peak,
        max_process_peak,
        max_average,
    } = raw.into_inner();
    let pattern = |text: &Spanned<String>| {
        Pattern::new(text.get_ref())
            .map_err(|wrong: PatternError| error(text.span().start, wrong.to_string()))
    };
    if let (Some(_), Some(limit)) = (&program, &max_process_peak) {
        let problem = "max-process-peak is for the whole tree; with `program`, write max-peak";
        return Err(error(limit.span().start, problem.to_owned()));
    }
    let scope = match &program {
        Some(program) => Scope::Program(pattern(program)?),
        None => Scope::Tree,
    };
    let called = name.unwrap_or_else(|| match (&program, &command) {
        (Some(text), _) | (None, Some(text)) => text.get_ref().clone(),
        (None, None) => "tree".to_owned(),
    });
    let budgets: Vec<Budget> = [
        (Quantity::Peak, max_peak),
        (Quantity::ProcessPeak, max_process_peak),
        (Quantity::Average, max_average),
    ]
    .into_iter()
    .filter_map(|(quantity, limit)| Some((quantity, limit?)))
    .map(|(quantity, limit)| {
        let FileError { file, line, .. } = error(limit.span().start, String::new());
        Budget {
            name: format!("{called} {}", quantity.key()),
            quantity,
            scope: scope.clone(),
            limit: limit.into_inner(),
            place: Some(Place { file, line }),
        }
    })
    .collect();
    if budgets.is_empty() {
        let problem = "this budget has no limit: give max-peak, max-process-peak or max-average";
        return Err(error(start, problem.to_owned()));
    }
    Ok(Entry {
        command: command.as_ref().map(pattern).transpose()?,
        budgets,
    })
}

/// The line in which a byte is, from 1.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::{BudgetFile, Quantity, Scope};

    const FILE: &str = r#"# Reviewed by the build team.
[[budget]]
command = "make *"
max-peak = "2GiB"
max-process-peak = "900MiB"

[[budget]]
name = "compiler"
program = "cc1*"
max-peak = 629145600
max-average = "1.5G"
"#;

    fn budgets(command: &[&str]) -> Vec<(String, Quantity, u64, usize)> {
        let words: Vec<Vec<u8>> = command
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect();
        BudgetFile::parse(FILE, "memtrace.toml")
            .unwrap()
            .budgets_for(&words)
            .into_iter()
            .map(|budget| {
                let line = budget.place.unwrap().line;
                (budget.name, budget.quantity, budget.limit.bytes(), line)
            })
            .collect()
    }

    /// Each limit is a budget with a name and a line; the command decides which apply.
    #[test]
    fn limits_are_read_with_their_lines() {
        let compiler = [
            (
                "compiler max-peak".to_owned(),
                Quantity::Peak,
                629_145_600,
                10,
            ),
            (
                "compiler max-average".to_owned(),
                Quantity::Average,
                1_610_612_736,
                11,
            ),
        ];
        assert_eq!(budgets(&["cmake", "."]), compiler);
        let mut all = vec![
            (
                "make * max-peak".to_owned(),
                Quantity::Peak,
                2_147_483_648,
                4,
            ),
            (
                "make * max-process-peak".to_owned(),
                Quantity::ProcessPeak,
                943_718_400,
                5,
            ),
        ];
        all.extend(compiler);
        assert_eq!(budgets(&["make", "-j8"]), all);
        let file = BudgetFile::parse(FILE, "x").unwrap();
        let scopes: Vec<bool> = file
            .budgets_for(&[b"make".to_vec(), b"all".to_vec()])
            .iter()
            .map(|budget| budget.scope == Scope::Tree)
            .collect();
        assert_eq!(scopes, [true, true, false, false]);
    }

    /// Every mistake is told with its line.
    #[test]
    fn mistakes_name_the_line() {
        for (text, line, part) in [
            ("", 1, "no [[budget]]"),
            ("[[budget]]\n\nmax-peek = \"2GiB\"\n", 3, "max-peek"),
            ("budgets = 1\n", 1, "budgets"),
            ("\n\n[[budgets]]\n", 3, "budgets"),
            ("[[budget]]\nmax-peak = \"2GB\"\n", 2, "write GiB"),
            ("[[budget]]\nmax-peak = -1\n", 2, "amount of memory"),
            ("[[budget]]\nmax-peak = 1.5\n", 2, "amount of memory"),
            ("[[budget]]\nname = \"x\"\n\n", 1, "no limit"),
            (
                "# one\n[[budget]]\nmax-peak = \"1G\"\ncommand = \"\"\n",
                4,
                "empty",
            ),
            ("[[budget]]\nprogram = 'a\\'\nmax-peak = 1\n", 2, "middle"),
            (
                "[[budget]]\nprogram = \"cc\"\nmax-process-peak = 1\n",
                3,
                "write max-peak",
            ),
            ("[[budget]\n", 1, ""),
            ("[[budget]]\nmax-peak = 1\nmax-peak = 2\n", 3, "duplicate"),
        ] {
            let error = BudgetFile::parse(text, "a.toml").unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.problem.contains(part), "{text:?}: {error}");
            let place = format!("a.toml:{line}: ");
            assert!(error.to_string().starts_with(&place), "{error}");
        }
    }

    proptest! {
        /// Nothing makes it panic.
        #[test]
        fn any_text_is_answered(text in "([\\[\\]a-z=\"0-9 \n-]|budget|max-peak){0,80}") {
            let _ = BudgetFile::parse(&text, "x");
        }
    }
}
