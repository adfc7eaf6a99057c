//! From records to reports: whatever programs are called, and whatever the records say, JSON is
//! JSON that has the names, and text is text that does nothing to a terminal.

use memtrace::{
    abi::{Image, Tree, event},
    event::Event,
    model::{CrossChecks, Final, Model, Stats, Summary},
    report::{
        json,
        runit::{self, MachineMemory},
        text,
    },
};

/// Takes the input apart. When it is used up, there are zeros.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A name of up to 255 bytes.
    fn name(&mut self) -> &'a [u8] {
        let length = self.byte().into();
        self.bytes(length)
    }

    /// A record of this size whose first bytes are given, so that short inputs make many.
    fn record(&mut self, kind: u32, size: usize) -> Vec<u8> {
        let mut record = vec![0; size];
        for (to, from) in record.iter_mut().skip(4).zip(self.name()) {
            *to = *from;
        }
        record[..4].copy_from_slice(&kind.to_ne_bytes());
        record
    }
}

/// Reads these bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let command = vec![input.name().to_vec(), input.name().to_vec()];
    let mut tree = vec![0_u8; size_of::<Tree>()];
    for (to, from) in tree.iter_mut().zip(input.name()) {
        *to = *from;
    }
    let mut model = Model::new();
    while !input.0.is_empty() {
        let (kind, size) = match input.byte() % 6 {
            0 => (event::FORK, size_of::<event::Fork>()),
            1 => (event::EXEC, size_of::<event::Exec>()),
            2 => (event::EXIT, size_of::<event::Exit>()),
            3 => (event::FREED, size_of::<event::Freed>()),
            4 => (event::IMAGE_END, size_of::<Image>()),
            _ => (event::OOM, size_of::<event::Oom>()),
        };
        let mut event = Event::decode(&input.record(kind, size)).expect("a record of its size");
        if let Event::Exec(exec) = &mut event {
            let lengths = [&mut exec.comm[..], &mut exec.path, &mut exec.args].map(|field| {
                let name = input.name();
                let length = name.len().min(field.len());
                field[..length].copy_from_slice(&name[..length]);
                length as u32
            });
            (exec.path_len, exec.args_len) = (lengths[1], lengths[2]);
        }
        model.apply(&event);
    }
    let summary = model.finish(Final {
        ended_at: u64::from(u32::MAX),
        // SAFETY: `repr(C)`, only integers, without padding, and that many bytes of them.
        tree: unsafe { tree.as_ptr().cast::<Tree>().read_unaligned() },
        images: Vec::new(),
        processes: Vec::new(),
        stats: Stats::default(),
        missed: Vec::new(),
        undecodable: 0,
        cross_checks: CrossChecks::default(),
        tier: "A".to_owned(),
        limits: Vec::new(),
        page_size: 4096,
        command,
        wait_status: Some(0),
        wall_ns: 1,
        user_ns: 1,
        system_ns: 1,
        maxrss_bytes: None,
        started_unix_ns: None,
        ended_by_limit: None,
        own_cgroup: None,
        snapshots: Vec::new(),
        segments: Vec::new(),
        branches: Vec::new(),
        sampled: None,
    });
    check(&summary);
}

fn check(summary: &Summary) {
    let mut out = Vec::new();
    json::write(summary, &mut out).expect("a vector takes everything");
    let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    for (i, argument) in summary.command.iter().enumerate() {
        assert_eq!(
            value["command"][i],
            String::from_utf8_lossy(argument).as_ref()
        );
    }
    for verbose in [false, true] {
        for per_process in [false, true] {
            let mut out = Vec::new();
            let options = text::Options {
                verbose,
                per_process,
                ..text::Options::default()
            };
            text::write(summary, options, &mut out).expect("a vector takes everything");
            harmless(out);
        }
    }
    let mut out = Vec::new();
    runit::write(summary, MachineMemory::default(), &mut out).expect("a vector takes everything");
    harmless(out);
}

fn harmless(out: Vec<u8>) {
    let text = String::from_utf8(out).expect("text is UTF-8");
    let hidden = text.chars().find(|&c| {
        c.is_control() && c != '\n'
            || ('\u{200b}'..='\u{200f}').contains(&c)
            || ('\u{2028}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    });
    assert_eq!(hidden, None, "{text:?}");
}
