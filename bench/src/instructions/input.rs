//! A history that is the same at every run: processes that fork, exec, grow and end.

use anyhow::{Context as _, Result, bail};
use memtrace::{
    abi::{Change, ChangeKind, Image, event},
    event::Event,
    model::Final,
    recording::{Entry, Head, Reader},
};

/// A recording whose beginning and end frame the history.
const RECORDING: &[u8] = include_bytes!("../../../memtrace/tests/golden/recording/v1.memtrace");
/// Processes in the history.
pub(crate) const PROCESSES: u64 = 1_000;
/// Changes of counters of each.
pub(crate) const CHANGES: u64 = 40;
/// When it begins.
const START: u64 = 1_000_000_000;

/// A record of nothing but zeros of a kind.
fn blank(kind: u32, size: usize) -> Result<Event> {
    let mut bytes = vec![0; size];
    for (to, from) in bytes.iter_mut().zip(kind.to_ne_bytes()) {
        *to = from;
    }
    Event::decode(&bytes).context("a record of its size")
}

/// Copies a text to the beginning of a field; returns its length with a NUL.
fn put(field: &mut [u8], text: &str) -> u32 {
    for (to, &from) in field.iter_mut().zip(text.as_bytes()) {
        *to = from;
    }
    u32::try_from(text.len() + 1).unwrap_or(u32::MAX)
}

/// What becomes known of processes.
pub(crate) fn lives() -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for number in 0..PROCESSES {
        let (tgid, born) = (1_000 + number as u32, START + number * 1_000_000);
        let mut fork = blank(event::FORK, size_of::<event::Fork>())?;
        let mut exec = blank(event::EXEC, size_of::<event::Exec>())?;
        let mut exit = blank(event::EXIT, size_of::<event::Exit>())?;
        let mut copy = blank(event::IMAGE_END, size_of::<Image>())?;
        let mut program = blank(event::IMAGE_END, size_of::<Image>())?;
        let (
            Event::Fork(forked),
            Event::Exec(executed),
            Event::Exit(exited),
            Event::ImageEnd(first),
            Event::ImageEnd(second),
        ) = (&mut fork, &mut exec, &mut exit, &mut copy, &mut program)
        else {
            bail!("a record of another kind");
        };
        (forked.header.at, forked.started_at) = (born, born);
        (forked.tgid, forked.ns_tgid, forked.creator) = (tgid, tgid, 999);
        (forked.image, forked.inherited) = (2 * number + 1, 300);
        put(&mut forked.comm, "make");
        executed.header.at = born + 200_000;
        (executed.tgid, executed.old_tid) = (tgid, tgid);
        (executed.old_image, executed.image) = (2 * number + 1, 2 * number + 2);
        put(&mut executed.comm, "cc1");
        executed.path_len = put(&mut executed.path, "/usr/lib/gcc/x86_64-linux-gnu/12/cc1");
        let arguments = format!("cc1\0-quiet\0-O2\0unit{number}.c\0");
        executed.args_len = put(&mut executed.args, &arguments) - 1;
        executed.args_total = executed.args_len;
        exited.header.at = born + 900_000;
        (exited.tgid, exited.utime, exited.stime) = (tgid, 500_000, 100_000);
        (exited.min_flt, exited.maxrss, exited.threads) = (5_000, 5_300, 1);
        for (image, id, at, peak) in [
            (first, 2 * number + 1, born + 250_000, 310),
            (
                second,
                2 * number + 2,
                born + 950_000,
                5_200 + number as i64,
            ),
        ] {
            (image.header.at, image.id, image.tgid) = (at, id, tgid);
            (image.born_at, image.peak_rss, image.peak_rss_at) = (born, peak, at - 10_000);
            (image.peak, image.own_peak) = ([200, peak - 200, 0, 0], [200, peak - 200, 0, 0]);
            image.events = peak.cast_unsigned();
        }
        events.extend([fork, exec, copy, exit, program]);
    }
    Ok(events)
}

/// Every change of a counter, as with `--resolution 0`, in the order of time.
pub(crate) fn changes() -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for number in 0..PROCESSES {
        for step in 0..CHANGES {
            let mut event = blank(event::CHANGE, size_of::<Change>())?;
            let Event::Change(change) = &mut event else {
                bail!("a record of another kind");
            };
            change.header.at = START + number * 1_000_000 + 250_000 + step * 1_500 + step % 7 * 90;
            change.image = 2 * number + 2;
            change.member = (step % 8 == 0).into();
            change.value = (200 + step + number % 5).cast_signed();
            change.kind = ChangeKind::Counted as u32;
            events.push(event);
        }
    }
    Ok(events)
}

/// What frames a history.
pub(crate) fn frame() -> Result<(Head, Final)> {
    let mut reader = Reader::from_bytes("v1.memtrace", RECORDING.to_vec())?;
    let head = reader.head().clone();
    while let Some(entry) = reader.next_entry()? {
        if let Entry::End(last) = entry {
            return Ok((head, *last));
        }
    }
    bail!("the recording has no end")
}
