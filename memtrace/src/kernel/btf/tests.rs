//! The reader against hand-made BTF whose answers are known, and against anything else,
//! which must give an answer or an error.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod damage;
mod generated;

use super::{writer::Writer, *};

/// A bit of everything that the kernel's BTF has.
fn sample() -> Vec<u8> {
    let mut w = Writer::new();
    let long = w.int("long int", 8);
    let int = w.int("int", 4);
    let task = w.next() + 1;
    let pointer = w.pointer(task);
    assert_eq!(
        w.structure(
            "task_struct",
            32,
            &[("pid", int, 0), ("next", pointer, 8), ("flags", long, 16)]
        ),
        task
    );
    let inner = w.union("", 8, &[("owner", pointer, 0), ("raw", long, 0)]);
    let anonymous = w.structure(
        "",
        24,
        &[("users", int, 0), ("", inner, 8), ("total_vm", long, 16)],
    );
    w.structure("mm_struct", 32, &[("", anonymous, 0), ("bitmap", long, 24)]);
    w.enumeration("", false, &[("MM_FILEPAGES", 0), ("MM_ANONPAGES", 1)]);
    w.tracepoint("rss_stat", &[pointer, int]);
    w.array(task, 4);
    w.record("e64", u32::from(raw::ENUM64) << 24 | 1, 8, &[1, 2, 3]);
    w.finish()
}

#[test]
fn fields_in_anonymous_structs_and_unions() {
    let btf = Btf::parse(&sample()).unwrap();
    for (path, offset) in [
        ("mm_struct.users", 0),
        ("mm_struct.owner", 8),
        ("mm_struct.raw", 8),
        ("mm_struct.total_vm", 16),
        ("mm_struct.bitmap", 24),
    ] {
        assert_eq!(
            btf.field(path).unwrap().map(|field| field.offset),
            Some(offset),
            "{path}"
        );
    }
    assert_eq!(btf.field("mm_struct.absent").unwrap(), None);
    assert_eq!(btf.field("absent.users").unwrap(), None);
    let owner = btf.field("mm_struct.owner").unwrap().unwrap();
    assert_eq!(btf.pointee(owner.of).unwrap(), Some("task_struct"));
    assert!(
        matches!(
            btf.field("mm_struct.owner.pid"),
            Err(BtfError::NoFields { .. })
        ),
        "through a pointer"
    );
    assert!(matches!(
        btf.field("mm_struct"),
        Err(BtfError::NoFields { .. })
    ));
}

#[test]
fn names_have_their_kinds() {
    let mut w = Writer::new();
    let int = w.int("thing", 4);
    let typedef = w.typedef("thing", int);
    let first = w.structure("thing", 1, &[]);
    w.structure("thing", 2, &[]);
    let union = w.union("thing", 3, &[]);
    let enumeration = w.enumeration("thing", false, &[]);
    w.structure("things", 1, &[]);
    w.record("declared", u32::from(raw::FWD) << 24, 0, &[]);
    let btf = Btf::parse(&w.finish()).unwrap();
    assert_eq!(
        btf.find(Kind::Struct, "thing"),
        Some(TypeId(first)),
        "the first of several"
    );
    assert_eq!(btf.find(Kind::Union, "thing"), Some(TypeId(union)));
    assert_eq!(btf.find(Kind::Enum, "thing"), Some(TypeId(enumeration)));
    assert_eq!(btf.find(Kind::Typedef, "thing"), Some(TypeId(typedef)));
    for absent in ["thin", "", "hing", "thing\0", "declared"] {
        assert!(!btf.contains(Kind::Struct, absent), "{absent:?}");
    }
}

