//! No number that is printed contradicts another one, whatever was read and when.

use std::{collections::BTreeMap, time::Instant};

use memtrace_ebpf::Member;
use nix::sys::resource::{UsageWho, getrusage};
use proptest::prelude::*;

use super::{
    bounds::CounterError,
    last::{Ending, Facts, SoFar, last},
    status::{Look, Memory, Stat},
    teller::{Listener, Teller},
    tree::Tree,
};
use crate::{
    event::Event,
    launch::Finished,
    model::{Amounts, Summary, Verdict},
};

const ROOT: i32 = 10;
const PAGE: u64 = 4096;

/// What a tracer may be told, of one of the processes there are.
#[derive(Clone, Debug)]
enum Op {
    Fork {
        of: usize,
        told: bool,
        vfork: bool,
    },
    Exec {
        of: usize,
    },
    Sample,
    Tell,
    Grow {
        of: usize,
        pages: u64,
    },
    Reset {
        of: usize,
    },
    /// The largest of a child that is not followed.
    Hide {
        of: usize,
        pages: u64,
        faults: u64,
    },
    End {
        of: usize,
        read: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let of = 0..6_usize;
    prop_oneof![
        (of.clone(), any::<bool>(), any::<bool>()).prop_map(|(of, told, vfork)| Op::Fork {
            of,
            told,
            vfork
        }),
        of.clone().prop_map(|of| Op::Exec { of }),
        Just(Op::Sample),
        Just(Op::Tell),
        (of.clone(), 0..40_000_u64).prop_map(|(of, pages)| Op::Grow { of, pages }),
        of.clone().prop_map(|of| Op::Reset { of }),
        (of.clone(), 0..40_000_u64, 0..2_u64).prop_map(|(of, pages, faults)| Op::Hide {
            of,
            pages,
            faults
        }),
        (of, any::<bool>()).prop_map(|(of, read)| Op::End { of, read }),
    ]
}

/// A living process, with what the kernel would say of it.
#[derive(Clone)]
struct Alive {
    pid: i32,
    memory: Memory,
    maxrss: u64,
    children_faults: u64,
}

impl Alive {
    fn look(&self) -> Look {
        Look {
            tgid: self.pid,
            ppid: ROOT,
            ns_tgid: self.pid,
            state: b'R',
            threads: 1,
            memory: Some(self.memory),
        }
    }
}

fn resident(pages: u64) -> Memory {
    let bytes = pages * PAGE;
    let mut memory = Memory {
        hwm: bytes,
        now: Amounts {
            anon: bytes,
            ..Amounts::default()
        },
        vm_size: bytes,
        ..Memory::default()
    };
    memory.vm.size = bytes;
    memory
}

fn end(tree: &mut Tree, process: &Alive, read: bool, now: u64) {
    if read {
        tree.exiting(process.pid, Some(&process.look()), now);
    }
    let totals = Stat {
        minor_faults: 5,
        children_faults: process.children_faults,
        ..Stat::default()
    };
    tree.faults.ended(process.pid == ROOT, Some(&totals));
    if let Some(ended) = tree.ended(process.pid, now) {
        ended.maxrss = Some(process.maxrss.max(process.memory.hwm));
    }
}

/// The largest sum of what is told of images.
#[derive(Default)]
struct Sums {
    held: BTreeMap<(u64, u32), i64>,
    largest: i64,
}

impl Listener for Sums {
    fn event(&mut self, event: &Event) {
        if let Event::Change(change) = event {
            if change.member != Member::Swap as u32 {
                self.held
                    .insert((change.image, change.member), change.value);
            }
            self.largest = self.largest.max(self.held.values().sum());
        }
    }

    fn next(&self) -> Instant {
        Instant::now()
    }

    fn so_far(&mut self, _known: &SoFar) {}

    fn has_enough(&mut self) -> bool {
        false
    }

