//! How far what /proc says can be from the truth.

use memtrace_ebpf::CounterLayout;

use super::{image::Image, tree::Tree};
use crate::units::counted;

/// How far a `VmHWM` can be from the true peak of RSS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CounterError {
    /// For every address space, bytes.
    fixed: u64,
    /// For every thread of it, bytes.
    per_thread: u64,
    /// Why, in words.
    pub(super) reason: String,
}

/// Kinds of pages that RSS is the sum of: file, anonymous, shared memory.
const MEMBERS: u64 = 3;

impl CounterError {
    /// For this machine. `layout` is `None` if the kernel does not describe itself.
    pub(super) fn new(layout: Option<CounterLayout>, cpus: u64, page: u64) -> Self {
        // VmHWM is kept by get_mm_rss(), which reads the shared count of each
        // percpu_counter and misses up to a batch less one on every CPU
        // (percpu_counter_batch, lib/percpu_counter.c).
        let batch = (2 * cpus).max(32);
        let per_cpu = MEMBERS * (batch - 1) * cpus * page;
        let per_cpu_words = format!(
            "a kernel with {} holds back up to {} pages of each of {MEMBERS} kinds",
            counted(cpus, "CPU", "CPUs"),
            (batch - 1) * cpus
        );
        // Before 6.2 a thread passes its counts on after 64 page faults
        // (TASK_RSS_EVENTS_THRESH; at most 66, mm/memory.c), each of which can map 64 KiB
        // of a file around the fault (fault_around_bytes).
        let per_thread = 66 * page.max(64 << 10);
        let per_thread_words = "each thread holds back up to 66 page faults".to_owned();
        match layout {
            Some(CounterLayout::PerCpu) => Self {
                fixed: per_cpu,
                per_thread: page,
                reason: per_cpu_words,
            },
            Some(CounterLayout::Atomic) => Self {
                fixed: 0,
                per_thread: per_thread + page,
                reason: per_thread_words,
            },
            Some(CounterLayout::Classic) | None => Self {
                fixed: per_cpu,
                per_thread: per_thread + page,
                reason: format!("{per_cpu_words}, or {per_thread_words}"),
            },
        }
    }

    /// For an address space that had so many threads at once. One page for each of them
    /// is what a thread may touch between its last stop and its end (the word at
    /// `clear_child_tid`, `set_tid_address(2)`).
    pub(super) fn of(&self, threads: u32) -> u64 {
        self.fixed
            .saturating_add(self.per_thread.saturating_mul(u64::from(threads.max(1))))
    }
}

/// Where the true peak of an image lies, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) low: u64,
    pub(super) high: Option<u64>,
}

/// The ranges of all images' peaks. Without a tracer (not `followed`) nothing is known
/// of what came after the last look but `ru_maxrss`.
pub(super) fn of_images(tree: &Tree, followed: bool, error: &CounterError) -> Vec<Range> {
    // The kernel keeps the high-water mark of an image that exec replaces, or of one
    // whose last look was missed, in ru_maxrss of the processes that used it.
    let mut caps: Vec<Option<u64>> = vec![Some(0); tree.images.places()];
    for process in tree.processes.iter() {
        for used in &process.uses {
            if let Some(cap) = caps.get_mut(used.image) {
                *cap = cap.zip(process.maxrss).map(|(cap, rss)| cap.max(rss));
            }
        }
    }
    let of = |(place, image): (usize, &Image)| {
        let cap = caps.get(place).copied().flatten();
        let error = error.of(image.threads);
        // Between two readings the counters' error is all that a mark can lose by itself
        // (update_hiwater_rss() is called before pages go).
        let reset = image.fallen > error;
        let known = if reset {
            // The kernel forgot, but no more can have been resident than was mapped, and it
            // keeps that without fail.
            Some(image.hwm.max(image.vm.size))
        } else if followed && (image.read_at_end || image.end.is_none()) {
            Some(image.hwm)
        } else {
            cap.map(|cap| cap.max(image.hwm))
        };
        Range {
            low: if image.was_read() {
                image.hwm.saturating_sub(error)
            } else {
                0
            },
            high: known.map(|known| known.saturating_add(error)),
        }
    };
    tree.images.with_places().map(of).collect()
}

