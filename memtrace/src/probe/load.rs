//! Loading and attaching.

use std::{fmt, fs::File, io};

use aya::{
    Btf, Ebpf, Endianness,
    maps::{Array, Map, MapData, ProgramArray, RingBuf},
    programs::{
        BtfTracePoint, FExit, Program, ProgramFd, RawTracePoint, RawTracePointRunOptions, TestRun,
        TracePoint,
    },
};
use aya_log::EbpfLogger;
use memtrace_ebpf::{COMM_LEN, Control, CounterLayout, SegmentHooks};

use super::{
    Fentry, FentryState, Options, ProbeError, TreeLock, attach,
    choice::Choice,
    loader::Ahead,
    object,
    rings::{self, Timeline, ring},
    running, segments, verify,
};
use crate::{
    kernel::{self, Features, MarkVictim},
    model::{BranchState, Missed},
    phases::Phases,
};

/// The program of the fallback's classic tracepoint.
pub(super) const CLASSIC: &str = "rss_stat_size";

/// The mandatory hook.
pub(super) const RSS_STAT: &str = "rss_stat";

/// Tells of processes that the kernel lets go of; the hook is called the same. It goes on when the others are detached.
const FREE: &str = "sched_process_free";

/// Where the end of a page fault is seen.
const HANDLE_MM_FAULT: &str = "handle_mm_fault";
/// The program for it.
pub(super) const FAULT_DONE: &str = "fault_done";

/// The loaded BPF programs. Dropping it detaches them; nothing is pinned.
pub struct Probe {
    pub(super) ebpf: Ebpf,
    pub(super) ring: RingBuf<MapData>,
    /// The ring of CPU times, if they are asked for.
    pub(super) freed: Option<RingBuf<MapData>>,
    /// The ring of the timeline, if one is recorded.
    pub(super) timeline: Option<Timeline>,
    /// Where the programs' own log lines come out, if they write any.
    pub(super) logger: Option<EbpfLogger<&'static dyn log::Log>>,
    root_name: [u8; COMM_LEN],
    pub(super) programs: Vec<&'static str>,
    fentry: FentryState,
    lock: TreeLock,
    /// How segments are told apart.
    pub(super) segments: SegmentHooks,
    /// How often the kernel skipped each program; known once they are detached.
    pub(super) missed: Vec<Missed>,
    /// [`Stat::SegmentsCaughtUp`](memtrace_ebpf::Stat::SegmentsCaughtUp); known then, too.
    pub(super) caught_up: u64,
    /// Whether this kernel may be too old to tell how often it skipped a program.
    pub(super) may_lack_misses: bool,
    /// Whether threads hold back changes of the counters, which are seen at the end of faults.
    pub(super) threads_have_caches: bool,
    /// How many entries the maps can have: while they change, going through them has no end
    /// of its own.
    pub(super) most_images: usize,
    /// See [`Options::root_tree`].
    pub(super) root_tree: u32,
    /// See [`Probe::most_images`].
    pub(super) most_processes: usize,
    /// Several roots that are asked for each.
    pub(super) branches: Vec<BranchState>,
    /// A descriptor kept free for the end, when there may be no other.
    pub(super) spare: Option<File>,
    pub(super) undecodable: u64,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("programs", &self.programs)
            .field("undecodable", &self.undecodable)
            .finish_non_exhaustive()
    }
}

impl Probe {
    /// Loads the programs and attaches them. From here on the tree is followed as
    /// soon as its root has [registered](Self::root_name).
    ///
    /// # Errors
    ///
    /// When the kernel refuses a map or a program.
    pub fn load(
        kernel: &kernel::Btf,
        features: &Features,
        options: &Options,
        root_name: [u8; COMM_LEN],
        ahead: &mut Ahead,
        phases: &mut Phases,
    ) -> Result<Self, ProbeError> {
        let mut choice = Choice::first(kernel, features, options)?;
        loop {
            let result =
                Self::load_with(kernel, features, options, root_name, choice, ahead, phases);
            let Err(error) = result else { return result };
            let Some(next) = choice.after(&error, options) else {
                return Err(error);
            };
            log::debug!("not with {choice:?}: {error}");
            choice = next;
        }
    }

