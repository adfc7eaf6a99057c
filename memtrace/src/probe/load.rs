//! Loading and attaching.

use std::{
    fmt,
    fs::File,
    os::fd::{AsFd, BorrowedFd},
};

use aya::{
    Btf, Ebpf, Endianness,
    maps::{Array, Map, MapData, RingBuf},
    programs::{
        BtfTracePoint, FExit, Program, RawTracePoint, RawTracePointRunOptions, TestRun, TracePoint,
    },
};
use aya_log::EbpfLogger;
use memtrace_ebpf::{COMM_LEN, Control, CounterLayout, SumScheme};

use super::{ProbeError, attach, object};
use crate::{
    event::{DecodeError, Event},
    kernel::{self, Features, MarkVictim},
    model::Missed,
};

/// Whether programs on kernel functions (fentry and fexit) are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fentry {
    /// Where a number depends on them and the kernel lets them in.
    #[default]
    Auto,
    /// Always, if the kernel lets them in.
    Try,
    /// Always; it is an error if the kernel refuses them.
    On,
    /// Never, as on kernels that refuse them.
    Off,
}

/// What became of [`Fentry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FentryState {
    /// Attached.
    Attached,
    /// Not needed on this kernel, or not wanted.
    Unused,
    /// The kernel refused them for this reason.
    Refused(String),
}

/// Sizes and choices that are fixed at load.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many images can be followed at once.
    pub max_images: u32,
    /// How many processes can be followed at once.
    pub max_processes: u32,
    /// Bytes of the ring buffer, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Take values from the classic tracepoint even if the counters' layout is known;
    /// the offset of `size` in its record (see [`crate::kernel::tracefs`]).
    pub classic_size: Option<u32>,
    /// Log what the programs do, through the `log` crate.
    pub log: bool,
    /// How per-CPU shares are summed; `None` chooses by the number of CPUs.
    pub scheme: Option<SumScheme>,
    /// Whether programs on kernel functions are used.
    pub fentry: Fentry,
    /// How many threads can be followed at once where threads hold back changes of the
    /// counters (kernels up to 6.1).
    pub max_threads: u32,
    /// Highest possible CPU number plus one.
    pub cpus: u32,
    /// Bytes per page.
    pub page_size: u64,
}

/// The program of the fallback's classic tracepoint.
pub(super) const CLASSIC: &str = "rss_stat_size";

/// The mandatory hook.
const RSS_STAT: &str = "rss_stat";

/// Where the end of a page fault is seen.
const HANDLE_MM_FAULT: &str = "handle_mm_fault";
/// The program for it.
pub(super) const FAULT_DONE: &str = "fault_done";

/// Above this many CPUs the shares of all of them are too many to read at every event.
const MAX_CPUS_SUMMED: u32 = 16;

impl Options {
    /// Defaults for a machine.
    #[must_use]
    pub const fn new(cpus: u32, page_size: u64) -> Self {
        Self {
            max_images: 16 * 1024,
            max_processes: 32 * 1024,
            ring_bytes: 8 << 20,
            classic_size: None,
            log: false,
            scheme: None,
            fentry: Fentry::Auto,
            max_threads: 64 * 1024,
            cpus,
            page_size,
        }
    }

    /// The scheme in effect.
    #[must_use]
    pub const fn scheme(&self) -> SumScheme {
        match self.scheme {
            Some(scheme) => scheme,
            None if self.cpus <= MAX_CPUS_SUMMED => SumScheme::AllCpus,
            None => SumScheme::Touched,
        }
    }
}

