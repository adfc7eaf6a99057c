//! What can go wrong between us and the kernel's BPF.

use std::io;

use aya::{BtfError, EbpfError, maps::MapError, programs::ProgramError};

use crate::kernel::{Access, Obstacle};

/// Loading, attaching or reading failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The object was refused before any program was loaded, mostly a map that could not be created.
    #[error("failed to load the BPF object: {}", innermost(source))]
    Object {
        /// Why.
        #[source]
        source: Box<EbpfError>,
    },
    /// The kernel's type information could not be used for attaching.
    #[error("failed to read the kernel's BTF for attaching")]
    Btf {
        /// Why.
        #[source]
        source: BtfError,
    },
    /// A program was refused.
    #[error("failed to load BPF program `{program}`: {}", brief(source))]
    Load {
        /// Its name.
        program: &'static str,
        /// Why, with the verifier's log.
        #[source]
        source: Box<ProgramError>,
    },
    /// A program could not be attached.
    #[error("failed to attach BPF program `{program}`: {}", innermost(source))]
    Attach {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: Box<ProgramError>,
    },
    /// No descriptor could be kept for the end.
    #[error("failed to open /dev/null")]
    Spare {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// How often the kernel skipped a program could not be read.
    #[error(
        "failed to read how often the kernel skipped BPF program `{program}` (/proc/self/fdinfo)"
    )]
    Misses {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's BTF does not have a function that a program belongs to.
    #[error("the kernel's BTF has no function `{name}`")]
    NoFunction {
        /// Its name.
        name: &'static str,
    },
    /// The ends of system calls are to be seen, and cannot.
    #[error(
        "this kernel has no tracepoint raw_syscalls:sys_exit, which --vm-events needs (CONFIG_HAVE_SYSCALL_TRACEPOINTS)"
    )]
    NoSysExit,
    /// Segments are to be told apart by programs on kernel functions, which are refused.
    #[error("segments cannot be told apart by programs on kernel functions")]
    SegmentFunctions {
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// Segments are to be told apart, and nothing tells of mappings.
    #[error(
        "--segments needs programs on kernel functions (fentry), which this kernel does not let in, or x86-64 with Linux 6.1 or later"
    )]
    NoSegments,
    /// Calls that change mappings are to be recorded, and cannot.
    #[error(
        "--events needs x86-64 and the tracepoints raw_syscalls:sys_enter, sys_exit and exceptions:page_fault_user, page_fault_kernel"
    )]
    NoCalls,
    /// The object does not hold what this program expects: a build error.
    #[error("the BPF object has no {kind} `{name}`; it was built from other sources")]
    Missing {
        /// Program or map.
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A map could not be read or written.
    #[error("failed to {operation} BPF map `{map}`")]
    Map {
        /// What was tried.
        operation: &'static str,
        /// The map's name.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// The program that finds the per-CPU offsets failed.
    #[error("failed to find the kernel's per-CPU offsets (step {step})")]
    CpuOffsets {
        /// Where it stopped, as its return value says.
        step: u32,
    },
    /// Going through the threads that run failed.
    #[error("failed to go through the threads of this machine")]
    Threads {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The stopped process did not show up in the kernel's view.
    #[error("the command's process did not register itself with the BPF programs")]
    NotRegistered,
    /// The ring buffer's file descriptor cannot be waited for.
    #[error("failed to wait for events")]
    Wait(#[source] io::Error),
}

impl ProbeError {
    /// The kernel's error number at the bottom of this failure, if there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        let mut error: Option<&dyn std::error::Error> = Some(self);
        let mut found = None;
        while let Some(current) = error {
            if let Some(io) = current.downcast_ref::<io::Error>() {
                found = io.raw_os_error();
            }
            error = current.source();
        }
        found.or_else(|| match self {
            // Its io_error is a field, not a source.
            Self::Load { source, .. } => match source.as_ref() {
                ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
                _ => None,
            },
            _ => None,
        })
    }

    /// Whether the verifier does not accept a program: not so if it was interrupted, or if
    /// nothing may be loaded at all.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Load { .. })
            && !matches!(self.errno(), Some(libc::EAGAIN | libc::EPERM))
    }

    /// The last lines of the verifier's log, at most so many, if it refused a program with one.
    #[must_use]
    pub fn verifier_lines(&self, most: usize) -> Option<String> {
        let log = match self {
            Self::Load { source, .. } => match source.as_ref() {
                ProgramError::LoadError { verifier_log, .. } => verifier_log.to_string(),
                _ => return None,
            },
            Self::SegmentFunctions { source } => return source.verifier_lines(most),
            _ => return None,
        };
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(most)..)?;
        (!last.is_empty()).then(|| last.join("\n"))
    }

    /// What this failure is due to, most likely.
    #[must_use]
    pub fn obstacle(&self, access: &Access) -> Obstacle {
        match access.explain(self.errno()) {
            // It explains itself only where it has looked at the program.
            Obstacle::Unknown if self.verifier_lines(1).is_some() => Obstacle::Verifier,
            obstacle => obstacle,
        }
    }
}

