//! What is known of the tree, in the form in which the programs of the other tiers tell it.
//!
//! Numbers are places in the lists of the [tree](Tree), from 1. Amounts are in pages, which they were in before the
//! kernel printed them.

use memtrace_ebpf::{
    COMM_LEN, Change, ChangeKind, Image as Record, ImageKind, ImageState, Integral, MEMBERS, Pages,
    Process as Living, ProcessFlags, SIZES, Size, SizesChange, VmField, VmMean,
    event::{
        CHANGE, EXEC, EXIT, Exec, Exit, FORK, Fork, Header, IMAGE_END, PATH_LEN, SIZES_CHANGE,
    },
};

use super::{
    image::{Image, in_order},
    status::Memory,
    tree::{Process, Tree, Use},
};
use crate::{
    blank,
    model::{Amounts, Origin, Program, UseKind},
};

/// The number of what is at a place.
pub(super) const fn id(place: usize) -> u64 {
    place as u64 + 1
}

const fn header(kind: u32, at: u64) -> Header {
    Header { kind, tree: 0, at }
}

/// Bytes in pages.
pub(super) fn pages(bytes: u64, page: u64) -> i64 {
    i64::try_from(bytes / page.max(1)).unwrap_or(i64::MAX)
}

/// In the kernel's order.
pub(super) fn members(amounts: &Amounts, page: u64) -> Pages {
    in_order(amounts).map(|bytes| pages(bytes, page))
}

fn name(comm: &[u8]) -> [u8; COMM_LEN] {
    let mut name = [0; COMM_LEN];
    // The last byte stays 0.
    for (to, from) in name.iter_mut().take(COMM_LEN - 1).zip(comm) {
        *to = *from;
    }
    name
}

/// The creation of a process.
pub(super) fn fork(tree: &Tree, place: usize, process: &Process, page: u64) -> Fork {
    let first = process.uses.first();
    let image = first.and_then(|used| tree.images.get(used.image));
    let (flags, image_id, inherited) = match first.map(|used| used.kind) {
        _ if process.attached => (
            ProcessFlags::ATTACHED,
            first.map_or(0, |used| id(used.image)),
            image
                .and_then(|image| image.before)
                .map_or(0, |(hwm, _)| pages(hwm, page)),
        ),
        _ if process.root => (ProcessFlags::PRE_EXEC, 0, 0),
        Some(UseKind::Shared) => (
            ProcessFlags::SHARES_IMAGE,
            first.map_or(0, |used| id(used.image)),
            0,
        ),
        Some(UseKind::Fork) => (
            0,
            first.map_or(0, |used| id(used.image)),
            image.map_or(0, |image| pages(image.inherited, page)),
        ),
        // What it runs is told as if it had executed it.
        _ => (0, 0, 0),
    };
    let at = if process.attached {
        image.map_or(process.start, |image| image.start)
    } else {
        process.start
    };
    Fork {
        header: header(FORK, at),
        process: id(place),
        creator_process: process.creator.map_or(0, id),
        tgid: process.pid.unsigned_abs(),
        ns_tgid: process.ns_pid.unsigned_abs(),
        creator: process.ppid.unsigned_abs(),
        flags,
        image: image_id,
        started_at: process.start,
        inherited,
        comm: name(&process.comm),
    }
}

/// A process runs a program, which it has executed or was found running.
pub(super) fn exec(
    place: usize,
    process: &Process,
    used: &Use,
    old: Option<&Use>,
    program: &Program,
) -> Exec {
    let mut exec = Exec {
        header: header(EXEC, used.start),
        process: id(place),
        tgid: process.pid.unsigned_abs(),
        old_tid: process.pid.unsigned_abs(),
        image: id(used.image),
        old_image: old.map_or(0, |old| id(old.image)),
        comm: name(&program.comm),
        ..blank::EXEC
    };
    let mut words: Vec<u8> = Vec::new();
    for word in &program.args {
        words.extend_from_slice(word);
        words.push(0);
    }
    exec.args_len = fill(&mut exec.args, &words);
    exec.args_total = u32::try_from(words.len()).unwrap_or(u32::MAX);
    if program.truncated {
        exec.args_total = exec.args_total.saturating_add(1);
    }
    if !program.path.is_empty() {
        let path = program.path.iter().copied().take(PATH_LEN - 1);
        let path: Vec<u8> = path.chain([0]).collect();
        exec.path_len = fill(&mut exec.path, &path);
    }
    exec
}

