//! What this user may do: the facts behind a refusal by the kernel, and what to do about it.
//!
//! Whether BPF programs load is only known by loading them. This module comes after
//! that, to say why they did not; it decides nothing on its own.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use super::btf;

/// Capabilities of interest (include/uapi/linux/capability.h), as bits of [`Access::capabilities`].
pub mod capability {
    /// Trace other users' processes; reading their /proc/PID.
    pub const SYS_PTRACE: u64 = 1 << 19;
    /// Everything that has no capability of its own, BPF included.
    pub const SYS_ADMIN: u64 = 1 << 21;
    /// Exceed resource limits.
    pub const SYS_RESOURCE: u64 = 1 << 24;
    /// Observe the system; for BPF: read kernel memory.
    pub const PERFMON: u64 = 1 << 38;
    /// Load BPF programs.
    pub const BPF: u64 = 1 << 39;
}

/// Kernel lockdown (`kernel_lockdown(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Off.
    None,
    /// Nobody may change the running kernel. Does not affect memtrace.
    Integrity,
    /// Nobody may read the kernel's memory: BPF programs cannot either.
    Confidentiality,
    /// Cannot be told: not built in, or securityfs is not mounted.
    Unknown,
}

/// What is mounted at /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proc {
    /// This process finds itself there.
    Own,
    /// That of another PID namespace, where process ids mean others.
    OfOthers,
    /// Nothing.
    Missing,
}

impl Proc {
    /// Looks at it.
    #[must_use]
    pub fn mounted() -> Self {
        Self::at(Path::new("/proc"), std::process::id())
    }

    fn at(proc: &Path, pid: u32) -> Self {
        let own = fs::read_link(proc.join("self"));
        match own {
            Ok(link) if link.as_os_str() == pid.to_string().as_str() => Self::Own,
            // It does not even resolve where this process is not below that namespace.
            Ok(_) => Self::OfOthers,
            Err(_) if proc.join("version").exists() => Self::OfOthers,
            Err(_) => Self::Missing,
        }
    }
}

/// What this user may do, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether /proc is there, and of which PID namespace. Without, most of this is unknown.
    pub proc: Proc,
    /// Effective capabilities, one bit each.
    pub capabilities: u64,
    /// Effective user id.
    pub uid: u32,
    /// Whether this is the initial user namespace; capabilities of another do not
    /// extend to BPF. `None` if it cannot be told.
    pub initial_user_namespace: Option<bool>,
    /// Whether a seccomp filter is in force, which may refuse bpf(2) (containers).
    pub seccomp: bool,
    /// Whether memory for maps counts as locked memory: before commit 97306be45fbe (5.11).
    pub maps_are_locked: bool,
    /// The sysctl `kernel.unprivileged_bpf_disabled`; `None` without `CONFIG_BPF_SYSCALL`.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// Kernel lockdown.
    pub lockdown: Lockdown,
    /// Whether the kernel describes its own types in [`btf::VMLINUX`].
    pub btf: bool,
    /// Where tracefs is mounted; needed for the fallback with classic tracepoints only.
    pub tracefs: Option<PathBuf>,
}

