//! Histories as text and what the model and the reports must make of them, to the
//! last byte. The expected files are written by hand from the events.

use std::collections::BTreeMap;

use memtrace_ebpf::{Image, ImageKind, Integral, MEMBERS, Pages, Tree, event};

use super::super::{CrossChecks, Final, Model, Summary};
use crate::{
    event::Event,
    report::{json, runit, text},
};

/// The fields of one line.
struct Fields<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn text(&self, key: &str) -> &'a str {
        self.0.get(key).copied().unwrap_or_default()
    }

    fn u64(&self, key: &str) -> u64 {
        match self.text(key) {
            "" => 0,
            text => text.parse().expect("a number"),
        }
    }

    fn u32(&self, key: &str) -> u32 {
        u32::try_from(self.u64(key)).expect("32 bits")
    }

    fn i64(&self, key: &str) -> i64 {
        i64::try_from(self.u64(key)).expect("63 bits")
    }

    fn list(&self, key: &str) -> Vec<u64> {
        let text = self.text(key);
        text.split('/')
            .filter(|n| !n.is_empty())
            .map(|n| n.parse().expect("a number"))
            .collect()
    }

    fn pages(&self, key: &str) -> Pages {
        let mut pages = [0; MEMBERS];
        for (slot, n) in pages.iter_mut().zip(self.list(key)) {
            *slot = i64::try_from(n).expect("63 bits");
        }
        pages
    }

    /// `F/A/W/SxNS`.
    fn held(&self) -> [Integral; MEMBERS] {
        let mut integral = [Integral::default(); MEMBERS];
        if let Some((pages, ns)) = self.text("held").split_once('x') {
            for (slot, pages) in integral.iter_mut().zip(pages.split('/')) {
                slot.add(pages.parse().expect("pages"), ns.parse().expect("ns"));
            }
        }
        integral
    }

    fn comm(&self) -> [u8; 16] {
        let mut comm = [0; 16];
        let text = self.text("comm").as_bytes();
        comm[..text.len()].copy_from_slice(text);
        comm
    }

    /// `a|b%ffc`.
    fn args(&self) -> Vec<Vec<u8>> {
        self.text("args").split('|').map(unescape).collect()
    }

    fn image(&self) -> Image {
        let mut image = super::image(self.u64("id"), ImageKind::Exec);
        image.header.at = self.u64("at");
        image.kind = self.u32("kind");
        image.state = self.u32("state");
        image.parent = self.u64("parent");
        image.tgid = self.u32("tgid");
        image.born_at = self.u64("born");
        image.cur = self.pages("cur");
        image.peak = self.pages("peak");
        image.own_peak = self.pages("own");
        image.peak_rss = self.i64("peak_rss");
        image.peak_rss_at = self.u64("peak_at");
        image.peak_rss_swap = self.i64("rss_swap");
        image.at_peak = self.pages("at_peak");
        image.at_peak_shared = self.i64("shared_then");
        image.shared = self.i64("shared");
        image.seq = self.u64("seq");
        image.integral = self.held();
        image.integral_at = [self.u64("held_until"); MEMBERS];
        image.events = self.u64("events");
        image.inherited = self.i64("inherited");
        image.vm_cur[0] = self.u64("total_vm");
        image.vm_integral_at = image.born_at;
        image.hiwater_vm = self.u64("hiwater_vm");
        image.hiwater_rss = self.u64("hiwater_rss");
        image.text_bytes = self.u64("text");
        for (slot, n) in image.vm_peak.iter_mut().zip(self.list("vm")) {
            *slot = n;
        }
        image
    }

    fn tree(&self) -> Tree {
        let mut tree = super::tree();
        tree.started_at = self.u64("started");
        tree.cur = self.pages("cur");
        tree.rss = memtrace_ebpf::rss(&tree.cur);
        tree.peak = self.pages("peak");
        tree.peak_rss = self.i64("peak_rss");
        tree.peak_rss_at = self.u64("peak_at");
        tree.peak_rss_swap = self.i64("rss_swap");
        tree.peak_seq = self.u64("seq");
        tree.integral = self.held();
        tree.integral_at = [self.u64("held_until"); MEMBERS];
        tree.events = self.u64("events");
        tree.images = self.u64("images");
        tree.processes = self.u64("processes");
        let footprint = self.pages("footprint");
        tree.peak_footprint_low = footprint[0];
        tree.peak_footprint_low_at = footprint[1].unsigned_abs();
        tree.peak_footprint_high = footprint[2];
        tree.peak_footprint_high_at = footprint[3].unsigned_abs();
        if let Some((pages, ns)) = self.text("shared_held").split_once('x') {
            let (pages, ns) = (pages.parse().expect("pages"), ns.parse().expect("ns"));
            tree.shared_integral.add(pages, ns);
            tree.shared_integral_at = tree.started_at + ns;
        }
        tree
    }

    fn end(&self) -> Final {
        let mut end = super::last(super::tree(), self.u64("at"));
        end.wall_ns = self.u64("wall");
        end.user_ns = self.u64("user");
        end.system_ns = self.u64("system");
        end.wait_status = Some(i32::try_from(self.u32("status")).expect("31 bits"));
        end.maxrss_bytes = Some(self.u64("maxrss"));
        end.command = self.args();
        end.cross_checks = CrossChecks {
            count: self.u64("checks"),
            ..CrossChecks::default()
        };
        end
    }

    fn event(&self, kind: &str) -> Option<Event> {
        let kind = match kind {
            "fork" => event::FORK,
            "exec" => event::EXEC,
            "exit" => event::EXIT,
            "oom" => event::OOM,
            "image" => return Some(Event::ImageEnd(Box::new(self.ended_image()))),
            _ => return None,
        };
        let mut event = super::zeroed(kind);
        match &mut event {
            Event::Fork(e) => {
                e.header.at = self.u64("at");
                e.tgid = self.u32("tgid");
                e.ns_tgid = self.u32("ns_tgid");
                e.creator = self.u32("creator");
                e.flags = self.u32("flags");
                e.image = self.u64("image");
                e.started_at = self.u64("started");
                e.comm = self.comm();
            }
            Event::Exec(e) => {
                e.header.at = self.u64("at");
                e.tgid = self.u32("tgid");
                e.image = self.u64("image");
                e.old_image = self.u64("old_image");
                e.maxrss = self.u64("maxrss");
                e.comm = self.comm();
                let path = self.text("path").as_bytes();
                e.path[..path.len()].copy_from_slice(path);
                e.path_len = u32::try_from(path.len() + 1).expect("short");
                let mut args = self.args().join(&0);
                args.push(0);
                e.args[..args.len()].copy_from_slice(&args);
                e.args_len = u32::try_from(args.len()).expect("short");
                e.args_total = e.args_len;
            }
            Event::Exit(e) => {
                e.header.at = self.u64("at");
                e.tgid = self.u32("tgid");
                e.again = self.u32("again");
                e.wait_status = self.u32("status");
                e.flags = self.u32("flags");
                e.utime = self.u64("utime");
                e.stime = self.u64("stime");
                e.min_flt = self.u64("min_flt");
                e.maj_flt = self.u64("maj_flt");
                e.maxrss = self.u64("maxrss");
                e.threads = self.u32("threads");
            }
            Event::Oom(e) => {
                e.header.at = self.u64("at");
                e.tgid = self.u32("tgid");
            }
            Event::ImageEnd(_)
            | Event::Freed(_)
            | Event::Segments(_)
            | Event::ImageWindow(_)
            | Event::TreeWindow(_)
            | Event::Change(_)
            | Event::SizesChange(_)
            | Event::SegmentsChange(_)
            | Event::Call(_) => {}
        }
        Some(event)
    }

    fn ended_image(&self) -> Image {
        let mut image = self.image();
        image.header.kind = event::IMAGE_END;
        image
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

/// A history's records and its end.
pub(crate) fn history(text: &str) -> (Vec<Event>, Final) {
    let mut events = Vec::new();
    let mut end = None;
    let mut tree = super::tree();
    let (mut images, mut processes) = (Vec::new(), Vec::new());
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let fields = Fields(words.filter_map(|word| word.split_once('=')).collect());
        match kind {
            "tree" => tree = fields.tree(),
            "end" => end = Some(fields.end()),
            "alive-image" => images.push(fields.image()),
            "alive-process" => processes.push(super::process(
                fields.u32("tgid"),
                fields.u64("started"),
                fields.u32("creator"),
            )),
            _ => events.push(fields.event(kind).expect("a known kind of line")),
        }
    }
    // The histories have pids and times alone, as the first recordings.
    let mut identities = crate::recording::identities::Identities::default();
    let mut in_order: Vec<&mut Event> = events.iter_mut().collect();
    in_order.sort_by_key(|event| event.at());
    for event in in_order {
        identities.complete_event(event);
    }
    identities.complete_state(&mut processes, &mut images);
    let end = end.expect("an end");
    let end = Final {
        tree,
        images,
        processes,
        ..end
    };
    (events, end)
}

