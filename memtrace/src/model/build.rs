//! Puts the result together once everything is known, and checks it on the way.

use std::collections::{BTreeMap, BTreeSet};

use memtrace_ebpf::{MEMBERS, Member, Pages, SegmentsRecord, Tree, VmField, VmMean};

use super::{
    branches,
    certificate::{Findings, judge},
    checks::{check_ids, check_images, check_processes, check_tree},
    final_state::Final,
    fold::Folded,
    measured::{
        Measured, amounts, average, averages, bytes, completed, completed_members, rss,
        rss_integral, signed_bytes,
    },
    processes::{People, Place},
    segments::{self, Segments},
    story::{Birth, Lives, Story},
    summary::{
        BranchSummary, Counts, Footprint, Holder, ImageSummary, Origin, Outcome, ProcessSummary,
        PssSnapshot, Summary, TreeSummary, VmMeans, VmPeaks,
    },
};

/// Boot time to time since the tree's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) zero: u64,
    pub(super) ended_at: u64,
}

impl Clock {
    pub(super) const fn ns(&self, at: u64) -> u64 {
        at.saturating_sub(self.zero)
    }
}

pub(super) fn build(
    story: Story,
    ended: BTreeMap<u64, Measured>,
    repeated: &[u64],
    segments: BTreeMap<u64, SegmentsRecord>,
    folded: &Folded,
    mut last: Final,
) -> Summary {
    let mut findings = Findings::default();
    for id in repeated {
        findings.gap("images that ended more than once", || format!("image {id}"));
    }
    let mut images = ended;
    for image in &last.images {
        if !folded.images.contains(image.id) {
            images
                .entry(image.id)
                .or_insert_with(|| Measured::alive(image, last.ended_at));
        }
    }
    end_with_the_last_image(&mut last, &images, folded);
    bound_footprint(&mut last.tree, &images, &mut findings);
    let mut lives = story.lives();
    let alive = check_processes(&mut lives, &last, folded, &mut findings);
    check_ids(&lives, &images, &last.processes, folded, &mut findings);
    check_images(&images, &last, folded, &mut findings);
    let segments = segments::all(segments, &last.segments, &images, &mut findings);
    let root = lives.0.values().any(|life| {
        let birth = life.birth.as_ref();
        birth.is_some_and(Birth::is_root)
    });
    if root && images.is_empty() {
        findings.gap("commands of which no address space was seen", || {
            "the command itself".to_owned()
        });
    }
    check_tree(&images, &last.tree, last.page_size, &mut findings);
    branches::check(&last, &mut findings);

    let clock = Clock {
        zero: zero(&last.tree, &lives, last.ended_at),
        ended_at: last.ended_at,
    };
    let people = People::new(&lives, &images, alive, &mut findings);
    let processes = people.summaries(clock, last.page_size);
    findings.attached = processes.iter().any(|process| process.before.is_some());
    findings.several_threads = folded.several_threads
        || processes
            .iter()
            .any(|process| process.usage.as_ref().is_none_or(|usage| usage.threads > 1));
    let ground = segments::Ground::of(&last);
    let alone = with_one_thread(&images, &processes, &last);
    let index: BTreeMap<u64, usize> = images.keys().copied().zip(0..).collect();
    let mut summaries: Vec<ImageSummary> = images
        .values()
        .map(|image| {
            let place = people.place(image.id);
            let mut summary =
                image_summary(image, place, clock, last.tree.peak_seq, last.page_size);
            let record = segments.get(&image.id);
            let alone = alone.contains(&image.id) && summary.owner.is_some();
            summary.segments = record.map(|record| Box::new(Segments::new(record, ground, alone)));
            summary
        })
        .collect();
    let at_peak = at_peak(&images, &index, &last, &mut findings);
    let branches = branches::summaries(&last, clock, &processes, &summaries, &at_peak);
    let mut tree = tree_summary(&last, clock, at_peak, branches, &summaries);
    let certificate = match &last.sampled {
        None => {
            let told = summaries.iter();
            let told: Vec<_> = told.filter_map(|image| image.segments.as_deref()).collect();
            judge(&last, &findings, &told)
        }
        Some(sampled) => sampled.certificate(&last, findings.breakdown_difference_bytes),
    };
    if let Some(sampled) = &last.sampled {
        sampled.mark(&mut tree, &mut summaries);
    }
    Summary {
        outcome: last
            .wait_status
            .map(|s| Outcome::from_wait_status(s.cast_unsigned()))
            // Nobody waited for what was attached to.
            .or_else(|| {
                let mut roots = processes.iter().filter(|process| process.root);
                match (roots.next(), roots.next()) {
                    (Some(root), None) if root.before.is_some() => root.outcome,
                    _ => None,
                }
            }),
        command: last.command,
        wall_ns: last.wall_ns,
        user_ns: last.user_ns,
        system_ns: last.system_ns,
        kernel_maxrss: last.maxrss_bytes,
        started_unix_ns: last.started_unix_ns,
        page_size: last.page_size,
        ended_by_limit: last.ended_by_limit,
        own_cgroup: last.own_cgroup,
        certificate,
        tree,
        processes,
        images: summaries,
        only_counted: Counts {
            processes: folded.processes.len(),
            images: folded.images.len(),
        },
    }
}