impl Access {
    /// Reads the state of this process and this kernel. What cannot be read counts as not given.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self::read(Path::new("/"))
    }

    fn read(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).ok();
        let status = read("proc/self/status").unwrap_or_default();
        Self {
            capabilities: field(&status, "CapEff")
                .and_then(|text| u64::from_str_radix(text, 16).ok())
                .unwrap_or(0),
            uid: field(&status, "Uid")
                .and_then(|text| text.split_ascii_whitespace().nth(1))
                .and_then(|text| text.parse().ok())
                .unwrap_or(u32::MAX),
            // PROC_USER_INIT_INO, include/uapi/linux/nsfs.h.
            initial_user_namespace: fs::read_link(root.join("proc/self/ns/user"))
                .ok()
                .map(|link| link.as_os_str() == "user:[4026531837]"),
            seccomp: field(&status, "Seccomp").is_some_and(|mode| mode != "0"),
            maps_are_locked: read("proc/sys/kernel/osrelease")
                .and_then(|text| release(&text))
                .is_some_and(|release| release < (5, 11)),
            proc: Proc::at(&root.join("proc"), std::process::id()),
            unprivileged_bpf_disabled: read("proc/sys/kernel/unprivileged_bpf_disabled")
                .and_then(|text| text.trim_ascii().parse().ok()),
            lockdown: read("sys/kernel/security/lockdown")
                .map_or(Lockdown::Unknown, |text| lockdown(&text)),
            btf: root.join(btf::VMLINUX.trim_start_matches('/')).exists(),
            tracefs: ["sys/kernel/tracing", "sys/kernel/debug/tracing"]
                .iter()
                .map(|path| root.join(path))
                .find(|path| path.join("events").is_dir()),
        }
    }

    /// Whether the effective capabilities suffice to load tracing programs:
    /// `CAP_BPF` and `CAP_PERFMON`, or `CAP_SYS_ADMIN`, in the initial user namespace.
    #[must_use]
    pub fn may_trace(&self) -> bool {
        let both = capability::BPF | capability::PERFMON;
        let capable =
            self.capabilities & both == both || self.capabilities & capability::SYS_ADMIN != 0;
        capable && self.initial_user_namespace != Some(false)
    }

    /// The most likely reason why the kernel refused to load or attach a program with this
    /// errno (`None` if the failure had none).
    #[must_use]
    pub fn explain(&self, errno: Option<i32>) -> Obstacle {
        // What follows is read there.
        if self.proc == Proc::Missing {
            return Obstacle::NoProc;
        }
        let refused = matches!(errno, Some(libc::EPERM | libc::EACCES));
        // The sysctl shows that the kernel has the system call.
        if errno == Some(libc::ENOSYS) && self.seccomp && self.unprivileged_bpf_disabled.is_some() {
            return Obstacle::Seccomp;
        }
        if errno == Some(libc::ENOSYS)
            || (refused && self.unprivileged_bpf_disabled.is_none() && self.may_trace())
        {
            return Obstacle::NoBpf;
        }
        // Without these nothing works, whatever the error was.
        if self.initial_user_namespace == Some(false) {
            return Obstacle::UserNamespace;
        }
        if !self.may_trace() {
            return Obstacle::Capabilities {
                missing: self.missing(),
            };
        }
        if !self.btf {
            return Obstacle::NoBtf;
        }
        // The verifier does not know the helpers that read kernel memory then, and says EINVAL
        // (bpf_tracing_func_proto(), kernel/trace/bpf_trace.c).
        if (refused || errno == Some(libc::EINVAL)) && self.lockdown == Lockdown::Confidentiality {
            return Obstacle::Lockdown;
        }
        match errno {
            Some(libc::EPERM)
                if self.maps_are_locked && self.capabilities & capability::SYS_RESOURCE == 0 =>
            {
                Obstacle::LockedMemory
            }
            Some(libc::EPERM) if self.seccomp => Obstacle::Seccomp,
            Some(libc::EPERM) => Obstacle::SecurityModule,
            Some(libc::ENOMEM) => Obstacle::NoMemory,
            _ => Obstacle::Unknown,
        }
    }

    /// Which capabilities are missing, by name. `CAP_SYS_ADMIN` would stand for both.
    fn missing(&self) -> Vec<&'static str> {
        [
            ("CAP_BPF", capability::BPF),
            ("CAP_PERFMON", capability::PERFMON),
        ]
        .into_iter()
        .filter(|(_, bit)| self.capabilities & bit == 0)
        .map(|(name, _)| name)
        .collect()
    }
}

/// The value of a line `NAME:\tVALUE` of /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_ascii()))
}

/// The first two numbers of a kernel's release, as in `6.1.0-18-amd64`.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_ascii().split(['.', '-']);
    let mut number = || parts.next()?.parse().ok();
    Some((number()?, number()?))
}

/// The mode in brackets, as in `none [integrity] confidentiality`.
fn lockdown(text: &str) -> Lockdown {
    let mode = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(mode, _)| mode);
    match mode {
        Some("none") => Lockdown::None,
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        _ => Lockdown::Unknown,
    }
}

