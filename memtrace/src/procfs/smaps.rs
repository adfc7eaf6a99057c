//! `/proc/PID/smaps` (`proc_pid_smaps(5)`), by what mappings are for.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use memtrace_ebpf::{SEGMENTS, Segment};

use super::Status;

/// What has to be known of a process to tell its mappings apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The path of its program, as `/proc/PID/exe` has it.
    pub program: Vec<u8>,
    /// End of the program's data (`end_data`, `proc_pid_stat(5)`); 0 if it is not told.
    pub end_data: u64,
    /// Start of its heap (`start_brk`); likewise.
    pub start_brk: u64,
    /// Devices of mounted tmpfs, as smaps has them (`00:1b`): pages of their files are shared memory.
    pub tmpfs: BTreeSet<Vec<u8>>,
}

/// A file of a process that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct ProcError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Layout {
    /// That of a process; what may not be read is left out.
    #[must_use]
    pub fn of_process(pid: u32) -> Self {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read(dir.join("stat")).unwrap_or_default();
        let program = fs::read_link(dir.join("exe")).unwrap_or_default();
        Self {
            program: program.as_os_str().as_bytes().to_vec(),
            end_data: stat_field(&stat, 46).unwrap_or(0),
            start_brk: stat_field(&stat, 47).unwrap_or(0),
            tmpfs: tmpfs(&fs::read(dir.join("mountinfo")).unwrap_or_default()),
        }
    }
}

/// A number of a `/proc/PID/stat`, by its place in `proc_pid_stat(5)`, from 3 on: the name before it can have
/// any bytes in it.
fn stat_field(stat: &[u8], number: usize) -> Option<u64> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = stat.get(end + 1..)?.trim_ascii();
    let text = rest
        .split(|&byte| byte == b' ')
        .nth(number.checked_sub(3)?)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The segments of a process now; `None` if it has no address space (a thread of the kernel, or one
/// that has ended).
///
/// # Errors
///
/// If its smaps cannot be read.
pub fn of_process(pid: u32, layout: &Layout) -> Result<Option<[Held; SEGMENTS]>, ProcError> {
    let text = text_of(pid)?;
    Ok((!text.is_empty()).then(|| segments(&text, layout)))
}

/// The smaps of a process; nothing is in it if the process has no address space.
///
/// # Errors
///
/// If it cannot be read.
pub fn text_of(pid: u32) -> Result<Vec<u8>, ProcError> {
    let path = Path::new("/proc").join(pid.to_string()).join("smaps");
    fs::read(&path).map_err(|source| ProcError { path, source })
}

/// What one segment has, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Size of its mappings.
    pub mapped: u64,
    /// Resident.
    pub resident: u64,
    /// Of that, anonymous.
    pub anon: u64,
    /// Swapped out.
    pub swapped: u64,
}

/// The segments of a process, by [`Segment`]. As in recordings, but for two things that smaps does
/// not tell: what of a shared memory file a process wrote to a private mapping of it, and names of
/// segments that the process gave to its own mappings.
///
/// Any text gives an answer; lines that are none of the kernel's count for nothing.
#[must_use]
pub fn segments(smaps: &[u8], layout: &Layout) -> [Held; SEGMENTS] {
    let mut all = [Held::default(); SEGMENTS];
    let mut mapping: Option<Mapping<'_>> = None;
    for line in smaps.split(|&byte| byte == b'\n') {
        if let Some(next) = Mapping::parse(line) {
            if let Some(done) = mapping.replace(next) {
                done.add_to(&mut all, layout);
            }
        } else if let Some(mapping) = &mut mapping {
            mapping.take(line);
        }
    }
    if let Some(done) = mapping {
        done.add_to(&mut all, layout);
    }
    all
}

/// Bytes of which smaps does not tell on which side of an address they are, if that is a border between segments within one
/// mapping without a file: the bss, the heap, and what lies behind it can be one, where nothing lies between them.
#[must_use]
pub fn undecided(smaps: &[u8], borders: &[u64]) -> u64 {
    let mut sum = 0_u64;
    let mut add = |mapping: Mapping<'_>| {
        if !mapping.has_no_file() {
            return;
        }
        for border in borders {
            let sides = (
                border.saturating_sub(mapping.start),
                mapping.end.saturating_sub(*border),
            );
            let held = mapping.held.resident.saturating_add(mapping.held.swapped);
            // Outside of it one of the sides is 0.
            sum = sum.saturating_add(held.min(sides.0).min(sides.1));
        }
    };
    let mut mapping: Option<Mapping<'_>> = None;
    for line in smaps.split(|&byte| byte == b'\n') {
        if let Some(next) = Mapping::parse(line) {
            mapping.replace(next).map(&mut add);
        } else if let Some(mapping) = &mut mapping {
            mapping.take(line);
        }
    }
    mapping.map(add);
    sum
}

