//! The BTF reader on the running kernel, with bpftool as an independent oracle.
//!
//! Both need what not every machine has; a test that is skipped says why, and fails
//! instead if `MEMTRACE_REQUIRE_ALL=1`.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "btf/oracle.rs"]
mod oracle;

use std::{collections::HashMap, time::Instant};

use memtrace::kernel::{
    Btf, Features,
    btf::{BtfError, Kind, Shape, TypeId},
};
use memtrace_ebpf::{ABSENT, CounterLayout};
use oracle::{fields, live, oracle, printed, size};
use proptest::prelude::*;

#[test]
fn every_field_of_every_struct_is_where_bpftool_says() {
    let Some(types) = printed("every_field_of_every_struct_is_where_bpftool_says") else {
        return;
    };
    let btf = Btf::from_sys_fs().unwrap();
    assert_eq!(btf.len() + 1, types.len());
    let (mut structs, mut compared, mut bit_fields) = (0, 0, 0);
    for (id, printed) in types.iter().enumerate() {
        if printed.kind != "STRUCT" && printed.kind != "UNION" {
            continue;
        }
        structs += 1;
        let id = id as u32;
        let expected_size = u64::from(printed.number("size"));
        assert_eq!(
            u64::from(btf.size_of(TypeId(id)).unwrap()),
            expected_size,
            "{printed:?}"
        );
        let mut all = Vec::new();
        fields(types, id, 0, &mut all);
        let mut seen = std::collections::HashSet::new();
        for (name, bits, width, of) in all {
            // Should a name occur twice, then the first one counts.
            if !seen.insert(name.clone()) {
                continue;
            }
            let found = btf.field_of(TypeId(id), &name);
            if width != 0 || bits % 8 != 0 {
                assert!(
                    matches!(found, Err(BtfError::BitField { .. })),
                    "{}.{name}: {found:?}",
                    printed.name
                );
                bit_fields += 1;
                continue;
            }
            let field = found
                .unwrap()
                .unwrap_or_else(|| panic!("{}.{name} not found", printed.name));
            assert_eq!(
                (field.offset * 8, field.of),
                (bits, TypeId(of)),
                "{}.{name}",
                printed.name
            );
            assert_eq!(
                btf.size_of(field.of).ok().map(u64::from),
                size(types, of),
                "{}.{name}",
                printed.name
            );
            compared += 1;
        }
    }
    println!("{structs} structs and unions, {compared} fields, {bit_fields} bit-fields");
    assert!(
        structs > 5_000 && compared > 30_000,
        "that is no kernel: {structs} structs, {compared} fields"
    );
}

#[test]
fn every_name_is_found_where_bpftool_says() {
    let Some(types) = printed("every_name_is_found_where_bpftool_says") else {
        return;
    };
    let btf = Btf::from_sys_fs().unwrap();
    let mut first = HashMap::new();
    for (id, printed) in types
        .iter()
        .enumerate()
        .filter(|(_, printed)| !printed.name.is_empty())
    {
        let kind = match printed.kind.as_str() {
            "STRUCT" => Kind::Struct,
            "UNION" => Kind::Union,
            "ENUM" | "ENUM64" => Kind::Enum,
            "TYPEDEF" => Kind::Typedef,
            _ => continue,
        };
        first
            .entry((kind, printed.name.as_str()))
            .or_insert(id as u32);
    }
    for ((kind, name), id) in &first {
        assert_eq!(btf.find(*kind, name), Some(TypeId(*id)), "{kind:?} {name}");
        let cut = &name[..name.len() - 1];
        if !first.contains_key(&(*kind, cut)) {
            assert_eq!(btf.find(*kind, cut), None, "{kind:?} {cut}");
        }
    }
    assert!(
        first.len() > 5_000,
        "that is no kernel: {} names",
        first.len()
    );
}

#[test]
fn every_tracepoint_has_the_parameters_that_bpftool_says() {
    let Some(types) = printed("every_tracepoint_has_the_parameters_that_bpftool_says") else {
        return;
    };
    let btf = Btf::from_sys_fs().unwrap();
    let mut compared = 0;
    for printed in types.iter().filter(|printed| printed.kind == "TYPEDEF") {
        let Some(event) = printed.name.strip_prefix("btf_trace_") else {
            continue;
        };
        let function = &types[types[printed.number("type_id") as usize].number("type_id") as usize];
        assert_eq!(function.kind, "FUNC_PROTO");
        let expected: Vec<TypeId> = function
            .elements
            .iter()
            .skip(1)
            .map(|(_, a)| TypeId(a["type_id"].parse().unwrap()))
            .collect();
        assert_eq!(btf.tracepoint(event).unwrap(), Some(expected), "{event}");
        compared += 1;
    }
    assert!(compared > 100, "that is no kernel: {compared} tracepoints");
}

