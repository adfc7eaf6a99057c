//! Calls that change mappings, and major page faults, of a recording made with `--events`.

use std::{collections::HashMap, path::Path};

use memtrace_ebpf::{Call, CallKind};

use super::{Entry, ReadError, Reader};
use crate::{event::Event, model::Summary};

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// Index of its image in [`Summary::images`].
    pub image: usize,
    /// The thread.
    pub tid: u32,
    /// What it was.
    pub kind: CallKind,
    /// When it began, in nanoseconds since the tree's start.
    pub at_ns: u64,
    /// How long it took; of a fault, until its thread was next seen.
    pub duration_ns: u64,
    /// See [`Call::address`].
    pub address: u64,
    /// See [`Call::len`].
    pub len: u64,
    /// See [`Call::argument`].
    pub argument: u64,
    /// See [`Call::flags`].
    pub flags: u64,
    /// See [`Call::result`].
    pub result: i64,
    /// By how much the image's RSS changed meanwhile, bytes; other threads have a share in it.
    pub rss_change: i64,
}

/// Gives each call of the recording at `path`, in the order of their ends. `summary` is its
/// result; `zero` the tree's start on `CLOCK_BOOTTIME`.
///
/// # Errors
///
/// The first error of `each`, or the file cannot be read.
pub fn each_call<E: From<ReadError>>(
    path: &Path,
    summary: &Summary,
    zero: u64,
    mut each: impl FnMut(CallRecord) -> Result<(), E>,
) -> Result<(), E> {
    let images: HashMap<u64, usize> = summary
        .images
        .iter()
        .enumerate()
        .map(|(index, image)| (image.id, index))
        .collect();
    let mut reader = Reader::open(path)?;
    for entry in reader.entries() {
        let Entry::Event(Event::Call(call)) = entry? else {
            continue;
        };
        // Kinds from the future, and images of which nothing else is known.
        if let (Some(kind), Some(image)) = (CallKind::of(call.kind), images.get(&call.image)) {
            each(record(&call, kind, *image, zero, summary.page_size))?;
        }
    }
    Ok(())
}

fn record(call: &Call, kind: CallKind, image: usize, zero: u64, page: u64) -> CallRecord {
    let page = i64::try_from(page).unwrap_or(i64::MAX);
    CallRecord {
        image,
        tid: call.tid,
        kind,
        at_ns: call.began_at.saturating_sub(zero),
        duration_ns: call.header.at.saturating_sub(call.began_at),
        address: call.address,
        len: call.len,
        argument: call.argument,
        flags: call.flags,
        result: call.result,
        rss_change: call
            .rss_after
            .saturating_sub(call.rss_before)
            .saturating_mul(page),
    }
}
