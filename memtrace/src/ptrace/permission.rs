//! Whether commands can be traced with ptrace(2).

use std::{fs, io};

use super::sys;
use crate::launch::{Signals, Spec, spawn_stopped};

/// Whether commands can be traced with ptrace(2), by trying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// They can.
    Granted,
    /// They cannot, for this reason.
    Refused(String),
}

impl Permission {
    /// The most likely reason for a refusal.
    pub(super) fn explain(error: &io::Error) -> String {
        if !matches!(
            error.raw_os_error(),
            Some(libc::EPERM | libc::EACCES | libc::ESRCH)
        ) {
            return error.to_string();
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let tracer = field("TracerPid:").filter(|pid| *pid != "0");
        // Below 2, a parent may trace its children.
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
        let scope = scope.trim().parse::<u32>().unwrap_or(0);
        if let Some(tracer) = tracer {
            format!("process {tracer} traces memtrace and what it starts")
        } else if scope >= 2 {
            format!("the sysctl kernel.yama.ptrace_scope is {scope}")
        } else if field("Seccomp:").is_some_and(|mode| mode != "0") {
            "a seccomp filter may refuse it".to_owned()
        } else {
            error.to_string()
        }
    }
}

/// Finds out whether a command could be traced.
#[must_use]
pub fn permission() -> Permission {
    let tried = Signals::take_over()
        .and_then(|signals| {
            spawn_stopped(&Spec::new(["true"]), signals.inherited()).map_err(io::Error::other)
        })
        .and_then(|stopped| sys::try_seize(stopped.pid()));
    match tried {
        Ok(()) => Permission::Granted,
        Err(error) => Permission::Refused(Permission::explain(&error)),
    }
}
