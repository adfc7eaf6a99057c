//! `/proc/self/smaps` as a workload wrote it, by segment.

use std::{collections::BTreeMap, fs, ops::Range, path::Path};

use anyhow::{Context, Result};

use crate::{Image, page};

/// Pages of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Resident.
    pub resident: u64,
    /// Of that, anonymous.
    pub anon: u64,
    /// Swapped out.
    pub swapped: u64,
    /// Address space.
    pub mapped: u64,
}

/// Pages by segment.
pub type Segments = BTreeMap<&'static str, Held>;

/// Where the program's parts are (`proc_pid_stat(5)`).
struct Layout {
    end_data: u64,
    start_brk: u64,
}

/// Reads what a script wrote with `smaps @NAME`: `/proc/self/stat`, then `/proc/self/smaps`.
/// `program` is the path of the program's own file.
///
/// # Errors
/// It cannot be read, or is not as the kernel writes it.
pub fn read(path: &Path, program: &str) -> Result<Segments> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let (stat, smaps) = text.split_once('\n').context("two parts")?;
    let (_, fields) = stat.rsplit_once(") ").context("a name")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    // Field 3 is the first of them.
    let field = |number: usize| -> Result<u64> {
        let text = fields.get(number - 3).context("a field")?;
        Ok(text.parse()?)
    };
    let layout = Layout {
        end_data: field(46)?,
        start_brk: field(47)?,
    };
    let mut all = Segments::new();
    let mut segment = "unknown";
    let mut held = Held::default();
    let mut bss = 0;
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            [range, _, _, _, _, ref path @ ..] if range.contains('-') => {
                add(&mut all, segment, held, bss);
                held = Held::default();
                let (start, end) = range.split_once('-').context("a range")?;
                let (start, end) = (hex(start)?, hex(end)?);
                let path = path.join(" ");
                // The bss in the same mapping: all of it is resident (see the workloads' sys.rs).
                bss = if path == "[heap]" && end > layout.start_brk {
                    layout.start_brk.saturating_sub(start) / page()
                } else {
                    0
                };
                segment = of(start..end, &path, program, &layout);
                // The kernel's own, of no address space.
                if path != "[vsyscall]" {
                    held.mapped = (end - start) / page();
                }
            }
            // The program's own file where it is or was writable.
            ["VmFlags:", ref flags @ ..] if segment == "text" && flags.contains(&"ac") => {
                segment = "data";
            }
            [name, kib, "kB"] => {
                let pages = kib.parse::<u64>()? * 1024 / page();
                match name {
                    "Rss:" => held.resident = pages,
                    "Anonymous:" => held.anon = pages,
                    "Swap:" => held.swapped = pages,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    add(&mut all, segment, held, bss);
    all.retain(|_, held| *held != Held::default());
    Ok(all)
}

/// Whether what a script wrote with `smaps @NAME` has bss and heap in one mapping, as where the heap happens to
/// begin right behind the bss.
///
/// # Errors
/// As for [`read`].
pub fn is_mixed(path: &Path) -> Result<bool> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let (stat, smaps) = text.split_once('\n').context("two parts")?;
    let (_, fields) = stat.rsplit_once(") ").context("a name")?;
    let start_brk: u64 = fields.split(' ').nth(44).context("a field")?.parse()?;
    // Up to 6.2 the bss is called so, too, if it ends where the heap begins (`show_map_vma()`, fs/proc/task_mmu.c).
    for line in smaps.lines().filter(|line| line.ends_with("[heap]")) {
        let (start, rest) = line.split_once('-').context("an address")?;
        let (end, _) = rest.split_once(' ').context("an address")?;
        if hex(start)? < start_brk && start_brk < hex(end)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Shared memory counts by itself; what a process wrote to its private copy of it does not.
fn add(all: &mut Segments, segment: &'static str, mut held: Held, bss: u64) {
    if bss > 0 {
        let data = all.entry("data").or_default();
        data.resident += bss;
        data.anon += bss;
        data.mapped += bss;
        held.resident -= bss;
        held.anon -= bss;
        held.mapped -= bss;
    }
    let shared = if segment == "shmem" {
        held.resident - held.anon
    } else {
        0
    };
    let rest = if segment == "shmem" { "file" } else { segment };
    let shmem = all.entry("shmem").or_default();
    shmem.resident += shared;
    if segment == "shmem" {
        shmem.mapped += held.mapped;
        held.mapped = 0;
    }
    let sum = all.entry(rest).or_default();
    sum.resident += held.resident - shared;
    sum.anon += held.anon;
    sum.swapped += held.swapped;
    sum.mapped += held.mapped;
}

fn hex(digits: &str) -> Result<u64> {
    Ok(u64::from_str_radix(digits, 16)?)
}

fn of(range: Range<u64>, path: &str, program: &str, layout: &Layout) -> &'static str {
    let start = range.start;
    let first_page = |address: u64| address / page() * page();
    let name = path.rsplit('/').next().unwrap_or_default();
    match path {
        // Old kernels call the bss heap, too, where the heap begins right behind it.
        "[heap]" if range.end <= layout.start_brk => "data",
        "[heap]" => "heap",
        "[stack]" => "stack",
        // What the kernel maps by itself counts as files.
        _ if path.starts_with("[v") => "file",
        "" if (first_page(layout.end_data)..layout.start_brk).contains(&start) => "data",
        "" => "anon",
        _ if path == program => "text",
        _ if ["/memfd:", "/dev/zero", "/SYSV", "/dev/shm/"]
            .iter()
            .any(|prefix| path.starts_with(prefix)) =>
        {
            "shmem"
        }
        _ if name.ends_with(".so") || name.contains(".so.") => "lib",
        _ => "file",
    }
}

/// Segments at the image's peak, in pages. Before 6.1 sizes in address space are not known of most: then
/// they are those of `own`.
///
/// # Errors
/// A segment has less than nothing.
pub fn at_peak(image: &Image, own: &Segments) -> Result<Segments> {
    let mut all = Segments::new();
    for one in &image.segments {
        let pages = |bytes: i64| -> Result<u64> { Ok(u64::try_from(bytes)? / page()) };
        let held = Held {
            resident: pages(one.at_peak.resident_bytes)?,
            anon: pages(one.at_peak.anon_bytes)?,
            swapped: pages(one.at_peak.swapped_bytes)?,
            mapped: match one.at_peak.virtual_bytes {
                Some(bytes) => bytes / page(),
                None => own.get(&*one.segment).map_or(0, |held| held.mapped),
            },
        };
        let name: &str = &one.segment;
        let known = [
            "text", "data", "heap", "stack", "anon", "lib", "file", "shmem", "unknown",
        ];
        let name = known.into_iter().find(|known| *known == name);
        if held != Held::default() {
            all.insert(name.context("an unknown segment")?, held);
        }
    }
    Ok(all)
}