/// What the model makes of a history. Every record passes through bytes, as it
/// would from the ring or a file.
fn replay(text: &str) -> Summary {
    let (events, end) = history(text);
    let mut model = Model::new();
    for event in events {
        model.apply(&Event::decode(event.bytes()).expect("its own bytes"));
    }
    model.finish(end)
}

const MAKE: &str = include_str!("../../../tests/golden/make.events");
const FORKED: &str = include_str!("../../../tests/golden/forked.events");

/// The history of a small build, for tests of what is made of a result.
pub(crate) fn make() -> Summary {
    replay(MAKE)
}

fn shown(write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("memory does not fail");
    String::from_utf8(out).expect("reports are UTF-8")
}

/// The JSON contract, every field.
#[test]
fn make_as_json() {
    let json = shown(|out| json::write(&replay(MAKE), out));
    let expected = include_str!("../../../tests/golden/make.json");
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(
        serde_json::to_string_pretty(&parse(&json)).expect("JSON"),
        serde_json::to_string_pretty(&parse(expected)).expect("JSON"),
    );
}

/// The short text.
#[test]
fn make_as_text() {
    let text = shown(|out| text::write(&replay(MAKE), text::Options::default(), out));
    assert_eq!(text, include_str!("../../../tests/golden/make.txt"));
}

