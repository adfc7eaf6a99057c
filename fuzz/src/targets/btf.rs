//! The BTF reader: any bytes must give an answer or an error.

use memtrace::kernel::{
    Btf, Features,
    btf::{Kind, TypeId},
};

/// Bytes of `struct btf_header`.
const HEADER: usize = 24;

/// Reads these bytes.
pub fn run(data: &[u8]) {
    interrogate(data);
    // The same bytes behind a header that is right: two of them say how long the type
    // section is, the rest are types and strings.
    if let [low, high, rest @ ..] = data {
        let mut types = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        types -= types % 4;
        let mut blob = Vec::with_capacity(HEADER + rest.len() + 2);
        blob.extend_from_slice(&0xeb9f_u16.to_ne_bytes());
        blob.extend_from_slice(&[1, 0]);
        for word in [HEADER, 0, types, types, rest.len() - types + 2] {
            blob.extend_from_slice(&(word as u32).to_ne_bytes());
        }
        let (types, strings) = rest.split_at(types);
        blob.extend_from_slice(types);
        blob.push(0);
        blob.extend_from_slice(strings);
        blob.push(0);
        interrogate(&blob);
    }
}

fn interrogate(data: &[u8]) {
    let Ok(btf) = Btf::parse(data) else { return };
    for id in (0..=btf.len() as u32 + 1).map(TypeId) {
        let _ = btf.strip(id);
        let _ = btf.shape(id);
        let _ = btf.size_of(id);
        let _ = btf.struct_name(id);
        let _ = btf.pointee(id);
        let _ = btf.field_of(id, "a");
        let _ = btf.field_of(id, "a.b");
    }
    for name in ["a", "mm_struct", "task_struct"] {
        for kind in [Kind::Struct, Kind::Union, Kind::Enum, Kind::Typedef] {
            if let Some(id) = btf.find(kind, name) {
                assert!(id.0 >= 1 && id.0 as usize <= btf.len());
            }
        }
    }
    let _ = btf.tracepoint("a");
    let _ = btf.enumerator("a");
    let _ = btf.field("mm_struct.rss_stat");
    let _ = Features::from_btf(&btf);
}
