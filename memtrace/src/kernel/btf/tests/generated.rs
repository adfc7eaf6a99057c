//! Random nests of structs and unions: the generator knows where it put every field.

use proptest::prelude::*;

use super::{Btf, Kind, Writer, raw};

/// One member of a struct.
#[derive(Clone, Debug)]
enum Member {
    /// An integer of 2^n bytes after so many bytes of padding, behind so many typedefs.
    Leaf {
        power: u32,
        padding: u32,
        typedefs: u32,
    },
    /// An array of structs, which is no way to further fields.
    Array { length: u32 },
    /// An anonymous struct or union: its fields belong to the outer one.
    Anonymous { union: bool, members: Vec<Self> },
    /// A struct or union with a name: its fields are reached through it.
    Named { union: bool, members: Vec<Self> },
}

fn member() -> impl Strategy<Value = Member> {
    let leaf = prop_oneof![
        4 => (0_u32..4, 0_u32..9, 0_u32..4)
            .prop_map(|(power, padding, typedefs)| Member::Leaf { power, padding, typedefs }),
        1 => (0_u32..5).prop_map(|length| Member::Array { length }),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        (
            any::<bool>(),
            any::<bool>(),
            prop::collection::vec(inner, 0..6),
        )
            .prop_map(|(named, union, members)| {
                if named {
                    Member::Named { union, members }
                } else {
                    Member::Anonymous { union, members }
                }
            })
    })
}

/// Writes types and remembers what the answers must be.
struct Generator {
    writer: Writer,
    serial: u32,
    /// (path, offset, size).
    expected: Vec<(String, u32, u32)>,
}

impl Generator {
    fn fresh(&mut self) -> String {
        self.serial += 1;
        format!("f{}", self.serial)
    }

    /// Writes a struct or union and returns its (type, size). `base` is its offset in the root.
    fn aggregate(
        &mut self,
        name: &str,
        union: bool,
        members: &[Member],
        path: &str,
        base: u32,
    ) -> (u32, u32) {
        let mut written = Vec::new();
        let (mut end, mut largest) = (0_u32, 0_u32);
        for member in members {
            let mut at = if union { 0 } else { end };
            let (name, of, size) = match member {
                Member::Leaf {
                    power,
                    padding,
                    typedefs,
                } => {
                    let (name, size) = (self.fresh(), 1 << power);
                    at += if union { 0 } else { *padding };
                    let mut of = self.writer.int("integer", size);
                    for _ in 0..*typedefs {
                        of = self.writer.typedef("alias", of);
                        of = self.writer.qualifier(raw::VOLATILE, of);
                    }
                    self.expected
                        .push((format!("{path}.{name}"), base + at, size));
                    (name, of, size)
                }
                Member::Array { length } => {
                    let name = self.fresh();
                    let element = self.writer.structure("element", 24, &[]);
                    let of = self.writer.array(element, *length);
                    self.expected
                        .push((format!("{path}.{name}"), base + at, 24 * length));
                    (name, of, 24 * length)
                }
                Member::Anonymous { union, members } => {
                    let (of, size) = self.aggregate("", *union, members, path, base + at);
                    (String::new(), of, size)
                }
                Member::Named { union, members } => {
                    let name = self.fresh();
                    let inner = format!("{path}.{name}");
                    let (of, size) = self.aggregate("named", *union, members, &inner, base + at);
                    self.expected.push((inner, base + at, size));
                    (name, of, size)
                }
            };
            end = at + size;
            largest = largest.max(size);
            written.push((name, of, at));
        }
        let size = if union { largest } else { end };
        let members: Vec<_> = written
            .iter()
            .map(|(name, of, at)| (name.as_str(), *of, *at))
            .collect();
        let kind = if union { raw::UNION } else { raw::STRUCT };
        (self.writer.aggregate(kind, name, size, &members), size)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_field_is_found_where_it_was_put(union: bool, members in prop::collection::vec(member(), 0..8)) {
        let mut generator = Generator { writer: Writer::new(), serial: 0, expected: Vec::new() };
        let (_, size) = generator.aggregate("root", union, &members, "root", 0);
        let Generator { writer, expected, .. } = generator;
        let btf = Btf::parse(&writer.finish()).unwrap();

        let root = btf.find(if union { Kind::Union } else { Kind::Struct }, "root").unwrap();
        prop_assert_eq!(btf.size_of(root).unwrap(), size);
        for (path, offset, size) in &expected {
            let field = btf.field(path).unwrap().unwrap();
            prop_assert_eq!(field.offset, *offset, "{}", path);
            prop_assert_eq!(btf.size_of(field.of).unwrap(), *size, "{}", path);
        }
        prop_assert_eq!(btf.field("root.absent").unwrap(), None);
    }
}
