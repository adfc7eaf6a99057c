//! What is left in the maps.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    maps::{Array, ArrayOfMaps, HashMap, MapData, MapError, PerCpuArray},
    programs::Program,
};
use memtrace_ebpf::{Branch, Image, Process, SegmentHooks, SegmentsRecord, Stat, Tree};

use super::{
    Probe, ProbeError,
    load::{CLASSIC, FAMILIES, FAULT_DONE, RSS_STAT},
};
use crate::model::{BranchState, Missed, Stats};

/// The kernel side's state when tracing ended.
#[derive(Clone, Debug)]
pub struct Remains {
    /// Totals of the tree.
    pub tree: Tree,
    /// Images that are still alive.
    pub images: Vec<Image>,
    /// Processes that are still alive.
    pub processes: Vec<Process>,
    /// Totals of all statistics.
    pub stats: Stats,
    /// Programs that the kernel skipped.
    pub missed: Vec<Missed>,
    /// Segments of images that live.
    pub segments: Vec<SegmentsRecord>,
    /// What each of several roots has.
    pub branches: Vec<BranchState>,
}

pub(super) fn map_error(
    operation: &'static str,
    map: &'static str,
) -> impl Fn(MapError) -> ProbeError {
    move |source| ProbeError::Map {
        operation,
        map,
        source,
    }
}

/// A process with all its flags in one word.
fn whole(process: Process) -> Process {
    Process {
        flags: process.all_flags(),
        ..process
    }
}

/// An image with what its open window lacks in the map.
fn complete(mut image: Image) -> Image {
    image.complete_window();
    image
}

