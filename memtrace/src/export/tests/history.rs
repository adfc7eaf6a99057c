//! Histories whose every number is known: processes that come, change, run programs and go,
//! with the summary and the timeline that follow from the changes by definition.

use std::sync::Arc;

use crate::model::{
    Amounts, Certificate, CrossChecks, Fate, Footprint, Holder, ImageSpan, ImageSummary, ImageUse,
    Loss, Lost, Origin, Outcome, ProcessSummary, Program, Quantities, Sizes, SizesSeen, Stats,
    Summary, Timeline, TreeSpan, TreeSummary, Usage, UseKind, Verdict, VmMeans, VmPeaks,
};

pub(super) const PAGE: u64 = 4096;

/// What an image holds from a moment on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) at: u64,
    pub(super) image: usize,
    pub(super) now: Amounts,
}

/// Builds a history, change by change. Times must not decrease.
#[derive(Debug)]
pub(super) struct History {
    pub(super) changes: Vec<Change>,
    processes: Vec<ProcessSummary>,
    images: Vec<ImageSummary>,
    held: Vec<Amounts>,
    pub(super) at: u64,
    pub(super) losses: Vec<Loss>,
}

impl History {
    /// The command itself, with an image that holds nothing yet.
    pub(super) fn new(args: &[&[u8]]) -> Self {
        let mut history = Self {
            changes: Vec::new(),
            processes: Vec::new(),
            images: Vec::new(),
            held: Vec::new(),
            at: 0,
            losses: Vec::new(),
        };
        history.process(100, 1, None);
        history.image(0, Origin::Exec, UseKind::Exec, program(args));
        history
    }

    fn process(&mut self, pid: u32, ppid: u32, parent: Option<usize>) {
        self.processes.push(ProcessSummary {
            pid,
            ns_pid: pid,
            ppid,
            parent,
            root: parent.is_none(),
            comm: b"comm".to_vec(),
            start_ns: self.at,
            end_ns: None,
            lifetime_ns: 0,
            outcome: None,
            oom_killed: false,
            survivor: true,
            before: None,
            usage: None,
            images: Vec::new(),
        });
    }

    fn image(&mut self, owner: usize, origin: Origin, kind: UseKind, program: Arc<Program>) {
        let index = self.images.len();
        let process = &mut self.processes[owner];
        if let Some(last) = process.images.last_mut() {
            last.end_ns = Some(self.at);
        }
        process.images.push(ImageUse {
            image: index,
            kind,
            start_ns: self.at,
            end_ns: None,
            kernel_maxrss: None,
        });
        self.images.push(ImageSummary {
            id: index as u64 + 1,
            origin,
            fate: Fate::Alive,
            parent: None,
            owner: Some(owner),
            pid: process.pid,
            program,
            start_ns: self.at,
            end_ns: None,
            lifetime_ns: 0,
            events: 0,
            peak_rss: 0,
            peak_at_ns: self.at,
            peak_range: None,
            peak: Amounts::default(),
            own_peak: Amounts::default(),
            peak_rss_swap: 0,
            average: Amounts::default(),
            average_rss: 0,
            at_tree_peak: Amounts::default(),
            inherited: 0,
            vm: VmPeaks::default(),
            vm_average: VmMeans::default(),
            segments: None,
            peak_huge: 0,
            kernel_hiwater_rss: 0,
            residual: 0,
        });
        self.held.push(Amounts::default());
    }

    /// The image that a process uses.
    pub(super) fn current(&self, process: usize) -> usize {
        self.processes[process].images.last().expect("one").image
    }

    /// A process changes what it holds, in pages.
    pub(super) fn set(&mut self, process: usize, [anon, file, shmem, swap]: [u64; 4]) {
        let image = self.current(process);
        self.change(
            image,
            Amounts {
                anon: anon * PAGE,
                file: file * PAGE,
                shmem: shmem * PAGE,
                swap: swap * PAGE,
            },
        );
    }

    fn change(&mut self, image: usize, now: Amounts) {
        self.held[image] = now;
        let at = self.at;
        self.changes.push(Change { at, image, now });
        let summary = &mut self.images[image];
        summary.events += 1;
        if now.rss() > summary.peak_rss {
            summary.peak_rss = now.rss();
            summary.peak_at_ns = at;
            summary.own_peak = now;
        }
        summary.peak = most(&summary.peak, &now);
        summary.peak_rss_swap = summary.peak_rss_swap.max(now.rss() + now.swap);
    }

    /// A process forks: the child holds the same.
    pub(super) fn fork(&mut self, parent: usize, pid: u32) -> usize {
        let child = self.processes.len();
        let parent_image = self.current(parent);
        let program = Arc::clone(&self.images[parent_image].program);
        self.process(pid, self.processes[parent].pid, Some(parent));
        self.image(child, Origin::Fork, UseKind::Fork, program);
        let image = self.current(child);
        self.images[image].parent = Some(self.images[parent_image].id);
        self.change(image, self.held[parent_image]);
        child
    }

