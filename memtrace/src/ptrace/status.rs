//! What `/proc/PID` says about one process, read as cheaply as it can be.
//!
//! Own parser instead of the procfs crate: it is called for every process of a tree many
//! times a second, needs a dozen of sixty fields, and must take anything for an answer
//! (a process that ends meanwhile, a zombie without memory, a kernel that leaves a line out).

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStringExt as _,
};

use memtrace_ebpf::{COMM_LEN, event::ARGS_LEN};

use crate::model::{Amounts, Program, VmPeaks};

/// Bytes of a command line that are kept, as in the records of the BPF programs.
const MAX_ARGS: u64 = ARGS_LEN as u64;

/// One look at a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Thread group.
    pub(crate) tgid: i32,
    /// Parent, which is not always the creator.
    pub(crate) ppid: i32,
    /// Its pid in its own PID namespace.
    pub(crate) ns_tgid: i32,
    /// One letter, as in `proc_pid_status(5)`.
    pub(crate) state: u8,
    /// Threads alive.
    pub(crate) threads: u32,
    /// Its memory, unless it has none any more.
    pub(crate) memory: Option<Memory>,
}

/// What an address space holds and held, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// `VmHWM`: the kernel's own idea of the peak of RSS.
    pub(crate) hwm: u64,
    /// At this moment.
    pub(crate) now: Amounts,
    /// `VmPeak` in `size`; the others at this moment.
    pub(crate) vm: VmPeaks,
    /// `VmSize` at this moment.
    pub(crate) vm_size: u64,
}

/// Reads `/proc/ID/status`; the id of any thread will do.
pub(crate) fn look(id: i32) -> io::Result<Look> {
    let mut buffer = [0_u8; 4096];
    let length = File::open(format!("/proc/{id}/status"))?.read(&mut buffer)?;
    Ok(parse(buffer.get(..length).unwrap_or_default()))
}

/// The same of a process, whose first thread can have ended before the others: then one of those has the memory.
pub(crate) fn look_through(pid: i32) -> io::Result<Look> {
    let look = look(pid)?;
    if look.memory.is_some() || look.threads <= 1 || look.tgid != pid {
        return Ok(look);
    }
    let mut memory = None;
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let tid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        memory = tid.and_then(|tid| self::look(tid).ok()?.memory);
        if memory.is_some() {
            break;
        }
    }
    Ok(Look { memory, ..look })
}

fn parse(status: &[u8]) -> Look {
    let mut look = Look::default();
    let mut memory = Memory::default();
    let mut resident = false;
    for line in status.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let id = || i32::try_from(number(value)).unwrap_or(0);
        let bytes = || number(value).saturating_mul(1024);
        match name {
            b"State" => look.state = value.first().copied().unwrap_or(b'?'),
            b"Tgid" => look.tgid = id(),
            b"PPid" => look.ppid = id(),
            b"NStgid" => {
                let last = value.rsplit(u8::is_ascii_whitespace).next();
                look.ns_tgid = i32::try_from(number(last.unwrap_or_default())).unwrap_or(0);
            }
            b"Threads" => look.threads = u32::try_from(number(value)).unwrap_or(u32::MAX),
            b"VmPeak" => memory.vm.size = bytes(),
            b"VmSize" => memory.vm_size = bytes(),
            b"VmPin" => memory.vm.pinned = bytes(),
            b"VmLck" => memory.vm.locked = bytes(),
            b"VmHWM" => (memory.hwm, resident) = (bytes(), true),
            b"RssAnon" => memory.now.anon = bytes(),
            b"RssFile" => memory.now.file = bytes(),
            b"RssShmem" => memory.now.shmem = bytes(),
            b"VmSwap" => memory.now.swap = bytes(),
            b"VmData" => memory.vm.data = bytes(),
            b"VmStk" => memory.vm.stack = bytes(),
            b"VmExe" => memory.vm.text = bytes(),
            b"VmLib" => memory.vm.lib = bytes(),
            b"VmPTE" => memory.vm.page_tables = bytes(),
            _ => {}
        }
    }
    memory.vm.exec = memory.vm.text.saturating_add(memory.vm.lib);
    if look.ns_tgid == 0 {
        look.ns_tgid = look.tgid;
    }
    look.memory = resident.then_some(memory);
    look
}

/// The decimal number at the start, 0 if there is none.
fn number(text: &[u8]) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number: u64, digit| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
}

/// What `/proc/PID/stat` has and `status` has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The kernel's name of the process, padded with zeros.
    pub(crate) comm: [u8; COMM_LEN],
    /// One letter.
    pub(crate) state: u8,
    /// Parent.
    pub(crate) ppid: i32,
    /// The kernel's flags of the task, `PF_*` (include/linux/sched.h).
    pub(crate) flags: u64,
    /// Faults of the process itself.
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    /// Of both kinds, of children that were waited for.
    pub(crate) children_faults: u64,
    /// CPU time of children that were waited for, in clock ticks.
    pub(crate) children_user: u64,
    pub(crate) children_system: u64,
    /// Threads that are left of it.
    pub(crate) threads: u64,
    /// When it was created, in clock ticks since boot: tells a pid's users apart.
    pub(crate) started: u64,
}

impl Stat {
    /// Whether nothing is left of it but its status. (A thread can outlive the first one.)
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }
}

/// Reads `/proc/PID/stat`, also of a zombie.
pub(crate) fn stat(pid: i32) -> io::Result<Stat> {
    let mut buffer = [0_u8; 1024];
    let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut buffer)?;
    Ok(parse_stat(buffer.get(..length).unwrap_or_default()))
}

