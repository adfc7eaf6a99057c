//! Runs made up change by change, with everything that follows from the changes worked out the
//! simple way: what tests of drawings compare with. Also used by the end-to-end tests.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "included by several tests, each of which uses a part"
)]

#[path = "scenes.rs"]
mod scenes;

use std::sync::Arc;

use memtrace::model::{
    Amounts, Certificate, Counts, CrossChecks, Fate, Footprint, Holder, ImageSpan, ImageSummary,
    ImageUse, Lost, Origin, Outcome, ProcessSummary, Program, Quantities, Sizes, SizesSeen, Stats,
    Summary, Timeline, TreeSpan, TreeSummary, Usage, UseKind, Verdict, VmMeans, VmPeaks,
};

pub use scenes::{
    build_scene, build_scene_of, daemon_scene, jobs_scene, python_scene, spike_scene,
};

/// Mebibyte, millisecond, second.
pub const MIB: u64 = 1 << 20;
/// Nanoseconds.
pub const MS: u64 = 1_000_000;
/// Nanoseconds.
pub const S: u64 = 1_000 * MS;

/// Pages of a base size, anonymous and of files.
pub fn amounts(anon: u64, file: u64) -> Amounts {
    Amounts {
        anon: anon / 4096 * 4096,
        file: file / 4096 * 4096,
        ..Amounts::default()
    }
}

/// From that moment on an image holds that.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub at: u64,
    pub image: usize,
    pub to: Amounts,
}

#[derive(Clone, Debug)]
struct Image {
    process: usize,
    origin: Origin,
    parent: Option<usize>,
    program: Arc<Program>,
    start: u64,
    end: Option<u64>,
    inherited: u64,
}

#[derive(Clone, Debug)]
struct Process {
    parent: Option<usize>,
    start: u64,
    end: Option<u64>,
    status: u32,
    oom: bool,
}

/// A run in the making.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    pub changes: Vec<Change>,
    images: Vec<Image>,
    processes: Vec<Process>,
    command: Vec<Vec<u8>>,
    random: u64,
}

pub fn program(args: &[&[u8]]) -> Arc<Program> {
    let comm = args.first().map_or(&[][..], |name| name);
    let comm = comm.rsplit(|&b| b == b'/').next().unwrap_or_default();
    Arc::new(Program {
        args: args.iter().map(|arg| arg.to_vec()).collect(),
        truncated: false,
        path: args.first().map_or_else(Vec::new, |name| name.to_vec()),
        comm: comm.iter().copied().take(15).collect(),
    })
}

impl Scene {
    /// The command starts: process 0 with image 0.
    pub fn new(args: &[&[u8]]) -> Self {
        let mut scene = Self {
            command: args.iter().map(|arg| arg.to_vec()).collect(),
            random: 0x9e37_79b9_7f4a_7c15,
            ..Self::default()
        };
        scene.processes.push(Process {
            parent: None,
            start: 0,
            end: None,
            status: 0,
            oom: false,
        });
        scene.images.push(Image {
            process: 0,
            origin: Origin::Exec,
            parent: None,
            program: program(args),
            start: 0,
            end: None,
            inherited: 0,
        });
        scene.set(0, 0, amounts(300 << 10, MIB));
        scene
    }

    /// A number below `limit`, the same in each run.
    pub fn random(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit.max(1)
    }

    pub fn set(&mut self, image: usize, at: u64, to: Amounts) {
        self.changes.push(Change { at, image, to });
    }

    /// What an image holds after all changes so far.
    pub fn held(&self, image: usize) -> Amounts {
        let mut changes = self.changes.iter().rev();
        changes
            .find(|change| change.image == image)
            .map_or_else(Amounts::default, |change| change.to)
    }

    /// A process with a copy of the image of `parent`. Gives the process and the image.
    pub fn fork(&mut self, parent: usize, at: u64) -> (usize, usize) {
        let from = self
            .images
            .iter()
            .rposition(|image| image.process == parent)
            .unwrap_or(0);
        let held = self.held(from);
        self.processes.push(Process {
            parent: Some(parent),
            start: at,
            end: None,
            status: 0,
            oom: false,
        });
        let process = self.processes.len() - 1;
        self.images.push(Image {
            process,
            origin: Origin::Fork,
            parent: Some(from),
            program: Arc::clone(&self.images[from].program),
            start: at,
            end: None,
            inherited: held.rss(),
        });
        let image = self.images.len() - 1;
        self.set(image, at, held);
        (process, image)
    }

