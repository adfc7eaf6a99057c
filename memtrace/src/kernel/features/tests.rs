//! Features of hand-made kernels: layouts before and after 6.2, unknown ones, missing fields.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use memtrace_ebpf::ABSENT;

use super::*;
use crate::kernel::btf::writer::Writer;

/// How to store RSS counters.
#[derive(Clone, Copy, Debug)]
enum Stored {
    PerCpu,
    /// A kernel for one CPU.
    Single,
    Atomic,
    FiveCounters,
    Tree,
    Nothing,
}

/// A small kernel that can be varied.
struct Kernel {
    stored: Stored,
    task_caches: bool,
    start: &'static str,
    /// Fields that are left out.
    without: &'static [&'static str],
    /// A field with four bytes instead of eight.
    narrow: &'static str,
    rss_stat_count: bool,
    group_dead: bool,
    /// Tracepoints that are left out.
    without_events: &'static [&'static str],
    victim: MarkVictim,
    members: [u32; 4],
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
    "owner", "total_vm", "hiwater_vm", "hiwater_rss", "data_vm", "stack_vm", "exec_vm", "locked_vm", "pgtables_bytes",
    "start_brk", "brk", "start_code", "end_code", "arg_start", "arg_end",
];
const TASK: &[&str] =
    &["mm", "group_leader", "signal", "min_flt", "maj_flt", "utime", "stime", "thread_pid"];
