//! What the programs can count on this kernel and where they find it, from its BTF.

mod counters;
mod fields;
mod limit;
mod segments;
#[cfg(test)]
mod tests;

use memtrace_ebpf::{ABSENT, CounterLayout, Member, Offsets};

use super::{
    Btf, KernelError,
    btf::{Shape, TypeId},
};
use counters::Counters;
pub use limit::Limit;
pub use segments::SegmentSources;

/// What tracepoint `oom:mark_victim` tells about the process that the OOM killer chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkVictim {
    /// Its tgid, a plain number.
    Pid,
    /// Its `task_struct`.
    Task,
    /// The tracepoint does not exist or has unknown parameters.
    Absent,
}

/// What the programs can count on this kernel and where they find it.
#[derive(Clone, Debug)]
pub struct Features {
    /// Offsets of the fields that the programs read.
    pub offsets: Offsets,
    /// How RSS counters are stored.
    pub layout: CounterLayout,
    /// Whether threads hold back changes of the counters in `task_struct.rss_stat`
    /// (`SPLIT_RSS_COUNTING`, removed by commit f1a7941243c1): up to 66 faults each.
    pub task_caches: bool,
    /// Parameters of `kmem:rss_stat` without the leading `void *`: `(mm, member)` or `(mm, member, count)`.
    pub rss_stat_args: u32,
    /// Whether `sched:sched_process_exit` tells that the whole process ends (`group_dead`,
    /// commit 3e816361e94a). It then comes before the task lets go of its memory.
    pub exit_has_group_dead: bool,
    /// `task:task_newtask` exists, with the parameters known.
    pub has_task_newtask: bool,
    /// `sched:sched_process_fork` exists, with the parameters known.
    pub has_sched_process_fork: bool,
    /// `mmap:exit_mmap` exists, with the parameters known.
    pub has_exit_mmap: bool,
    /// `raw_syscalls:sys_exit` exists, with the parameters known.
    pub has_sys_exit: bool,
    /// What `oom:mark_victim` tells.
    pub mark_victim: MarkVictim,
    /// Whether tracepoints may call their programs with preemption on, and skip them then
    /// (7.0, commit a46023d5616e). Found by what they rest on, read-side critical sections of
    /// SRCU whose kind belongs to the domain; a kernel that has those for others only is
    /// taken for one, too, which costs a few nanoseconds and nothing else.
    pub preemptible_tracepoints: bool,
    /// Whether hash maps that these programs fill may allocate their entries one by one: by the
    /// allocator for BPF programs (6.1, commit fba1a1c6c912), whose entries a program can
    /// go on using for a moment after another has removed them, as those of maps that allocate all at once.
    pub entries_on_demand: bool,
    /// What is less exact or missing on this kernel.
    pub limits: Vec<Limit>,
}

impl Features {
    /// Whether the scheduler's sums can be read.
    #[must_use]
    pub const fn has_cpu_times(&self) -> bool {
        self.offsets.task_runtime != ABSENT && self.offsets.signal_runtime != ABSENT
    }