    /// The process executes a program. Gives the image.
    pub fn exec(&mut self, process: usize, at: u64, args: &[&[u8]]) -> usize {
        self.end_image(process, at);
        self.images.push(Image {
            process,
            origin: Origin::Exec,
            parent: None,
            program: program(args),
            start: at,
            end: None,
            inherited: 0,
        });
        self.set(self.images.len() - 1, at, amounts(200 << 10, 900 << 10));
        self.images.len() - 1
    }

    fn end_image(&mut self, process: usize, at: u64) {
        let last = self
            .images
            .iter()
            .rposition(|image| image.process == process);
        if let Some(last) = last {
            self.images[last].end = Some(at);
            self.set(last, at, Amounts::default());
        }
    }

    /// The process ends with a status as wait(2) encodes it.
    pub fn exit(&mut self, process: usize, at: u64, status: u32) {
        self.end_image(process, at);
        let ended = &mut self.processes[process];
        ended.end = Some(at);
        ended.status = status;
    }

    /// The OOM killer ends the process.
    pub fn oom_kill(&mut self, process: usize, at: u64) {
        self.exit(process, at, 9);
        self.processes[process].oom = true;
    }

    /// An image grows to `anon` and `file` between two moments, in steps, and wavers.
    pub fn grow(&mut self, image: usize, from: u64, until: u64, anon: u64, file: u64, steps: u64) {
        let held = self.held(image);
        let between = |a: u64, b: u64, i: u64| {
            if b >= a {
                a + (b - a) / steps * i
            } else {
                a - (a - b) / steps * i
            }
        };
        for i in 1..=steps {
            let at = from + (until.saturating_sub(from)) / steps * i;
            let wavering = self.random(1 + anon / 20);
            let to = amounts(
                between(held.anon, anon, i).saturating_sub(wavering),
                between(held.file, file, i),
            );
            self.set(image, at, to);
        }
    }

    /// The changes in order, no two at the same moment.
    pub fn ordered(&self) -> Vec<Change> {
        let mut changes = self.changes.clone();
        changes.sort_by_key(|change| change.at);
        let mut before = None;
        for change in &mut changes {
            if let Some(before) = before {
                change.at = change.at.max(before + 1);
            }
            before = Some(change.at);
        }
        changes
    }

    /// The result and its story, in spans of that width.
    pub fn build(&self, width_ns: u64) -> (Summary, Timeline) {
        let changes = self.ordered();
        let mut timeline = timeline(&changes, self.images.len(), width_ns);
        let inheriting = self.images.iter().filter(|image| image.inherited > 0);
        let inheriting: Vec<_> = inheriting.collect();
        for span in &mut timeline.tree {
            let forks = inheriting.iter().filter(|image| {
                image.start <= span.start_ns && image.end.is_none_or(|end| end > span.start_ns)
            });
            let shared: u64 = forks.map(|image| image.inherited).sum();
            span.shared = shared.min(span.last.rss());
        }
        (self.summary(&changes, timeline.end_ns), timeline)
    }