/// The loaded BPF programs. Dropping it detaches them; nothing is pinned.
pub struct Probe {
    pub(super) ebpf: Ebpf,
    ring: RingBuf<MapData>,
    /// Where the programs' own log lines come out, if they write any.
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    root_name: [u8; COMM_LEN],
    pub(super) programs: Vec<&'static str>,
    fentry: FentryState,
    /// How often the kernel skipped each program; known once they are detached.
    pub(super) missed: Vec<Missed>,
    /// Whether this kernel may be too old to tell how often it skipped a program.
    pub(super) may_lack_misses: bool,
    /// A descriptor kept free for the end, when there may be no other.
    pub(super) spare: Option<File>,
    undecodable: u64,
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
    ) -> Result<Self, ProbeError> {
        let mut names: Vec<&str> = hooks(features).iter().map(|(_, hook)| *hook).collect();
        names.push(RSS_STAT);
        let btf = Btf::parse(&attach::table(kernel, &names), Endianness::default())
            .map_err(|source| ProbeError::Btf { source })?;
        let layout = if options.classic_size.is_some() {
            CounterLayout::Classic
        } else {
            features.layout
        };
        let mut ebpf = object::open(features, options, layout, root_name)?;
        let ring = ebpf.take_map("EVENTS").ok_or(ProbeError::Missing {
            kind: "map",
            name: "EVENTS",
        })?;
        let ring = RingBuf::try_from(ring).map_err(|source| ProbeError::Map {
            operation: "open",
            map: "EVENTS",
            source,
        })?;
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
            logger,
            root_name,
            programs: Vec::new(),
            fentry: FentryState::Unused,
            missed: Vec::new(),
            may_lack_misses: features.layout == CounterLayout::Atomic,
            spare: None,
            undecodable: 0,
        };
        if layout == CounterLayout::PerCpu {
            probe.find_cpu_offsets()?;
        }
        for (program, hook) in hooks(features) {
            probe.attach(program, hook, &btf)?;
        }
        if layout == CounterLayout::Classic {
            // In this order: programs are called in the order of attaching.
            probe.attach("rss_stat_before", RSS_STAT, &btf)?;
            probe.attach_classic()?;
        } else if features.task_caches {
            probe.attach("rss_stat_cached", RSS_STAT, &btf)?;
        } else {
            probe.attach("rss_stat", RSS_STAT, &btf)?;
        }
        let needed = features.task_caches && layout == CounterLayout::Atomic;
        match options.fentry {
            Fentry::On => {
                probe.attach_fault_done()?;
                probe.fentry = FentryState::Attached;
            }
            Fentry::Auto if !needed => {}
            Fentry::Auto | Fentry::Try => {
                probe.fentry = match probe.attach_fault_done() {
                    Ok(()) => FentryState::Attached,
                    Err(error) => FentryState::Refused(error.to_string()),
                };
            }
            Fentry::Off => {}
        }
        let spare = File::open("/dev/null").map_err(|source| ProbeError::Spare { source })?;
        probe.spare = Some(spare);
        Ok(probe)
    }

    /// Whether programs on kernel functions are in use.
    #[must_use]
    pub const fn fentry(&self) -> &FentryState {
        &self.fentry
    }

    /// The end of every page fault, where threads have counted what they hold back.
    fn attach_fault_done(&mut self) -> Result<(), ProbeError> {
        const PROGRAM: &str = FAULT_DONE;
        let missing = ProbeError::NoFunction {
            name: HANDLE_MM_FAULT,
        };
        let id = kernel::btf::function(HANDLE_MM_FAULT)
            .ok()
            .flatten()
            .ok_or(missing)?;
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

    fn attach(
        &mut self,
        program: &'static str,
        hook: &'static str,
        btf: &Btf,
    ) -> Result<(), ProbeError> {
        let found: &mut BtfTracePoint = program_mut(&mut self.ebpf, program)?;
        let started = std::time::Instant::now();
        found.load(hook, btf).map_err(|source| ProbeError::Load {
            program,
            source: Box::new(source),
        })?;
        log::debug!(
            "program {program}: {} instructions verified in {:?}",
            found
                .info()
                .ok()
                .and_then(|info| info.verified_instruction_count())
                .map_or_else(|| "unknown".to_owned(), |count| count.to_string()),
            started.elapsed()
        );
        found.attach().map_err(|source| ProbeError::Attach {
            program,
            source: Box::new(source),
        })?;
        self.programs.push(program);
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

    /// Hands every waiting record to `take`, oldest first.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        while let Some(record) = self.ring.next() {
            match Event::decode(&record) {
                Ok(event) => take(event),
                Err(error) => {
                    let error: DecodeError = error;
                    log::debug!("undecodable record: {error}");
                    self.undecodable += 1;
                }
            }
        }
    }

    /// How many records could not be decoded.
    #[must_use]
    pub const fn undecodable(&self) -> u64 {
        self.undecodable
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
fn program_mut<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, ProbeError>
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

impl AsFd for Probe {
    /// Readable when records wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Which program goes to which hook on this kernel, in the order of attaching: the
/// life-cycle hooks before the counters, so that no image is met by surprise.
fn hooks(features: &Features) -> Vec<(&'static str, &'static str)> {
    let mut hooks = vec![
        ("register", "task_rename"),
        ("task_newtask", "task_newtask"),
        ("sched_process_fork", "sched_process_fork"),
        ("sched_process_exec", "sched_process_exec"),
        ("sched_process_exit", "sched_process_exit"),
    ];
    match features.mark_victim {
        MarkVictim::Task => hooks.push(("mark_victim_task", "mark_victim")),
        MarkVictim::Pid => hooks.push(("mark_victim_pid", "mark_victim")),
        MarkVictim::Absent => {}
    }
    if features.has_exit_mmap {
        hooks.push(("exit_mmap", "exit_mmap"));
    }
    hooks
}
