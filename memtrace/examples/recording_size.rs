//! Measures recordings: `cargo run --release -p memtrace --example recording_size -- [CHANGES | FILE]`.
//!
//! With a number, that many changes as of a build are written to a file first: bursts of page
//! faults of a few compilers at a time, which start and end. With a file, that one is
//! measured. Prints bytes per change, times, and the most memory that loading needed.

use std::{
    error::Error,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use memtrace::{
    abi::{
        Change, ChangeKind, SizesChange,
        event::{CHANGE, FORK, Fork, Header, SIZES_CHANGE},
    },
    event::Event,
    recording::{Entry, Head, Index, LoadOptions, Reader, Writer, load, summarize},
};

fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1);
    let argument = argument.as_deref().unwrap_or("5000000");
    let (path, made) = match argument.parse::<u64>() {
        Ok(count) => (make(count)?, true),
        Err(_) => (PathBuf::from(argument), false),
    };
    let result = measure(&path);
    if made {
        fs::remove_file(&path)?;
    }
    result
}

fn measure(path: &Path) -> Result<(), Box<dyn Error>> {
    let len = fs::metadata(path)?.len();
    let mut reader = Reader::open(path)?;
    let started = Instant::now();
    let (mut changes, mut windows, mut others) = (0_u64, 0_u64, 0_u64);
    for entry in reader.entries() {
        match entry? {
            Entry::Event(Event::Change(_) | Event::SizesChange(_)) => changes += 1,
            Entry::Event(Event::ImageWindow(_) | Event::TreeWindow(_)) => windows += 1,
            _ => others += 1,
        }
    }
    println!("{len} bytes: {changes} changes, {windows} windows, {others} others");
    let timeline = (changes + windows).max(1);
    println!(
        "{:.2} bytes per change or window, all of the file included",
        len as f64 / timeline as f64
    );
    println!(
        "read in {:?}, most memory {} KiB",
        started.elapsed(),
        most_memory()
    );
    let started = Instant::now();
    summarize(path)?;
    println!(
        "summary in {:?}, most memory {} KiB",
        started.elapsed(),
        most_memory()
    );
    let started = Instant::now();
    let mut index = Index::open(path)?;
    let middle = index.end_ns() / 2;
    let moment = index.at(middle)?;
    println!(
        "a moment in the middle, of {} images, in {:?}, most memory {} KiB",
        moment.images.len(),
        started.elapsed(),
        most_memory()
    );
    drop(index);
    let started = Instant::now();
    let loaded = load(path, &LoadOptions::default())?;
    println!(
        "timeline in {:?}, {} spans of the tree {} ns wide, most memory {} KiB",
        started.elapsed(),
        loaded.timeline.tree.len(),
        loaded.timeline.width_ns,
        most_memory()
    );
    for note in loaded.notes {
        println!("{note}");
    }
    Ok(())
}

/// `VmHWM` of this process, KiB.
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Numbers that look like chance (a linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn make(count: u64) -> Result<PathBuf, Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("recording-size-{}.memtrace", std::process::id()));
    let head = Head {
        page_size: 4096,
        created_at: 1,
        command: vec![b"make".to_vec()],
        record_sizes: Head::own_record_sizes(),
        ..Head::default()
    };
    let writer = Writer::create(File::create_new(&path)?, &head)?;
    let started = Instant::now();
    let mut numbers = Numbers(1);
    let mut images: Vec<(u64, [i64; 4])> = Vec::new();
    let (mut at, mut born) = (1_000_000_000, 0);
    for i in 0..count {
        // Most faults follow each other within a microsecond or two.
        at += match numbers.below(20) {
            0 => 20_000 + numbers.below(300_000),
            1..5 => 2_000 + numbers.below(10_000),
            _ => 400 + numbers.below(1_200),
        };
        let header = |kind| Header { kind, tree: 0, at };
        if images.len() < 4 {
            born += 1;
            images.push((born, [0; 4]));
            writer.event(&Event::Fork(Fork {
                header: header(FORK),
                process: born,
                creator_process: 0,
                tgid: 100 + u32::try_from(born % 30_000)?,
                ns_tgid: 0,
                creator: 100,
                flags: 0,
                image: born,
                started_at: at,
                inherited: 0,
                comm: *b"cc1plus\0\0\0\0\0\0\0\0\0",
            }));
        }
        // A CPU runs one process for a while.
        let place = usize::try_from(i / 50 % images.len() as u64)?;
        let Some((image, pages)) = images.get_mut(place) else {
            continue;
        };
        if numbers.below(200) == 0 {
            let total = 10_000 + i % 5000;
            writer.event(&Event::SizesChange(Box::new(SizesChange {
                header: header(SIZES_CHANGE),
                image: *image,
                sizes: [total, total / 2, 34, 3000, 135_168, 200_000 + total, 0],
            })));
        }
        let member = usize::from(numbers.below(10) < 7);
        let Some(value) = pages.get_mut(member) else {
            continue;
        };
        *value += match numbers.below(16) {
            0 => -numbers.below(8).cast_signed(),
            1 => 16,
            _ => 1,
        };
        *value = (*value).max(0);
        writer.event(&Event::Change(Change {
            header: header(CHANGE),
            image: *image,
            value: *value,
            member: u32::try_from(member)?,
            kind: ChangeKind::Counted as u32,
        }));
        if numbers.below(4000) == 0 {
            for member in 0..4 {
                writer.event(&Event::Change(Change {
                    header: header(CHANGE),
                    image: *image,
                    value: 0,
                    member,
                    kind: ChangeKind::Counted as u32,
                }));
            }
            images.remove(place);
        }
    }
    drop(writer);
    println!("written in {:?}, without an end", started.elapsed());
    Ok(path)
}
