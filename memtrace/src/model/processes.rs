//! Which process an image belongs to, which images a process used, and under
//! which name.

use std::{collections::BTreeMap, sync::Arc};

use memtrace_ebpf::{ImageKind, ImageState, ProcessFlags};

use super::{
    build::Clock,
    certificate::Findings,
    cpu_times::CpuTimes,
    measured::Measured,
    story::{Birth, Life, Lives},
    summary::{Before, Fate, ImageUse, Outcome, ProcessSummary, Program, Usage, UseKind},
};

/// Where an image belongs.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) owner: Option<usize>,
    pub(super) pid: u32,
    pub(super) fate: Fate,
    pub(super) program: Arc<Program>,
}

/// All processes, in order of creation, and the images' places among them.
#[derive(Debug)]
pub(super) struct People<'a> {
    lives: Vec<&'a Life>,
    parents: Vec<Option<usize>>,
    /// Processes that live, each with the image that its last record names.
    alive: BTreeMap<u64, u64>,
    images: &'a BTreeMap<u64, Measured>,
    places: BTreeMap<u64, Place>,
    /// Images without a record that names their process, by the process that tried.
    unclaimed: BTreeMap<usize, Vec<u64>>,
}

impl<'a> People<'a> {
    /// Finds every image's place.
    pub(super) fn new(
        known: &'a Lives,
        images: &'a BTreeMap<u64, Measured>,
        alive: BTreeMap<u64, u64>,
        findings: &mut Findings,
    ) -> Self {
        let mut lives: Vec<&Life> = known.0.values().collect();
        lives.sort_by_key(|life| (life.started_at, life.pid, life.id));
        let index: BTreeMap<u64, usize> = lives.iter().map(|life| life.id).zip(0..).collect();
        let find = |process: u64| index.get(&process).copied();
        let parents = lives
            .iter()
            .map(|life| {
                life.birth
                    .as_ref()
                    .and_then(|birth| find(birth.creator_process))
            })
            .zip(0..)
            .map(|(parent, own)| parent.filter(|&parent| parent != own))
            .collect();
        let mut people = Self {
            lives,
            parents,
            alive,
            images,
            places: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
        };
        let claims = people.claims(findings);
        for image in images.values() {
            let claim = claims.get(&image.id);
            let owner = claim
                .map(|claim| claim.owner)
                .or_else(|| find(image.process));
            let fate = people.fate(image, owner, claim.is_some(), findings);
            let program = people.program(image, owner, claim);
            let pid = owner
                .and_then(|i| people.lives.get(i))
                .map_or(image.tgid, |life| life.pid);
            if let (Some(owner), None) = (owner, claim) {
                people.unclaimed.entry(owner).or_default().push(image.id);
            }
            people.places.insert(
                image.id,
                Place {
                    owner,
                    pid,
                    fate,
                    program,
                },
            );
        }
        people
    }