/// One mapping.
#[derive(Clone, Copy, Debug)]
struct Mapping<'a> {
    start: u64,
    end: u64,
    device: &'a [u8],
    name: &'a [u8],
    held: Held,
    /// `VmFlags` has `ac`: it is or was writable and private.
    accounted: bool,
    /// `VmFlags` has `gd`: it grows downwards.
    grows_down: bool,
}

impl<'a> Mapping<'a> {
    /// `START-END PERMISSIONS OFFSET DEVICE INODE   NAME`.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let (range, rest) = word(line);
        let dash = range.iter().position(|&byte| byte == b'-')?;
        let (start, end) = (range.get(..dash)?, range.get(dash + 1..)?);
        let (_permissions, rest) = word(rest);
        let (_offset, rest) = word(rest);
        let (device, rest) = word(rest);
        let (_inode, name) = word(rest);
        Some(Self {
            start: hex(start)?,
            end: hex(end)?,
            device,
            name: name.trim_ascii_start(),
            held: Held::default(),
            accounted: false,
            grows_down: false,
        })
    }

    /// A line of what the kernel says of it.
    fn take(&mut self, line: &[u8]) {
        if let Some(flags) = line.strip_prefix(b"VmFlags:") {
            let mut flags = flags.split(|&byte| byte == b' ');
            self.accounted = flags.clone().any(|flag| flag == b"ac");
            self.grows_down = flags.any(|flag| flag == b"gd");
            return;
        }
        let status = Status::parse(line);
        for (name, place) in [
            ("Rss", &mut self.held.resident),
            ("Anonymous", &mut self.held.anon),
            ("Swap", &mut self.held.swapped),
        ] {
            if let Some(bytes) = status.bytes(name) {
                *place = bytes;
            }
        }
    }

    fn add_to(mut self, all: &mut [Held; SEGMENTS], layout: &Layout) {
        // The kernel's own page for all processes is in no address space.
        if self.name != b"[vsyscall]" {
            self.held.mapped = self.end.saturating_sub(self.start);
        }
        let segment = self.segment(layout);
        let mut add = |segment: Segment, held: Held| {
            let sum = &mut all[segment as usize];
            sum.mapped = sum.mapped.saturating_add(held.mapped);
            sum.resident = sum.resident.saturating_add(held.resident);
            sum.anon = sum.anon.saturating_add(held.anon);
            sum.swapped = sum.swapped.saturating_add(held.swapped);
        };
        if segment == Segment::Shmem {
            // The process's own copies are anonymous memory.
            let own = Held {
                mapped: 0,
                resident: self.held.anon,
                anon: self.held.anon,
                swapped: 0,
            };
            add(Segment::File, own);
            self.held.resident = self.held.resident.saturating_sub(own.resident);
            self.held.anon = 0;
        }
        add(segment, self.held);
    }

    /// See [`Segment`].
    fn segment(&self, layout: &Layout) -> Segment {
        let name = self.name;
        if self.grows_down || name == b"[stack]" {
            return Segment::Stack;
        }
        if name == b"[heap]" {
            // Kernels before 6.6 say so of the bss, too, where the heap begins right behind it
            // (show_map_vma(), fs/proc/task_mmu.c).
            return if self.end <= layout.start_brk {
                Segment::Data
            } else {
                Segment::Heap
            };
        }
        if name.is_empty() || name.starts_with(b"[anon:") {
            let bss = layout.end_data & !4095..layout.start_brk;
            return if layout.end_data != 0 && bss.contains(&self.start) {
                Segment::Data
            } else {
                Segment::Anon
            };
        }
        if name.starts_with(b"[anon_shmem:") || self.is_shmem(layout) {
            return Segment::Shmem;
        }
        if name == layout.program {
            return if self.accounted {
                Segment::Data
            } else {
                Segment::Text
            };
        }
        let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        if file.ends_with(b".so") || file.windows(4).any(|part| part == b".so.") {
            Segment::Lib
        } else {
            // Also what the kernel maps by itself: its pages count as those of files.
            Segment::File
        }
    }

    fn has_no_file(&self) -> bool {
        let name = self.name;
        name.is_empty() || name == b"[heap]" || name.starts_with(b"[anon:")
    }

    fn is_shmem(&self, layout: &Layout) -> bool {
        let own: [&[u8]; 3] = [b"/memfd:", b"/dev/zero", b"/SYSV"];
        own.iter().any(|prefix| self.name.starts_with(prefix)) || layout.tmpfs.contains(self.device)
    }
}

/// The first word and what follows it.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    let end = line.iter().position(|&byte| byte == b' ');
    line.split_at(end.unwrap_or(line.len()))
}

fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Devices of mounted tmpfs in a `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`), as smaps has them.
#[must_use]
pub fn tmpfs(mountinfo: &[u8]) -> BTreeSet<Vec<u8>> {
    mountinfo
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let mut words = line.split(|&byte| byte == b' ');
            let device = words.nth(2)?;
            // Options end with a dash.
            let kind = words.skip_while(|word| *word != b"-").nth(1)?;
            if kind != b"tmpfs" && kind != b"devtmpfs" {
                return None;
            }
            let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
            let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
            Some(format!("{major:02x}:{minor:02x}").into_bytes())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{Held, Layout, segments, stat_field, tmpfs, undecided};
    use memtrace_ebpf::Segment;

    /// As Linux 6.18 writes it, shortened.
    const TEXT: &[u8] = b"\
00400000-00402000 r-xp 00000000 fe:00 17 /bin/a b
Rss:                   8 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00402000-00403000 r--p 00002000 fe:00 17 /bin/a b
Rss:                   4 kB
Anonymous:             4 kB
VmFlags: rd mr mw me ac
00403000-00405000 rw-p 00000000 00:00 0
Rss:                   4 kB
Anonymous:             4 kB
Swap:                  4 kB
VmFlags: rd wr mr mw me ac
01000000-01004000 rw-p 00000000 00:00 0                          [heap]
Rss:                  12 kB
7f0000000000-7f0000002000 rw-s 00000000 00:1a 5                  /tmp/x
Rss:                   8 kB
Anonymous:             4 kB
7f0000100000-7f0000102000 r--p 00000000 fe:00 8                  /lib/libc.so.6
Rss:                   8 kB
7f0000200000-7f0000202000 r--p 00000000 fe:00 9                  /lib/notso
Rss:                   4 kB
7f0000300000-7f0000302000 rw-p 00000000 00:00 0                  [anon:mine]
Rss:                   4 kB
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                  [stack]
Rss:                  16 kB
VmFlags: rd wr mr mw me gd ac
";

    #[test]
    fn mappings_are_told_apart() {
        let layout = Layout {
            program: b"/bin/a b".to_vec(),
            end_data: 0x40_2ff0,
            start_brk: 0x100_0000,
            tmpfs: tmpfs(b"23 1 0:26 / /tmp rw - tmpfs tmpfs rw\n24 1 254:0 / / rw - ext4 x rw\n"),
        };
        let all = segments(TEXT, &layout);
        let of = |segment: Segment| {
            let Held {
                mapped,
                resident,
                anon,
                swapped,
            } = all[segment as usize];
            [mapped, resident, anon, swapped].map(|bytes| bytes / 4096)
        };
        assert_eq!(of(Segment::Text), [2, 2, 0, 0]);
        assert_eq!(of(Segment::Data), [3, 2, 2, 1]);
        assert_eq!(of(Segment::Heap), [4, 3, 0, 0]);
        assert_eq!(of(Segment::Stack), [33, 4, 0, 0]);
        assert_eq!(of(Segment::Anon), [2, 1, 0, 0]);
        assert_eq!(of(Segment::Lib), [2, 2, 0, 0]);
        // Of the tmpfs file one page is the process's own copy.
        assert_eq!(of(Segment::File), [2, 2, 1, 0]);
        assert_eq!(of(Segment::Shmem), [2, 1, 0, 0]);
        assert_eq!(of(Segment::Unknown), [0, 0, 0, 0]);
    }

    /// Where a border lies within a mapping without a file, no more can be wrong than what the smaller side can have.
    #[test]
    fn what_lies_around_a_border_is_undecided() {
        // The heap has three pages of four, and the border leaves one page on its left or right.
        for (border, pages) in [
            (0x100_0000, 0),
            (0x100_1000, 1),
            (0x100_2000, 2),
            (0x100_3000, 1),
            (0x100_4000, 0),
            // Of the program's file.
            (0x40_1000, 0),
        ] {
            assert_eq!(undecided(TEXT, &[border]), pages * 4096, "{border:x}");
        }
        assert_eq!(undecided(TEXT, &[0x100_1000, 0x40_4000]), 2 * 4096);
    }

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = b"12 (a) 4 (b)) S 1 22";
        assert_eq!(stat_field(stat, 4), Some(1));
        assert_eq!(stat_field(stat, 5), Some(22));
        for number in [0, 2, 3, 6] {
            assert_eq!(stat_field(stat, number), None);
        }
    }

    proptest! {
        /// No text makes it panic.
        #[test]
        fn any_text_gives_an_answer(text in vec(prop_oneof![
            any::<u8>(),
            prop::sample::select(b"0-f \n:kB[Rss".to_vec())
        ], 0..400)) {
            let all = segments(&text, &Layout::default());
            prop_assert!(tmpfs(&text).len() <= text.len());
            // Only a line that says so adds anything.
            if !text.windows(4).any(|part| part == b"Rss:") {
                prop_assert!(all.iter().all(|held| held.resident == 0 || held.anon == held.resident));
            }
        }
    }
}
