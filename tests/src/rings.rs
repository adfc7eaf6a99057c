//! How far memtrace has read its ring buffers, by the positions in its own memory: where they are
//! mapped, the first page of a ring is the consumer's and the second the producer's
//! (`ringbuf_map_mmap_kern()`, kernel/bpf/ringbuf.c).

use std::{fs, fs::File, os::unix::fs::FileExt as _};

use anyhow::{Context as _, Result, ensure};

use crate::{await_some, page};

/// Waits until a process has read everything in all of its ring buffers. Only of use while
/// nothing writes there.
///
/// # Errors
/// It does not read, or has no ring buffer.
pub fn await_drained(pid: u32) -> Result<()> {
    await_some("memtrace has read all its records", || {
        let rings = rings(pid)?;
        ensure!(!rings.is_empty(), "process {pid} has no ring buffer mapped");
        let all = rings
            .iter()
            .all(|(consumed, produced)| consumed == produced);
        Ok(all.then_some(()))
    })
}

/// The positions of consumer and producer of each ring.
fn rings(pid: u32) -> Result<Vec<(u64, u64)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))
        .with_context(|| format!("read the mappings of process {pid}"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))
        .with_context(|| format!("open the memory of process {pid}"))?;
    let word = |at: u64| -> Result<u64> {
        let mut bytes = [0_u8; 8];
        memory
            .read_exact_at(&mut bytes, at)
            .with_context(|| format!("read a ring's position in process {pid}"))?;
        Ok(u64::from_ne_bytes(bytes))
    };
    // In ascending order of addresses, not of rings: each is known by its inode's name and by
    // the offset of its part. `START-END PERMISSIONS OFFSET DEVICE INODE NAME`
    let parts = maps.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (range, permissions, offset) = (words.next()?, words.next()?, words.next()?);
        let is_map = words.nth(2) == Some("anon_inode:bpf-map");
        let start = u64::from_str_radix(range.split_once('-')?.0, 16).ok()?;
        let offset = u64::from_str_radix(offset, 16).ok()?;
        is_map.then(|| (start, permissions.starts_with("rw"), offset))
    });
    let (mut consumed, mut produced) = (Vec::new(), Vec::new());
    for (start, writable, offset) in parts {
        match (writable, offset) {
            (true, 0) => consumed.push(word(start)?),
            (false, offset) if offset == page() => produced.push(word(start)?),
            _ => {}
        }
    }
    ensure!(
        consumed.len() == produced.len(),
        "process {pid} has mapped {} consumers and {} producers",
        consumed.len(),
        produced.len()
    );
    // Which belongs to which does not matter for whether all are equal, as long as no two rings
    // stand at each other's positions.
    consumed.sort_unstable();
    produced.sort_unstable();
    Ok(consumed.into_iter().zip(produced).collect())
}