/// The largest sum of upper bounds over images that may have lived at the same time: no
/// true peak of the tree is above it. `None` if one of them has no bound.
pub(super) fn of_tree(tree: &Tree, ranges: &[Range]) -> Option<u64> {
    let mut edges: Vec<(u64, bool, u64)> = Vec::new();
    let mut span = |from: u64, to: u64, weight: u64| {
        let to = to.max(from);
        edges.push((from, false, weight));
        edges.push((to, true, weight));
    };
    let mut replaces = vec![false; tree.images.places()];
    for image in tree.images.iter() {
        if let Some(new) = image.replaced_by.and_then(|new| replaces.get_mut(new)) {
            *new = true;
        }
    }
    for (index, image) in tree.images.with_places().filter(|(_, i)| !i.void) {
        let high = ranges.get(index)?.high?;
        let end = image.end.unwrap_or(u64::MAX);
        // What took another one's place never lived beside it.
        let from = if replaces.get(index) == Some(&true) {
            image.start
        } else {
            image.earliest
        };
        match image
            .replaced_by
            .and_then(|new| Some((new, tree.images.get(new)?)))
        {
            None => span(from, end, high),
            Some((new, other)) => {
                let middle = other.earliest.clamp(from, end.max(from));
                // Intervals include their ends: one begins after the other.
                if from < middle {
                    span(from, middle - 1, high);
                }
                // Either of the two, it is not known which.
                // The other one begins where this one ends: that instant is the other one's.
                span(
                    middle,
                    end.saturating_sub(1).max(middle),
                    high.max(ranges.get(new)?.high?),
                );
            }
        }
    }
    // Beginnings before ends: intervals include both.
    edges.sort_unstable_by_key(|&(at, ends, _)| (at, ends));
    let (mut sum, mut most) = (0_u64, 0_u64);
    for (_, ends, weight) in edges {
        if ends {
            sum = sum.saturating_sub(weight);
        } else {
            sum = sum.saturating_add(weight);
            most = most.max(sum);
        }
    }
    Some(most)
}

#[cfg(test)]
mod tests {
    use super::CounterError;
    use memtrace_ebpf::CounterLayout;

    /// The table of `percpu_counter_batch`: max(32, 2 * CPUs), less one, on every CPU.
    #[test]
    fn the_error_of_per_cpu_counters() {
        for (cpus, pages) in [(2, 62), (8, 248), (16, 496), (32, 2016), (256, 130_816)] {
            let error = CounterError::new(Some(CounterLayout::PerCpu), cpus, 4096);
            assert_eq!(error.of(1), (3 * pages + 1) * 4096, "{cpus} CPUs");
            assert_eq!(error.of(9), (3 * pages + 9) * 4096, "{cpus} CPUs");
        }
    }

    #[test]
    fn an_unknown_kernel_has_both_errors() {
        let of = |layout| CounterError::new(layout, 4, 4096).of(3);
        let unknown = of(None);
        assert!(unknown >= of(Some(CounterLayout::Atomic)));
        assert!(unknown >= of(Some(CounterLayout::PerCpu)));
        assert_eq!(of(Some(CounterLayout::Atomic)), 3 * (66 * 65536 + 4096));
    }

    /// A chain of execs in one process is as large as its largest link, never two of them.
    #[test]
    fn images_that_replace_each_other_do_not_add_up() {
        use super::{Range, of_tree};
        use crate::ptrace::tree::Tree;
        let mut tree = Tree::default();
        tree.root(10, 5);
        for at in [100, 200, 300, 400] {
            tree.exec(10, 10, at);
            tree.resumed(10, at + 1);
        }
        assert_eq!(tree.images.places(), 4);
        let range = |high| Range {
            low: 0,
            high: Some(high),
        };
        let ranges = [range(7), range(3), range(9), range(1)];
        assert_eq!(of_tree(&tree, &ranges), Some(9));
        // One without a bound leaves the tree without.
        let unbound = Range { low: 0, high: None };
        assert_eq!(
            of_tree(&tree, &[ranges[0], unbound, ranges[2], ranges[3]]),
            None
        );
    }

    /// A child that may have existed when another process still did counts beside it.
    #[test]
    fn images_that_may_have_met_add_up() {
        use super::{Range, of_tree};
        use crate::ptrace::{status::Look, tree::Tree};
        let child = |pid| Look {
            tgid: pid,
            ppid: 10,
            ..Look::default()
        };
        let mut tree = Tree::default();
        tree.root(10, 5);
        tree.exec(10, 10, 100);
        tree.resumed(10, 100);
        // Told of by its parent, which went on at 100 and stopped again at 200.
        tree.announce(10, 11, false);
        tree.process(&child(11), Some(false), 210);
        tree.resumed(10, 220);
        tree.ended(11, 300);
        tree.resumed(10, 310);
        tree.announce(10, 12, false);
        tree.process(&child(12), Some(false), 400);
        let ranges: Vec<Range> = [1, 10, 100]
            .map(|high| Range {
                low: 0,
                high: Some(high),
            })
            .into();
        assert_eq!(
            of_tree(&tree, &ranges),
            Some(101),
            "the first child had ended before"
        );
        // Had the parent not been seen in between, they could have met.
        let mut tree = Tree::default();
        tree.root(10, 5);
        tree.exec(10, 10, 100);
        tree.resumed(10, 100);
        tree.announce(10, 11, false);
        tree.process(&child(11), Some(false), 210);
        tree.ended(11, 300);
        tree.announce(10, 12, false);
        tree.process(&child(12), Some(false), 400);
        assert_eq!(of_tree(&tree, &ranges), Some(111));
    }
}