    fn stops(&mut self, _stops: bool) {}
}

/// What comes of it, and the largest sum in its timeline, bytes.
fn run(ops: &[Op], followed: bool) -> nix::Result<(Summary, u64)> {
    let mut sums = Sums::default();
    let mut teller = Teller::new(PAGE, Some(&mut sums));
    let mut tree = Tree::new(true);
    let mut now = 1000;
    tree.root(ROOT, now);
    tree.exec(ROOT, ROOT, now);
    let root = Alive {
        pid: ROOT,
        memory: resident(100),
        maxrss: 500 * PAGE,
        children_faults: 0,
    };
    if let Some(process) = tree.find(ROOT) {
        tree.observe(process, &root.look(), now);
    }
    let mut alive = vec![root];
    let mut next_pid = ROOT;
    for op in ops {
        now += 10;
        match *op {
            Op::Fork { of, told, vfork } => {
                let index = of % alive.len();
                next_pid += 1;
                let child = Alive {
                    pid: next_pid,
                    memory: resident(alive[index].memory.now.anon / PAGE),
                    maxrss: 0,
                    children_faults: 0,
                };
                if told {
                    tree.announce(alive[index].pid, next_pid, vfork);
                }
                tree.process(&child.look(), Some(false), now);
                alive.push(child);
            }
            Op::Exec { of } => {
                let index = of % alive.len();
                let process = &mut alive[index];
                process.maxrss = process.maxrss.max(process.memory.hwm);
                process.memory = resident(50);
                let look = process.look();
                if let Some(index) = tree.exec(process.pid, process.pid, now) {
                    tree.observe(index, &look, now);
                }
            }
            Op::Tell => teller.tell_at(&mut tree, now),
            Op::Sample => {
                let targets = tree.targets();
                let looks: Vec<_> = targets
                    .into_iter()
                    .filter_map(|target| {
                        let process = alive.iter().find(|process| process.pid == target.tid)?;
                        Some((target, process.look()))
                    })
                    .collect();
                tree.sampled(now, now + 1, &looks);
            }
            Op::Grow { of, pages } => {
                let index = of % alive.len();
                let memory = &mut alive[index].memory;
                let new = resident(pages);
                memory.now = new.now;
                memory.hwm = memory.hwm.max(new.hwm);
                memory.vm_size = new.vm_size;
                memory.vm.size = memory.vm.size.max(new.vm.size);
            }
            Op::Reset { of } => {
                let index = of % alive.len();
                let memory = &mut alive[index].memory;
                memory.hwm = memory.now.rss();
            }
            Op::Hide { of, pages, faults } => {
                let index = of % alive.len();
                alive[index].maxrss = alive[index].maxrss.max(pages * PAGE);
                alive[index].children_faults += faults;
            }
            Op::End { of, read } => {
                let index = of % alive.len();
                if alive[index].pid != ROOT {
                    let process = alive.remove(index);
                    end(&mut tree, &process, read, now);
                    let largest = process.maxrss.max(process.memory.hwm);
                    alive[0].maxrss = alive[0].maxrss.max(largest);
                    alive[0].children_faults += 5 + process.children_faults;
                }
            }
        }
    }
    let root = alive[0].clone();
    end(&mut tree, &root, true, now + 10);
    // Somebody's; one number of it matters here.
    let own = getrusage(UsageWho::RUSAGE_SELF)?;
    let mut rusage = *own.as_ref();
    let maxrss = root.maxrss.max(root.memory.hwm) / 1024;
    rusage.ru_maxrss = i64::try_from(maxrss).unwrap_or(i64::MAX);
    let model = teller.finish(&mut tree);
    let summary = model.finish(last(
        &tree,
        Facts {
            command: vec![b"x".to_vec()],
            ending: Ending::from(&Finished {
                status: 0,
                rusage,
                started_ns: 1000,
                ended_ns: now + 10,
            }),
            realtime_offset: 0,
            page_size: PAGE,
            ended_at: now + 1_000_000,
            followed,
            failures: Vec::new(),
            error: CounterError::new(Some(memtrace_ebpf::CounterLayout::PerCpu), 2, PAGE),
            before: 600 * PAGE,
            ended_by_limit: None,
        },
    ));
    let largest = u64::try_from(sums.largest).unwrap_or(0) * PAGE;
    Ok((summary, largest))
}

proptest! {
    #[test]
    fn no_bound_contradicts_another_number(
        ops in proptest::collection::vec(op(), 0..40),
        followed in any::<bool>(),
    ) {
        let (summary, largest) =
            run(&ops, followed).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(largest <= summary.tree.peak_rss, "{largest}, {:?}", summary.tree);
        let tree = &summary.tree;
        let range = tree.peak_range;
        prop_assert!(range.is_some());
        let Some(range) = range else { return Ok(()) };
        let high = range.high.unwrap_or(u64::MAX);
        let within = match summary.certificate.verdict {
            Verdict::Within(bytes) => {
                prop_assert!(range.high.is_some());
                bytes
            }
            Verdict::Incomplete => u64::MAX,
            Verdict::Exact => return Err(TestCaseError::fail("never exact")),
        };
        // The tree's peak, and everything that was the tree's or a part of it.
        prop_assert!(range.low <= tree.peak_rss && tree.peak_rss <= high, "{tree:?}");
        prop_assert!(high - tree.peak_rss <= within || range.high.is_none());
        prop_assert!(tree.peak_rss - range.low <= within);
        prop_assert!(summary.kernel_maxrss.unwrap_or(0) <= high, "{tree:?}");
        prop_assert!(tree.footprint.low <= tree.footprint.high && tree.footprint.high <= high);
        prop_assert!(tree.average_rss <= tree.peak_rss && tree.peak_rss <= tree.peak_rss_swap);
        let held: u64 = tree.at_peak.iter().map(|holder| holder.held.rss()).sum();
        prop_assert!(held <= tree.peak_rss, "{tree:?}");
        for image in &summary.images {
            let own = image.peak_range;
            prop_assert!(own.is_some());
            let Some(own) = own else { continue };
            let own_high = own.high.unwrap_or(u64::MAX);
            prop_assert!(own.low <= image.peak_rss && image.peak_rss <= own_high, "{image:?}");
            prop_assert!(image.own_peak.rss() <= own_high, "{image:?}");
            prop_assert!(image.at_tree_peak.rss() <= own_high, "{image:?}");
            prop_assert!(image.average_rss <= own_high, "{image:?}");
            prop_assert!(image.peak_rss <= tree.peak_rss, "{image:?}");
            prop_assert!(own.low <= range.low, "{image:?}");
            prop_assert!(range.high.is_none() || own_high <= high, "{image:?}");
        }
    }
}