/// Images none of whose processes ever had two threads.
fn with_one_thread(
    images: &BTreeMap<u64, Measured>,
    processes: &[ProcessSummary],
    last: &Final,
) -> BTreeSet<u64> {
    let ids: Vec<u64> = images.keys().copied().collect();
    let mut alone: BTreeSet<u64> = ids.iter().copied().collect();
    let living: BTreeMap<u32, u64> = last
        .processes
        .iter()
        .map(|process| (process.tgid, process.threads))
        .collect();
    for process in processes {
        let ended = process.usage.as_ref().map(|usage| usage.threads.into());
        let threads = ended.or_else(|| living.get(&process.pid).copied());
        if threads.is_none_or(|threads| threads > 1) {
            for used in &process.images {
                ids.get(used.image).map(|id| alone.remove(id));
            }
        }
    }
    alone
}

/// Once every image has ended, so has the tree: how long it took us to notice must
/// not dilute its means.
fn end_with_the_last_image(last: &mut Final, images: &BTreeMap<u64, Measured>, folded: &Folded) {
    if images.values().all(|image| image.ended_at.is_some())
        && let Some(end) = images.values().filter_map(|image| image.ended_at).max()
    {
        last.ended_at = end.max(folded.last_end);
    }
}

/// Where the record of who shares what was not kept, or does not add up, the footprint
/// is only known to lie between the largest image and the sum of all.
fn bound_footprint(tree: &mut Tree, images: &BTreeMap<u64, Measured>, findings: &mut Findings) {
    let alive = images.values().filter(|image| image.is_alive());
    let shared = alive.fold(0_i64, |sum, image| sum.saturating_add(image.shared));
    if tree.family_lost == 0 && tree.shared == shared {
        return;
    }
    findings.footprint_unknown = true;
    let largest = images
        .values()
        .filter(|image| image.counted())
        .max_by_key(|image| image.peak_rss);
    tree.peak_footprint_low = largest.map_or(0, |image| image.peak_rss.min(tree.peak_rss));
    tree.peak_footprint_low_at = largest.map_or(0, |image| image.peak_rss_at);
    tree.peak_footprint_high = tree.peak_rss;
    tree.peak_footprint_high_at = tree.peak_rss_at;
    tree.shared = 0;
    tree.shared_integral =
        tree.integral
            .iter()
            .fold(memtrace_ebpf::Integral::default(), |sum, member| {
                memtrace_ebpf::Integral {
                    hi: sum.hi.saturating_add(member.hi),
                    lo: sum.lo.saturating_add(member.lo),
                }
            });
}

/// When the tree began; if no image was ever active, when its first process did.
fn zero(tree: &Tree, lives: &Lives, ended_at: u64) -> u64 {
    if tree.started_at > 0 {
        return tree.started_at;
    }
    let starts = lives
        .0
        .values()
        .map(|life| life.started_at)
        .filter(|&at| at > 0);
    starts.min().unwrap_or(ended_at)
}

/// Who held what at the tree's peak, largest first.
fn at_peak(
    images: &BTreeMap<u64, Measured>,
    index: &BTreeMap<u64, usize>,
    last: &Final,
    findings: &mut Findings,
) -> Vec<Holder> {
    let tree = &last.tree;
    let mut sum: Pages = [0; MEMBERS];
    let mut holders = Vec::new();
    for image in images.values() {
        let held = image.at_peak(tree.peak_seq);
        for (sum, held) in sum.iter_mut().zip(held) {
            *sum = sum.saturating_add(held);
        }
        let held = amounts(&held, last.page_size);
        let shared = bytes(image.shared_at_peak(tree.peak_seq), last.page_size);
        if let Some(&image) = index.get(&image.id).filter(|_| held.rss() > 0) {
            holders.push(Holder {
                image,
                held,
                shared,
            });
        }
    }
    holders.sort_by_key(|holder| (std::cmp::Reverse(holder.held.rss()), holder.image));
    let difference = rss(&sum)
        .abs_diff(tree.peak_rss)
        .saturating_mul(last.page_size);
    findings.breakdown_difference_bytes = difference;
    if difference == 0 && (0..MEMBERS).any(|m| sum[m] > tree.peak[m]) {
        findings.gap("totals of the tree that are impossible", || {
            "a member's peak is below what was held at the peak".to_owned()
        });
    }
    holders
}