#[test]
fn enumerators_are_what_bpftool_says() {
    let Some(types) = printed("enumerators_are_what_bpftool_says") else {
        return;
    };
    let btf = Btf::from_sys_fs().unwrap();
    let mut first = HashMap::new();
    for printed in types
        .iter()
        .filter(|printed| printed.kind.starts_with("ENUM"))
    {
        for (name, attributes) in &printed.elements {
            // Values may be printed with a suffix.
            let value = attributes["val"].trim_end_matches(['U', 'L']);
            let value = value
                .parse::<i64>()
                .unwrap_or_else(|_| value.parse::<u64>().unwrap() as i64);
            first
                .entry(name.as_str())
                .or_insert((value, printed.attributes["size"].clone()));
        }
    }
    let mut compared = 0;
    // A scan over all enums for each: a sample is enough.
    for (name, (value, _)) in first.iter().step_by(37) {
        let found = btf.enumerator(name).unwrap().unwrap();
        // Older versions of bpftool print all 32-bit values as signed or all as unsigned.
        assert!(
            found == *value || found as i32 == *value as i32,
            "{name}: {found} {value}"
        );
        compared += 1;
    }
    assert!(compared > 100, "that is no kernel: {compared} enumerators");
    let members = [
        "MM_FILEPAGES",
        "MM_ANONPAGES",
        "MM_SWAPENTS",
        "MM_SHMEMPAGES",
    ];
    assert_eq!(
        members.map(|name| btf.enumerator(name).unwrap()),
        [Some(0), Some(1), Some(2), Some(3)]
    );
}

#[test]
fn offsets_are_those_that_bpftool_says() {
    let Some(types) = printed("offsets_are_those_that_bpftool_says") else {
        return;
    };
    let btf = Btf::from_sys_fs().unwrap();
    let mut features = Features::from_btf(&btf).unwrap();
    features.find_segments(&btf).unwrap();
    features.find_calls(&btf).unwrap();
    println!("{features:#?}");
    for (name, offset) in features.offsets.named() {
        let (prefix, field) = name.split_once('_').unwrap();
        let (root, field) = match (prefix, field) {
            (_, "stride") => {
                let root = if prefix == "counter" {
                    "percpu_counter"
                } else {
                    "upid"
                };
                if prefix == "counter" && features.layout != CounterLayout::PerCpu {
                    continue;
                }
                let id = types
                    .iter()
                    .position(|t| t.kind == "STRUCT" && t.name == root)
                    .unwrap();
                assert_eq!(offset, types[id].number("size"), "{name}");
                continue;
            }
            ("counter" | "array", _) if features.layout != CounterLayout::PerCpu => continue,
            ("mm", "rss_stat") if features.layout == CounterLayout::Classic => continue,
            // Its name in the kernel has the prefix already.
            ("mm", "users") => ("mm_struct", "mm_users"),
            ("mm", "mt_root") => ("mm_struct", "mm_mt.ma_root"),
            ("vma", "start") => ("vm_area_struct", "vm_start"),
            ("vma", "end") => ("vm_area_struct", "vm_end"),
            ("vma", "mm") => ("vm_area_struct", "vm_mm"),
            ("vma", "flags") => ("vm_area_struct", "vm_flags"),
            ("vma", "file") => ("vm_area_struct", "vm_file"),
            ("vma", "ops") => ("vm_area_struct", "vm_ops"),
            ("file", "inode") => ("file", "f_inode"),
            ("inode", "super") => ("inode", "i_sb"),
            ("super", "magic") => ("super_block", "s_magic"),
            ("file", "dentry") => ("file", "f_path.dentry"),
            ("dentry", "name") => ("dentry", "d_name.name"),
            ("dentry", "name_len") => ("dentry", "d_name.len"),
            ("range", "pivots") => ("maple_range_64", "pivot"),
            ("range", "slots") => ("maple_range_64", "slot"),
            ("arange", "pivots") => ("maple_arange_64", "pivot"),
            ("arange", "slots") => ("maple_arange_64", "slot"),
            ("regs", "first") => ("pt_regs", "di"),
            ("regs", "second") => ("pt_regs", "si"),
            ("regs", "third") => ("pt_regs", "dx"),
            ("regs", "fourth") => ("pt_regs", "r10"),
            ("regs", "cs") => ("pt_regs", "cs"),
            ("task", "runtime") => ("task_struct", "se.sum_exec_runtime"),
            ("signal", "runtime") => ("signal_struct", "sum_sched_runtime"),
            ("mm", field) => ("mm_struct", field),
            ("task", field) => ("task_struct", field),
            ("signal", field) => ("signal_struct", field),
            ("counter", field) => ("percpu_counter", field),
            ("bprm", field) => ("linux_binprm", field),
            ("array", field) => ("bpf_array", field),
            (same, field) => (same, field),
        };
        let mut expected = oracle(types, &format!("{root}.{field}"));
        // Fields of structs within.
        let within = match name {
            "mm_mt_root" => Some(["mm_struct.mm_mt", "maple_tree.ma_root"]),
            "task_runtime" => Some(["task_struct.se", "sched_entity.sum_exec_runtime"]),
            "file_dentry" => Some(["file.f_path", "path.dentry"]),
            "dentry_name" => Some(["dentry.d_name", "qstr.name"]),
            "dentry_name_len" => Some(["dentry.d_name", "qstr.len"]),
            _ => None,
        };
        if let Some([outer, inner]) = within {
            let both = oracle(types, outer).zip(oracle(types, inner));
            expected = both.map(|(outer, inner)| outer + inner);
        }
        if name == "task_start_boottime" && expected.is_none() {
            expected = oracle(types, "task_struct.real_start_time");
        }
        assert_eq!(offset, expected.unwrap_or(ABSENT), "{name}");
    }
}

