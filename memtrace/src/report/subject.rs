//! What was measured, in words: the command, or what memtrace attached to.

use super::escape::{command_line, escape};
use crate::model::Summary;

/// Targets that are named one by one.
const NAMED: usize = 8;

/// What targets that are processes begin with.
const PROCESS: &str = "process ";

/// What was measured, as one line without anything that acts on a terminal: the command; what ran in
/// the one process that was attached to; of several, what was asked for, as in `processes 12, 34` or `name nginx`.
#[must_use]
pub fn subject(summary: &Summary) -> String {
    if summary.is_of_several() {
        return listed(&targets(summary));
    }
    match summary.attached() {
        Some((root, _)) if summary.command.is_empty() => format!("{PROCESS}{}", root.pid),
        _ => command_line(&summary.command),
    }
}

/// What was asked for. Earlier versions did not record that.
fn targets(summary: &Summary) -> Vec<String> {
    let tree = &summary.tree;
    if !summary.command.is_empty() {
        return summary.command.iter().map(|word| escape(word)).collect();
    }
    let process = |pid: u32| format!("{PROCESS}{pid}");
    if tree.branches.is_empty() {
        let roots = summary.processes.iter().filter(|process| process.root);
        return roots.map(|root| process(root.pid)).collect();
    }
    let branches = tree.branches.iter().map(|branch| {
        let root = branch.roots.first();
        let root = root.and_then(|root| summary.processes.get(*root));
        match (&branch.name, root) {
            (Some(name), _) => escape(name.as_bytes()),
            (None, Some(root)) => process(root.pid),
            (None, None) => "a process".to_owned(),
        }
    });
    branches.collect()
}

/// `processes 12, 34, cgroup /x and 3 more`.
fn listed(targets: &[String]) -> String {
    let pid = |target: &str| target.strip_prefix(PROCESS).map(str::to_owned);
    let mut parts: Vec<String> = Vec::new();
    let mut named = targets.iter().take(NAMED).peekable();
    while let Some(target) = named.next() {
        let Some(first) = pid(target) else {
            parts.push(target.clone());
            continue;
        };
        let mut pids = vec![first];
        while let Some(next) = named.peek().and_then(|next| pid(next)) {
            pids.push(next);
            named.next();
        }
        let noun = if pids.len() == 1 {
            "process"
        } else {
            "processes"
        };
        parts.push(format!("{noun} {}", pids.join(", ")));
    }
    let more = targets.len().saturating_sub(NAMED);
    let text = parts.join(", ");
    if more > 0 {
        format!("{text} and {more} more")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Before,
        report::chart::testing::{MS, build_scene},
    };

    fn attached(command: &[&str], roots: usize) -> Summary {
        let (mut summary, _) = build_scene(4).build(MS);
        summary.command = command
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect();
        for process in summary.processes.iter_mut().take(roots) {
            process.before = Some(Before {
                age_ns: 1,
                kernel_hiwater_rss: 1,
            });
            process.root = true;
        }
        summary
    }

    /// A command is as a shell would take it, and what was attached to is never nothing.
    #[test]
    fn everything_has_a_name() {
        let (summary, _) = build_scene(4).build(MS);
        assert_eq!(subject(&summary), command_line(&summary.command));
        let nginx = ["nginx", "-g", "daemon off;"];
        assert_eq!(subject(&attached(&nginx, 1)), "nginx -g 'daemon off;'");
        let pids: Vec<u32> = summary
            .processes
            .iter()
            .map(|process| process.pid)
            .collect();
        assert_eq!(subject(&attached(&[], 1)), format!("process {}", pids[0]));
        assert_eq!(
            subject(&attached(&[], 2)),
            format!("processes {}, {}", pids[0], pids[1])
        );
        let asked = ["process 12", "process 34", "cgroup /a\n b", "process 5"];
        assert_eq!(
            subject(&attached(&asked, 3)),
            r"processes 12, 34, cgroup /a\n b, process 5"
        );
    }

    /// Many are counted.
    #[test]
    fn a_long_list_is_cut() {
        let asked: Vec<String> = (1..=11).map(|pid| format!("process {pid}")).collect();
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        assert_eq!(
            subject(&attached(&asked, 2)),
            "processes 1, 2, 3, 4, 5, 6, 7, 8 and 3 more"
        );
    }
}
