//! Recordings: any bytes must give entries or an error, and never more memory than the
//! file can account for.

use memtrace::recording::{Entry, LoadOptions, Reader, load_from};

/// Reads these bytes.
pub fn run(data: &[u8]) {
    // Checksums keep most inputs out, so the same bytes come once more with right ones.
    for bytes in [data.to_vec(), with_checksums(data)] {
        let Ok(mut reader) = Reader::from_bytes("fuzz.memtrace", bytes.clone()) else {
            continue;
        };
        let mut ended = false;
        for entry in reader.entries() {
            assert!(!ended, "something follows the end");
            match entry.expect("memory can be read") {
                Entry::Event(event) => {
                    let _ = event.to_string();
                }
                Entry::End(_) => ended = true,
                Entry::Checkpoint(_) | Entry::Loss(_) => {}
            }
        }
        assert!(ended || !reader.notes().is_empty(), "a cut is not noted");
        if let Ok(mut reader) = Reader::from_bytes("fuzz.memtrace", bytes) {
            let options = LoadOptions {
                max_spans: 1000,
                width_ns: None,
            };
            let loaded = load_from(&mut reader, &options).expect("memory can be read");
            assert!(loaded.timeline.tree.len() <= 10_000);
        }
    }
}

/// Takes the input for blocks: kind, flags, count, two bytes of length, and contents.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut file = b"MEMTRACE\x01\0\x01\0".to_vec();
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    let mut rest = data;
    let mut sequence = 0_u32;
    while let Some((&[kind, flags, count, low, high], after)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])).min(after.len());
        let (contents, after) = after.split_at(len);
        rest = after;
        let mut header = vec![0xb1, 0x4b, 0xc4, 0xf7, kind % 10, 0];
        header.extend(u16::from(flags).to_le_bytes());
        let count = u32::from(count).min(len as u32);
        for number in [count, len as u32, len as u32, crc32c::crc32c(contents)] {
            header.extend(number.to_le_bytes());
        }
        header.extend(1_u64.to_le_bytes());
        header.extend(u64::from(sequence).to_le_bytes());
        header.extend(sequence.to_le_bytes());
        header.extend(crc32c::crc32c(&header).to_le_bytes());
        file.extend(header);
        file.extend_from_slice(contents);
        sequence += 1;
    }
    file
}
