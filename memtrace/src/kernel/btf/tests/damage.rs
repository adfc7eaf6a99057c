//! Anything at all in place of BTF: every question must have an answer or an error.

use proptest::prelude::*;

use super::{Btf, Kind, TypeId, Writer, sample};

/// Asks everything that can be asked. Returning at all is the test.
fn interrogate(btf: &Btf, names: &[String]) {
    for id in (0..=btf.len() as u32 + 1).map(TypeId) {
        let _ = btf.strip(id);
        let _ = btf.shape(id);
        let _ = btf.size_of(id);
        let _ = btf.struct_name(id);
        let _ = btf.pointee(id);
        let _ = btf.field_of(id, "absent");
        let _ = btf.field_of(id, "a.b.c");
    }
    for name in names {
        for kind in [Kind::Struct, Kind::Union, Kind::Enum, Kind::Typedef] {
            let _ = btf.find(kind, name);
        }
        let _ = btf.tracepoint(name);
        let _ = btf.enumerator(name);
        let _ = btf.field(name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes(data in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(btf) = Btf::parse(&data) {
            interrogate(&btf, &[]);
        }
    }

    /// Behind a header that is right, so that the records are reached.
    #[test]
    fn arbitrary_records(
        words in prop::collection::vec((0_u32..40, 0_u32..22, 0_u32..4, 0_u32..12, any::<bool>()), 1..60),
        text in "[a-c\\.\0]{1,40}",
    ) {
        let mut w = Writer::new();
        w.name(&text);
        for (first, kind, vlen, second, flag) in words {
            w.record("", u32::from(flag) << 31 | kind << 24 | vlen, second, &[first, second, vlen][..(kind % 4) as usize]);
        }
        if let Ok(btf) = Btf::parse(&w.finish()) {
            interrogate(&btf, &[text]);
        }
    }

    #[test]
    fn damaged_sample(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut data = sample();
        for (at, byte) in damage {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Ok(btf) = Btf::parse(&data) {
            let names = ["task_struct", "mm_struct.total_vm", "rss_stat", "MM_FILEPAGES"].map(str::to_owned);
            interrogate(&btf, &names);
            let _ = crate::kernel::Features::from_btf(&btf);
        }
    }
}