/// All of the text.
#[test]
fn make_as_long_text() {
    let options = text::Options {
        verbose: true,
        per_process: true,
        width: 120,
        wrap: false,
    };
    let text = shown(|out| text::write(&replay(MAKE), options, out));
    assert_eq!(text, include_str!("../../../tests/golden/make-long.txt"));
}

/// runit's block: labels padded to ten columns, values in sixteen.
#[test]
fn make_as_runit() {
    let machine = runit::MachineMemory {
        total: 16 << 30,
        available: 8 << 30,
        free: 1_234_567 * 1024,
    };
    let text = shown(|out| runit::write(&replay(MAKE), machine, out));
    assert_eq!(
        text,
        "-- CMD: make -j2

-- totalmem      16777216.000 kB
-- available      8388608.000 kB
-- free           1234567.000 kB

-- retval                   2
-- real                 1.005 sec
-- user                 0.380 sec
-- sys                  0.067 sec
-- maxrss            1500.000 kB
-- avgrss             400.594 kB
-- maxvsize         10000.000 kB
-- avgvsize          8000.000 kB

"
    );
}

/// Where fork made pages count twice, the footprint is the headline; like
/// processes share a line, and the lines sum to the peak.
#[test]
fn footprint_as_headline() {
    let text = shown(|out| text::write(&replay(FORKED), text::Options::default(), out));
    assert_eq!(text, include_str!("../../../tests/golden/forked.txt"));
}
