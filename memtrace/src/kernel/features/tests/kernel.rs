//! A small kernel of our own making, described in BTF, that can be varied.

use crate::kernel::{Btf, Features, KernelError, MarkVictim, btf::writer::Writer};

/// How to store RSS counters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored {
    PerCpu,
    /// A kernel for one CPU.
    Single,
    Atomic,
    FiveCounters,
    Tree,
    Nothing,
}

/// A small kernel that can be varied.
pub(super) struct Kernel {
    pub(super) stored: Stored,
    pub(super) task_caches: bool,
    pub(super) start: &'static str,
    /// Fields that are left out.
    pub(super) without: &'static [&'static str],
    /// A field with four bytes instead of eight.
    pub(super) narrow: &'static str,
    pub(super) rss_stat_count: bool,
    pub(super) group_dead: bool,
    /// Tracepoints that are left out.
    pub(super) without_events: &'static [&'static str],
    pub(super) victim: MarkVictim,
    pub(super) members: [u32; 4],
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            stored: Stored::PerCpu,
            task_caches: false,
            start: "start_boottime",
            without: &[],
            narrow: "",
            rss_stat_count: false,
            group_dead: true,
            without_events: &[],
            victim: MarkVictim::Task,
            members: [0, 1, 2, 3],
        }
    }
}

const MM: &[&str] = &[
    "owner",
    "total_vm",
    "hiwater_vm",
    "hiwater_rss",
    "data_vm",
    "stack_vm",
    "exec_vm",
    "locked_vm",
    "pgtables_bytes",
    "start_brk",
    "brk",
    "start_code",
    "end_code",
    "arg_start",
    "arg_end",
    "pinned_vm",
    "hugetlb_usage",
];
const TASK: &[&str] = &[
    "mm",
    "group_leader",
    "signal",
    "min_flt",
    "maj_flt",
    "utime",
    "stime",
    "thread_pid",
    "real_parent",
];
const TASK_INTS: &[&str] = &["pid", "tgid", "exit_code"];
const SIGNAL: &[&str] = &[
    "min_flt",
    "maj_flt",
    "maxrss",
    "utime",
    "stime",
    "sum_sched_runtime",
];
const SIGNAL_INTS: &[&str] = &["live", "nr_threads", "flags", "group_exit_code"];

impl Kernel {
    /// Fields of eight and of four bytes, each in a slot of eight bytes from `base` on.
    fn fields<'a>(
        &self,
        of: &str,
        (long, int): (u32, u32),
        longs: &[&'a str],
        ints: &[&'a str],
        base: u32,
    ) -> Vec<(&'a str, u32, u32)> {
        let all = longs
            .iter()
            .map(|name| (*name, long))
            .chain(ints.iter().map(|name| (*name, int)));
        all.enumerate()
            .map(|(i, (name, of_type))| {
                let narrow = self.narrow == format!("{of}.{name}");
                (
                    name,
                    if narrow { int } else { of_type },
                    base + 8 * i as u32,
                )
            })
            .filter(|(name, ..)| !self.without.contains(&format!("{of}.{name}").as_str()))
            .collect()
    }

    pub(super) fn build(&self) -> Btf {
        let mut w = Writer::new();
        let long = w.int("long", 8);
        let int = w.int("int", 4);
        let char = w.int("char", 1);
        let number = (long, int);

        let rss_stat = match self.stored {
            Stored::PerCpu | Stored::FiveCounters => {
                let shares = w.pointer(int);
                let counter = w.structure(
                    "percpu_counter",
                    40,
                    &[
                        ("lock", int, 4),
                        ("count", long, 8),
                        ("counters", shares, 32),
                    ],
                );
                Some(w.array(
                    counter,
                    if matches!(self.stored, Stored::PerCpu) {
                        4
                    } else {
                        5
                    },
                ))
            }
            Stored::Single => {
                let counter = w.structure("percpu_counter", 8, &[("count", long, 0)]);
                Some(w.array(counter, 4))
            }
            Stored::Atomic => {
                let atomic = w.structure("", 8, &[("counter", long, 0)]);
                let typedef = w.typedef("atomic64_t", atomic);
                let typedef = w.typedef("atomic_long_t", typedef);
                let array = w.array(typedef, 4);
                Some(w.structure("mm_rss_stat", 32, &[("count", array, 0)]))
            }
            Stored::Tree => {
                let tree = w.structure("percpu_counter_tree", 64, &[]);
                Some(w.array(tree, 4))
            }
            Stored::Nothing => None,
        };
        let mut members = self.fields("mm_struct", number, MM, &["mm_users"], 16);
        members.extend(rss_stat.map(|of| ("rss_stat", of, 512)));
        let anonymous = w.structure("", 800, &members);
        let mm = w.structure("mm_struct", 1000, &[("", anonymous, 64)]);

        let comm = w.array(char, 16);
        let mut members = self.fields("task_struct", number, TASK, TASK_INTS, 0);
        members.push((self.start, long, 400));
        let entity = w.structure("sched_entity", 16, &[("sum_exec_runtime", long, 8)]);
        members.push(("se", entity, 464));
        members.push(("comm", comm, 416));
        if self.task_caches {
            let count = w.array(int, 4);
            let caches = w.structure(
                "task_rss_stat",
                20,
                &[("events", int, 0), ("count", count, 4)],
            );
            members.push(("rss_stat", caches, 440));
        }
        let task = w.structure("task_struct", 500, &members);
        let members = self.fields("signal_struct", number, SIGNAL, SIGNAL_INTS, 24);
        w.structure("signal_struct", 200, &members);

        let upid = w.structure("upid", 16, &[("nr", int, 0), ("ns", long, 8)]);
        let numbers = w.array(upid, 0);
        w.structure("pid", 112, &[("level", int, 4), ("numbers", numbers, 96)]);
        let binprm = w.structure("linux_binprm", 400, &[("filename", long, 96)]);
        let pointer = w.pointer(0);
        let pointers = w.array(pointer, 0);
        let union = w.union("", 0, &[("pptrs", pointers, 0)]);
        w.structure("bpf_array", 312, &[("", union, 312)]);
        let values = self.members;
        w.enumeration(
            "",
            false,
            &[
                ("MM_FILEPAGES", values[0]),
                ("MM_ANONPAGES", values[1]),
                ("MM_SWAPENTS", values[2]),
                ("MM_SHMEMPAGES", values[3]),
            ],
        );

        let (mm, task, binprm) = (w.pointer(mm), w.pointer(task), w.pointer(binprm));
        let victim = match self.victim {
            MarkVictim::Pid => vec![int],
            MarkVictim::Task => vec![task, int],
            MarkVictim::Absent => vec![mm],
        };
        let events = [
            (
                "rss_stat",
                if self.rss_stat_count {
                    vec![mm, int, long]
                } else {
                    vec![mm, int]
                },
            ),
            ("task_newtask", vec![task, long]),
            ("sched_process_fork", vec![task, task]),
            ("sched_process_exec", vec![task, int, binprm]),
            (
                "sched_process_exit",
                if self.group_dead {
                    vec![task, char]
                } else {
                    vec![task]
                },
            ),
            ("exit_mmap", vec![mm]),
            ("mark_victim", victim),
        ];
        for (event, parameters) in events {
            if !self.without_events.contains(&event) {
                w.tracepoint(event, &parameters);
            }
        }
        Btf::parse(&w.finish()).unwrap()
    }

    pub(super) fn features(&self) -> Result<Features, KernelError> {
        Features::from_btf(&self.build())
    }
}
