//! The running kernel's types as bpftool prints them.

use std::{collections::HashMap, env, fs, path::Path, process::Command, sync::OnceLock};

use memtrace::kernel::btf::VMLINUX;

/// Says that a test cannot run here.
pub(crate) fn skip(test: &str, why: &str) {
    assert!(
        env::var_os("MEMTRACE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "{test} must not be skipped: {why}"
    );
    println!("skipped {test}: {why}");
}

/// The running kernel's BTF, or a note of why not.
pub(crate) fn live(test: &str) -> Option<&'static [u8]> {
    static LIVE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let data = LIVE.get_or_init(|| {
        Path::new(VMLINUX)
            .exists()
            .then(|| fs::read(VMLINUX).unwrap())
    });
    if data.is_none() {
        skip(test, "the kernel has no BTF");
    }
    data.as_deref()
}

/// One type as bpftool prints it.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    pub(crate) kind: String,
    pub(crate) name: String,
    /// `size=64`, `type_id=7`, ...
    pub(crate) attributes: HashMap<String, String>,
    /// Members, parameters or enumerators.
    pub(crate) elements: Vec<(String, HashMap<String, String>)>,
}

impl Printed {
    pub(crate) fn number(&self, attribute: &str) -> u32 {
        self.attributes[attribute].parse().unwrap()
    }

    /// Splits `'name' key=value key=value`; a name may be `(anon)`.
    fn name_and_attributes(text: &str) -> (String, HashMap<String, String>) {
        let (name, rest) = text.strip_prefix('\'').unwrap().split_once('\'').unwrap();
        let attributes = rest
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        (
            if name == "(anon)" {
                String::new()
            } else {
                name.to_owned()
            },
            attributes,
        )
    }
}

/// All types of the running kernel as bpftool prints them; index 0 is `void`.
pub(crate) fn printed(test: &str) -> Option<&'static [Printed]> {
    static PRINTED: OnceLock<Option<Vec<Printed>>> = OnceLock::new();
    live(test)?;
    let types = PRINTED.get_or_init(|| {
        let output = Command::new("bpftool")
            .args(["btf", "dump", "file", VMLINUX, "format", "raw"])
            .output()
            .ok()?;
        if !output.status.success() {
            return None;
        }
        let mut types = vec![Printed::default()];
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            if let Some(element) = line.strip_prefix('\t') {
                // Sections of variables have elements without a name.
                if element.starts_with('\'') {
                    types
                        .last_mut()
                        .unwrap()
                        .elements
                        .push(Printed::name_and_attributes(element));
                }
            } else {
                let (id, rest) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
                assert_eq!(id.parse::<usize>().unwrap(), types.len());
                let (kind, rest) = rest.split_once(' ').unwrap();
                let (name, attributes) = Printed::name_and_attributes(rest);
                types.push(Printed {
                    kind: kind.to_owned(),
                    name,
                    attributes,
                    elements: Vec::new(),
                });
            }
        }
        Some(types)
    });
    if types.is_none() {
        skip(
            test,
            "bpftool is not installed or cannot read the kernel's BTF",
        );
    }
    types.as_deref()
}

/// Behind typedefs and qualifiers.
pub(crate) fn stripped(types: &[Printed], mut id: u32) -> u32 {
    while matches!(
        types[id as usize].kind.as_str(),
        "TYPEDEF" | "CONST" | "VOLATILE" | "RESTRICT" | "TYPE_TAG"
    ) {
        id = types[id as usize].number("type_id");
    }
    id
}

/// All fields of a struct with their offsets in bits, widths as bit-fields (0 for none) and types.
pub(crate) fn fields(
    types: &[Printed],
    id: u32,
    base: u32,
    all: &mut Vec<(String, u32, u32, u32)>,
) {
    for (name, attributes) in &types[id as usize].elements {
        let of: u32 = attributes["type_id"].parse().unwrap();
        let bits = base + attributes["bits_offset"].parse::<u32>().unwrap();
        let width = attributes
            .get("bitfield_size")
            .map_or(0, |width| width.parse().unwrap());
        let inner = stripped(types, of);
        if !name.is_empty() {
            all.push((name.clone(), bits, width, of));
        } else if matches!(types[inner as usize].kind.as_str(), "STRUCT" | "UNION") {
            fields(types, inner, bits, all);
        }
    }
}

/// Size in bytes, for types that have one.
pub(crate) fn size(types: &[Printed], id: u32) -> Option<u64> {
    let id = stripped(types, id);
    let printed = &types[id as usize];
    match printed.kind.as_str() {
        "PTR" => Some(8),
        "ARRAY" => {
            Some(u64::from(printed.number("nr_elems")) * size(types, printed.number("type_id"))?)
        }
        "INT" | "STRUCT" | "UNION" | "ENUM" | "ENUM64" => Some(printed.number("size").into()),
        _ => None,
    }
}

/// The offset of a path such as `mm_struct.owner`, from what bpftool printed.
pub(crate) fn oracle(types: &[Printed], path: &str) -> Option<u32> {
    let (root, name) = path.split_once('.').unwrap();
    let id = types
        .iter()
        .position(|printed| printed.kind == "STRUCT" && printed.name == root)?;
    let mut all = Vec::new();
    fields(types, id as u32, 0, &mut all);
    all.iter()
        .find(|(field, ..)| field == name)
        .map(|(_, bits, ..)| bits / 8)
}