    /// A process runs a program: its old image ends a moment later.
    pub(super) fn exec(&mut self, process: usize, args: &[&[u8]]) {
        let old = self.current(process);
        self.image(process, Origin::Exec, UseKind::Exec, program(args));
        let new = self.current(process);
        self.change(
            new,
            Amounts {
                anon: PAGE,
                ..Amounts::default()
            },
        );
        self.at += 7;
        self.end_image(old);
    }

    fn end_image(&mut self, image: usize) {
        let now = self.held[image];
        self.change(image, Amounts { anon: 0, ..now });
        self.change(image, Amounts::default());
        let summary = &mut self.images[image];
        summary.end_ns = Some(self.at);
        summary.fate = Fate::Ended;
    }

    /// A process exits; its memory goes a moment later.
    pub(super) fn exit(&mut self, process: usize, outcome: Outcome) {
        let ends = &mut self.processes[process];
        ends.end_ns = Some(self.at);
        ends.outcome = Some(outcome);
        ends.survivor = false;
        ends.usage = Some(Usage {
            user_ns: 1,
            system_ns: 2,
            cpu_exact: true,
            minor_faults: 3,
            major_faults: 4,
            threads: 1,
        });
        ends.images.last_mut().expect("one").end_ns = Some(self.at);
        self.at += 5;
        self.end_image(self.current(process));
    }

    pub(super) fn oom(&mut self, process: usize) {
        self.processes[process].oom_killed = true;
    }

    pub(super) fn alive(&self, process: usize) -> bool {
        self.processes[process].survivor
    }

    pub(super) fn pid(&self, process: usize) -> u32 {
        self.processes[process].pid
    }

    pub(super) fn image_count(&self) -> usize {
        self.images.len()
    }

    pub(super) fn process_count(&self) -> usize {
        self.processes.len()
    }

    /// What follows from the changes.
    pub(super) fn summary(&self) -> Summary {
        let mut images = self.images.clone();
        let mut processes = self.processes.clone();
        for image in &mut images {
            image.lifetime_ns = image.end_ns.unwrap_or(self.at) - image.start_ns;
        }
        for process in &mut processes {
            process.lifetime_ns = process.end_ns.unwrap_or(self.at) - process.start_ns;
        }
        let mut held = vec![Amounts::default(); images.len()];
        let mut since = vec![0; images.len()];
        let mut integral = vec![0_u128; images.len()];
        let (mut peak, mut peak_at, mut at_peak) = (0, 0, held.clone());
        let mut kinds = Amounts::default();
        for change in &self.changes {
            let image = change.image;
            integral[image] += u128::from(held[image].rss()) * u128::from(change.at - since[image]);
            since[image] = change.at;
            held[image] = change.now;
            let sum = total(&held);
            kinds = most(&kinds, &sum);
            if sum.rss() > peak {
                peak = sum.rss();
                peak_at = change.at;
                at_peak.clone_from(&held);
            }
        }
        let mut holders = Vec::new();
        for (index, image) in images.iter_mut().enumerate() {
            integral[index] += u128::from(held[index].rss()) * u128::from(self.at - since[index]);
            let average = integral[index] / u128::from(image.lifetime_ns.max(1));
            image.average_rss = u64::try_from(average).expect("64 bits");
            image.at_tree_peak = at_peak[index];
            if at_peak[index].rss() > 0 {
                holders.push(Holder {
                    image: index,
                    held: at_peak[index],
                    shared: 0,
                });
            }
        }
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.held.rss()));
        Summary {
            ended_by_limit: None,
            own_cgroup: None,
            only_counted: crate::model::Counts::default(),
            command: images[0].program.args.clone(),
            outcome: processes[0].outcome,
            wall_ns: self.at,
            user_ns: 0,
            system_ns: 0,
            kernel_maxrss: None,
            started_unix_ns: Some(1_700_000_000_000_000_000),
            page_size: PAGE,
            certificate: certificate(),
            tree: TreeSummary {
                duration_ns: self.at,
                events: self.changes.len() as u64,
                peak_rss: peak,
                peak_at_ns: peak_at,
                peak_range: None,
                peak: kinds,
                peak_rss_swap: 0,
                peak_huge: 0,
                average: Amounts::default(),
                average_rss: 0,
                footprint: Footprint {
                    low: peak,
                    high: peak,
                    ..Footprint::default()
                },
                at_peak: holders,
                biggest: None,
                snapshots: Vec::new(),
                branches: Vec::new(),
            },
            processes,
            images,
        }
    }

    /// What follows from the changes, in windows of a width; 0: each change.
    pub(super) fn timeline(&self, width_ns: u64) -> Timeline {
        let mut timeline = Timeline {
            width_ns,
            recorded_width_ns: width_ns,
            end_ns: self.at,
            images: vec![Vec::new(); self.images.len()],
            losses: self.losses.clone(),
            ..Timeline::default()
        };
        let mut held = vec![Amounts::default(); self.images.len()];
        let mut rest = self.changes.as_slice();
        while let Some(first) = rest.first() {
            let (start, count) = match first.at.checked_div(width_ns) {
                None => (first.at, 1),
                Some(window) => {
                    let inside = |change: &&Change| change.at / width_ns == window;
                    (window * width_ns, rest.iter().take_while(inside).count())
                }
            };
            let (window, after) = rest.split_at(count);
            let window_opens = (width_ns > 0).then_some(start);
            one_window(&mut timeline, &mut held, window, window_opens, start);
            rest = after;
        }
        timeline
    }
}