#[test]
fn features_match_the_types() {
    let Some(types) = printed("features_match_the_types") else {
        return;
    };
    let features = Features::from_btf(&Btf::from_sys_fs().unwrap()).unwrap();
    let has = |kind: &str, name: &str| types.iter().any(|t| t.kind == kind && t.name == name);
    let parameters = |event: &str| {
        let name = format!("btf_trace_{event}");
        let typedef = types.iter().find(|t| t.name == name)?;
        Some(
            types[types[typedef.number("type_id") as usize].number("type_id") as usize]
                .elements
                .len() as u32
                - 1,
        )
    };
    assert_eq!(Some(features.rss_stat_args), parameters("rss_stat"));
    assert_eq!(
        features.exit_has_group_dead,
        parameters("sched_process_exit") == Some(2)
    );
    assert_eq!(
        features.has_exit_mmap,
        has("TYPEDEF", "btf_trace_exit_mmap")
    );
    assert_eq!(
        features.has_task_newtask,
        has("TYPEDEF", "btf_trace_task_newtask")
    );
    // The commit that made the counters per-CPU removed this struct.
    assert_eq!(
        features.layout == CounterLayout::Atomic,
        has("STRUCT", "mm_rss_stat")
    );
}

/// For people: `cargo test --release -p memtrace --test btf -- time --nocapture`.
#[test]
fn time_to_answer_everything() {
    if live("time_to_answer_everything").is_none() {
        return;
    }
    for _ in 0..5 {
        let start = Instant::now();
        let btf = Btf::from_sys_fs().unwrap();
        let parsed = start.elapsed();
        let features = Features::from_btf(&btf).unwrap();
        println!(
            "{} types: read and indexed {parsed:?}, all answers {:?}",
            btf.len(),
            start.elapsed()
        );
        assert_ne!(features.offsets.task_mm, ABSENT);
    }
}

proptest! {
    // A failing case of this kernel's data means nothing on another: nothing to keep.
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Damage to the real thing gives an answer or an error.
    #[test]
    fn damaged_kernel(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..2000),
        near in any::<prop::sample::Index>(),
    ) {
        let Some(live) = live("damaged_kernel") else { return Ok(()) };
        let mut data = live.to_vec();
        // Half of it near one place, so that records of interest are hit more than once.
        let near = near.index(data.len() - 8192);
        for (i, (at, word)) in damage.iter().enumerate() {
            let at = if i % 2 == 0 { at.index(data.len() - 4) } else { near + at.index(8192) };
            // The header stays: what follows it is the point here.
            if at >= 24 && at + 4 < data.len() {
                data[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            }
        }
        if let Ok(btf) = Btf::parse(&data) {
            let _ = Features::from_btf(&btf);
            for id in (0..btf.len() as u32).step_by(11).map(TypeId) {
                let _ = (btf.size_of(id), btf.struct_name(id), btf.pointee(id), btf.field_of(id, "absent"));
            }
        }
    }

    /// Other numbers of types in place of the right ones keep all records readable.
    #[test]
    fn confused_kernel(swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4000)) {
        let Some(live) = live("confused_kernel") else { return Ok(()) };
        let mut data = live.to_vec();
        let types = u32::from_ne_bytes(data[12..16].try_into().unwrap()) as usize;
        let count = Btf::parse(&data).unwrap().len();
        // Only words whose value could be a type's number; those are mostly that, or offsets.
        for (at, to) in &swaps {
            let at = 24 + at.index(types / 4) * 4;
            let value = u32::from_ne_bytes(data[at..at + 4].try_into().unwrap());
            if value != 0 && (value as usize) < count {
                data[at..at + 4].copy_from_slice(&(to.index(count) as u32).to_ne_bytes());
            }
        }
        if let Ok(btf) = Btf::parse(&data) {
            let _ = Features::from_btf(&btf);
            for id in (0..btf.len() as u32).step_by(11).map(TypeId) {
                let _ = (btf.size_of(id), btf.struct_name(id), btf.pointee(id), btf.field_of(id, "absent"));
            }
        }
    }
}

#[test]
fn void_is_type_zero() {
    if live("void_is_type_zero").is_none() {
        return;
    }
    let btf = Btf::from_sys_fs().unwrap();
    assert_eq!(btf.shape(TypeId(0)).unwrap(), Shape::Void);
    assert!(btf.shape(TypeId(btf.len() as u32)).is_ok());
    assert!(matches!(
        btf.shape(TypeId(btf.len() as u32 + 1)),
        Err(BtfError::NoSuchType { .. })
    ));
}