    /// The images that FORK and EXEC records name.
    fn claims(&self, findings: &mut Findings) -> BTreeMap<u64, Claim<'a>> {
        let mut claims: BTreeMap<u64, Claim<'a>> = BTreeMap::new();
        let mut claim = |id: u64, owner: usize, pid: u32, program: Option<&'a Arc<Program>>| {
            if id != 0 && claims.insert(id, Claim { owner, program }).is_some() {
                findings.gap("images claimed by two processes", || {
                    format!("image {id}, pid {pid}")
                });
            }
        };
        for (life, owner) in self.lives.iter().copied().zip(0..) {
            if let Some(birth) = life.birth.as_ref().filter(|birth| !birth.shares_image()) {
                claim(birth.image, owner, life.pid, birth.program.as_ref());
            }
            for exec in &life.execs {
                claim(exec.image, owner, life.pid, Some(&exec.program));
            }
        }
        claims
    }

    /// What became of an image, and whether that is credible.
    fn fate(
        &self,
        image: &Measured,
        owner: Option<usize>,
        claimed: bool,
        findings: &mut Findings,
    ) -> Fate {
        let id = image.id;
        let ended = if image.is_alive() {
            Fate::Alive
        } else {
            Fate::Ended
        };
        let active = image.state == Some(ImageState::Active);
        if image.kind == Some(ImageKind::Found) {
            findings.gap("images whose birth was missed", || format!("image {id}"));
            return ended;
        }
        if claimed {
            if !active {
                findings.gap("images in use that were never counted", || {
                    format!("image {id}")
                });
            }
            return ended;
        }
        let failed = match image.kind {
            Some(ImageKind::Fork) => Fate::FailedFork,
            _ => Fate::FailedExec,
        };
        // The process that has switched to this image and has not executed another one since.
        let switched = owner
            .and_then(|i| self.lives.get(i))
            .filter(|_| failed == Fate::FailedExec)
            .filter(|life| life.execs.last().is_none_or(|exec| exec.at < image.born_at));
        // begin_new_exec() makes the new image the process's own; the record is sent, and the process
        // known to have it, when the program is loaded into it. Tracing can end between.
        let is_loading = switched.is_some_and(|life| {
            let known = self.alive.get(&life.id);
            known.is_some_and(|&known| known != id)
        });
        if active && image.is_alive() && is_loading {
            return Fate::Alive;
        }
        // execve can fail when the old image is gone already; then it kills the process.
        let killed_by_exec = switched
            .and_then(|life| life.exit)
            .is_some_and(|exit| Outcome::from_wait_status(exit.wait_status).signal.is_some());
        if active && (image.is_alive() || !killed_by_exec) {
            findings.gap("images in use without a record of the process", || {
                format!("image {id}")
            });
            return ended;
        }
        if image.is_alive() {
            Fate::Unfinished
        } else {
            failed
        }
    }

    /// What runs in an image.
    fn program(
        &self,
        image: &Measured,
        owner: Option<usize>,
        claim: Option<&Claim<'_>>,
    ) -> Arc<Program> {
        if let Some(program) = claim.and_then(|claim| claim.program) {
            return Arc::clone(program);
        }
        // Ids grow in order of birth, so a parent has its place already.
        if let Some(parent) = self.places.get(&image.parent) {
            return Arc::clone(&parent.program);
        }
        let life = owner.and_then(|i| self.lives.get(i));
        if let Some(program) = life.and_then(|life| life.program_at(image.born_at)) {
            return Arc::clone(program);
        }
        let comm = life
            .and_then(|life| life.birth.as_ref())
            .map(|birth| birth.comm.clone());
        let comm = comm.unwrap_or_default();
        let args = if comm.is_empty() {
            Vec::new()
        } else {
            vec![comm.clone()]
        };
        Arc::new(Program {
            args,
            comm,
            ..Program::default()
        })
    }

    /// Where an image belongs.
    pub(super) fn place(&self, id: u64) -> Place {
        self.places.get(&id).cloned().unwrap_or_else(|| Place {
            owner: None,
            pid: 0,
            fate: Fate::Ended,
            program: Arc::default(),
        })
    }

    /// The processes as the result shows them.
    pub(super) fn summaries(&self, clock: Clock, page_size: u64) -> Vec<ProcessSummary> {
        let index: BTreeMap<u64, usize> = self.images.keys().copied().zip(0..).collect();
        let lives = self.lives.iter().zip(&self.parents).zip(0..);
        lives
            .map(|((life, &parent), i)| {
                let exit = life.exit.as_ref();
                let survivor = exit.is_none() && self.alive.contains_key(&life.id);
                let birth = life.birth.as_ref();
                let comm = life.execs.last().map(|exec| exec.program.comm.clone());
                let until = exit.map_or(clock.ended_at, |exit| exit.header.at);
                ProcessSummary {
                    pid: life.pid,
                    ns_pid: birth.map_or(life.pid, |birth| birth.ns_tgid),
                    ppid: birth.map_or(0, |birth| birth.creator),
                    parent: if life.is_root() { None } else { parent },
                    root: life.is_root(),
                    comm: comm
                        .or_else(|| birth.map(|birth| birth.comm.clone()))
                        .unwrap_or_default(),
                    start_ns: clock.ns(life.started_at),
                    end_ns: exit.map(|exit| clock.ns(exit.header.at)),
                    lifetime_ns: until.saturating_sub(life.started_at.max(clock.zero)),
                    outcome: exit
                        .filter(|exit| exit.flags & ProcessFlags::STATUS_UNKNOWN == 0)
                        .map(|exit| Outcome::from_wait_status(exit.wait_status)),
                    oom_killed: life.oom
                        || exit.is_some_and(|exit| exit.flags & ProcessFlags::OOM_KILLED != 0),
                    survivor,
                    before: birth
                        .filter(|birth| birth.is_attached())
                        .map(|birth| Before {
                            age_ns: clock.zero.saturating_sub(life.started_at),
                            kernel_hiwater_rss: u64::try_from(birth.inherited)
                                .unwrap_or(0)
                                .saturating_mul(page_size),
                        }),
                    usage: exit
                        .filter(|exit| exit.flags & ProcessFlags::USAGE_UNKNOWN == 0)
                        .map(|exit| {
                            // Of one that was attached to, threads can have ended before.
                            let attached = birth.is_none_or(Birth::is_attached);
                            let alone = exit.threads <= 1 && !attached;
                            (exit, CpuTimes::of(exit, life.freed.as_ref(), alone))
                        })
                        .map(|(exit, cpu)| Usage {
                            user_ns: cpu.user_ns,
                            system_ns: cpu.system_ns,
                            cpu_exact: cpu.is_exact,
                            minor_faults: exit.min_flt,
                            major_faults: exit.maj_flt,
                            threads: exit.threads,
                        }),
                    images: self.uses(i, life, &index, clock, page_size),
                }
            })
            .collect()
    }

    /// The images of one process in sequence.
    fn uses(
        &self,
        own: usize,
        life: &Life,
        index: &BTreeMap<u64, usize>,
        clock: Clock,
        page_size: u64,
    ) -> Vec<ImageUse> {
        let exit_at = life.exit.as_ref().map(|exit| exit.header.at);
        let first_exec_at = life.execs.first().map(|exec| exec.at);
        // When the process left its n-th image, the kernel had this idea of its peak.
        let maxrss = |exec: usize| {
            let next = life.execs.get(exec).map(|exec| exec.maxrss);
            let pages = next.or_else(|| life.exit.as_ref().map(|exit| exit.maxrss));
            // 0 where the kernel was not asked.
            let pages = pages.filter(|pages| *pages > 0);
            pages.map(|pages| pages.saturating_mul(page_size))
        };
        let of = |id: u64, kind: UseKind, kernel_maxrss: Option<u64>| -> Option<(u64, ImageUse)> {
            let image = self.images.get(&id)?;
            let was_there = matches!(image.kind, Some(ImageKind::Found | ImageKind::Attached));
            let kind = if was_there && kind != UseKind::Shared {
                UseKind::Found
            } else {
                kind
            };
            let used = ImageUse {
                image: *index.get(&id)?,
                kind,
                start_ns: clock.ns(image.born_at),
                end_ns: image.ended_at.map(|at| clock.ns(at)),
                kernel_maxrss,
            };
            Some((image.born_at, used))
        };
        let mut uses: Vec<(u64, ImageUse)> = Vec::new();
        if let Some(birth) = life.birth.as_ref().filter(|birth| !birth.is_stopped()) {
            let shared = birth.shares_image();
            let kind = if shared {
                UseKind::Shared
            } else {
                UseKind::Fork
            };
            uses.extend(of(birth.image, kind, maxrss(0)).map(|(at, mut used)| {
                if shared {
                    used.start_ns = clock.ns(life.started_at);
                    used.end_ns = first_exec_at.or(exit_at).map(|at| clock.ns(at));
                    return (life.started_at, used);
                }
                (at, used)
            }));
        }
        for (exec, next) in life.execs.iter().zip(1..) {
            uses.extend(of(exec.image, UseKind::Exec, maxrss(next)));
        }
        for &id in self.unclaimed.get(&own).into_iter().flatten() {
            let fate = self.places.get(&id).map(|place| place.fate);
            let image = self.images.get(&id).and_then(|image| image.kind);
            let kind = match (fate, image) {
                (Some(Fate::FailedFork | Fate::FailedExec | Fate::Unfinished), _) => {
                    UseKind::Failed
                }
                (Some(Fate::Alive), Some(ImageKind::Exec)) => UseKind::Exec,
                _ => UseKind::Found,
            };
            uses.extend(of(id, kind, None));
        }
        uses.sort_by_key(|(at, used)| (*at, used.image));
        uses.into_iter().map(|(_, used)| used).collect()
    }
}

/// A record that names an image's process.
#[derive(Clone, Copy, Debug)]
struct Claim<'a> {
    owner: usize,
    program: Option<&'a Arc<Program>>,
}
