//! Programs that run with privileges of their own, and what tracing does to them.
//!
//! At an exec under an unprivileged tracer the kernel ignores set-user-ID and set-group-ID
//! bits and file capabilities (`cap_bprm_creds_from_file()`, security/commoncap.c:
//! `LSM_UNSAFE_PTRACE` without `ptracer_capable()`).

use std::{
    ffi::CString,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use super::sys;
use crate::{
    kernel::{Access, capability},
    launch::Spec,
};

/// Whether programs keep their privileges under a tracer like this process.
pub(super) fn kept() -> bool {
    Access::of_this_process().capabilities & capability::SYS_PTRACE != 0
}

/// The command's file, if it would run with privileges of its own.
pub(super) fn of_command(spec: &Spec) -> Option<PathBuf> {
    let found = spec.candidates().into_iter().find(|path| {
        fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })?;
    privileged(&found).then_some(found)
}

/// Whether a process runs a program without the privileges that its file would give.
pub(super) fn lost(pid: i32) -> bool {
    privileged(Path::new(&format!("/proc/{pid}/exe")))
}

/// Whether a file would give privileges that this user lacks.
fn privileged(path: &Path) -> bool {
    let Ok(file) = fs::metadata(path) else {
        return false;
    };
    let mode = file.permissions().mode();
    let (uid, gid) = (nix::unistd::Uid::effective(), nix::unistd::Gid::effective());
    let set_user = mode & 0o4000 != 0 && file.uid() != uid.as_raw();
    // Without the right to execute, the bit means mandatory locking.
    let set_group = mode & 0o2010 == 0o2010 && file.gid() != gid.as_raw();
    set_user
        || set_group
        || CString::new(path.as_os_str().as_bytes()).is_ok_and(|path| sys::has_capabilities(&path))
}