    fn load_with(
        kernel: &kernel::Btf,
        features: &Features,
        options: &Options,
        root_name: [u8; COMM_LEN],
        choice: Choice,
        ahead: &mut Ahead,
        phases: &mut Phases,
    ) -> Result<Self, ProbeError> {
        let mut names: Vec<&str> = hooks(features, options, choice.segments)?
            .iter()
            .map(|(_, hook)| *hook)
            .collect();
        names.push(RSS_STAT);
        let btf = Btf::parse(&attach::table(kernel, &names), Endianness::default())
            .map_err(|source| ProbeError::Btf { source })?;
        let layout = if options.classic_size.is_some() {
            CounterLayout::Classic
        } else {
            features.layout
        };
        let mut ebpf = object::open(features, options, layout, root_name, choice, ahead)?;
        phases.done("the BPF object is parsed, its maps are made");
        let ring = ring(&mut ebpf, "EVENTS")?;
        let timeline = Timeline::open(&mut ebpf, options)?;
        let freed = rings::freed(&mut ebpf, options)?;
        let logger = if options.log {
            match EbpfLogger::init(&mut ebpf) {
                Ok(logger) => Some(logger),
                Err(error) => {
                    log::warn!("no log lines from the BPF programs: {error}");
                    None
                }
            }
        } else {
            None
        };
        let mut probe = Self {
            ebpf,
            ring,
            freed,
            timeline,
            logger,
            root_name,
            programs: Vec::new(),
            fentry: FentryState::Unused,
            lock: choice.lock,
            segments: choice.segments,
            missed: Vec::new(),
            caught_up: 0,
            may_lack_misses: features.layout == CounterLayout::Atomic,
            threads_have_caches: features.task_caches,
            most_images: options.max_images as usize,
            root_tree: options.root_tree,
            most_processes: options.max_processes as usize,
            branches: Vec::new(),
            spare: None,
            undecodable: 0,
        };
        if layout == CounterLayout::PerCpu {
            probe.find_cpu_offsets()?;
        }
        if choice.segments == SegmentHooks::Functions {
            let zap = options.segments.and_then(|sources| sources.zap);
            let zap = zap.ok_or(ProbeError::NoSegments)?;
            probe
                .attach_functions(kernel, zap)
                .map_err(segments::refused)?;
        }
        let mut plan = hooks(features, options, choice.segments)?;
        plan.push(match layout {
            CounterLayout::Classic => ("rss_stat_before", RSS_STAT),
            _ if features.task_caches => ("rss_stat_cached", RSS_STAT),
            _ => ("rss_stat", RSS_STAT),
        });
        let further = further(&plan, features);
        // The largest comes last in the plan.
        let threads = (options.attached > 0)
            .then(|| running::function(kernel))
            .transpose()?;
        let all = further.iter().chain(&plan).copied();
        let walks: &[_] = match choice.segments {
            SegmentHooks::Off => &[running::PROGRAM],
            _ => &[segments::BASES, running::PROGRAM],
        };
        let threads = threads.as_ref().map(|function| (function, walks));
        verify::all(&mut probe.ebpf, all, &btf, threads)?;
        phases.done("the kernel verifies the programs");
        for (program, _) in plan {
            probe.attach(program)?;
        }
        if layout == CounterLayout::Classic {
            // After the one before: programs are called in the order of attaching.
            probe.attach_classic()?;
        }
        probe.attach_further(&further)?;
        let needed = features.task_caches && layout == CounterLayout::Atomic;
        match options.fentry {
            Fentry::On => {
                probe.attach_fault_done(kernel)?;
                probe.fentry = FentryState::Attached;
            }
            Fentry::Auto if !needed => {}
            Fentry::Auto | Fentry::Try => {
                probe.fentry = match probe.attach_fault_done(kernel) {
                    Ok(()) => FentryState::Attached,
                    Err(error) => FentryState::Refused(error.to_string()),
                };
            }
            Fentry::Off => {}
        }
        let spare = File::open("/dev/null").map_err(|source| ProbeError::Spare { source })?;
        probe.spare = Some(spare);
        phases.done("the programs are attached");
        Ok(probe)
    }