    /// Finds out what the kernel that `btf` describes offers.
    ///
    /// # Errors
    /// [`KernelError`] names what is missing, if nothing can be counted without it.
    pub fn from_btf(btf: &Btf) -> Result<Self, KernelError> {
        check_counter_numbers(btf)?;
        let mut limits = Vec::new();
        let mut offsets = fields::find(btf, &mut limits)?;

        let (layout, counters) = counters::find(btf)?;
        let task_caches = match layout {
            CounterLayout::Atomic => fields::find_task_caches(btf, &mut offsets)?,
            CounterLayout::PerCpu | CounterLayout::Classic => false,
        };
        match counters {
            Counters::Known(known) => known.store(&mut offsets),
            Counters::Unknown { found } => limits.push(Limit::UnknownCounters { found }),
        }
        if layout == CounterLayout::PerCpu {
            fields::find_per_cpu(btf, &mut offsets)?;
        }

        let rss_stat_args = required(btf, &RSS_STAT)?;
        required(btf, &PROCESS_EXEC)?;
        let exit_args = required(btf, &PROCESS_EXIT)?;
        let has_task_newtask = exists(btf, &TASK_NEWTASK)?;
        let has_sched_process_fork = exists(btf, &PROCESS_FORK)?;
        let has_exit_mmap = exists(btf, &EXIT_MMAP)?;
        let has_sys_exit = exists(btf, &SYS_EXIT)?;
        match (has_task_newtask, has_sched_process_fork) {
            (true, true) => {}
            (false, true) => limits.push(Limit::NoNewtask),
            (true, false) => limits.push(Limit::NoProcessFork),
            (false, false) => {
                return Err(KernelError::MissingTracepoint {
                    event: TASK_NEWTASK.name,
                    meaning: TASK_NEWTASK.meaning,
                });
            }
        }
        if !has_exit_mmap {
            limits.push(Limit::NoExitMmap);
        }
        let mark_victim = if exists(btf, &MARK_VICTIM_TASK)? {
            MarkVictim::Task
        } else if exists(btf, &MARK_VICTIM_PID)? {
            MarkVictim::Pid
        } else {
            limits.push(Limit::NoOomEvent);
            MarkVictim::Absent
        };

        let preemptible_tracepoints = btf.field("srcu_struct.srcu_reader_flavor")?.is_some();
        let entries_on_demand = btf.field("bpf_htab.ma")?.is_some();
        Ok(Self {
            preemptible_tracepoints,
            entries_on_demand,
            offsets,
            layout,
            task_caches,
            rss_stat_args,
            exit_has_group_dead: exit_args == 2,
            has_task_newtask,
            has_sched_process_fork,
            has_exit_mmap,
            has_sys_exit,
            mark_victim,
            limits,
        })
    }
}

