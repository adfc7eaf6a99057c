//! Missed budgets as annotations of GitHub Actions: lines that the runner shows beside the
//! file and in the summary of the run.
//!
//! `::error file=memtrace.toml,line=4,title=...::...`; see "Workflow commands for GitHub
//! Actions". The runner reads them from standard error as well as from standard output.

use std::io;

use crate::{
    budget::{Doubt, Finding, Judgement},
    model::Summary,
};

/// Writes one line for each budget that was missed (`error`), could not be decided
/// (`warning`) or had no program to judge (`notice`).
///
/// # Errors
///
/// Those of the writer.
pub fn write_github(
    summary: &Summary,
    findings: &[Finding<'_>],
    doubt: Doubt,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for finding in findings {
        let level = match finding.judgement {
            _ if finding.is_missed(doubt) => "error",
            Judgement::Undecided => "warning",
            Judgement::NothingToJudge => "notice",
            Judgement::Kept | Judgement::Missed => continue,
        };
        let mut place = String::new();
        if let Some(at) = &finding.budget.place {
            place = format!("file={},line={},", property(&at.file), at.line);
        }
        writeln!(
            out,
            "::{level} {place}title={}::{}",
            property(&format!("memtrace: {}", finding.budget.name)),
            data(&finding.message(summary, doubt))
        )?;
    }
    Ok(())
}

/// Escaped as `@actions/core` does it; the message has no other control characters.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The value of a property ends at a comma or a colon, too.
fn property(text: &str) -> String {
    let text = crate::report::escape::one_line(text);
    data(&text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::write_github;
    use crate::{
        budget::{Budget, BudgetFile, Doubt, Quantity, Size, judge},
        model::golden,
    };

    fn written(budgets: &[Budget]) -> String {
        let summary = golden::make();
        let findings: Vec<_> = budgets
            .iter()
            .map(|budget| judge(&summary, budget))
            .collect();
        let mut out = Vec::new();
        write_github(&summary, &findings, Doubt::Measured, &mut out).expect("writing to memory");
        String::from_utf8(out).expect("text")
    }

    /// Only what was missed is an error; the file's line is where it is shown.
    #[test]
    fn missed_budgets_are_errors_at_their_line() {
        let text = "[[budget]]\nname = \"100%: a,b\"\nmax-peak = 1024000\nmax-average = \"1G\"\n\
            [[budget]]\nprogram = \"ld\"\nmax-peak = 1\n";
        let file = BudgetFile::parse(text, "a,b.toml").expect("a budget file");
        assert_eq!(
            written(&file.budgets_for(&[b"make".to_vec()])),
            "::error file=a%2Cb.toml,line=3,title=memtrace%3A 100%25%3A a%2Cb max-peak::budget 100%25: a,b max-peak missed: peak 1.5 MiB (1,536,000 bytes) is 500.0 KiB over the limit of 1000.0 KiB (1,024,000 bytes), at +0.400 s, held by cc [101] (900.0 KiB), make [100] (600.0 KiB)\n\
             ::notice file=a%2Cb.toml,line=7,title=memtrace%3A ld max-peak::budget ld max-peak: no program matched 'ld'\n"
        );
    }

    /// A name cannot begin a line or a command of its own.
    #[test]
    fn hostile_names_stay_on_their_line() {
        let name = "x\n::error::forged\r\u{1b}[2J%0A";
        let lines = written(&[Budget::tree(name, Quantity::Peak, Size::from_bytes(1))]);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(
            lines.starts_with("::error title=memtrace%3A x\\n%3A%3Aerror"),
            "{lines}"
        );
        assert!(lines.contains("%250A"), "{lines}");
        assert!(
            !lines.contains('\u{1b}') && !lines.contains('\r'),
            "{lines}"
        );
    }
}
