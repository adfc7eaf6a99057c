//! Budgets as a `JUnit` report, which most CI systems show: one test case per budget.

use std::io;

use crate::{
    budget::{Doubt, Finding, Judgement},
    model::Summary,
    report::subject::subject,
};

/// Writes the report as XML.
///
/// A missed budget is a failure; one that could not be decided is, unless it counts as
/// missed, passed with a note; one that no program of the run matched is skipped.
///
/// # Errors
///
/// Those of the writer.
pub fn write(
    summary: &Summary,
    findings: &[Finding<'_>],
    doubt: Doubt,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let count = |wanted: &dyn Fn(&Finding<'_>) -> bool| {
        findings.iter().filter(|finding| wanted(finding)).count()
    };
    let failures = count(&|finding| finding.is_missed(doubt));
    let skipped = count(&|finding| finding.judgement == Judgement::NothingToJudge);
    let totals = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{}\"",
        findings.len(),
        seconds(summary.wall_ns)
    );
    let command = escape(&subject(summary));
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites name=\"memtrace budgets\" {totals}>")?;
    writeln!(out, "  <testsuite name=\"{command}\" {totals}>")?;
    for finding in findings {
        case(summary, finding, doubt, out)?;
    }
    writeln!(out, "  </testsuite>")?;
    writeln!(out, "</testsuites>")
}

fn case(
    summary: &Summary,
    finding: &Finding<'_>,
    doubt: Doubt,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let name = escape(&finding.budget.name);
    let mut place = String::new();
    if let Some(at) = &finding.budget.place {
        place = format!(" file=\"{}\" line=\"{}\"", escape(&at.file), at.line);
    }
    let message = escape(&finding.message(summary, doubt));
    writeln!(
        out,
        "    <testcase name=\"{name}\" classname=\"memtrace.budget\"{place} time=\"{}\">",
        seconds(summary.wall_ns)
    )?;
    match finding.judgement {
        _ if finding.is_missed(doubt) => writeln!(
            out,
            "      <failure type=\"{}\" message=\"{message}\">{message}</failure>",
            finding.budget.quantity.key()
        )?,
        Judgement::NothingToJudge => writeln!(out, "      <skipped message=\"{message}\"/>")?,
        Judgement::Kept | Judgement::Undecided | Judgement::Missed => {
            writeln!(out, "      <system-out>{message}</system-out>")?;
        }
    }
    writeln!(out, "    </testcase>")
}

/// Seconds as `JUnit` has them.
fn seconds(ns: u64) -> String {
    format!(
        "{}.{:03}",
        ns / 1_000_000_000,
        ns % 1_000_000_000 / 1_000_000
    )
}

/// `text` for an attribute or an element; what XML 1.0 cannot hold at all becomes U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // A parser makes spaces of them in attributes.
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", u32::from(c))),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}');
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{escape, write};
    use crate::{
        budget::{Budget, BudgetFile, Doubt, Quantity, Size, judge},
        model::{Summary, golden},
    };

    fn written(summary: &Summary, budgets: &[Budget]) -> String {
        let findings: Vec<_> = budgets
            .iter()
            .map(|budget| judge(summary, budget))
            .collect();
        let mut out = Vec::new();
        write(summary, &findings, Doubt::Measured, &mut out).expect("writing to memory");
        String::from_utf8(out).expect("text")
    }

    /// One case per budget, with what it was judged.
    #[test]
    fn each_budget_is_a_case() {
        let text = "[[budget]]\nmax-peak = 1024000\nmax-average = \"1G\"\n\
            [[budget]]\nprogram = \"ld\"\nmax-peak = 1\n";
        let file = BudgetFile::parse(text, "memtrace.toml").expect("a budget file");
        let budgets = file.budgets_for(&[b"make".to_vec()]);
        assert_eq!(
            written(&golden::make(), &budgets),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
<testsuites name=\"memtrace budgets\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"1.005\">
  <testsuite name=\"make -j2\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"1.005\">
    <testcase name=\"tree max-peak\" classname=\"memtrace.budget\" file=\"memtrace.toml\" line=\"2\" time=\"1.005\">
      <failure type=\"max-peak\" message=\"budget tree max-peak missed: peak 1.5 MiB (1,536,000 bytes) is 500.0 KiB over the limit of 1000.0 KiB (1,024,000 bytes), at +0.400 s, held by cc [101] (900.0 KiB), make [100] (600.0 KiB)\">budget tree max-peak missed: peak 1.5 MiB (1,536,000 bytes) is 500.0 KiB over the limit of 1000.0 KiB (1,024,000 bytes), at +0.400 s, held by cc [101] (900.0 KiB), make [100] (600.0 KiB)</failure>
    </testcase>
    <testcase name=\"tree max-average\" classname=\"memtrace.budget\" file=\"memtrace.toml\" line=\"3\" time=\"1.005\">
      <system-out>budget tree max-average kept: average 400.6 KiB (410,208 bytes), limit 1.0 GiB (1,073,741,824 bytes)</system-out>
    </testcase>
    <testcase name=\"ld max-peak\" classname=\"memtrace.budget\" file=\"memtrace.toml\" line=\"6\" time=\"1.005\">
      <skipped message=\"budget ld max-peak: no program matched &#39;ld&#39;\"/>
    </testcase>
  </testsuite>
</testsuites>
"
        );
    }

    /// Nothing in a name ends an attribute, an element or the document.
    #[test]
    fn hostile_names_are_text() {
        assert_eq!(
            escape("a<b>&\"'\t\n\r"),
            "a&lt;b&gt;&amp;&quot;&#39;&#9;&#10;&#13;"
        );
        assert_eq!(
            escape("\0\u{1}\u{1b}\u{7f}\u{85}\u{fffe}\u{ffff}"),
            "\u{fffd}".repeat(7)
        );
        assert_eq!(escape("größe 日本 🦀"), "größe 日本 🦀");
        let mut summary = golden::make();
        summary.command = vec![b"\"/><failure>\x00\xff]]>".to_vec()];
        let name = "</testcase><failure message='forged'/>";
        let text = written(
            &summary,
            &[Budget::tree(name, Quantity::Peak, Size::from_bytes(1))],
        );
        assert_eq!(text.matches("<failure").count(), 1, "{text}");
        assert_eq!(text.matches("<testcase").count(), 1, "{text}");
        assert!(!text.contains("]]>"), "{text}");
    }
}