#[test]
fn sizes_and_names_behind_typedefs_and_arrays() {
    let mut w = Writer::new();
    let long = w.int("long", 8);
    let counter = w.structure("percpu_counter", 40, &[("count", long, 8)]);
    let constant = w.qualifier(raw::CONST, counter);
    let typedef = w.typedef("counter_t", constant);
    let row = w.array(typedef, 4);
    let matrix = w.array(row, 3);
    let pointer = w.pointer(matrix);
    let flexible = w.array(long, 0);
    let huge = w.array(matrix, u32::MAX);
    let btf = Btf::parse(&w.finish()).unwrap();
    for (id, size) in [
        (long, 8),
        (typedef, 40),
        (row, 160),
        (matrix, 480),
        (pointer, 8),
        (flexible, 0),
    ] {
        assert_eq!(btf.size_of(TypeId(id)).unwrap(), size);
    }
    assert!(matches!(
        btf.size_of(TypeId(huge)),
        Err(BtfError::Overflow { .. })
    ));
    assert!(matches!(
        btf.size_of(TypeId(0)),
        Err(BtfError::Unexpected { .. })
    ));
    assert_eq!(
        btf.struct_name(TypeId(matrix)).unwrap(),
        Some("percpu_counter")
    );
    assert_eq!(btf.struct_name(TypeId(pointer)).unwrap(), None);
}

#[test]
fn bit_fields_have_no_offset() {
    let flag = |kind: u8, vlen: u32| 1 << 31 | u32::from(kind) << 24 | vlen;
    let mut w = Writer::new();
    let int = w.int("unsigned int", 4);
    // The old encoding: a type of three bits.
    let three = w.record("unsigned int", u32::from(raw::INT) << 24, 4, &[3]);
    let old = w.structure("old", 4, &[("narrow", three, 0), ("plain", int, 0)]);
    let name = [
        w.name("narrow"),
        w.name("plain"),
        w.name("whole_width"),
        w.name("unaligned"),
    ];
    let tail = [
        name[0],
        int,
        1 << 24,
        name[1],
        int,
        32,
        name[2],
        int,
        8 << 24 | 64,
        name[3],
        int,
        65,
    ];
    let new = w.record("new", flag(raw::STRUCT, 4), 12, &tail);
    let btf = Btf::parse(&w.finish()).unwrap();
    let field = |id, name| btf.field_of(TypeId(id), name);
    assert!(matches!(
        field(old, "narrow"),
        Err(BtfError::BitField { .. })
    ));
    assert_eq!(field(old, "plain").unwrap().unwrap().offset, 0);
    assert!(matches!(
        field(new, "narrow"),
        Err(BtfError::BitField { .. })
    ));
    assert_eq!(field(new, "plain").unwrap().unwrap().offset, 4);
    assert!(matches!(
        field(new, "whole_width"),
        Err(BtfError::BitField { .. })
    ));
    assert!(matches!(
        field(new, "unaligned"),
        Err(BtfError::BitField { .. })
    ));
}

#[test]
fn tracepoints_and_their_parameters() {
    let mut w = Writer::new();
    let int = w.int("int", 4);
    let mm = w.structure("mm_struct", 8, &[]);
    let pointer = w.pointer(mm);
    w.tracepoint("rss_stat", &[pointer, int]);
    w.tracepoint("nothing", &[]);
    w.typedef("btf_trace_number", int);
    let function = w.function(&[int]);
    let to_function = w.pointer(function);
    w.typedef("btf_trace_no_context", to_function);
    let declared = w.record("undefined", u32::from(raw::FWD) << 24, 0, &[]);
    let to_declared = w.pointer(declared);
    let btf = Btf::parse(&w.finish()).unwrap();
    let found = btf.tracepoint("rss_stat").unwrap().unwrap();
    assert_eq!(found, [TypeId(pointer), TypeId(int)]);
    assert_eq!(btf.pointee(found[0]).unwrap(), Some("mm_struct"));
    assert_eq!(
        btf.shape(found[1]).unwrap(),
        Shape::Int { size: 4, bits: 32 }
    );
    assert_eq!(btf.tracepoint("nothing").unwrap(), Some(vec![]));
    assert_eq!(btf.tracepoint("absent").unwrap(), None);
    assert!(btf.tracepoint("number").is_err());
    assert!(btf.tracepoint("no_context").is_err());
    assert_eq!(btf.pointee(TypeId(to_declared)).unwrap(), Some("undefined"));
}