impl Probe {
    /// Totals of the tree as they are now; while programs run, of no one moment.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn tree(&self) -> Result<Tree, ProbeError> {
        const MAP: &str = "TREES";
        let map = self.map(MAP)?;
        Array::<_, Tree>::try_from(map)
            .map_err(map_error("open", MAP))?
            .get(&self.root_tree, 0)
            .map(|mut tree| {
                tree.complete_window();
                tree
            })
            .map_err(map_error("read", MAP))
    }

    /// Totals of each of several roots.
    fn branches(&self) -> Result<Vec<BranchState>, ProbeError> {
        const MAP: &str = "BRANCHES";
        let map = self.map(MAP)?;
        let totals = Array::<_, Branch>::try_from(map).map_err(map_error("open", MAP))?;
        let known = (0..).zip(&self.branches).map(|(index, known)| {
            let totals = totals.get(&index, 0).map_err(map_error("read", MAP))?;
            Ok(BranchState {
                totals,
                ..known.clone()
            })
        });
        known.collect()
    }

    /// The image of the `mm_struct` at this address, if it lives.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn image(&self, mm: u64) -> Result<Option<Image>, ProbeError> {
        const MAP: &str = "IMAGES";
        let map = self.map(MAP)?;
        match HashMap::<_, u64, Image>::try_from(map)
            .map_err(map_error("open", MAP))?
            .get(&mm, 0)
        {
            Ok(image) => Ok(Some(complete(image))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(map_error("read", MAP)(source)),
        }
    }

    /// The followed process with this id (in the initial PID namespace), if it lives.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn process(&self, tgid: u32) -> Result<Option<Process>, ProbeError> {
        const MAP: &str = "PROCESSES";
        let map = self.map(MAP)?;
        match HashMap::<_, u32, Process>::try_from(map)
            .map_err(map_error("open", MAP))?
            .get(&tgid, 0)
        {
            Ok(process) => Ok(Some(whole(process))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(map_error("read", MAP)(source)),
        }
    }

    /// Ends tracing at one moment for all programs, waits for those that run, and detaches them: from
    /// here on nothing changes. Gives why, if they could not be waited for: what is read then can be in
    /// the middle of a change.
    ///
    /// # Errors
    ///
    /// When a program cannot be detached or a map not be read.
    pub fn stop(&mut self) -> Result<Option<ProbeError>, ProbeError> {
        self.spare = None;
        self.end_all()?;
        let mut unsettled = None;
        if self.has_anyone()? {
            unsettled = self.wait_for_programs().err();
        }
        let mut missed = Vec::new();
        // The further programs on an event only do what the first one left.
        let (further, first): (Vec<_>, Vec<_>) = self.programs.iter().partition(|program| {
            FAMILIES
                .iter()
                .any(|family| family.further.contains(program))
        });
        for name in [further, first].concat() {
            let fd = self.descriptor(name)?;
            self.detach(name)?;
            // Only now is the last of them counted.
            missed.extend(fd.map(|fd| self.recursion_misses(name, &fd)));
        }
        for name in self.functions() {
            let fd = self.descriptor(name)?;
            self.detach_function(name)?;
            missed.extend(fd.map(|fd| self.recursion_misses(name, &fd)));
        }
        let fd = self.descriptor(CLASSIC)?;
        self.detach_classic()?;
        missed.extend(fd.map(|fd| self.recursion_misses(CLASSIC, &fd)));
        let fd = self.descriptor(FAULT_DONE)?;
        self.detach_fault_done()?;
        // Elsewhere it finds nothing to do, and can be skipped.
        let fd = fd.filter(|_| self.threads_have_caches);
        missed.extend(fd.map(|fd| self.recursion_misses(FAULT_DONE, &fd)));
        self.missed = missed.into_iter().collect::<Result<_, _>>()?;
        let skipped = times_missed(&self.missed, RSS_STAT);
        discount_families(&mut self.missed);
        if self.segments() != SegmentHooks::Off {
            self.caught_up = skipped.saturating_sub(times_missed(&self.missed, RSS_STAT));
        }
        Ok(unsettled)
    }

    /// No program begins anything from here on.
    fn end_all(&mut self) -> Result<(), ProbeError> {
        const MAP: &str = ".bss";
        let map = self.map_mut(MAP)?;
        Array::<_, u64>::try_from(map)
            .map_err(map_error("open", MAP))?
            .set(0, 1, 0)
            .map_err(map_error("write", MAP))
    }

    /// Whether anyone is left whose events a program could be at work on.
    fn has_anyone(&self) -> Result<bool, ProbeError> {
        const IMAGES: &str = "IMAGES";
        const PROCESSES: &str = "PROCESSES";
        let images = HashMap::<_, u64, Image>::try_from(self.map(IMAGES)?)
            .map_err(map_error("open", IMAGES))?;
        let processes = HashMap::<_, u32, Process>::try_from(self.map(PROCESSES)?)
            .map_err(map_error("open", PROCESSES))?;
        Ok(self.tree()?.live != 0
            || images.keys().next().is_some()
            || processes.keys().next().is_some())
    }

    /// Waits until every program that runs has returned: an RCU grace period. Detaching does not wait.
    fn wait_for_programs(&mut self) -> Result<(), ProbeError> {
        const MAP: &str = "GRACE";
        let inner = Array::<MapData, u64>::create(1, 0).map_err(map_error("create", MAP))?;
        let map = self.map_mut(MAP)?;
        ArrayOfMaps::<_, Array<MapData, u64>>::try_from(map)
            .map_err(map_error("open", MAP))?
            .set(0, &inner, 0)
            .map_err(map_error("write", MAP))
    }

    /// Reads what is left after [`Probe::stop`]. The ring may still hold records:
    /// [drain](Probe::drain) it afterwards.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn remains(&self) -> Result<Remains, ProbeError> {
        let images = self.all_images()?;
        let processes = self.all_processes()?;
        let mut stats = self.stats()?;
        stats.set(Stat::SegmentsCaughtUp, self.caught_up);
        Ok(Remains {
            tree: self.tree()?,
            images,
            processes,
            stats,
            missed: self.missed.clone(),
            segments: self.all_segments()?,
            branches: self.branches()?,
        })
    }

    /// The same while the programs run: of no one moment, and what ends meanwhile may be in
    /// it or not.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn now(&self) -> Result<Remains, ProbeError> {
        let mut now = self.remains()?;
        // A key that is removed meanwhile lets the kernel begin again.
        let mut seen = BTreeSet::new();
        now.images.retain(|image| seen.insert(image.id));
        let mut seen = BTreeSet::new();
        now.processes.retain(|process| seen.insert(process.tgid));
        Ok(now)
    }

    /// The same with the programs that the kernel skipped until then.
    ///
    /// # Errors
    ///
    /// When a map cannot be read, or what the kernel tells of a program.
    pub fn so_far(&self) -> Result<Remains, ProbeError> {
        let mut so_far = self.now()?;
        let fault_done = self.threads_have_caches.then_some(FAULT_DONE);
        let names = self.programs.iter().copied().chain(self.functions());
        for name in names.chain([CLASSIC]).chain(fault_done) {
            if let Some(fd) = self.descriptor(name)? {
                so_far.missed.push(self.recursion_misses(name, &fd)?);
            }
        }
        let skipped = times_missed(&so_far.missed, RSS_STAT);
        discount_families(&mut so_far.missed);
        if self.segments() != SegmentHooks::Off {
            let caught_up = skipped.saturating_sub(times_missed(&so_far.missed, RSS_STAT));
            so_far.stats.set(Stat::SegmentsCaughtUp, caught_up);
        }
        Ok(so_far)
    }

    fn all_images(&self) -> Result<Vec<Image>, ProbeError> {
        const MAP: &str = "IMAGES";
        let map = self.map(MAP)?;
        HashMap::<_, u64, Image>::try_from(map)
            .map_err(map_error("open", MAP))?
            .iter()
            .take(self.most_images)
            .map(|entry| entry.map(|(_, image)| complete(image)))
            .collect::<Result<_, _>>()
            .map_err(map_error("read", MAP))
    }

    /// Every process that is followed and lives.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn processes(&self) -> Result<Vec<Process>, ProbeError> {
        self.all_processes()
    }

    fn all_processes(&self) -> Result<Vec<Process>, ProbeError> {
        const MAP: &str = "PROCESSES";
        let map = self.map(MAP)?;
        HashMap::<_, u32, Process>::try_from(map)
            .map_err(map_error("open", MAP))?
            .iter()
            .take(self.most_processes)
            .map(|entry| entry.map(|(_, process)| whole(process)))
            .collect::<Result<_, _>>()
            .map_err(map_error("read", MAP))
    }

    pub(super) fn stats(&self) -> Result<Stats, ProbeError> {
        const MAP: &str = "STATS";
        let map = self.map(MAP)?;
        let stats = PerCpuArray::<_, u64>::try_from(map).map_err(map_error("open", MAP))?;
        Stat::ALL
            .into_iter()
            .map(|stat| {
                let values = stats
                    .get(&(stat as u32), 0)
                    .map_err(map_error("read", MAP))?;
                Ok((stat, values.iter().sum()))
            })
            .collect()
    }

    /// A descriptor of a program that outlives its detaching; `None` if it is not loaded.
    fn descriptor(&self, name: &'static str) -> Result<Option<OwnedFd>, ProbeError> {
        self.ebpf
            .program(name)
            .and_then(descriptor)
            .map(|fd| fd.try_clone_to_owned())
            .transpose()
            .map_err(|source| ProbeError::Misses {
                program: name,
                source,
            })
    }

    /// `recursion_misses` of a program, from its descriptor's entry in /proc
    /// (`bpf_prog_show_fdinfo()`, kernel/bpf/syscall.c, since 5.12). Kernels before skip no
    /// programs either, and are all among those without counters per CPU.
    fn recursion_misses(&self, program: &'static str, fd: &OwnedFd) -> Result<Missed, ProbeError> {
        let failed = |source| ProbeError::Misses { program, source };
        let info =
            fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).map_err(failed)?;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("recursion_misses:"));
        let count = match line {
            Some(value) => value
                .trim()
                .parse()
                .map_err(|error| failed(io::Error::other(error)))?,
            None if self.may_lack_misses => 0,
            None => return Err(failed(io::Error::other("it has no line recursion_misses"))),
        };
        Ok(Missed {
            program: program.to_owned(),
            count,
        })
    }
}