fn tree_summary(
    last: &Final,
    clock: Clock,
    at_peak: Vec<Holder>,
    branches: Vec<BranchSummary>,
    images: &[ImageSummary],
) -> TreeSummary {
    let (tree, page, until) = (&last.tree, last.page_size, last.ended_at);
    let duration = clock.ns(until);
    let integral = completed_members(&tree.integral, &tree.cur, &tree.integral_at, until);
    let shared_integral = completed(
        tree.shared_integral,
        tree.shared,
        tree.shared_integral_at,
        until,
    );
    let files_integral = completed(
        tree.files_integral,
        tree.files,
        tree.files_integral_at,
        until,
    );
    let files = [Member::File, Member::Shmem]
        .iter()
        .fold(0_u128, |sum, &member| {
            sum.saturating_add(integral.get(member as usize).copied().unwrap_or(0))
        });
    // Recordings of schemas up to 2 do not have it.
    let twice = if tree.files_of == 0 {
        0
    } else {
        files.saturating_sub(files_integral)
    };
    let footprint_integral = rss_integral(&integral)
        .saturating_sub(shared_integral)
        .saturating_sub(twice);
    let ran = images.iter().enumerate().filter(|(_, image)| image.ran());
    let biggest = ran.max_by_key(|(i, image)| (image.peak_rss, std::cmp::Reverse(*i)));
    TreeSummary {
        duration_ns: duration,
        events: tree.events,
        peak_rss: bytes(tree.peak_rss, page),
        peak_at_ns: clock.ns(tree.peak_rss_at),
        peak_range: None,
        peak: amounts(&tree.peak, page),
        peak_rss_swap: bytes(tree.peak_rss_swap, page),
        peak_huge: bytes(tree.peak_huge, page),
        average: averages(&integral, duration, page),
        average_rss: average(rss_integral(&integral), duration, page),
        footprint: Footprint {
            low: bytes(tree.peak_footprint_low, page),
            low_at_ns: clock.ns(tree.peak_footprint_low_at),
            high: bytes(tree.peak_footprint_high, page),
            high_at_ns: clock.ns(tree.peak_footprint_high_at),
            average_low: average(footprint_integral, duration, page),
        },
        at_peak,
        biggest: biggest.map(|(i, _)| i),
        snapshots: last
            .snapshots
            .iter()
            .map(|snapshot| PssSnapshot {
                at_ns: clock.ns(snapshot.at_ns),
                ..*snapshot
            })
            .collect(),
        branches,
    }
}

fn image_summary(
    image: &Measured,
    place: Place,
    clock: Clock,
    peak_seq: u64,
    page: u64,
) -> ImageSummary {
    use memtrace_ebpf::ImageKind;
    let lifetime = image.until.saturating_sub(image.born_at);
    let pages = |field| image.vm(field).saturating_mul(page);
    let mean = |size: VmMean| average(image.vm_integral[size as usize], lifetime, page);
    let mean_bytes = |size: VmMean| average(image.vm_integral[size as usize], lifetime, 1);
    // As of VmExe, the text itself is all that counts of it; it is there as long as the image.
    let mean_text = image.text_bytes.min(mean(VmMean::Exec));
    let exec = pages(VmField::Exec);
    let text = image.text_bytes.min(exec);
    ImageSummary {
        id: image.id,
        origin: match image.kind {
            Some(ImageKind::Fork) => Origin::Fork,
            Some(ImageKind::Exec) => Origin::Exec,
            Some(ImageKind::Found | ImageKind::Attached) | None => Origin::Found,
        },
        fate: place.fate,
        parent: Some(image.parent).filter(|&id| id != 0),
        owner: place.owner,
        pid: place.pid,
        program: place.program,
        start_ns: clock.ns(image.born_at),
        end_ns: image.ended_at.map(|at| clock.ns(at)),
        lifetime_ns: clock
            .ns(image.until)
            .saturating_sub(clock.ns(image.born_at)),
        events: image.events,
        peak_rss: bytes(image.peak_rss, page),
        peak_at_ns: clock.ns(image.peak_rss_at),
        peak_range: None,
        peak: amounts(&image.peak, page),
        own_peak: amounts(&image.own_peak, page),
        peak_rss_swap: bytes(image.peak_rss_swap, page),
        average: averages(&image.integral, lifetime, page),
        average_rss: average(rss_integral(&image.integral), lifetime, page),
        at_tree_peak: amounts(&image.at_peak(peak_seq), page),
        // What was there before is not fork's.
        inherited: match image.kind {
            Some(ImageKind::Attached) => 0,
            _ => bytes(image.inherited, page),
        },
        vm: VmPeaks {
            size: image.hiwater_vm.saturating_mul(page),
            data: pages(VmField::Data),
            stack: pages(VmField::Stack),
            exec,
            text,
            lib: exec - text,
            heap: image.vm(VmField::Heap),
            page_tables: image.vm(VmField::PageTables),
            locked: pages(VmField::Locked),
            pinned: pages(VmField::Pinned),
        },
        vm_average: VmMeans {
            size: mean(VmMean::Size),
            data: mean(VmMean::Data),
            stack: mean(VmMean::Stack),
            text: mean_text,
            lib: mean(VmMean::Exec) - mean_text,
            heap: mean_bytes(VmMean::Heap),
            page_tables: mean_bytes(VmMean::PageTables),
            locked: mean(VmMean::Locked),
            pinned: mean(VmMean::Pinned),
        },
        segments: None,
        peak_huge: bytes(image.peak_huge, page),
        kernel_hiwater_rss: image.hiwater_rss.saturating_mul(page),
        residual: signed_bytes(image.residual, page),
    }
}
