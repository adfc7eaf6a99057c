//! Where processes and cgroups are looked for.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use super::TargetsError;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Places {
    proc: PathBuf,
    own: i32,
    hierarchies: Vec<Hierarchy>,
}

/// A tree of cgroups, or what of it this process may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// The cgroup that is mounted there, `/` unless it is only a part of the tree.
    pub(crate) root: PathBuf,
    pub(crate) version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// One controller or several of version 1, or none and a name: `memory`, `name=systemd`.
    V1(Vec<String>),
    /// Version 2.
    V2,
}

impl Places {
    /// What is mounted here: `/proc`, and every cgroup file system.
    ///
    /// # Errors
    ///
    /// When `/proc` does not tell.
    pub fn of_this_system() -> Result<Self, TargetsError> {
        Self::at(Path::new("/proc"))
    }

    /// As it is told by the `/proc` at this path.
    ///
    /// # Errors
    ///
    /// When it does not tell.
    pub fn at(proc: &Path) -> Result<Self, TargetsError> {
        let itself = proc.join("self");
        let link = fs::read_link(&itself).map_err(|error| TargetsError::reading(&itself, error))?;
        // Of another PID namespace it may be empty: then none of its processes is this one.
        let own = link.to_str().and_then(|pid| pid.parse().ok()).unwrap_or(0);
        let mountinfo = itself.join("mountinfo");
        let mounts =
            fs::read(&mountinfo).map_err(|error| TargetsError::reading(&mountinfo, error))?;
        Ok(Self {
            proc: proc.to_path_buf(),
            own,
            hierarchies: hierarchies(&mounts),
        })
    }

    pub(crate) fn proc(&self) -> &Path {
        &self.proc
    }

    /// The id of this process there.
    pub(crate) const fn own(&self) -> i32 {
        self.own
    }

    /// All of them: version 2 first, then systemd's own.
    pub(crate) fn hierarchies(&self) -> Result<&[Hierarchy], TargetsError> {
        if self.hierarchies.is_empty() {
            return Err(TargetsError::NotMounted);
        }
        Ok(&self.hierarchies)
    }
}

impl Hierarchy {
    /// Whether systemd keeps its units here.
    pub(super) fn is_of_systemd(&self) -> bool {
        self.has("name=systemd") || self.version == Version::V2
    }

    /// Whether it is version 1 and has this controller or name.
    pub(crate) fn has(&self, controller: &str) -> bool {
        match &self.version {
            Version::V1(controllers) => controllers.iter().any(|one| one == controller),
            Version::V2 => false,
        }
    }

    /// A cgroup's path from the root of the hierarchy, as in `/proc/PID/cgroup`.
    pub(super) fn path_of(&self, directory: &Path) -> PathBuf {
        match directory.strip_prefix(&self.mount) {
            Ok(below) if below.as_os_str().is_empty() => self.root.clone(),
            Ok(below) => self.root.join(below),
            Err(_) => directory.to_path_buf(),
        }
    }
}

/// The cgroup file systems of a `mountinfo` (`proc_pid_mountinfo(5)`).
fn hierarchies(mountinfo: &[u8]) -> Vec<Hierarchy> {
    let mut mounts: Vec<(PathBuf, Option<Hierarchy>)> = Vec::new();
    for line in mountinfo.split(|&byte| byte == b'\n') {
        let Some((mount, hierarchy)) = mounted(line) else {
            continue;
        };
        // What is mounted later covers what was there.
        mounts.retain(|(former, _)| *former != mount);
        mounts.push((mount, hierarchy));
    }
    let mut all: Vec<Hierarchy> = mounts.into_iter().filter_map(|(_, one)| one).collect();
    all.sort_by_key(|one| (one.version != Version::V2, !one.is_of_systemd()));
    all
}

/// One line: where it is mounted, and if it is cgroups.
fn mounted(line: &[u8]) -> Option<(PathBuf, Option<Hierarchy>)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let root = unescaped(fields.nth(3)?);
    let mount = unescaped(fields.next()?);
    // Optional fields end with a hyphen.
    fields.find(|&field| field == b"-")?;
    let version = match fields.next()? {
        b"cgroup2" => Version::V2,
        b"cgroup" => {
            let options = String::from_utf8_lossy(fields.nth(1)?).into_owned();
            Version::V1(options.split(',').map(str::to_owned).collect())
        }
        _ => return Some((mount, None)),
    };
    let hierarchy = Hierarchy {
        mount: mount.clone(),
        root,
        version,
    };
    Some((mount, Some(hierarchy)))
}

/// Without the octal escapes of blanks and backslashes (`mangle_path()`, `fs/seq_file.c`).
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let octal = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = after.get(octal.map_or(0, |_| 3)..).unwrap_or_default();
    }
    PathBuf::from(OsString::from_vec(bytes))
}