/// How often a program was skipped.
fn times_missed(missed: &[Missed], program: &str) -> u64 {
    let of_it = missed.iter().filter(|missed| missed.program == program);
    of_it.fold(0, |sum: u64, one| sum.saturating_add(one.count))
}

/// An event is lost only if all programs on it were skipped: no more often than the one
/// that was skipped least.
fn discount_families(missed: &mut [Missed]) {
    for family in FAMILIES {
        let own = |missed: &&mut Missed| family.has(&missed.program);
        let Some(all) = missed.iter_mut().filter(own).map(|one| one.count).min() else {
            continue;
        };
        for (one, first) in missed
            .iter_mut()
            .filter(own)
            .zip(std::iter::once(true).chain(std::iter::repeat(false)))
        {
            if one.count > all {
                log::debug!("program {} was skipped {} times", one.program, one.count);
            }
            one.count = if first { all } else { 0 };
        }
    }
}

fn descriptor(program: &Program) -> Option<BorrowedFd<'_>> {
    match program {
        Program::BtfTracePoint(program) => program.fd(),
        Program::TracePoint(program) => program.fd(),
        Program::FExit(program) => program.fd(),
        Program::FEntry(program) => program.fd(),
        _ => return None,
    }
    .ok()
    .map(AsFd::as_fd)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::discount_families;
    use crate::{
        kernel::{Btf, Features, cpus},
        model::Missed,
        probe::{Ahead, Options, Probe},
    };

    /// A count that is not read is no proof that nothing was skipped.
    #[test]
    fn the_misses_of_every_program_are_known_at_the_end() {
        let required = std::env::var_os("MEMTRACE_REQUIRE_ALL").is_some();
        let Ok(btf) = Btf::from_sys_fs() else {
            assert!(!required, "this kernel has no BTF");
            eprintln!("skipped: this kernel has no BTF");
            return;
        };
        let features = Features::from_btf(&btf).unwrap();
        let options = Options::new(cpus::possible().unwrap(), cpus::page_size());
        let mut probe = match Probe::load(
            &btf,
            &features,
            &options,
            *b"mt-misses-test\0\0",
            &mut Ahead::begin(),
            &mut crate::phases::Phases::begin(None),
        ) {
            Ok(probe) => probe,
            Err(error) => {
                assert!(!required, "{error}");
                eprintln!("skipped: {error}");
                return;
            }
        };
        let attached = probe.programs.clone();
        assert!(probe.stop().unwrap().is_none());
        let missed = probe.remains().unwrap().missed;
        for program in attached {
            assert!(
                missed.iter().any(|missed| missed.program == program),
                "{program}: {missed:?}"
            );
        }
    }

    #[test]
    fn what_another_program_saw_is_not_lost() {
        let missed = |program: &str, count| Missed {
            program: program.to_owned(),
            count,
        };
        let mut found = vec![
            missed("task_newtask", 3),
            missed("mark_victim_task", 7),
            missed("sched_process_fork", 1),
            missed("sched_process_exec", 2),
        ];
        discount_families(&mut found);
        assert_eq!(
            found,
            [
                missed("task_newtask", 1),
                missed("mark_victim_task", 7),
                missed("sched_process_fork", 0),
                // It is the only one here.
                missed("sched_process_exec", 2),
            ]
        );
    }
}
