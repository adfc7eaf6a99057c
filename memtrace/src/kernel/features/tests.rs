//! Features of hand-made kernels: layouts before and after 6.2, unknown ones, missing fields.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod kernel;

use memtrace_ebpf::ABSENT;

use super::*;
use crate::kernel::btf::writer::Writer;
use kernel::{Kernel, Stored};

/// What only `find_segments` and `find_calls` look for.
fn is_found_on_request(name: &str) -> bool {
    let prefixes = [
        "vma_", "file_", "inode_", "super_", "dentry_", "range_", "arange_", "regs_",
    ];
    let names = [
        "mm_end_data",
        "mm_exe_file",
        "mm_mt_root",
        "mm_map_count",
        "task_flags",
    ];
    names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Without a description of mappings there are no segments; nothing else asks for it.
#[test]
fn segments_need_mappings() {
    let btf = Kernel::default().build();
    let mut features = Features::from_btf(&btf).unwrap();
    assert!(matches!(
        features.find_segments(&btf),
        Err(KernelError::MissingField {
            field: "vm_area_struct.vm_start",
            ..
        })
    ));
    assert!(!features.find_calls(&btf).unwrap());
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
    let absent: Vec<_> = features
        .offsets
        .named()
        .into_iter()
        .filter(|(name, offset)| *offset == ABSENT && !is_found_on_request(name))
        .collect();
    // Where threads hold back changes of the counters: not on a recent kernel.
    assert_eq!(absent, [("task_rss_count", ABSENT)]);
    // By hand, from the layout above.
    let o = features.offsets;
    assert_eq!(
        [o.mm_owner, o.mm_total_vm, o.mm_arg_end, o.mm_users],
        [64 + 16, 64 + 24, 64 + 16 + 8 * 14, 64 + 16 + 8 * 17]
    );
    assert_eq!(
        [
            o.mm_rss_stat,
            o.counter_lock,
            o.counter_count,
            o.counter_counters,
            o.counter_stride
        ],
        [576, 4, 8, 32, 40]
    );
    assert_eq!(
        [o.task_mm, o.task_thread_pid, o.task_pid, o.task_exit_code],
        [0, 56, 72, 88]
    );
    assert_eq!(
        [o.task_start_boottime, o.task_comm, o.task_runtime],
        [400, 416, 472]
    );
    assert_eq!(
        [
            o.signal_min_flt,
            o.signal_maxrss,
            o.signal_runtime,
            o.signal_live,
            o.signal_group_exit_code
        ],
        [24, 40, 64, 72, 96]
    );
    assert_eq!(
        [o.pid_level, o.pid_numbers, o.upid_stride, o.upid_nr],
        [4, 96, 16, 0]
    );
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
    assert_eq!(features.limits, [Limit::NoExitMmap]);
    assert_eq!(features.offsets.task_rss_count, 444);
    assert!(features.task_caches && !features.exit_has_group_dead && !features.has_exit_mmap);
    assert_eq!(features.rss_stat_args, 3);
    assert_eq!(features.mark_victim, MarkVictim::Pid);
    let o = features.offsets;
    assert_eq!(
        [
            o.mm_rss_stat,
            o.counter_lock,
            o.counter_count,
            o.counter_counters,
            o.counter_stride
        ],
        [576, ABSENT, 0, ABSENT, 8]
    );
    assert_eq!([o.task_start_boottime, o.array_pptrs], [400, ABSENT]);
}

#[test]
fn unknown_counters_lead_to_the_classic_tracepoint() {
    for stored in [
        Stored::Single,
        Stored::FiveCounters,
        Stored::Tree,
        Stored::Nothing,
    ] {
        let features = Kernel {
            stored,
            ..Kernel::default()
        }
        .features()
        .unwrap();
        assert_eq!(features.layout, CounterLayout::Classic, "{stored:?}");
        assert!(
            matches!(features.limits[..], [Limit::UnknownCounters { .. }]),
            "{:?}",
            features.limits
        );
        let o = features.offsets;
        let places = [
            o.mm_rss_stat,
            o.counter_lock,
            o.counter_count,
            o.counter_counters,
            o.counter_stride,
            o.array_pptrs,
        ];
        assert_eq!(places, [ABSENT; 6]);
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
        match (
            Kernel {
                without: field,
                ..Kernel::default()
            }
            .features(),
            required,
        ) {
            (Err(KernelError::MissingField { field: named, .. }), true) => {
                assert_eq!(named, field[0]);
            }
            (Ok(features), false) => {
                assert!(
                    matches!(features.limits[..], [Limit::NoField { field: named, .. }] if named == field[0])
                );
            }
            (other, _) => panic!("{field:?}: {other:?}"),
        }
    }
    let error = Kernel {
        start: "other",
        ..Kernel::default()
    }
    .features()
    .unwrap_err();
    assert!(
        error.to_string().contains("task_struct.start_boottime"),
        "{error}"
    );
}

#[test]
fn fields_of_another_size_are_not_read() {
    let error = Kernel {
        narrow: "task_struct.mm",
        ..Kernel::default()
    }
    .features()
    .unwrap_err();
    assert!(
        matches!(
            error,
            KernelError::FieldSize {
                field: "task_struct.mm",
                found: 4,
                expected: 8,
                ..
            }
        ),
        "{error}"
    );
    let features = Kernel {
        narrow: "mm_struct.total_vm",
        ..Kernel::default()
    }
    .features()
    .unwrap();
    assert_eq!(features.offsets.mm_total_vm, ABSENT);
    assert!(matches!(
        features.limits[..],
        [Limit::NoField {
            field: "mm_struct.total_vm",
            ..
        }]
    ));
}

#[test]
fn no_owner_is_a_limit_of_its_own() {
    let features = Kernel {
        without: &["mm_struct.owner"],
        ..Kernel::default()
    }
    .features()
    .unwrap();
    assert_eq!(features.limits, [Limit::NoOwner]);
    assert_eq!(features.offsets.mm_owner, ABSENT);
}

#[test]
fn events_that_must_exist() {
    for event in [
        &["rss_stat"],
        &["sched_process_exec"],
        &["sched_process_exit"],
    ] {
        let error = Kernel {
            without_events: event,
            ..Kernel::default()
        }
        .features()
        .unwrap_err();
        assert!(
            matches!(&error, KernelError::MissingTracepoint { event: named, .. } if named.ends_with(event[0]))
        );
    }
    for (events, limit) in [
        (&["task_newtask"], Limit::NoNewtask),
        (&["sched_process_fork"], Limit::NoProcessFork),
        (&["exit_mmap"], Limit::NoExitMmap),
        (&["mark_victim"], Limit::NoOomEvent),
    ] {
        assert_eq!(
            Kernel {
                without_events: events,
                ..Kernel::default()
            }
            .features()
            .unwrap()
            .limits,
            [limit]
        );
    }
    let neither = Kernel {
        without_events: &["task_newtask", "sched_process_fork"],
        ..Kernel::default()
    };
    assert!(matches!(
        neither.features(),
        Err(KernelError::MissingTracepoint {
            event: "task:task_newtask",
            ..
        })
    ));
}

#[test]
fn an_oom_event_with_unknown_parameters_is_left_alone() {
    let features = Kernel {
        victim: MarkVictim::Absent,
        ..Kernel::default()
    }
    .features()
    .unwrap();
    assert_eq!(
        (features.mark_victim, &features.limits[..]),
        (MarkVictim::Absent, &[Limit::NoOomEvent][..])
    );
}

#[test]
fn an_rss_event_with_unknown_parameters_is_refused() {
    let mut w = Writer::new();
    let int = w.int("int", 4);
    w.tracepoint("rss_stat", &[int, int]);
    let btf = Btf::parse(&w.finish()).unwrap();
    let error = required(&btf, &RSS_STAT).unwrap_err();
    assert!(
        error.to_string().contains("32-bit integer, 32-bit integer"),
        "{error}"
    );
}

#[test]
fn other_counter_numbers_are_refused() {
    let error = Kernel {
        members: [0, 1, 3, 2],
        ..Kernel::default()
    }
    .features()
    .unwrap_err();
    assert!(
        matches!(
            error,
            KernelError::CounterNumber {
                counter: "MM_SWAPENTS",
                found: 3,
                expected: 2
            }
        ),
        "{error}"
    );
}