    /// Whether programs on kernel functions are in use.
    #[must_use]
    pub const fn fentry(&self) -> &FentryState {
        &self.fentry
    }

    /// What orders the changes of a tree's numbers.
    #[must_use]
    pub const fn lock(&self) -> TreeLock {
        self.lock
    }

    /// The end of every page fault, where threads have counted what they hold back.
    fn attach_fault_done(&mut self, kernel: &kernel::Btf) -> Result<(), ProbeError> {
        const PROGRAM: &str = FAULT_DONE;
        let missing = ProbeError::NoFunction {
            name: HANDLE_MM_FAULT,
        };
        let id = kernel.function(HANDLE_MM_FAULT).ok_or(missing)?;
        let table = attach::function(id, HANDLE_MM_FAULT);
        let btf = Btf::parse(&table, Endianness::default())
            .map_err(|source| ProbeError::Btf { source })?;
        let program: &mut FExit = program_mut(&mut self.ebpf, PROGRAM)?;
        program
            .load(HANDLE_MM_FAULT, &btf)
            .map_err(|source| ProbeError::Load {
                program: PROGRAM,
                source: Box::new(source),
            })?;
        program
            .attach()
            .map(drop)
            .map_err(|source| ProbeError::Attach {
                program: PROGRAM,
                source: Box::new(source),
            })
    }

    /// Detaches what [`Probe::attach_fault_done`] attached.
    pub(super) fn detach_fault_done(&mut self) -> Result<(), ProbeError> {
        if self.fentry != FentryState::Attached {
            return Ok(());
        }
        let program: &mut FExit = program_mut(&mut self.ebpf, FAULT_DONE)?;
        program.unload().map_err(|source| ProbeError::Attach {
            program: FAULT_DONE,
            source: Box::new(source),
        })
    }

    /// The name that the root takes with `prctl(PR_SET_NAME)` to register.
    #[must_use]
    pub const fn root_name(&self) -> &[u8; COMM_LEN] {
        &self.root_name
    }

    /// Attaches a program that is loaded.
    fn attach(&mut self, program: &'static str) -> Result<(), ProbeError> {
        let found: &mut BtfTracePoint = program_mut(&mut self.ebpf, program)?;
        found.attach().map_err(|source| ProbeError::Attach {
            program,
            source: Box::new(source),
        })?;
        if program != FREE {
            self.programs.push(program);
        }
        Ok(())
    }

    /// The further programs of each event, when the first one is attached: programs are
    /// called in the order of attaching.
    fn attach_further(
        &mut self,
        further: &[(&'static str, &'static str)],
    ) -> Result<(), ProbeError> {
        for family in FAMILIES {
            let mut own = further
                .iter()
                .filter(|(program, _)| family.further.contains(program))
                .peekable();
            if own.peek().is_none() {
                continue;
            }
            let main: &mut BtfTracePoint = program_mut(&mut self.ebpf, family.main)?;
            let main = main
                .fd()
                .map_err(io::Error::other)
                .and_then(ProgramFd::try_clone)
                .map_err(|source| ProbeError::Misses {
                    program: family.main,
                    source,
                })?;
            let failed = |source| ProbeError::Map {
                operation: "fill",
                map: family.array,
                source,
            };
            let array = self.ebpf.map_mut(family.array).ok_or(ProbeError::Missing {
                kind: "map",
                name: family.array,
            })?;
            ProgramArray::try_from(array)
                .and_then(|mut array| array.set(0, &main, 0))
                .map_err(failed)?;
            for (program, _) in own {
                self.attach(program)?;
            }
        }
        Ok(())
    }

    /// The perf tracepoint of the fallback; its fd stays with aya until the probe is dropped.
    fn attach_classic(&mut self) -> Result<(), ProbeError> {
        const PROGRAM: &str = CLASSIC;
        let program: &mut TracePoint = program_mut(&mut self.ebpf, PROGRAM)?;
        program.load().map_err(|source| ProbeError::Load {
            program: PROGRAM,
            source: Box::new(source),
        })?;
        program
            .attach("kmem", "rss_stat")
            .map_err(|source| ProbeError::Attach {
                program: PROGRAM,
                source: Box::new(source),
            })?;
        Ok(())
    }

