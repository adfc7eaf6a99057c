//! The model against the naive book of the [`simulator`](super::simulator).

use std::collections::BTreeMap;

use memtrace_ebpf::{ImageKind, ImageState, Stat, event, rss};
use proptest::{prelude::*, sample::Index};

use super::{
    super::{Counts, Final, Missed, Model, SizesSeen, Summary, Verdict},
    PAGE, process,
    simulator::{Op, Simulator, ops},
};
use crate::event::Event;

fn summary(events: &[Event], end: Final) -> Summary {
    let mut model = Model::new();
    for event in events {
        model.apply(event);
    }
    model.finish(end)
}

fn bytes(pages: i64) -> u64 {
    u64::try_from(pages).unwrap_or(0) * PAGE
}

/// The mean over `lifetime` of what a sequence of (time, pages) held until `end`.
fn naive_average(values: &[(u64, i64)], end: u64, lifetime: u64) -> u64 {
    let mut sum = 0_u128;
    for (i, &(at, pages)) in values.iter().enumerate() {
        let until = values.get(i + 1).map_or(end, |next| next.0);
        sum += u128::from(until - at) * u128::try_from(pages).unwrap_or(0);
    }
    u64::try_from(sum * u128::from(PAGE) / u128::from(lifetime.max(1))).unwrap_or(u64::MAX)
}

/// The same by a model that forgets what it can, after each event.
fn totals(events: &[Event], end: Final) -> Summary {
    let mut model = Model::of_totals_in_batches(0);
    for event in events {
        model.apply(event);
    }
    model.finish(end)
}

/// All that is told of a result without single processes.
fn told(summary: &Summary) -> String {
    use crate::report::{runit, text};
    let mut out = Vec::new();
    let written = text::write(summary, text::Options::default(), &mut out)
        .and_then(|()| runit::write(summary, runit::MachineMemory::default(), &mut out));
    written.expect("memory does not fail");
    String::from_utf8(out).expect("reports are UTF-8")
}

/// Takes one record out without which something is not known of memory.
fn lose(events: &mut Vec<Event>, lost: Index) -> Event {
    let needed: Vec<usize> = (0..events.len())
        .filter(|&i| !matches!(events[i], Event::Freed(_)))
        .collect();
    events.remove(needed[lost.index(needed.len())])
}