#[test]
fn enumerators_of_all_sizes() {
    let mut w = Writer::new();
    w.enumeration("", false, &[("ZERO", 0), ("LARGE", u32::MAX)]);
    w.enumeration("signed", true, &[("MINUS", u32::MAX)]);
    let name = w.name("WIDE");
    w.record("wide", u32::from(raw::ENUM64) << 24 | 1, 8, &[name, 5, 7]);
    let btf = Btf::parse(&w.finish()).unwrap();
    for (name, value) in [
        ("ZERO", Some(0)),
        ("LARGE", Some(0xffff_ffff)),
        ("MINUS", Some(-1)),
        ("WIDE", Some((7 << 32) + 5)),
        ("ABSENT", None),
    ] {
        assert_eq!(btf.enumerator(name).unwrap(), value, "{name}");
    }
}

#[test]
fn every_kind_is_stepped_over() {
    // Kind, words that follow once, and per element (Documentation/bpf/btf.rst).
    let kinds = [
        (1, 1, 0),
        (2, 0, 0),
        (3, 3, 0),
        (4, 0, 3),
        (5, 0, 3),
        (6, 0, 2),
        (7, 0, 0),
        (8, 0, 0),
        (9, 0, 0),
        (10, 0, 0),
        (11, 0, 0),
        (12, 0, 0),
        (13, 0, 2),
        (14, 1, 0),
        (15, 0, 3),
        (16, 0, 0),
        (17, 1, 0),
        (18, 0, 0),
        (19, 0, 3),
    ];
    let mut w = Writer::new();
    for (kind, once, each) in kinds {
        // Kinds without elements use the number for other things (FUNC: linkage).
        w.record("", kind << 24 | 2, 0, &vec![0; once + 2 * each]);
    }
    let last = w.structure("last", 1, &[]);
    assert_eq!(
        Btf::parse(&w.finish()).unwrap().find(Kind::Struct, "last"),
        Some(TypeId(last))
    );
}

#[test]
fn unknown_kinds_need_a_layout() {
    let build = || {
        let mut w = Writer::new();
        w.record("", 21 << 24 | 3, 0, &[0; 7]);
        let last = w.structure("last", 1, &[]);
        (w, last)
    };
    assert!(matches!(
        Btf::parse(&build().0.finish()),
        Err(BtfError::UnknownKind { id: 1, kind: 21 })
    ));
    let mut layouts = vec![(0, 0); 22];
    layouts[21] = (4, 8);
    let (w, last) = build();
    assert_eq!(
        Btf::parse(&w.finish_with(&layouts))
            .unwrap()
            .find(Kind::Struct, "last"),
        Some(TypeId(last))
    );
    let (w, _) = build();
    assert!(matches!(
        Btf::parse(&w.finish_with(&layouts[..21])),
        Err(BtfError::UnknownKind { .. })
    ));
}

#[test]
fn circles_end() {
    let mut w = Writer::new();
    let typedef = w.next();
    w.typedef("circle", typedef + 1);
    w.qualifier(raw::CONST, typedef);
    let array = w.next();
    w.array(array, 1);
    let own = w.next();
    w.structure("own", 8, &[("", own, 0), ("", own, 0)]);
    // 2^60 ways to look for an absent member.
    let first = w.next();
    for _ in 0..60 {
        let next = w.next() + 1;
        w.structure("", 8, &[("", next, 0), ("", next, 0)]);
    }
    w.structure("", 8, &[]);
    let pointer = w.next();
    w.pointer(pointer);
    let btf = Btf::parse(&w.finish()).unwrap();
    assert!(matches!(
        btf.strip(TypeId(typedef)),
        Err(BtfError::Endless { .. })
    ));
    assert!(matches!(
        btf.size_of(TypeId(array)),
        Err(BtfError::Endless { .. })
    ));
    assert!(matches!(
        btf.struct_name(TypeId(array)),
        Err(BtfError::Endless { .. })
    ));
    assert!(matches!(
        btf.field("own.absent"),
        Err(BtfError::Endless { .. })
    ));
    assert!(matches!(
        btf.field_of(TypeId(first), "absent"),
        Err(BtfError::Endless { .. })
    ));
    assert_eq!(btf.size_of(TypeId(pointer)).unwrap(), 8);
    assert_eq!(btf.pointee(TypeId(pointer)).unwrap(), None);
}