    fn find_cpu_offsets(&mut self) -> Result<(), ProbeError> {
        match self.run_once("find_cpu_offsets")? {
            0 => Ok(()),
            step => Err(ProbeError::CpuOffsets { step }),
        }
    }

    /// Whether the atomics that the programs are compiled to give what they should on
    /// this machine; the number of the first that does not otherwise.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the program that tries them.
    pub fn check_atomics(&mut self) -> Result<Option<u32>, ProbeError> {
        let failed = self.run_once(object::CHECK_ATOMICS)?;
        Ok((failed != 0).then_some(failed))
    }

    /// Runs a program by itself (`BPF_PROG_TEST_RUN`); gives its return value.
    fn run_once(&mut self, name: &'static str) -> Result<u32, ProbeError> {
        run_once(&mut self.ebpf, name)
    }

    /// Ends registration: the root is known from here on.
    ///
    /// # Errors
    ///
    /// [`ProbeError::NotRegistered`] if no process took the name.
    pub fn registered(&mut self) -> Result<u32, ProbeError> {
        let control = self.control()?;
        if control.root_tgid == 0 {
            return Err(ProbeError::NotRegistered);
        }
        self.detach("register")?;
        Ok(control.root_tgid)
    }

    /// A map of the object.
    pub(super) fn map(&self, name: &'static str) -> Result<&Map, ProbeError> {
        self.ebpf
            .map(name)
            .ok_or(ProbeError::Missing { kind: "map", name })
    }

    pub(super) fn map_mut(&mut self, name: &'static str) -> Result<&mut Map, ProbeError> {
        self.ebpf
            .map_mut(name)
            .ok_or(ProbeError::Missing { kind: "map", name })
    }

    pub(super) fn control(&self) -> Result<Control, ProbeError> {
        const MAP: &str = "CONTROL";
        let map = self.map(MAP)?;
        let failed = |source| ProbeError::Map {
            operation: "read",
            map: MAP,
            source,
        };
        Array::<_, Control>::try_from(map)
            .map_err(failed)?
            .get(&0, 0)
            .map_err(failed)
    }

    /// Unloads one program, which detaches it too.
    pub(super) fn detach(&mut self, program: &'static str) -> Result<(), ProbeError> {
        let found: &mut BtfTracePoint = program_mut(&mut self.ebpf, program)?;
        found.unload().map_err(|source| ProbeError::Attach {
            program,
            source: Box::new(source),
        })?;
        self.programs.retain(|name| *name != program);
        Ok(())
    }

    /// Detaches the fallback's tracepoint, if it is attached.
    pub(super) fn detach_classic(&mut self) -> Result<(), ProbeError> {
        const PROGRAM: &str = CLASSIC;
        let Some(program) = self.ebpf.program_mut(PROGRAM) else {
            return Ok(());
        };
        let Ok(program): Result<&mut TracePoint, _> = program.try_into() else {
            return Ok(());
        };
        match program.unload() {
            Ok(()) | Err(aya::programs::ProgramError::NotLoaded) => Ok(()),
            Err(source) => Err(ProbeError::Attach {
                program: PROGRAM,
                source: Box::new(source),
            }),
        }
    }
}

/// Runs a program by itself (`BPF_PROG_TEST_RUN`); gives its return value.
pub(super) fn run_once(ebpf: &mut Ebpf, name: &'static str) -> Result<u32, ProbeError> {
    let program: &mut RawTracePoint = program_mut(ebpf, name)?;
    let failed = |source| ProbeError::Load {
        program: name,
        source: Box::new(source),
    };
    if program.fd().is_err() {
        program.load().map_err(failed)?;
    }
    let result = program
        .test_run(RawTracePointRunOptions::new())
        .map_err(failed)?;
    Ok(result.return_value)
}

/// A program of the object, as its own type.
pub(super) fn program_mut<'a, P>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut P, ProbeError>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(ProbeError::Missing {
            kind: "program",
            name,
        })
}