/// The programs, and all that is computed from them, number the counters as the
/// kernel does; a kernel with other numbers must not be counted wrongly.
fn check_counter_numbers(btf: &Btf) -> Result<(), KernelError> {
    // Not every compiler keeps an anonymous enum that only macros and indices use:
    // its absence says nothing.
    let first = btf.enumerator("MM_FILEPAGES")?;
    if first.is_none() {
        return Ok(());
    }
    for (counter, member) in [
        ("MM_FILEPAGES", Member::File),
        ("MM_ANONPAGES", Member::Anon),
        ("MM_SWAPENTS", Member::Swap),
        ("MM_SHMEMPAGES", Member::Shmem),
    ] {
        let expected = i64::from(member as u32);
        if let Some(found) = btf.enumerator(counter)?.filter(|found| *found != expected) {
            return Err(KernelError::CounterNumber {
                counter,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// What a parameter must be.
#[derive(Clone, Copy, Debug)]
enum Parameter {
    /// A pointer to this struct.
    To(&'static str),
    /// An integer of any size, also a boolean or enum.
    Number,
}

/// A tracepoint with the parameter lists that the programs know.
struct Event {
    /// group:name.
    name: &'static str,
    meaning: &'static str,
    /// The first `at_least` of these must be there; further ones may be.
    parameters: &'static [Parameter],
    at_least: usize,
}

const RSS_STAT: Event = Event {
    name: "kmem:rss_stat",
    meaning: "every change of a process's resident memory",
    parameters: &[
        Parameter::To("mm_struct"),
        Parameter::Number,
        Parameter::Number,
    ],
    at_least: 2,
};
const PROCESS_EXEC: Event = Event {
    name: "sched:sched_process_exec",
    meaning: "a process runs a new program",
    parameters: &[
        Parameter::To("task_struct"),
        Parameter::Number,
        Parameter::To("linux_binprm"),
    ],
    at_least: 3,
};
const PROCESS_EXIT: Event = Event {
    name: "sched:sched_process_exit",
    meaning: "a thread ends",
    parameters: &[Parameter::To("task_struct"), Parameter::Number],
    at_least: 1,
};
const TASK_NEWTASK: Event = Event {
    name: "task:task_newtask",
    meaning: "a process is created",
    parameters: &[Parameter::To("task_struct"), Parameter::Number],
    at_least: 2,
};
const PROCESS_FORK: Event = Event {
    name: "sched:sched_process_fork",
    meaning: "a process is created",
    parameters: &[Parameter::To("task_struct"), Parameter::To("task_struct")],
    at_least: 2,
};
const EXIT_MMAP: Event = Event {
    name: "mmap:exit_mmap",
    meaning: "an address space ends",
    parameters: &[Parameter::To("mm_struct")],
    at_least: 1,
};
const SYS_EXIT: Event = Event {
    name: "raw_syscalls:sys_exit",
    meaning: "a system call ends",
    parameters: &[Parameter::To("pt_regs"), Parameter::Number],
    at_least: 2,
};
const MARK_VICTIM_TASK: Event = Event {
    name: "oom:mark_victim",
    meaning: "the OOM killer chose a process",
    parameters: &[Parameter::To("task_struct"), Parameter::Number],
    at_least: 1,
};
const MARK_VICTIM_PID: Event = Event {
    name: "oom:mark_victim",
    meaning: "the OOM killer chose a process",
    parameters: &[Parameter::Number],
    at_least: 1,
};

impl Event {
    fn parameters_in(&self, btf: &Btf) -> Result<Option<Vec<TypeId>>, KernelError> {
        let name = self
            .name
            .split_once(':')
            .map_or(self.name, |(_, name)| name);
        Ok(btf.tracepoint(name)?)
    }

    /// Whether the parameters are those that the programs know.
    fn is_known(&self, btf: &Btf, found: &[TypeId]) -> Result<bool, KernelError> {
        if found.len() < self.at_least || found.len() > self.parameters.len() {
            return Ok(false);
        }
        for (id, expected) in found.iter().zip(self.parameters) {
            let fits = match expected {
                Parameter::To(name) => btf.pointee(*id)? == Some(name),
                Parameter::Number => {
                    matches!(btf.shape(*id)?, Shape::Int { .. } | Shape::Enum { .. })
                }
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Number of parameters of a tracepoint that must exist.
fn required(btf: &Btf, event: &Event) -> Result<u32, KernelError> {
    let Some(found) = event.parameters_in(btf)? else {
        return Err(KernelError::MissingTracepoint {
            event: event.name,
            meaning: event.meaning,
        });
    };
    if event.is_known(btf, &found)? {
        // No more than Event::parameters, of which there are three at most.
        return Ok(found.len() as u32);
    }
    let found: Result<Vec<_>, _> = found.iter().map(|id| describe(btf, *id)).collect();
    Err(KernelError::Parameters {
        event: event.name,
        found: found?.join(", "),
    })
}

/// Whether a tracepoint exists with parameters that the programs know.
fn exists(btf: &Btf, event: &Event) -> Result<bool, KernelError> {
    match event.parameters_in(btf)? {
        Some(found) => event.is_known(btf, &found),
        None => Ok(false),
    }
}

/// A type in words, for an error message.
fn describe(btf: &Btf, id: TypeId) -> Result<String, KernelError> {
    if let Some(name) = btf.pointee(id)? {
        return Ok(format!("struct {name} *"));
    }
    Ok(match btf.shape(id)? {
        Shape::Void => "void".to_owned(),
        Shape::Int { size, .. } => format!("{}-bit integer", u64::from(size) * 8),
        Shape::Enum { .. } => "enum".to_owned(),
        Shape::Pointer(_) => "pointer".to_owned(),
        Shape::Array { .. } => "array".to_owned(),
        Shape::Struct { name, .. } => format!("struct {name}"),
        Shape::Union { name, .. } => format!("union {name}"),
        Shape::Function | Shape::Other => "other".to_owned(),
    })
}
