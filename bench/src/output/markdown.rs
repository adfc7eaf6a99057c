//! `docs/performance.md`: tables with fixed explanations, and a part that is kept by hand.

use std::fmt::Write as _;

use super::{machine, table::Table, tables};
use crate::results::Results;

const BEGIN: &str = "<!-- kept by hand: begin -->";
const END: &str = "<!-- kept by hand: end -->";
const EMPTY: &str = "\nNothing yet.\n\n";

/// The whole document. What stands between the two markers in the old one is kept.
pub(crate) fn document(results: &Results, old: &str) -> String {
    let mode = if results.quick { " --quick" } else { "" };
    let mut text = format!(
        "# What memtrace costs\n\n\
         Made by `cargo xtask bench{mode} --markdown docs/performance.md`, as root; do not edit it but between the \
         markers of \"Missed budgets\".\n\n{}.\n\n\
         All tools ran in turn within one run of the benchmark, in rounds, so that whatever else the machine did \
         met all of them; numbers are medians over the rounds, ratios medians of the ratios of each round. \
         A difference of less than the quartiles' distance means nothing.\n",
        machine(&results.machine)
    );
    for remark in &results.remarks {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(text, "\nNote: {}.", remark.trim_end_matches('.'));
    }
    section(&mut text, &tables::budgets(results), "");
    let _ = write!(
        text,
        "\n## Missed budgets\n\n{BEGIN}{}{END}\n",
        kept(old).unwrap_or(EMPTY)
    );
    section(
        &mut text,
        &tables::overview(results),
        "\"Beyond start-up\" leaves out, on both sides, what the same tool needs for a program that ends at once \
         (`start` below): start-up is the same however long a command runs.\n",
    );
    section(
        &mut text,
        &tables::wall(results),
        "CPU time is that of the tool, the command and all its descendants that were waited for; where a tool \
         works beside the command, on another CPU, only this shows it. Another tool that takes more than 15 seconds for a \
         workload is run once.\n",
    );
    section(&mut text, &tables::tools(results), "");
    section(&mut text, &tables::reported(results), "");
    section(
        &mut text,
        &tables::handler(results),
        "While one process touches memory, page by page, as many others live as the second column says. The kernel \
         measures each run of a program (`BPF_ENABLE_STATS`); the net time is what remains when the time of an empty \
         program, two instructions on the same event in the same run, is taken off once for each program of memtrace \
         on that event. Changes that other processes on the machine caused meanwhile are taken off too, at the cost \
         of a process that is not followed.\n",
    );
    section(
        &mut text,
        &tables::many_cpus(results),
        "A process touches memory on one CPU. Shares of simulated CPUs are read from memory of the kernel, one cache \
         line each, 64 different ones at most, and count nothing; on a real machine a line that another CPU \
         has just written to comes from there and takes longer. `all` reads the share of each CPU, `touched` those \
         of the CPUs that the address space was seen on: here the one or two that it ran on. The plain programs read each \
         share with a helper.\n",
    );
    section(
        &mut text,
        &tables::programs(results),
        "Programs that did not run are not shown.\n",
    );
    section(
        &mut text,
        &tables::own(results),
        "Between the moment when the command begins its work and a third of a second after it is done, so without \
         start-up and the final report.\n",
    );
    section(
        &mut text,
        &tables::recordings(results),
        "The whole file, divided by the entries of its timeline: with resolution 0 changes of counters and sizes, \
         else windows of images and of the tree.\n",
    );
    section(&mut text, &tables::lost(results), "");
    section(
        &mut text,
        &tables::storm(results),
        "A process forks, the child ends at once, and it forks again: fork and end are all that there is. `top` is of the \
         whole machine, on a terminal of 120 columns and 40 lines or as plain lines; `attach` is of that process, and `run` \
         has started it. The time is that of the storm, without start-up and report.\n",
    );
    section(
        &mut text,
        &tables::instructions(results),
        "They are the same on a busy machine; compare them between two versions of memtrace.\n",
    );
    text
}

/// A table with its explanation; nothing if the table is empty.
fn section(text: &mut String, table: &Table, explanation: &str) {
    if table.rows.is_empty() {
        return;
    }
    let _ = write!(text, "\n## {}\n\n", table.title);
    if !explanation.is_empty() {
        let _ = writeln!(text, "{explanation}");
    }
    text.push_str(&table.markdown());
}

/// What stands between the markers.
fn kept(old: &str) -> Option<&str> {
    let (_, after) = old.split_once(BEGIN)?;
    let (kept, _) = after.split_once(END)?;
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, document};
    use crate::output::tests::results;

    #[test]
    fn what_is_kept_by_hand_survives() {
        let first = document(&results(), "");
        assert!(first.contains("Nothing yet."), "{first}");
        let mine = "\nStart-up: three ways were tried.\n";
        let edited = first.replace("\nNothing yet.\n\n", mine);
        let again = document(&results(), &edited);
        assert_eq!(again, edited);
        assert!(again.contains(&format!("{BEGIN}{mine}{END}")), "{again}");
    }

    #[test]
    fn a_file_without_markers_is_replaced() {
        let text = document(&results(), "# Something else\n");
        assert!(text.starts_with("# What memtrace costs\n"), "{text}");
        assert!(!text.contains("Something else"), "{text}");
    }

    #[test]
    fn tables_without_rows_are_left_out() {
        let text = document(&results(), "");
        assert!(!text.contains("## Recordings"), "{text}");
        assert!(text.contains("| about faults | 1 | 1.06 |"), "{text}");
        assert!(text.contains("the machine is busy."), "{text}");
    }
}