/// Which program goes to which hook on this kernel, in the order of attaching: the
/// life-cycle hooks before the counters, so that no image is met by surprise.
fn hooks(
    features: &Features,
    options: &Options,
    hooks_of_segments: SegmentHooks,
) -> Result<Vec<(&'static str, &'static str)>, ProbeError> {
    let mut hooks = Vec::new();
    if options.attached == 0 {
        hooks.push(("register", "task_rename"));
    }
    hooks.extend([
        ("task_newtask", "task_newtask"),
        ("sched_process_exec", "sched_process_exec"),
        ("sched_process_exit", "sched_process_exit"),
    ]);
    if features.preemptible_tracepoints {
        // A twin, in case the kernel skips the first.
        hooks.push(("sched_process_fork", "sched_process_fork"));
    }
    match features.mark_victim {
        MarkVictim::Task => hooks.push(("mark_victim_task", "mark_victim")),
        MarkVictim::Pid => hooks.push(("mark_victim_pid", "mark_victim")),
        MarkVictim::Absent => {}
    }
    if options.cpu_times {
        hooks.push((FREE, FREE));
    }
    if features.has_exit_mmap {
        hooks.push(("exit_mmap", "exit_mmap"));
    }
    if options.vm_events {
        if !features.has_sys_exit {
            return Err(ProbeError::NoSysExit);
        }
        hooks.push(("sys_exit", "sys_exit"));
    }
    if options.events {
        hooks.extend([
            ("call_begin", "sys_enter"),
            ("call_user_fault", "page_fault_user"),
            ("call_kernel_fault", "page_fault_kernel"),
            ("call_end", "sys_exit"),
        ]);
    }
    if hooks_of_segments == SegmentHooks::Hints {
        hooks.extend(segments::HINTS);
    }
    Ok(hooks)
}

/// The further programs of each event that one of `plan` is on, where they are needed.
fn further(
    plan: &[(&'static str, &'static str)],
    features: &Features,
) -> Vec<(&'static str, &'static str)> {
    FAMILIES
        .iter()
        .filter(|_| features.preemptible_tracepoints)
        .filter(|family| plan.iter().any(|(program, _)| *program == family.main))
        .flat_map(|family| family.further.iter().map(|program| (*program, family.hook)))
        .collect()
}

/// Programs on the same event. The further ones do what those before were skipped for, and
/// are used only where tracepoints can be preempted.
#[derive(Debug)]
pub(super) struct Family {
    hook: &'static str,
    /// Another program that sees the same events, before `main`.
    pub(super) twin: Option<&'static str>,
    /// The program that the further ones go on in.
    pub(super) main: &'static str,
    /// Where they find it.
    array: &'static str,
    pub(super) further: &'static [&'static str],
}

impl Family {
    /// Whether the program is one of them.
    pub(super) fn has(&self, program: &str) -> bool {
        self.main == program || self.twin == Some(program) || self.further.contains(&program)
    }
}

pub(super) const FAMILIES: &[Family] = &[
    Family {
        hook: "sched_process_fork",
        twin: Some("task_newtask"),
        main: "sched_process_fork",
        array: "FORK_AGAIN",
        further: &["sched_process_fork_2", "sched_process_fork_3"],
    },
    Family {
        hook: "sched_process_exec",
        twin: None,
        main: "sched_process_exec",
        array: "EXEC_AGAIN",
        further: &["sched_process_exec_2", "sched_process_exec_3"],
    },
    Family {
        hook: "sched_process_exit",
        twin: None,
        main: "sched_process_exit",
        array: "EXIT_AGAIN",
        further: &[
            "sched_process_exit_2",
            "sched_process_exit_3",
            "sched_process_exit_4",
        ],
    },
    Family {
        hook: "exit_mmap",
        twin: None,
        main: "exit_mmap",
        array: "EXIT_MMAP_AGAIN",
        further: &["exit_mmap_2", "exit_mmap_3"],
    },
    Family {
        hook: RSS_STAT,
        twin: None,
        main: "rss_stat",
        array: "RSS_STAT_AGAIN",
        further: &["rss_stat_2"],
    },
    Family {
        hook: "sys_exit",
        twin: None,
        main: "sys_exit",
        array: "SYS_EXIT_AGAIN",
        further: &["sys_exit_2", "sys_exit_3"],
    },
];