/// As many bytes as there is room for.
fn fill(to: &mut [u8], from: &[u8]) -> u32 {
    let len = from.len().min(to.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    u32::try_from(len).unwrap_or(0)
}

/// The end of a process.
pub(super) fn exit(place: usize, process: &Process, at: u64) -> Exit {
    let mut flags = 0;
    if process.status.is_none() {
        flags |= ProcessFlags::STATUS_UNKNOWN;
    }
    let usage = process.usage.unwrap_or_default();
    if process.usage.is_none() {
        flags |= ProcessFlags::USAGE_UNKNOWN;
    }
    Exit {
        header: header(EXIT, at),
        process: id(place),
        tgid: process.pid.unsigned_abs(),
        wait_status: process.status.map_or(0, i32::cast_unsigned),
        again: 0,
        flags,
        utime: usage.user_ns,
        stime: usage.system_ns,
        min_flt: usage.minor_faults,
        maj_flt: usage.major_faults,
        // ru_maxrss has the children's too; where it matters it is in the bounds.
        maxrss: 0,
        threads: usage.threads,
        reserved: 0,
    }
}

/// A process that lives.
pub(super) fn living(place: usize, process: &Process) -> Living {
    Living {
        id: id(place),
        image: process.uses.last().map_or(0, |used| id(used.image)),
        started_at: process.start,
        tgid: process.pid.unsigned_abs(),
        ns_tgid: process.ns_pid.unsigned_abs(),
        creator: process.ppid.unsigned_abs(),
        threads: process.threads_ever.into(),
        ..blank::PROCESS
    }
}

/// One counter of an image, as it was read at some time.
pub(super) fn change(image: usize, at: u64, member: usize, value: i64) -> Change {
    Change {
        header: header(CHANGE, at),
        image: id(image),
        value,
        member: member as u32,
        kind: ChangeKind::Counted as u32,
    }
}

/// Virtual sizes as the timeline has them; the heap's is not among what is read.
pub(super) fn sizes(memory: &Memory, page: u64) -> [u64; SIZES] {
    let page = page.max(1);
    let mut sizes = [0; SIZES];
    sizes[Size::Total as usize] = memory.vm_size / page;
    sizes[Size::Data as usize] = memory.vm.data / page;
    sizes[Size::Stack as usize] = memory.vm.stack / page;
    sizes[Size::Exec as usize] = memory.vm.exec / page;
    sizes[Size::PageTables as usize] = memory.vm.page_tables;
    sizes[Size::Locked as usize] = memory.vm.locked / page;
    sizes
}

/// Virtual sizes of an image, as they were read at some time.
pub(super) fn resize(image: usize, at: u64, sizes: [u64; SIZES]) -> SizesChange {
    SizesChange {
        header: header(SIZES_CHANGE, at),
        image: id(image),
        sizes,
    }
}

/// All that is known of an image until a time: its end, if it has ended.
pub(super) fn image(tree: &Tree, place: usize, image: &Image, until: u64, page: u64) -> Record {
    let largest = members(&image.largest.1, page);
    let held = tree.best.parts.iter().find(|(other, _)| *other == place);
    let (areas, size) = image.areas(until);
    let integral = areas.map(|area| Integral::of(area / u128::from(page.max(1))));
    let mut record = Record {
        header: header(IMAGE_END, until),
        id: id(place),
        parent: image.parent.map_or(0, id),
        process: id(image.owner),
        tgid: tree.pid(image.owner).unwrap_or(0).unsigned_abs(),
        state: ImageState::Active as u32,
        kind: match image.origin {
            Origin::Fork => ImageKind::Fork,
            Origin::Exec => ImageKind::Exec,
            Origin::Found if image.before.is_some() => ImageKind::Attached,
            Origin::Found => ImageKind::Found,
        } as u32,
        born_at: image.start,
        peak: members(&image.peak, page),
        peak_rss: pages(image.hwm, page),
        peak_rss_at: image.largest.0,
        own_peak: largest,
        peak_rss_swap: pages(image.peak_rss_swap.max(image.hwm), page),
        at_peak: held.map_or([0; MEMBERS], |(_, held)| members(held, page)),
        seq: tree.best.number,
        integral,
        integral_at: [until; MEMBERS],
        vm_integral_at: until,
        hiwater_vm: image.vm.size / page.max(1),
        hiwater_rss: image.hwm / page.max(1),
        text_bytes: image.vm.text,
        inherited: pages(image.inherited, page),
        end_reason: u32::from(image.end.is_some()),
        ..blank::IMAGE
    };
    if let (None, Some(last)) = (image.end, image.last()) {
        record.cur = members(&last, page);
        record.vm_cur[VmMean::Size as usize] = image.last_size() / page.max(1);
    }
    record.vm_integral[VmMean::Size as usize] = Integral::of(size / u128::from(page.max(1)));
    for (field, bytes) in [
        (VmField::Data, image.vm.data),
        (VmField::Stack, image.vm.stack),
        (VmField::Exec, image.vm.exec),
        (VmField::Locked, image.vm.locked),
        (VmField::Pinned, image.vm.pinned),
    ] {
        record.vm_peak[field as usize] = bytes / page.max(1);
    }
    record.vm_peak[VmField::PageTables as usize] = image.vm.page_tables;
    record
}