/// Why the kernel refused, most likely.
///
/// [`Display`](fmt::Display) gives the cause, [`Obstacle::remedy`] what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// Nothing is mounted at /proc.
    NoProc,
    /// What is mounted at /proc is of another PID namespace.
    ProcOfOthers,
    /// The kernel has no bpf(2).
    NoBpf,
    /// Not in the initial user namespace.
    UserNamespace,
    /// Missing capabilities.
    Capabilities {
        /// Their names.
        missing: Vec<&'static str>,
    },
    /// No type information.
    NoBtf,
    /// Lockdown mode "confidentiality".
    Lockdown,
    /// The limit of locked memory, on old kernels.
    LockedMemory,
    /// A seccomp filter.
    Seccomp,
    /// `SELinux`, `AppArmor` or another security module.
    SecurityModule,
    /// The verifier does not accept a program.
    Verifier,
    /// Not enough memory for the maps.
    NoMemory,
    /// None of these.
    Unknown,
}

impl Obstacle {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NoProc => {
                "mount it with `mount -t proc proc /proc` (in a chroot, on its /proc; in a container, do not leave it out)"
            }
            Self::ProcOfOthers => {
                "mount a new one with `mount -t proc proc /proc` (`unshare --fork --pid --mount-proc` does)"
            }
            Self::NoBpf => {
                "use a kernel built with CONFIG_BPF_SYSCALL=y, and allow bpf(2) in the sandbox if there is one"
            }
            Self::UserNamespace => {
                "run memtrace outside of the rootless container, or in a container that uses the host's user namespace"
            }
            Self::Capabilities { .. } => {
                "run it with sudo, or allow it once with `sudo setcap cap_bpf,cap_perfmon+ep` and the path of memtrace; in a container, add both capabilities (--cap-add BPF --cap-add PERFMON)"
            }
            Self::NoBtf => {
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as all current distributions' are; in a container, mount /sys"
            }
            Self::Lockdown => {
                "boot with lockdown=integrity or without a lockdown= parameter; it may also be set by the kernel's build"
            }
            Self::LockedMemory => {
                "run it with sudo, or raise the limit of locked memory (`ulimit -l unlimited`); only kernels before 5.11 count it"
            }
            Self::Seccomp => {
                "allow bpf(2) in the seccomp profile of the container or service (for a test: --security-opt seccomp=unconfined)"
            }
            Self::SecurityModule => {
                "look for a denial in the audit log (`sudo dmesg | grep -i denied`) and allow bpf for memtrace"
            }
            Self::Verifier => {
                "please report it with the output of `memtrace check` and of the same command with -v, which shows the verifier's last lines"
            }
            Self::NoMemory => "free some memory, or choose smaller maps",
            Self::Unknown => "please report it with the output of `memtrace check`",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProc => f.write_str("/proc is not mounted, which memtrace needs"),
            Self::ProcOfOthers => f.write_str("/proc is that of another PID namespace, where processes cannot be looked up"),
            Self::NoBpf => f.write_str("this kernel or sandbox has no bpf(2) system call"),
            Self::UserNamespace => {
                f.write_str("this is not the initial user namespace, whose privileges alone extend to tracing")
            }
            Self::Capabilities { missing } => {
                write!(f, "tracing the kernel needs privileges that this user lacks ({})", missing.join(", "))
            }
            Self::NoBtf => write!(f, "the kernel does not describe its types: there is no {}", btf::VMLINUX),
            Self::Lockdown => f.write_str("kernel lockdown is in mode \"confidentiality\": no program may read kernel memory"),
            Self::LockedMemory => f.write_str("the limit of locked memory may be too low for the maps"),
            Self::Seccomp => f.write_str("a seccomp filter is in force, which most likely refuses bpf(2)"),
            Self::SecurityModule => {
                f.write_str("the kernel refused although privileges suffice; a security module (SELinux, AppArmor) may forbid it")
            }
            Self::Verifier => f.write_str("the kernel's verifier does not accept a program of memtrace, which is to be reported (-v shows its last lines)"),
            Self::NoMemory => f.write_str("the kernel has not enough memory for the maps"),
            Self::Unknown => f.write_str("the kernel refused for a reason unknown to memtrace"),
        }
    }
}

#[cfg(test)]
mod tests;
