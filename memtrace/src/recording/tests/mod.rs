//! Test support: recordings in memory.

mod damage;
mod golden;
mod history;
mod round_trip;
mod seek;

use std::{
    ffi::CString,
    fs::File,
    io::{Read as _, Seek as _},
};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{Entry, Head, Reader, Writer};
use crate::event::Event;

/// A file that no other test can get at.
fn file() -> File {
    let name = CString::new("recording").expect("no NUL");
    File::from(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC).expect("memory"))
}

/// The contents of a file.
fn contents(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().expect("a file");
    file.read_to_end(&mut bytes).expect("memory");
    bytes
}

fn head() -> Head {
    Head {
        page_size: 4096,
        width_ns: 10_000_000,
        created_at: 1_000_000_000,
        realtime_offset_ns: 1_700_000_000_000_000_000,
        command: vec![b"make".to_vec(), b"-j8".to_vec(), b"\xff\x1b[2J".to_vec()],
        kernel: "6.18.0-test".to_owned(),
        memtrace: "0.1.0".to_owned(),
        tier: "A".to_owned(),
        limits: Vec::new(),
        record_sizes: Head::own_record_sizes(),
    }
}

/// What a writer makes of it.
fn written(fill: impl FnOnce(Writer)) -> Vec<u8> {
    let file = file();
    let writer = Writer::create(file.try_clone().expect("a descriptor"), &head()).expect("memory");
    fill(writer);
    contents(&file)
}

fn open(bytes: Vec<u8>) -> Reader {
    Reader::from_bytes("test.memtrace", bytes).expect("a recording")
}

/// The records in a recording, as bytes.
fn events(reader: &mut Reader) -> Vec<Vec<u8>> {
    reader
        .entries()
        .filter_map(|entry| match entry.expect("memory") {
            Entry::Event(event) => Some(event.bytes().to_vec()),
            _ => None,
        })
        .collect()
}

/// A record without what is not recorded.
fn recorded(event: &Event) -> Vec<u8> {
    let until_nul = |name: &mut [u8]| {
        let len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        name[len..].fill(0);
    };
    let mut event = event.clone();
    match &mut event {
        Event::Fork(fork) => until_nul(&mut fork.comm),
        Event::Exec(exec) => {
            until_nul(&mut exec.comm);
            exec.reserved = 0;
            exec.path_len = exec.path_len.min(256);
            exec.args_len = exec.args_len.min(1024);
            exec.path[exec.path_len as usize..].fill(0);
            exec.args[exec.args_len as usize..].fill(0);
        }
        Event::Exit(exit) => exit.reserved = 0,
        Event::Oom(oom) => oom.reserved = 0,
        Event::ImageEnd(image) => {
            image.mm = 0;
            image.branch = 0;
            image.readings = 0;
            image.booked = [0; 4];
            image.freed = 0;
            image.freed_before = 0;
            image.vm_before = 0;
            image.looked_at = 0;
            image.faults_seen = 0;
            image.fault_pending = 0;
            image.sizes_are_new = 0;
            image.own_peak_is_cur = 0;
            image.events_before = 0;
            image.user_left = 0;
            image.lent = 0;
            image.held_shared = 0;
            image.borrowers = 0;
            image.sharer = 0;
            image.heir = 0;
            image.last_heir = 0;
            image.older = 0;
            image.younger = 0;
            image.held_back = [0; 4];
            image.counted = [0; 4];
            image.cpu_mask.fill(0);
            image.cpus.fill(0);
            image.ncpus = 0;
            image.window.header.kind = memtrace_ebpf::event::IMAGE_WINDOW;
            image.window.header.tree = image.tree;
            image.window.image = image.id;
            if image.window.updates == 0 {
                image.window = crate::blank::IMAGE_WINDOW;
            }
        }
        Event::Segments(segments) => {
            segments.booked = [0; 4];
            segments.at_peak_is_cur = 0;
            segments.untold_at_end = 0;
            segments.mapped = [0; 9];
            segments.looked_for = 0;
            segments.looked_at = 0;
            segments.bookers = [0; 4];
            segments.reserved = [0; 3];
        }
        _ => {}
    }
    event.bytes().to_vec()
}