    fn summary(&self, changes: &[Change], end: u64) -> Summary {
        let count = self.images.len();
        let mut held = vec![Amounts::default(); count];
        let mut images: Vec<ImageSummary> =
            (0..count).map(|i| self.image_summary(i, end)).collect();
        let mut tree = TreeSummary {
            duration_ns: end,
            events: changes.len() as u64,
            peak_rss: 0,
            peak_at_ns: 0,
            peak_range: None,
            peak: Amounts::default(),
            peak_rss_swap: 0,
            peak_huge: 0,
            average: Amounts::default(),
            average_rss: 0,
            footprint: Footprint::default(),
            at_peak: Vec::new(),
            biggest: None,
            snapshots: Vec::new(),
            branches: Vec::new(),
        };
        let mut sum = Amounts::default();
        let mut area = 0_u128;
        let mut areas = vec![0_u128; count];
        let mut since = vec![0_u64; count];
        let mut before = 0;
        let mut at_peak = held.clone();
        for change in changes {
            area += u128::from(sum.rss()) * u128::from(change.at - before);
            before = change.at;
            let was = std::mem::replace(&mut held[change.image], change.to);
            areas[change.image] +=
                u128::from(was.rss()) * u128::from(change.at - since[change.image]);
            since[change.image] = change.at;
            sum = minus(&sum, &was).plus(&change.to);
            let image = &mut images[change.image];
            image.events += 1;
            raise(&mut image.peak, &change.to);
            image.peak_rss_swap = image.peak_rss_swap.max(change.to.rss() + change.to.swap);
            if change.to.rss() > image.peak_rss {
                image.peak_rss = change.to.rss();
                image.peak_at_ns = change.at;
                image.own_peak = change.to;
            }
            raise(&mut tree.peak, &sum);
            tree.peak_rss_swap = tree.peak_rss_swap.max(sum.rss() + sum.swap);
            if sum.rss() > tree.peak_rss {
                tree.peak_rss = sum.rss();
                tree.peak_at_ns = change.at;
                at_peak.clone_from(&held);
            }
        }
        tree.average_rss = u64::try_from(area / u128::from(end.max(1))).unwrap_or(0);
        for (i, image) in images.iter_mut().enumerate() {
            image.at_tree_peak = at_peak[i];
            image.average_rss =
                u64::try_from(areas[i] / u128::from(image.lifetime_ns.max(1))).unwrap_or(0);
            if at_peak[i].rss() > 0 {
                tree.at_peak.push(Holder {
                    image: i,
                    held: at_peak[i],
                    shared: self.images[i].inherited.min(at_peak[i].rss()),
                });
            }
        }
        tree.at_peak
            .sort_by_key(|holder| std::cmp::Reverse(holder.held.rss()));
        tree.biggest = (0..count).max_by_key(|&i| (images[i].peak_rss, std::cmp::Reverse(i)));
        let shared: u64 = tree.at_peak.iter().map(|holder| holder.shared).sum();
        tree.footprint = Footprint {
            low: tree.peak_rss - shared,
            low_at_ns: tree.peak_at_ns,
            high: tree.peak_rss - shared,
            high_at_ns: tree.peak_at_ns,
            average_low: tree.average_rss,
        };
        let processes = (0..self.processes.len())
            .map(|p| self.process_summary(p, end))
            .collect();
        let root = &self.processes[0];
        Summary {
            command: self.command.clone(),
            outcome: root.end.map(|_| Outcome::from_wait_status(root.status)),
            wall_ns: end,
            user_ns: end / 3,
            system_ns: end / 20,
            kernel_maxrss: None,
            started_unix_ns: Some(1_790_000_000 * S),
            page_size: 4096,
            ended_by_limit: None,
            own_cgroup: None,
            only_counted: Counts::default(),
            certificate: Certificate {
                verdict: Verdict::Exact,
                reasons: Vec::new(),
                remarks: Vec::new(),
                tier: "A".to_owned(),
                events: changes.len() as u64,
                lost: Lost::default(),
                residual_bytes: 0,
                breakdown_difference_bytes: 0,
                sizes_seen: SizesSeen::AtPageFaults,
                quantities: Quantities::of_samples(Verdict::Exact),
                segments: None,
                cross_checks: CrossChecks {
                    count: 21,
                    ..CrossChecks::default()
                },
                stats: Stats::default(),
            },
            tree,
            processes,
            images,
        }
    }

    fn pid(process: usize) -> u32 {
        4242 + u32::try_from(process).unwrap_or(0)
    }

    fn image_summary(&self, i: usize, end: u64) -> ImageSummary {
        let image = &self.images[i];
        ImageSummary {
            id: i as u64 + 1,
            origin: image.origin,
            fate: if image.end.is_some() {
                Fate::Ended
            } else {
                Fate::Alive
            },
            parent: image.parent.map(|parent| parent as u64 + 1),
            owner: Some(image.process),
            pid: Self::pid(image.process),
            program: Arc::clone(&image.program),
            start_ns: image.start,
            end_ns: image.end,
            lifetime_ns: image.end.unwrap_or(end).saturating_sub(image.start),
            events: 0,
            peak_rss: 0,
            peak_at_ns: 0,
            peak_range: None,
            peak: Amounts::default(),
            own_peak: Amounts::default(),
            peak_rss_swap: 0,
            average: Amounts::default(),
            average_rss: 0,
            at_tree_peak: Amounts::default(),
            inherited: image.inherited,
            vm: VmPeaks::default(),
            vm_average: VmMeans::default(),
            segments: None,
            peak_huge: 0,
            kernel_hiwater_rss: 0,
            residual: 0,
        }
    }