fn parse_stat(text: &[u8]) -> Stat {
    // The name before it can hold anything, the closing bracket too.
    let after_name = text.iter().rposition(|&byte| byte == b')');
    let rest = after_name.and_then(|at| text.get(at + 1..));
    let fields: Vec<&[u8]> = rest
        .unwrap_or_default()
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
        .collect();
    // Fields are numbered from 1 in proc_pid_stat(5); the third comes first here.
    let field = |n: usize| fields.get(n - 3).copied().unwrap_or_default();
    let before = text.iter().position(|&byte| byte == b'(');
    let name = before
        .zip(after_name)
        .and_then(|(from, to)| text.get(from + 1..to));
    let mut comm = [0; COMM_LEN];
    for (to, from) in comm.iter_mut().zip(name.unwrap_or_default()) {
        *to = *from;
    }
    Stat {
        comm,
        state: field(3).first().copied().unwrap_or(b'?'),
        ppid: i32::try_from(number(field(4))).unwrap_or(0),
        flags: number(field(9)),
        minor_faults: number(field(10)),
        major_faults: number(field(12)),
        children_faults: number(field(11)).saturating_add(number(field(13))),
        children_user: number(field(16)),
        children_system: number(field(17)),
        threads: number(field(20)),
        started: number(field(22)),
    }
}

/// The kernel's name of a process; empty if it is gone.
pub(crate) fn comm(pid: i32) -> Vec<u8> {
    let mut name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    name
}

/// What runs in a process.
pub(crate) fn program(pid: i32) -> Program {
    let mut line = Vec::new();
    let truncated = File::open(format!("/proc/{pid}/cmdline"))
        .and_then(|file| file.take(MAX_ARGS + 1).read_to_end(&mut line))
        .is_ok_and(|length| length as u64 > MAX_ARGS);
    line.truncate(usize::try_from(MAX_ARGS).unwrap_or(usize::MAX));
    let path = std::fs::read_link(format!("/proc/{pid}/exe"))
        .map(|path| path.into_os_string().into_vec())
        .unwrap_or_default();
    let comm = comm(pid);
    let whole = line.strip_suffix(&[0]).unwrap_or(&line);
    let mut args: Vec<Vec<u8>> = Vec::new();
    if !line.is_empty() {
        args.extend(whole.split(|&byte| byte == 0).map(<[u8]>::to_vec));
    } else if !comm.is_empty() {
        args.push(comm.clone());
    }
    Program {
        args,
        truncated,
        path,
        comm,
    }
}

#[cfg(test)]
mod tests {
    use super::{Look, look, parse, parse_stat, stat};

    #[test]
    fn a_status() {
        let text = b"Name:\ta:b\\n\nState:\tS (sleeping)\nTgid:\t12\nPPid:\t7\nNStgid:\t12\t3\n\
            VmPeak:\t    2000 kB\nVmSize:\t 1000 kB\nVmHWM:\t     900 kB\nVmRSS:\t     800 kB\n\
            RssAnon:\t     500 kB\nRssFile:\t     200 kB\nRssShmem:\t     100 kB\n\
            VmExe:\t 4 kB\nVmLib:\t 8 kB\nVmSwap:\t       4 kB\nThreads:\t5\n";
        let look = parse(text);
        assert_eq!((look.tgid, look.ppid, look.ns_tgid), (12, 7, 3));
        assert_eq!((look.state, look.threads), (b'S', 5));
        let memory = look.memory.unwrap_or_default();
        assert_eq!(memory.hwm, 900 << 10);
        assert_eq!(memory.now.rss(), 800 << 10);
        assert_eq!(memory.now.swap, 4 << 10);
        assert_eq!((memory.vm.size, memory.vm_size), (2000 << 10, 1000 << 10));
        assert_eq!(memory.vm.exec, 12 << 10);
    }

    #[test]
    fn a_zombie_has_no_memory() {
        let look = parse(b"State:\tZ (zombie)\nTgid:\t9\nThreads:\t1\n");
        assert_eq!(look.memory, None);
        assert_eq!(parse(b"\xff:\n:::\nVmHWM\n"), Look::default());
    }

    #[test]
    fn a_stat_with_a_hostile_name() {
        let stat =
            parse_stat(b"42 (a) R 1 2) S 7 0 0 0 0 0 11 12 13 14 15 16 17 18 0 0 1 0 555 0 0\n");
        assert_eq!((stat.state, stat.ppid), (b'S', 7));
        assert_eq!(&stat.comm, b"a) R 1 2\0\0\0\0\0\0\0\0");
        assert_eq!((stat.minor_faults, stat.major_faults), (11, 13));
        assert_eq!(stat.children_faults, 12 + 14);
        assert_eq!((stat.children_user, stat.children_system), (17, 18));
        assert_eq!(stat.started, 555);
        assert_eq!(parse_stat(b""), parse_stat(b")"));
    }

    /// This process, as the kernel of this machine describes it.
    #[test]
    fn this_process() {
        let me = std::process::id().cast_signed();
        let seen = look(me).unwrap_or_default();
        assert_eq!(seen.tgid, me);
        let memory = seen.memory.unwrap_or_default();
        assert!(memory.hwm >= memory.now.rss() && memory.now.rss() > 0);
        let stat = stat(me).unwrap_or_default();
        assert_eq!(stat.ppid, seen.ppid);
        assert!(stat.minor_faults > 0 && stat.started > 0);
    }
}