proptest! {
    /// What is forgotten changes nothing that is told.
    #[test]
    fn totals_are_those_of_all(ops in ops()) {
        let (truth, end) = Simulator::run(&ops);
        let all = summary(&truth.events, end.clone());
        let some = totals(&truth.events, end);
        prop_assert_eq!(some.counts(), all.counts());
        prop_assert_eq!(
            format!("{:?}", some.certificate),
            format!("{:?}", all.certificate)
        );
        prop_assert_eq!(told(&some), told(&all));
    }

    /// Nor is a record that is missing less noticed.
    #[test]
    fn a_record_that_totals_lack_is_noticed((ops, lost) in (ops(), any::<Index>())) {
        let (truth, end) = Simulator::run(&ops);
        let mut events = truth.events;
        lose(&mut events, lost);
        let result = totals(&events, end);
        prop_assert_ne!(result.certificate.verdict, Verdict::Exact);
    }

    /// Peak, time of the peak, and who held what then are those of the naive book.
    #[test]
    fn the_tree_is_the_sum_of_its_images(ops in ops()) {
        let (truth, end) = Simulator::run(&ops);
        let (ended_at, started_at) = (end.ended_at, end.tree.started_at);
        let result = summary(&truth.events, end);
        prop_assert_eq!(result.certificate.verdict, Verdict::Exact, "{:?}", result.certificate);
        prop_assert_eq!(result.certificate.residual_bytes, 0);
        prop_assert!(result.certificate.reasons.is_empty());

        let mut top = &truth.book[0];
        for row in &truth.book {
            if row.rss() > top.rss() {
                top = row;
            }
        }
        prop_assert_eq!(result.tree.peak_rss, bytes(top.rss()));
        prop_assert_eq!(result.tree.peak_at_ns, top.at - started_at);
        let held: BTreeMap<u64, u64> = result
            .tree
            .at_peak
            .iter()
            .map(|holder| (result.images[holder.image].id, holder.held.rss()))
            .collect();
        let expected: BTreeMap<u64, u64> = top
            .held
            .iter()
            .map(|(&id, pages)| (id, bytes(rss(pages))))
            .filter(|&(_, bytes)| bytes > 0)
            .collect();
        prop_assert_eq!(held, expected);
        let total: u64 = result.tree.at_peak.iter().map(|holder| holder.held.rss()).sum();
        prop_assert_eq!(total, result.tree.peak_rss);
        for (member, peak) in [
            (0, result.tree.peak.file),
            (1, result.tree.peak.anon),
            (2, result.tree.peak.swap),
            (3, result.tree.peak.shmem),
        ] {
            let most = truth.book.iter().map(|row| row.sum(member)).max().unwrap_or(0);
            prop_assert_eq!(peak, bytes(most));
        }
        let rows: Vec<(u64, i64)> = truth.book.iter().map(|row| (row.at, row.rss())).collect();
        // The tree lives as long as any of its images.
        let alive = result.images.iter().any(|image| image.end_ns.is_none());
        let lasts = result.images.iter().filter_map(|image| image.end_ns).max();
        let until = match lasts {
            Some(last) if !alive => started_at + last,
            _ => ended_at,
        };
        prop_assert_eq!(result.tree.duration_ns, until - started_at);
        let mean = naive_average(&rows, until, until - started_at);
        prop_assert_eq!(result.tree.average_rss, mean);
    }

    /// Every image's peak and mean are those of the values it had.
    #[test]
    fn images_report_their_own_history(ops in ops()) {
        let (truth, end) = Simulator::run(&ops);
        let (started_at, ended_at, born) = (end.tree.started_at, end.ended_at, end.tree.images);
        let result = summary(&truth.events, end);
        prop_assert_eq!(result.images.len() as u64, born);
        for image in &result.images {
            let values: Vec<(u64, i64)> = truth
                .values
                .iter()
                .filter(|value| value.0 == image.id)
                .map(|(_, at, pages)| (*at, rss(pages)))
                .collect();
            let most = values.iter().map(|value| value.1).max().unwrap_or(0);
            prop_assert_eq!(image.peak_rss, bytes(most));
            prop_assert_eq!(image.own_peak.rss(), image.peak_rss);
            prop_assert!(image.average_rss <= image.peak_rss);
            // After its end an image holds nothing, so the end of tracing serves for all.
            let born_at = truth.born_at(image.id);
            let until = image.end_ns.map_or(ended_at, |end| started_at + end);
            let mean = naive_average(&values, ended_at, until - born_at);
            prop_assert_eq!(image.average_rss, mean);
            prop_assert!(image.peak_rss <= result.tree.peak_rss || !image.ran());
        }
    }

    /// Processes, the sequence of their images, their ends and the survivors are
    /// as they happened, though pids are reused as soon as they are free.
    #[test]
    fn processes_tell_their_story(ops in ops()) {
        let (truth, end) = Simulator::run(&ops);
        let result = summary(&truth.events, end);
        prop_assert_eq!(result.processes.len(), truth.processes.len());
        for (process, truth) in result.processes.iter().zip(&truth.processes) {
            prop_assert_eq!(process.pid, truth.tgid);
            let status = process.outcome.and_then(|outcome| outcome.exit_status);
            prop_assert_eq!(status.map(u32::from), truth.status);
            prop_assert_eq!(process.survivor, truth.status.is_none());
            let counted = process.usage.map(|usage| (usage.user_ns, usage.cpu_exact));
            prop_assert_eq!(counted, truth.status.map(|_| (truth.runtime, true)));
            let uses: Vec<_> = process
                .images
                .iter()
                .map(|used| (result.images[used.image].id, used.kind))
                .collect();
            prop_assert_eq!(&uses, &truth.uses);
        }
        prop_assert_eq!(result.processes.iter().filter(|process| process.root).count(), 1);
        for image in &result.images {
            // A fork image shows what its nearest ancestor executed.
            let mut origin = image;
            while let Some(parent) = origin.parent {
                origin = &result.images[usize::try_from(parent).unwrap_or(0) - 1];
            }
            // What a program is called is known when it is loaded.
            let is_loaded = truth.events.iter().any(|event| {
                matches!(event, Event::Exec(exec) if exec.image == origin.id)
            });
            if image.ran() && is_loaded {
                let name = format!("prog{}", origin.id);
                prop_assert_eq!(image.program.name(), name.as_bytes());
            }
        }
    }

    /// The order of records has no influence, also when ends are reported twice.
    #[test]
    fn order_does_not_matter(
        (ops, picks) in (ops(), proptest::collection::vec(any::<Index>(), 200)),
    ) {
        let (truth, end) = Simulator::run(&ops);
        let mut events = truth.events.clone();
        for event in &truth.events {
            if let Event::Exit(exit) = event {
                let mut again = *exit;
                again.again = 1;
                again.header.at += 1;
                again.min_flt += 7;
                events.push(Event::Exit(again));
            }
        }
        let ordered = format!("{:?}", summary(&events, end.clone()));
        prop_assert_eq!(ordered.contains("minor_faults: 0"), false);
        for (i, pick) in picks.iter().enumerate() {
            let (a, b) = (i % events.len(), pick.index(events.len()));
            events.swap(a, b);
        }
        prop_assert_eq!(format!("{:?}", summary(&events, end)), ordered);
    }

    /// Without any one of its records a result never passes for exact.
    #[test]
    fn a_lost_record_is_noticed((ops, lost) in (ops(), any::<Index>())) {
        let (truth, end) = Simulator::run(&ops);
        let mut events = truth.events;
        let lost = lose(&mut events, lost);
        let result = summary(&events, end);
        prop_assert_eq!(result.certificate.verdict, Verdict::Incomplete, "lost {}", lost);
        prop_assert!(!result.certificate.reasons.is_empty());
    }

    /// Whose last record is lost has CPU times of clock ticks, and says so; memory is known as well as ever.
    #[test]
    fn without_its_last_record_cpu_times_are_sampled((ops, lost) in (ops(), any::<Index>())) {
        let (truth, end) = Simulator::run(&ops);
        let is_freed = |event: &Event| matches!(event, Event::Freed(_));
        let mut events = truth.events;
        let freed = events.iter().filter(|event| is_freed(event)).count();
        prop_assume!(freed > 0);
        let kept = lost.index(freed);
        let mut seen = 0;
        events.retain(|event| {
            seen += usize::from(is_freed(event));
            !is_freed(event) || seen <= kept
        });
        let result = summary(&events, end);
        let usages = result.processes.iter().filter_map(|process| process.usage);
        prop_assert_eq!(usages.filter(|usage| usage.cpu_exact).count(), kept);
        prop_assert_eq!(result.certificate.verdict, Verdict::Exact);
    }

    /// An end of a system call that was not seen costs sizes of virtual memory, and no counter.
    #[test]
    fn what_is_skipped_at_system_calls_costs_sizes_alone(
        (ops, skipped) in (ops(), 0_u64..3),
    ) {
        let (truth, mut end) = Simulator::run(&ops);
        end.tier = "A+V".to_owned();
        end.missed.push(Missed { program: "sys_exit".to_owned(), count: skipped });
        let summary = summary(&truth.events, end);
        let single = summary
            .processes
            .iter()
            .all(|process| process.usage.as_ref().is_some_and(|usage| usage.threads <= 1));
        let certificate = summary.certificate;
        prop_assert_eq!(certificate.verdict, Verdict::Exact);
        prop_assert_eq!(certificate.lost.recursion, 0);
        let (seen, remarks) = match (skipped, single) {
            (0, true) => (SizesSeen::AtSystemCalls, 0),
            (0, false) => (SizesSeen::AtThreadsSystemCalls, 0),
            _ => (SizesSeen::AtPageFaults, 1),
        };
        prop_assert_eq!(certificate.sizes_seen, seen);
        prop_assert_eq!(certificate.remarks.len(), remarks);
    }

    /// Any one number off by one is noticed, as far as others depend on it.
    #[test]
    fn a_wrong_number_is_noticed(
        (ops, what, which) in (ops(), 0_usize..WRONG.len(), any::<Index>()),
    ) {
        let (truth, mut end) = Simulator::run(&ops);
        let mut events = truth.events;
        if WRONG[what](&mut events, &mut end, which) {
            for result in [totals(&events, end.clone()), summary(&events, end)] {
                prop_assert_ne!(result.certificate.verdict, Verdict::Exact, "mistake {}", what);
                prop_assert!(!result.certificate.reasons.is_empty());
            }
        }
    }

    /// Absurd numbers give a result that is not exact, never a panic.
    #[test]
    fn absurd_numbers_do_no_harm(seed in proptest::collection::vec(any::<u8>(), 8..64)) {
        let mut events = Vec::new();
        for kind in 1..=5 {
            let mut bytes = super::zeroed(kind).bytes().to_vec();
            let len = bytes.len();
            for (byte, noise) in bytes[4..].iter_mut().zip(seed.iter().cycle().take(len)) {
                *byte = *noise;
            }
            bytes[..4].copy_from_slice(&kind.to_ne_bytes());
            events.push(Event::decode(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?);
        }
        let mut end = super::last(super::tree(), u64::MAX);
        if let Event::ImageEnd(image) = &events[3] {
            let mut alive = **image;
            alive.id = alive.id.wrapping_add(1);
            end.images.push(alive);
            end.tree.cur = alive.cur;
            end.tree.integral = alive.integral;
            end.tree.peak_rss = alive.peak_rss;
            end.tree.peak = alive.peak;
        }
        end.page_size = u64::MAX;
        end.processes.push(process(7, u64::MAX, 7));
        let result = summary(&events, end);
        prop_assert_eq!(result.certificate.verdict, Verdict::Incomplete);
        for (verbose, per_process) in [(false, false), (true, true)] {
            let options = crate::report::text::Options { verbose, per_process, width: 0, wrap: verbose };
            prop_assert!(crate::report::text::write(&result, options, &mut Vec::new()).is_ok());
        }
        prop_assert!(crate::report::json::write(&result, &mut Vec::new()).is_ok());
    }
}

/// Something goes wrong in the records or in what is read at the end. False if
/// there was nothing to spoil.
type Mistake = fn(&mut [Event], &mut Final, Index) -> bool;

/// Changes one of the images that fulfil a condition, ended or alive.
fn spoil(
    events: &mut [Event],
    end: &mut Final,
    which: Index,
    fit: impl Fn(&memtrace_ebpf::Image, bool) -> bool,
    change: impl Fn(&mut memtrace_ebpf::Image),
) -> bool {
    let ended = events.iter_mut().filter_map(|event| match event {
        Event::ImageEnd(image) => Some((&mut **image, false)),
        _ => None,
    });
    let alive = end.images.iter_mut().map(|image| (image, true));
    let mut found: Vec<_> = ended
        .chain(alive)
        .filter(|(image, alive)| fit(image, *alive))
        .collect();
    if found.is_empty() {
        return false;
    }
    let i = which.index(found.len());
    change(found[i].0);
    true
}

const fn active(image: &memtrace_ebpf::Image) -> bool {
    image.state != ImageState::Execing as u32
}

const WRONG: [Mistake; 17] = [
    |_, end, _| {
        end.tree.peak_rss += 1;
        true
    },
    |_, end, _| {
        end.tree.peak_rss -= 1;
        true
    },
    |_, end, _| {
        end.tree.cur[1] += 1;
        true
    },
    |_, end, _| {
        end.tree.rss -= 1;
        true
    },
    |_, end, _| {
        end.tree.images += 1;
        true
    },
    |_, end, _| {
        end.tree.processes += 1;
        true
    },
    |_, end, _| {
        end.undecodable = 1;
        true
    },
    |_, end, _| {
        end.missed.push(Missed {
            program: "exec".to_owned(),
            count: 1,
        });
        true
    },
    |_, end, which| {
        let bad = [
            Stat::RingFull,
            Stat::ImagesFull,
            Stat::ProcessesFull,
            Stat::MapBusy,
            Stat::NoMemory,
            Stat::ReadFailed,
            Stat::Healed,
            Stat::Unlocked,
            Stat::Residual,
        ];
        end.stats.set(bad[which.index(bad.len())], 1);
        true
    },
    |_, end, _| {
        end.processes.push(process(99_999, 5, 1));
        true
    },
    |_, end, which| {
        let n = end.processes.len();
        if n > 0 {
            end.processes.swap_remove(which.index(n));
        }
        n > 0
    },
    |events, end, which| spoil(events, end, which, |_, alive| !alive, |i| i.residual = -1),
    |events, end, which| spoil(events, end, which, |i, _| active(i), |i| i.peak_rss += 1),
    |events, end, which| spoil(events, end, which, |i, _| active(i), |i| i.own_peak[1] += 1),
    |events, end, which| {
        let seq = end.tree.peak_seq;
        spoil(
            events,
            end,
            which,
            |i, _| active(i) && i.seq == seq,
            |i| i.at_peak[3] += 1,
        )
    },
    |events, end, which| {
        spoil(
            events,
            end,
            which,
            |i, alive| active(i) && alive,
            |i| i.cur[2] += 1,
        )
    },
    |events, end, which| {
        spoil(
            events,
            end,
            which,
            |_, _| true,
            |i| i.kind = ImageKind::Found as u32,
        )
    },
];

/// Who execs, forks and exits on one pid, over and over, is told apart.
#[test]
fn a_pid_that_is_reused_is_several_processes() {
    let mut ops = Vec::new();
    for _ in 0..3 {
        ops.push((Op::Fork { who: 0 }, 100));
        ops.push((Op::Exec { who: 1 }, 100));
        ops.push((Op::Exit { who: 1, status: 1 }, 100));
    }
    let (truth, end) = Simulator::run(&ops);
    let result = summary(&truth.events, end);
    assert_eq!(
        result.certificate.verdict,
        Verdict::Exact,
        "{:?}",
        result.certificate
    );
    let reused: Vec<_> = result
        .processes
        .iter()
        .filter(|process| process.pid == 101)
        .collect();
    assert_eq!(reused.len(), 3);
    for process in reused {
        assert_eq!(process.images.len(), 2);
        assert_eq!(process.parent, Some(0));
    }
    assert!(
        truth
            .events
            .iter()
            .any(|event| event.header().kind == event::EXIT)
    );
}

/// Of many that come and go there are left the command, who held something at the peak and who was largest.
#[test]
fn of_many_processes_few_are_kept() {
    let touch = |who, pages| Op::Touch {
        who,
        member: 1,
        pages,
    };
    let mut ops = vec![(touch(0, 50), 100)];
    for round in 0..1000 {
        ops.push((Op::Fork { who: 0 }, 100));
        ops.push((Op::Exec { who: 1 }, 100));
        ops.push((touch(1, if round == 600 { 30 } else { 20 }), 100));
        ops.push((Op::Exit { who: 1, status: 0 }, 100));
    }
    let (truth, end) = Simulator::run(&ops);
    let counts = Counts {
        processes: 1001,
        images: 2002,
    };
    let all = summary(&truth.events, end.clone());
    let some = totals(&truth.events, end);
    assert_eq!((all.counts(), some.counts()), (counts, counts));
    assert_eq!(told(&some), told(&all));
    let pids: Vec<u32> = some.processes.iter().map(|process| process.pid).collect();
    // Five ways to be the largest, and the command.
    assert!(pids.len() <= 6, "{pids:?}");
    let biggest = |summary: &Summary| summary.tree.biggest.map(|i| summary.images[i].id);
    assert_eq!(biggest(&some), biggest(&all));
}