    fn process_summary(&self, p: usize, end: u64) -> ProcessSummary {
        let process = &self.processes[p];
        let own = self.images.iter().enumerate();
        let own = own.filter(|(_, image)| image.process == p);
        let images: Vec<ImageUse> = own
            .map(|(i, image)| ImageUse {
                image: i,
                kind: match image.origin {
                    Origin::Fork => UseKind::Fork,
                    Origin::Exec => UseKind::Exec,
                    Origin::Found => UseKind::Found,
                },
                start_ns: image.start,
                end_ns: image.end,
                kernel_maxrss: None,
            })
            .collect();
        let last = images.last().map_or(0, |used| used.image);
        ProcessSummary {
            pid: Self::pid(p),
            ns_pid: Self::pid(p),
            ppid: process.parent.map_or(4000, Self::pid),
            parent: process.parent,
            root: p == 0,
            comm: self.images[last].program.comm.clone(),
            start_ns: process.start,
            end_ns: process.end,
            lifetime_ns: process.end.unwrap_or(end).saturating_sub(process.start),
            outcome: process
                .end
                .map(|_| Outcome::from_wait_status(process.status)),
            oom_killed: process.oom,
            survivor: process.end.is_none(),
            before: None,
            usage: process.end.map(|_| Usage {
                user_ns: 1,
                system_ns: 1,
                cpu_exact: true,
                minor_faults: 100,
                major_faults: 0,
                threads: 1,
            }),
            images,
        }
    }
}

fn minus(a: &Amounts, b: &Amounts) -> Amounts {
    Amounts {
        anon: a.anon - b.anon,
        file: a.file - b.file,
        shmem: a.shmem - b.shmem,
        swap: a.swap - b.swap,
    }
}

fn raise(peak: &mut Amounts, now: &Amounts) {
    peak.anon = peak.anon.max(now.anon);
    peak.file = peak.file.max(now.file);
    peak.shmem = peak.shmem.max(now.shmem);
    peak.swap = peak.swap.max(now.swap);
}

/// The spans of changes that are in order, as the types' documentation defines them.
pub fn timeline(changes: &[Change], images: usize, width_ns: u64) -> Timeline {
    let mut held = vec![Amounts::default(); images];
    let mut sum = Amounts::default();
    let mut out = Timeline {
        width_ns,
        recorded_width_ns: width_ns,
        end_ns: changes.last().map_or(0, |change| change.at + 1),
        images: vec![Vec::new(); images],
        ..Timeline::default()
    };
    // Images that have changed in this span.
    let mut touched: Vec<usize> = Vec::new();
    for change in changes {
        let start = match width_ns {
            0 => change.at,
            width => change.at / width * width,
        };
        if out.tree.last().is_none_or(|span| span.start_ns != start) {
            touched.clear();
            out.tree.push(TreeSpan {
                start_ns: start,
                min_rss: sum.rss(),
                max_rss: sum.rss(),
                max_at_ns: start,
                at_max: sum,
                last: sum,
                shared: 0,
            });
        }
        touched.push(change.image);
        let spans = &mut out.images[change.image];
        let was = std::mem::replace(&mut held[change.image], change.to);
        if spans.last().is_none_or(|span| span.start_ns != start) {
            spans.push(ImageSpan {
                start_ns: start,
                min_rss: was.rss(),
                max_rss: was.rss(),
                max_at_ns: start,
                max: was,
                last: was,
                at_tree_max: was,
                sizes: Sizes::default(),
            });
        }
        let Some(span) = spans.last_mut() else {
            continue;
        };
        span.min_rss = span.min_rss.min(change.to.rss());
        if change.to.rss() > span.max_rss {
            span.max_rss = change.to.rss();
            span.max_at_ns = change.at;
        }
        raise(&mut span.max, &change.to);
        span.last = change.to;
        sum = minus(&sum, &was).plus(&change.to);
        let Some(tree) = out.tree.last_mut() else {
            continue;
        };
        tree.min_rss = tree.min_rss.min(sum.rss());
        tree.last = sum;
        if sum.rss() > tree.max_rss {
            tree.max_rss = sum.rss();
            tree.max_at_ns = change.at;
            tree.at_max = sum;
            for &image in &touched {
                if let Some(span) = out.images[image].last_mut() {
                    span.at_tree_max = held[image];
                }
            }
        }
    }
    out
}
