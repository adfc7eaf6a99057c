//! The parts that are counted, each over the same input.

use std::{fs, hint::black_box, io};

use anyhow::{Context as _, Result, bail};
use memtrace::{
    event::Event,
    kernel::{Btf, Features, btf::VMLINUX},
    model::Model,
    recording::{Head, Writer},
    report::{json, text},
};

use super::input::{CHANGES, PROCESSES, changes, frame, lives};

/// One part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Its short name.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
    /// What one operation is.
    pub(crate) operation: &'static str,
}

/// All of them.
pub(crate) const PARTS: [Part; 6] = [
    Part {
        name: "btf",
        what: "reading this kernel's BTF and finding all fields",
        operation: "all of it",
    },
    Part {
        name: "decode",
        what: "decoding records",
        operation: "a record",
    },
    Part {
        name: "model",
        what: "the model, with its result at the end",
        operation: "a process of five records",
    },
    Part {
        name: "encode",
        what: "a recording of every change: columns, compression, writing",
        operation: "a change",
    },
    Part {
        name: "text",
        what: "the report, a line per process",
        operation: "a process",
    },
    Part {
        name: "json",
        what: "the result as JSON",
        operation: "a process",
    },
];

impl Part {
    /// Operations of one repetition.
    pub(crate) fn operations(&self) -> u64 {
        match self.name {
            "btf" => 1,
            "decode" => PROCESSES * (5 + CHANGES),
            "encode" => PROCESSES * CHANGES,
            _ => PROCESSES,
        }
    }
}

/// Does the work of a part so often, in this process.
pub(crate) fn repeat(part: &str, repetitions: u32) -> Result<()> {
    match part {
        "btf" => {
            let bytes = fs::read(VMLINUX).context("read the kernel's BTF")?;
            for _ in 0..repetitions {
                let btf = Btf::parse(black_box(&bytes))?;
                black_box(Features::from_btf(&btf)?);
            }
        }
        "decode" => {
            let events = [lives()?, changes()?].concat();
            let records: Vec<&[u8]> = events.iter().map(Event::bytes).collect();
            for _ in 0..repetitions {
                for record in &records {
                    black_box(Event::decode(black_box(record))?);
                }
            }
        }
        "model" => {
            let events = lives()?;
            let (_, last) = frame()?;
            for _ in 0..repetitions {
                let mut model = Model::new();
                for event in &events {
                    model.apply(black_box(event));
                }
                black_box(model.finish(last.clone()));
            }
        }
        "encode" => {
            let events = changes()?;
            let (head, last) = frame()?;
            let head = Head {
                width_ns: 0,
                ..head
            };
            for _ in 0..repetitions {
                let file = fs::File::create("/dev/null").context("open /dev/null")?;
                let writer = Writer::create(file, &head)?;
                for event in &events {
                    writer.event(black_box(event));
                }
                writer.finish(&last)?;
            }
        }
        "text" | "json" => {
            let (_, last) = frame()?;
            let mut model = Model::new();
            for event in &lives()? {
                model.apply(event);
            }
            let summary = model.finish(last);
            let options = text::Options {
                per_process: true,
                ..text::Options::default()
            };
            for _ in 0..repetitions {
                if part == "text" {
                    text::write(black_box(&summary), options, &mut io::sink())?;
                } else {
                    json::write(black_box(&summary), &mut io::sink())?;
                }
            }
        }
        other => bail!("there is no part {other}"),
    }
    Ok(())
}
