//! What cannot be followed, and how it shows all the same.
//!
//! A process created with `CLONE_UNTRACED` has no tracer (ptrace(2)), and a program that
//! writes 5 to `/proc/PID/clear_refs` makes the kernel forget its high-water mark. Neither is
//! told to anybody. But whoever is waited for leaves its page faults and its largest
//! `ru_maxrss` with the process that waited for it, and a mark that is lower than it was
//! before has been reset.

use super::{
    bounds::{CounterError, Range},
    status::Stat,
    tree::Tree,
};
use crate::units::{counted, human};

/// Page faults of the processes that ended, and those that the kernel passed on to who had
/// waited for them: each process's go to at most one other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Of every followed process but the command, with those passed on to it.
    followed: u64,
    /// Passed on to every followed process.
    passed_on: u64,
    /// Of some process that was followed they are not known.
    unknown: bool,
}

impl Faults {
    /// A process has ended with these totals.
    pub(super) fn ended(&mut self, root: bool, totals: Option<&Stat>) {
        let Some(totals) = totals else {
            self.unknown = true;
            return;
        };
        let passed_on = totals.children_faults;
        self.passed_on = self.passed_on.saturating_add(passed_on);
        if !root {
            let own = totals.minor_faults.saturating_add(totals.major_faults);
            self.followed = self.followed.saturating_add(own).saturating_add(passed_on);
        }
    }

    /// Something ended before it was seen, as what is killed right after its creation does.
    pub(super) const fn ended_unseen(&mut self) {
        self.unknown = true;
    }

    /// How many were passed on by processes that were not followed, at least.
    const fn of_others(&self) -> u64 {
        if self.unknown {
            0
        } else {
            self.passed_on.saturating_sub(self.followed)
        }
    }
}

/// What is known of what was not seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Unseen {
    /// Something was, and has no bound; in words.
    pub(super) proofs: Vec<String>,
    /// The largest `ru_maxrss` that is one of the tree's, with its process's last moment.
    pub(super) largest: Option<(u64, u64)>,
}

/// Finds it. `before` is what `ru_maxrss` of the command may have been before it was the
/// command.
pub(super) fn find(tree: &Tree, ranges: &[Range], before: u64, error: &CounterError) -> Unseen {
    let mut proofs = Vec::new();
    let faults = tree.faults.of_others();
    if faults > 0 {
        proofs.push(format!(
            "a process that is not followed took {} (created with CLONE_UNTRACED?): what it held is in no number",
            counted(faults, "page fault", "page faults")
        ));
    }
    let of_tree = tree
        .processes
        .iter()
        .filter_map(|process| {
            let maxrss = process.maxrss?;
            let is_ours = !process.root || maxrss > before;
            is_ours.then_some((maxrss, process.end.unwrap_or(process.start), process.pid))
        })
        .max();
    // Nothing that was followed can have been that large.
    let most = tree
        .images
        .iter()
        .zip(ranges)
        .filter(|(image, _)| !image.void)
        .try_fold(0, |most: u64, (_, range)| Some(most.max(range.high?)));
    if let (Some((maxrss, _, pid)), Some(most)) = (of_tree, most)
        && maxrss > most
    {
        proofs.push(format!(
            "ru_maxrss of process {pid} is {}, and nothing that was followed held more than {}: a process that is not followed (created with CLONE_UNTRACED?) or a program that reset its VmHWM did",
            human(maxrss),
            human(most)
        ));
    }
    let least = error.of(tree.images.iter().map(|i| i.threads).max().unwrap_or(1));
    Unseen {
        proofs,
        largest: of_tree
            .map(|(maxrss, at, _)| (maxrss, at))
            .filter(|(maxrss, _)| *maxrss > least),
    }
}

#[cfg(test)]
mod tests {
    use super::{Faults, Stat};

    fn stat(own: u64, children: u64) -> Stat {
        Stat {
            minor_faults: own,
            children_faults: children,
            ..Stat::default()
        }
    }

    /// A child that was waited for, and one that nobody waited for.
    #[test]
    fn faults_of_followed_processes_prove_nothing() {
        let mut faults = Faults::default();
        faults.ended(false, Some(&stat(10, 0)));
        faults.ended(false, Some(&stat(20, 0)));
        faults.ended(true, Some(&stat(100, 10)));
        assert_eq!(faults.of_others(), 0);
    }

    #[test]
    fn faults_of_others_are_proof_unless_something_is_unknown() {
        let mut faults = Faults::default();
        faults.ended(false, Some(&stat(10, 5)));
        faults.ended(true, Some(&stat(100, 15)));
        assert_eq!(faults.of_others(), 5, "passed on to the child");
        let mut unknown = faults;
        unknown.ended(false, None);
        assert_eq!(unknown.of_others(), 0);
        faults.ended_unseen();
        assert_eq!(faults.of_others(), 0);
    }
}