/// A load error without the verifier's log, which can have thousands of lines.
fn brief(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let last = log
                .lines()
                .rev()
                .find(|line| {
                    let told = ["processed ", "stack depth ", "verification time "];
                    !line.trim().is_empty() && !told.iter().any(|start| line.starts_with(start))
                })
                .unwrap_or("")
                .to_owned();
            if last.is_empty() {
                io_error.to_string()
            } else {
                format!("{io_error}; the verifier says: {last}")
            }
        }
        other => innermost(other),
    }
}

/// The message at the end of the chain of sources, where the kernel's answer is.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    let outer = error.to_string();
    let inner = current.to_string();
    if outer.contains(&inner) {
        outer
    } else {
        format!("{outer}: {inner}")
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::programs::ProgramError;
    use aya_obj::VerifierLog;

    use super::ProbeError;
    use crate::kernel::{Access, Lockdown, Obstacle, Proc};

    fn refused(errno: i32, log: &str) -> ProbeError {
        ProbeError::Load {
            program: "exec",
            source: Box::new(ProgramError::LoadError {
                io_error: io::Error::from_raw_os_error(errno),
                verifier_log: VerifierLog::new(log.to_owned()),
            }),
        }
    }

    fn root() -> Access {
        Access {
            proc: Proc::Own,
            capabilities: u64::MAX,
            uid: 0,
            initial_user_namespace: Some(true),
            seccomp: false,
            maps_are_locked: false,
            unprivileged_bpf_disabled: Some(2),
            lockdown: Lockdown::None,
            btf: true,
            tracefs: None,
        }
    }

    /// With a log it is the verifier that refuses, without one it is not.
    #[test]
    fn who_refuses() {
        for (errno, log, expected) in [
            (
                libc::EACCES,
                "R1 invalid mem access 'scalar'\n",
                Obstacle::Verifier,
            ),
            (libc::EINVAL, "unknown func bpf_x#7\n", Obstacle::Verifier),
            (
                libc::E2BIG,
                "BPF program is too large\n",
                Obstacle::Verifier,
            ),
            (libc::EINVAL, "\n", Obstacle::Unknown),
            (libc::EPERM, "", Obstacle::SecurityModule),
        ] {
            let obstacle = refused(errno, log).obstacle(&root());
            assert_eq!(obstacle, expected, "{errno} {log:?}");
        }
    }

    #[test]
    fn the_last_lines_are_kept() {
        let error = refused(libc::EACCES, "0: first\n\n1: second\n2: third\n");
        assert_eq!(
            error.verifier_lines(2).as_deref(),
            Some("1: second\n2: third")
        );
        assert_eq!(
            error.verifier_lines(9).map(|text| text.lines().count()),
            Some(3)
        );
        assert_eq!(refused(libc::EPERM, "").verifier_lines(9), None);
        assert_eq!(ProbeError::NoSegments.verifier_lines(9), None);
    }
}
