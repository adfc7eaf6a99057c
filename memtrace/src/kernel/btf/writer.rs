//! Writes small BTF for tests. Offsets and sizes are the caller's: the reader's
//! answers are compared with them, not with anything computed here.

use super::raw;

/// BTF under construction.
pub(crate) struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            count: 0,
        }
    }

    /// The number that the next type will get.
    pub(crate) fn next(&self) -> u32 {
        self.count + 1
    }

    pub(crate) fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        offset
    }

    /// A record with any content.
    pub(crate) fn record(&mut self, name: &str, info: u32, size_or_type: u32, tail: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, info, size_or_type].iter().chain(tail) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.count += 1;
        self.count
    }

    fn info(kind: u8, vlen: usize) -> u32 {
        u32::from(kind) << 24 | vlen as u32
    }

    pub(crate) fn int(&mut self, name: &str, size: u32) -> u32 {
        self.record(name, Self::info(raw::INT, 0), size, &[size * 8])
    }

    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.record("", Self::info(raw::PTR, 0), to, &[])
    }

    pub(crate) fn typedef(&mut self, name: &str, to: u32) -> u32 {
        self.record(name, Self::info(raw::TYPEDEF, 0), to, &[])
    }

    /// `const`, `volatile`, ...
    pub(crate) fn qualifier(&mut self, kind: u8, to: u32) -> u32 {
        self.record("", Self::info(kind, 0), to, &[])
    }

    pub(crate) fn array(&mut self, element: u32, length: u32) -> u32 {
        self.record("", Self::info(raw::ARRAY, 0), 0, &[element, 1, length])
    }

    /// Members are (name, type, offset in bytes).
    pub(crate) fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.aggregate(raw::STRUCT, name, size, members)
    }

    pub(crate) fn union(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.aggregate(raw::UNION, name, size, members)
    }

    pub(crate) fn aggregate(
        &mut self,
        kind: u8,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let tail: Vec<_> = members
            .iter()
            .flat_map(|(name, of, bytes)| [self.name(name), *of, bytes * 8])
            .collect();
        self.record(name, Self::info(kind, members.len()), size, &tail)
    }

    /// An enum of 32 bits.
    pub(crate) fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, u32)]) -> u32 {
        let tail: Vec<_> = values
            .iter()
            .flat_map(|(name, value)| [self.name(name), *value])
            .collect();
        self.record(
            name,
            u32::from(signed) << 31 | Self::info(raw::ENUM, values.len()),
            4,
            &tail,
        )
    }

    pub(crate) fn function(&mut self, parameters: &[u32]) -> u32 {
        let tail: Vec<_> = parameters.iter().flat_map(|of| [0, *of]).collect();
        self.record("", Self::info(raw::FUNC_PROTO, parameters.len()), 0, &tail)
    }

    /// `typedef void (*btf_trace_EVENT)(void *, ...)`.
    pub(crate) fn tracepoint(&mut self, event: &str, parameters: &[u32]) -> u32 {
        let mut all = vec![self.pointer(0)];
        all.extend_from_slice(parameters);
        let function = self.function(&all);
        let pointer = self.pointer(function);
        self.typedef(&format!("btf_trace_{event}"), pointer)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.finish_with(&[])
    }

    /// With sizes of kinds (`struct btf_layout`), by kind.
    pub(crate) fn finish_with(self, layouts: &[(u8, u8)]) -> Vec<u8> {
        let layouts: Vec<u8> = layouts
            .iter()
            .flat_map(|(once, each)| [*once, *each, 0, 0])
            .collect();
        let header: u32 = if layouts.is_empty() { 24 } else { 32 };
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut data = 0xeb9f_u16.to_ne_bytes().to_vec();
        data.extend_from_slice(&[1, 0]);
        for word in [header, 0, types, types + layouts.len() as u32, strings] {
            data.extend_from_slice(&word.to_ne_bytes());
        }
        if !layouts.is_empty() {
            for word in [types, layouts.len() as u32] {
                data.extend_from_slice(&word.to_ne_bytes());
            }
        }
        data.extend_from_slice(&self.types);
        data.extend_from_slice(&layouts);
        data.extend_from_slice(&self.strings);
        data
    }
}