const TASK_INTS: &[&str] = &["pid", "tgid", "exit_code"];
const SIGNAL: &[&str] = &["min_flt", "maj_flt", "maxrss"];
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
        let all = longs.iter().map(|name| (*name, long)).chain(ints.iter().map(|name| (*name, int)));
        all.enumerate()
            .map(|(i, (name, of_type))| {
                let narrow = self.narrow == format!("{of}.{name}");
                (name, if narrow { int } else { of_type }, base + 8 * i as u32)
            })
            .filter(|(name, ..)| !self.without.contains(&format!("{of}.{name}").as_str()))
            .collect()
    }

    fn build(&self) -> Btf {
        let mut w = Writer::new();
        let long = w.int("long", 8);
        let int = w.int("int", 4);
        let char = w.int("char", 1);
        let number = (long, int);

        let rss_stat = match self.stored {
            Stored::PerCpu | Stored::FiveCounters => {
                let shares = w.pointer(int);
                let counter = w.structure("percpu_counter", 40, &[("count", long, 8), ("counters", shares, 32)]);
                Some(w.array(counter, if matches!(self.stored, Stored::PerCpu) { 4 } else { 5 }))
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
        members.push(("comm", comm, 416));
        if self.task_caches {
            let caches = w.structure("task_rss_stat", 20, &[]);
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
            ("rss_stat", if self.rss_stat_count { vec![mm, int, long] } else { vec![mm, int] }),
            ("task_newtask", vec![task, long]),
            ("sched_process_fork", vec![task, task]),
            ("sched_process_exec", vec![task, int, binprm]),
            ("sched_process_exit", if self.group_dead { vec![task, char] } else { vec![task] }),
            ("exit_mmap", vec![mm]),
            ("mark_victim", victim),
        ];
        for (event, parameters) in events {
            if !self.without_events.contains(&event) {
                w.tracepoint(event, &parameters);
            }
        }
        Btf::parse(w.finish()).unwrap()
    }

    fn features(&self) -> Result<Features, KernelError> {
        Features::from_btf(&self.build())
    }
}

#[test]
fn a_recent_kernel_lacks_nothing() {
    let features = Kernel::default().features().unwrap();
    assert_eq!(features.limits, []);
    assert_eq!(features.layout, CounterLayout::PerCpu);
    assert!(!features.task_caches);
    assert_eq!(features.rss_stat_args, 2);
    assert!(features.exit_has_group_dead && features.has_task_newtask);
    assert!(features.has_sched_process_fork && features.has_exit_mmap);
    assert_eq!(features.mark_victim, MarkVictim::Task);
    let absent: Vec<_> = features.offsets.named().into_iter().filter(|(_, offset)| *offset == ABSENT).collect();
    assert_eq!(absent, []);
    // By hand, from the layout above.
    let o = features.offsets;
    assert_eq!([o.mm_owner, o.mm_total_vm, o.mm_arg_end, o.mm_users], [64 + 16, 64 + 24, 64 + 16 + 8 * 14, 64 + 16 + 8 * 15]);
    assert_eq!([o.mm_rss_stat, o.counter_count, o.counter_counters, o.counter_stride], [576, 8, 32, 40]);
    assert_eq!([o.task_mm, o.task_thread_pid, o.task_pid, o.task_exit_code], [0, 56, 64, 80]);
    assert_eq!([o.task_start_boottime, o.task_comm], [400, 416]);
    assert_eq!([o.signal_min_flt, o.signal_maxrss, o.signal_live, o.signal_group_exit_code], [24, 40, 48, 72]);
    assert_eq!([o.pid_level, o.pid_numbers, o.upid_stride, o.upid_nr], [4, 96, 16, 0]);
    assert_eq!([o.bprm_filename, o.array_pptrs], [96, 312]);
}

#[test]
fn a_kernel_before_6_2() {
    let old = Kernel {
        stored: Stored::Atomic,
        task_caches: true,
        rss_stat_count: true,
        group_dead: false,
        victim: MarkVictim::Pid,
        start: "real_start_time",
        without_events: &["exit_mmap"],
        ..Kernel::default()
    };
    let features = old.features().unwrap();
    assert_eq!(features.layout, CounterLayout::Atomic);
    assert_eq!(features.limits, [Limit::TaskCaches, Limit::NoExitMmap]);
    assert!(features.task_caches && !features.exit_has_group_dead && !features.has_exit_mmap);
    assert_eq!(features.rss_stat_args, 3);
    assert_eq!(features.mark_victim, MarkVictim::Pid);
    let o = features.offsets;
    assert_eq!([o.mm_rss_stat, o.counter_count, o.counter_counters, o.counter_stride], [576, 0, ABSENT, 8]);
    assert_eq!([o.task_start_boottime, o.array_pptrs], [400, ABSENT]);
}

#[test]
fn unknown_counters_lead_to_the_classic_tracepoint() {
    for stored in [Stored::Single, Stored::FiveCounters, Stored::Tree, Stored::Nothing] {
        let features = Kernel { stored, ..Kernel::default() }.features().unwrap();
        assert_eq!(features.layout, CounterLayout::Classic, "{stored:?}");
        assert!(matches!(features.limits[..], [Limit::UnknownCounters { .. }]), "{:?}", features.limits);
        let o = features.offsets;
        let places = [o.mm_rss_stat, o.counter_count, o.counter_counters, o.counter_stride, o.array_pptrs];
        assert_eq!(places, [ABSENT; 5]);
        assert_ne!(o.task_mm, ABSENT);
    }
}

#[test]
fn fields_that_must_exist() {
    for (field, required) in [
        (&["mm_struct.mm_users"], true),
        (&["task_struct.mm"], true),
        (&["task_struct.tgid"], true),
        (&["signal_struct.live"], true),
        (&["mm_struct.total_vm"], false),
        (&["task_struct.utime"], false),
    ] {
        match (Kernel { without: field, ..Kernel::default() }.features(), required) {
            (Err(KernelError::MissingField { field: named, .. }), true) => assert_eq!(named, field[0]),
            (Ok(features), false) => {
                assert!(matches!(features.limits[..], [Limit::NoField { field: named, .. }] if named == field[0]));
            }
            (other, _) => panic!("{field:?}: {other:?}"),
        }
    }
    let error = Kernel { start: "other", ..Kernel::default() }.features().unwrap_err();
    assert!(error.to_string().contains("task_struct.start_boottime"), "{error}");
}

#[test]
fn fields_of_another_size_are_not_read() {
    let error = Kernel { narrow: "task_struct.mm", ..Kernel::default() }.features().unwrap_err();
    assert!(matches!(error, KernelError::FieldSize { field: "task_struct.mm", found: 4, expected: 8, .. }), "{error}");
    let features = Kernel { narrow: "mm_struct.total_vm", ..Kernel::default() }.features().unwrap();
    assert_eq!(features.offsets.mm_total_vm, ABSENT);
    assert!(matches!(features.limits[..], [Limit::NoField { field: "mm_struct.total_vm", .. }]));
}

#[test]
fn no_owner_is_a_limit_of_its_own() {
    let features = Kernel { without: &["mm_struct.owner"], ..Kernel::default() }.features().unwrap();
    assert_eq!(features.limits, [Limit::NoOwner]);
    assert_eq!(features.offsets.mm_owner, ABSENT);
}

#[test]
fn events_that_must_exist() {
    for event in [&["rss_stat"], &["sched_process_exec"], &["sched_process_exit"]] {
        let error = Kernel { without_events: event, ..Kernel::default() }.features().unwrap_err();
        assert!(matches!(&error, KernelError::MissingTracepoint { event: named, .. } if named.ends_with(event[0])));
    }
    for (events, limit) in [
        (&["task_newtask"], Limit::NoNewtask),
        (&["sched_process_fork"], Limit::NoProcessFork),
        (&["exit_mmap"], Limit::NoExitMmap),
        (&["mark_victim"], Limit::NoOomEvent),
    ] {
        assert_eq!(Kernel { without_events: events, ..Kernel::default() }.features().unwrap().limits, [limit]);
    }
    let neither = Kernel { without_events: &["task_newtask", "sched_process_fork"], ..Kernel::default() };
    assert!(matches!(neither.features(), Err(KernelError::MissingTracepoint { event: "task:task_newtask", .. })));
}

#[test]
fn an_oom_event_with_unknown_parameters_is_left_alone() {
    let features = Kernel { victim: MarkVictim::Absent, ..Kernel::default() }.features().unwrap();
    assert_eq!((features.mark_victim, &features.limits[..]), (MarkVictim::Absent, &[Limit::NoOomEvent][..]));
}

#[test]
fn an_rss_event_with_unknown_parameters_is_refused() {
    let mut w = Writer::new();
    let int = w.int("int", 4);
    w.tracepoint("rss_stat", &[int, int]);
    let btf = Btf::parse(w.finish()).unwrap();
    let error = required(&btf, &RSS_STAT).unwrap_err();
    assert!(error.to_string().contains("32-bit integer, 32-bit integer"), "{error}");
}

#[test]
fn other_counter_numbers_are_refused() {
    let error = Kernel { members: [0, 1, 3, 2], ..Kernel::default() }.features().unwrap_err();
    assert!(matches!(error, KernelError::CounterNumber { counter: "MM_SWAPENTS", found: 3, expected: 2 }), "{error}");
}