/// Where the width is 0, the value before the change is not part of the span.
fn one_window(
    timeline: &mut Timeline,
    held: &mut Vec<Amounts>,
    window: &[Change],
    opens: Option<u64>,
    start_ns: u64,
) {
    if opens.is_none() {
        held[window[0].image] = window[0].now;
    }
    let mut tree = TreeSpan {
        start_ns,
        min_rss: total(held).rss(),
        max_rss: total(held).rss(),
        max_at_ns: start_ns,
        at_max: total(held),
        ..TreeSpan::default()
    };
    let mut then = held.clone();
    let mut spans: Vec<Option<ImageSpan>> = vec![None; held.len()];
    for change in window {
        let now = change.now;
        let span = spans[change.image].get_or_insert_with(|| ImageSpan {
            start_ns,
            min_rss: held[change.image].rss(),
            max_rss: held[change.image].rss(),
            max_at_ns: start_ns,
            max: held[change.image],
            sizes: Sizes {
                total: 100 * PAGE,
                ..Sizes::default()
            },
            ..ImageSpan::default()
        });
        span.min_rss = span.min_rss.min(now.rss());
        if now.rss() > span.max_rss {
            span.max_rss = now.rss();
            span.max_at_ns = change.at;
        }
        span.max = most(&span.max, &now);
        span.last = now;
        held[change.image] = now;
        let sum = total(held);
        tree.min_rss = tree.min_rss.min(sum.rss());
        if sum.rss() > tree.max_rss {
            tree.max_rss = sum.rss();
            tree.max_at_ns = change.at;
            tree.at_max = sum;
            then.clone_from(held);
        }
    }
    tree.last = total(held);
    timeline.tree.push(tree);
    for ((spans, span), then) in timeline.images.iter_mut().zip(spans).zip(then) {
        spans.extend(span.map(|span| ImageSpan {
            at_tree_max: then,
            ..span
        }));
    }
}

fn program(args: &[&[u8]]) -> Arc<Program> {
    Arc::new(Program {
        args: args.iter().map(|arg| arg.to_vec()).collect(),
        truncated: false,
        path: args[0].to_vec(),
        comm: b"comm".to_vec(),
    })
}

pub(super) fn total(held: &[Amounts]) -> Amounts {
    held.iter()
        .fold(Amounts::default(), |sum, held| sum.plus(held))
}

fn most(a: &Amounts, b: &Amounts) -> Amounts {
    Amounts {
        anon: a.anon.max(b.anon),
        file: a.file.max(b.file),
        shmem: a.shmem.max(b.shmem),
        swap: a.swap.max(b.swap),
    }
}

fn certificate() -> Certificate {
    Certificate {
        verdict: Verdict::Exact,
        reasons: Vec::new(),
        remarks: Vec::new(),
        tier: "A".to_owned(),
        events: 0,
        lost: Lost::default(),
        residual_bytes: 0,
        breakdown_difference_bytes: 0,
        sizes_seen: SizesSeen::AtPageFaults,
        quantities: Quantities::of_samples(Verdict::Exact),
        segments: None,
        cross_checks: CrossChecks::default(),
        stats: Stats::default(),
    }
}

pub(super) const EXITED: Outcome = Outcome {
    exit_status: Some(0),
    signal: None,
    core_dumped: false,
};

/// A history from random numbers: pids are reused, some processes never exec, some survive.
pub(super) fn random(seed: u64, steps: u32) -> History {
    const NAMES: [&[u8]; 5] = [
        b"cc1plus",
        b"as",
        b"a;b c,\"d\"\ne",
        b"\xff\xfe\x1b[2J",
        "größe 🦀".as_bytes(),
    ];
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut history = History::new(&[b"/usr/bin/make", b"-j2"]);
    history.set(0, [3, 5, 1, 0]);
    for _ in 0..steps {
        history.at += next(4_000_000) + 1;
        let process = usize::try_from(next(history.process_count() as u64)).expect("small");
        if !history.alive(process) {
            continue;
        }
        match next(12) {
            0 | 1 => {
                // The smallest pid of a process that is gone, or a new one.
                let used = |pid| {
                    (0..history.process_count())
                        .any(|other| history.alive(other) && history.pid(other) == pid)
                };
                let pid = (100..).find(|&pid| !used(pid)).expect("a pid");
                history.fork(process, pid);
            }
            2 | 3 => {
                let name = NAMES[usize::try_from(next(5)).expect("small")];
                history.exec(process, &[name, b"-c", name]);
            }
            4 if process > 0 => history.exit(process, EXITED),
            _ => {
                let pages = [next(5000), next(900), next(30), next(20)];
                history.set(process, pages);
            }
        }
    }
    history
}