#[test]
fn headers_that_are_refused() {
    let good = sample();
    let with = |at: usize, bytes: &[u8]| {
        let mut data = good.clone();
        data[at..at + bytes.len()].copy_from_slice(bytes);
        Btf::parse(&data)
    };
    assert!(Btf::parse(&good).is_ok());
    assert!(matches!(Btf::parse(&[]), Err(BtfError::Magic { magic: 0 })));
    assert!(matches!(with(0, b"\x7fE"), Err(BtfError::Magic { .. })));
    assert!(matches!(
        with(0, &0x9feb_u16.to_ne_bytes()),
        Err(BtfError::ForeignEndian)
    ));
    assert!(matches!(
        with(2, &[2]),
        Err(BtfError::Version {
            version: 2,
            flags: 0
        })
    ));
    assert!(matches!(
        with(3, &[1]),
        Err(BtfError::Version {
            version: 1,
            flags: 1
        })
    ));
    assert!(matches!(
        with(4, &23_u32.to_ne_bytes()),
        Err(BtfError::Header)
    ));
    assert!(matches!(
        with(4, &u32::MAX.to_ne_bytes()),
        Err(BtfError::Header)
    ));
    for at in [8, 12, 16, 20] {
        assert!(
            matches!(
                with(at, &u32::MAX.to_ne_bytes()),
                Err(BtfError::Section { .. })
            ),
            "{at}"
        );
    }
    assert!(matches!(
        with(20, &0_u32.to_ne_bytes()),
        Err(BtfError::Section { section: "string" })
    ));
    assert!(matches!(
        with(good.len() - 1, b"x"),
        Err(BtfError::Section { section: "string" })
    ));
    // Every way to cut it short is noticed.
    for length in 0..good.len() {
        assert!(Btf::parse(&good[..length]).is_err(), "{length}");
    }
}

#[test]
fn records_that_are_cut_short() {
    let mut w = Writer::new();
    w.record("", u32::from(raw::STRUCT) << 24 | 2, 0, &[0; 3]);
    assert!(matches!(
        Btf::parse(&w.finish()),
        Err(BtfError::Truncated { id: 1 })
    ));
    let mut w = Writer::new();
    w.record("", u32::from(raw::STRUCT) << 24 | 0x00ff_ffff, 0, &[]);
    assert!(matches!(
        Btf::parse(&w.finish()),
        Err(BtfError::Truncated { id: 1 })
    ));
    let mut w = Writer::new();
    w.record("", 0, 0, &[]);
    assert!(matches!(
        Btf::parse(&w.finish()),
        Err(BtfError::UnknownKind { id: 1, kind: 0 })
    ));
}

#[test]
fn many_types_of_one_long_name_take_linear_time() {
    let mut w = Writer::new();
    let name = w.name(&"x".repeat(1 << 20));
    for _ in 0..100_000 {
        w.record("", u32::from(raw::STRUCT) << 24, 0, &[]);
    }
    let mut data = w.finish();
    for record in 0..100_000 {
        data[24 + record * 12..][..4].copy_from_slice(&name.to_ne_bytes());
    }
    // Hashing whole names would read 100 GB, the chain of one bucket has all types.
    let btf = Btf::parse(&data).unwrap();
    assert_eq!(btf.find(Kind::Struct, "x"), None);
    assert_eq!(btf.find(Kind::Struct, &"x".repeat(60)), None);
}
