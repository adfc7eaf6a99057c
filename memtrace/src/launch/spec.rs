//! What to run: the command, its environment, its user, its directory.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::{Gid, Uid, User, getgrouplist};

use super::error::LaunchError;

/// A command to start.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    pub(super) argv: Vec<OsString>,
    pub(super) user: Option<UserSpec>,
    pub(super) start_dir: Option<PathBuf>,
    pub(super) null_streams: u8,
    /// What becomes standard output and error, if not this process's own.
    pub(super) outputs: [Option<Arc<OwnedFd>>; 2],
    /// Changes to the inherited environment, in order; `None` removes.
    changes: Vec<(OsString, Option<OsString>)>,
}

impl Spec {
    /// A command with its arguments; `argv[0]` is looked up in `PATH` unless
    /// it contains a slash, as execvp(3) does.
    pub fn new(argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Runs the command as another user, which only root can do.
    #[must_use]
    pub fn user(mut self, user: UserSpec) -> Self {
        self.user = Some(user);
        self
    }

    /// Starts the command in this directory.
    #[must_use]
    pub fn start_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.start_dir = Some(directory.into());
        self
    }

    /// Gives the command an empty standard input.
    #[must_use]
    pub fn null_input(mut self) -> Self {
        self.null_streams |= 1;
        self
    }

    /// Discards what the command writes to standard output and error.
    #[must_use]
    pub fn null_output(mut self) -> Self {
        self.null_streams |= 0b110;
        self
    }

    /// Sends what the command writes to standard output there.
    #[must_use]
    pub fn stdout(mut self, file: impl Into<OwnedFd>) -> Self {
        self.outputs[0] = Some(Arc::new(file.into()));
        self
    }

    /// Sends what the command writes to standard error there.
    #[must_use]
    pub fn stderr(mut self, file: impl Into<OwnedFd>) -> Self {
        self.outputs[1] = Some(Arc::new(file.into()));
        self
    }

    /// Sets a variable of the command's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.changes.push((name.into(), Some(value.into())));
        self
    }

    /// Removes a variable from the command's environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.changes.push((name.into(), None));
        self
    }

    /// The command and its arguments.
    #[must_use]
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// The files to try for the command, in order.
    pub(crate) fn candidates(&self) -> Vec<PathBuf> {
        let file = self
            .argv
            .first()
            .and_then(|file| c_string("command", file).ok());
        let tried = file
            .zip(self.environment().ok())
            .and_then(|(file, environment)| candidates(&file, &environment).ok());
        tried
            .unwrap_or_default()
            .into_iter()
            .map(|path| OsString::from_vec(path.into_bytes()).into())
            .collect()
    }

    /// Looks up a user by name or, failing that, by numeric id.
    ///
    /// # Errors
    ///
    /// [`LaunchError::UnknownUser`] when there is none; an id without an entry
    /// in the user database is accepted and gets the group of the same number.
    pub fn resolve_user(name_or_id: &str) -> Result<UserSpec, LaunchError> {
        let lookup = |source: nix::Error| LaunchError::UserLookup {
            user: name_or_id.to_owned(),
            source: source.into(),
        };
        let mut entry = User::from_name(name_or_id).map_err(lookup)?;
        if entry.is_none() {
            let unknown = || LaunchError::UnknownUser(name_or_id.to_owned());
            let digits = name_or_id.bytes().all(|byte| byte.is_ascii_digit());
            let id = name_or_id
                .parse::<u32>()
                .ok()
                .filter(|id| digits && *id != u32::MAX);
            let id = id.ok_or_else(unknown)?;
            entry = User::from_uid(Uid::from_raw(id)).map_err(lookup)?;
            if entry.is_none() {
                return Ok(UserSpec {
                    name: name_or_id.to_owned(),
                    uid: id,
                    gid: id,
                    groups: vec![id],
                });
            }
        }
        let Some(user) = entry else {
            return Err(LaunchError::UnknownUser(name_or_id.to_owned()));
        };
        let name = CString::new(user.name.as_str()).map_err(|_| LaunchError::Nul {
            what: "user name",
            value: user.name.clone().into(),
        })?;
        let groups = getgrouplist(&name, user.gid).map_err(lookup)?;
        Ok(UserSpec {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
        })
    }

    /// The environment as the kernel takes it: what this process has, byte for
    /// byte (entries without `=` too), with the changes applied.
    pub(super) fn environment(&self) -> Result<Vec<CString>, LaunchError> {
        let mut environment = inherited_environment();
        for (name, value) in &self.changes {
            let mut entry = name.as_bytes().to_vec();
            entry.push(b'=');
            environment.retain(|old| !old.to_bytes().starts_with(&entry));
            if let Some(value) = value {
                entry.extend_from_slice(value.as_bytes());
                environment.push(c_string(
                    "environment variable",
                    &OsString::from_vec(entry),
                )?);
            }
        }
        Ok(environment)
    }
}

/// A user to run a command as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// Name, or the number as given when the user database has no such user.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Every group, the primary one too.
    pub groups: Vec<u32>,
}

/// A string for the kernel.
pub(super) fn c_string(what: &'static str, value: &OsStr) -> Result<CString, LaunchError> {
    CString::new(value.as_bytes()).map_err(|_| LaunchError::Nul {
        what,
        value: value.to_owned(),
    })
}

unsafe extern "C" {
    /// environ(7)
    static environ: *const *const libc::c_char;
}

fn inherited_environment() -> Vec<CString> {
    let mut copy = Vec::new();
    // SAFETY: `environ` is null or an array of C strings that ends with a null
    // pointer. It changes only by calls that Rust declares unsafe because no
    // other thread may read the environment meanwhile.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            copy.push(CStr::from_ptr(*entry).to_owned());
            entry = entry.add(1);
        }
    }
    copy
}

/// The paths to try for a command, in order: execvp(3) with the `PATH` of the
/// environment that the command will have.
pub(super) fn candidates(
    file: &CStr,
    environment: &[CString],
) -> Result<Vec<CString>, LaunchError> {
    let name = file.to_bytes();
    // An empty name is tried as it is and gives ENOENT, as execvp says.
    if name.is_empty() || name.contains(&b'/') {
        return Ok(vec![file.to_owned()]);
    }
    let path = environment
        .iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="))
        // confstr(_CS_PATH) of glibc, which it uses without a PATH.
        .unwrap_or(b"/bin:/usr/bin");
    path.split(|&byte| byte == b':')
        .map(|directory| {
            // An empty element is the current directory.
            let mut full = directory.to_vec();
            if !directory.is_empty() {
                full.push(b'/');
            }
            full.extend_from_slice(name);
            c_string("path", OsStr::from_bytes(&full))
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::ffi::CString;

    use super::{Spec, candidates};

    fn tried(file: &str, environment: &[&str]) -> Vec<String> {
        let environment: Vec<_> = environment
            .iter()
            .map(|e| CString::new(*e).unwrap())
            .collect();
        candidates(&CString::new(file).unwrap(), &environment)
            .unwrap()
            .into_iter()
            .map(|path| path.into_string().unwrap())
            .collect()
    }

    #[test]
    fn search_order_of_execvp() {
        assert_eq!(tried("a/b", &["PATH=/x"]), ["a/b"]);
        assert_eq!(tried("", &["PATH=/x"]), [""]);
        assert_eq!(tried("c", &["PATH=/x:/y"]), ["/x/c", "/y/c"]);
        assert_eq!(tried("c", &["PATH=:/y::"]), ["c", "/y/c", "c", "c"]);
        assert_eq!(tried("c", &["PATH="]), ["c"]);
        assert_eq!(tried("c", &["XPATH=/x"]), ["/bin/c", "/usr/bin/c"]);
    }

    #[test]
    fn users() {
        let root = Spec::resolve_user("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(Spec::resolve_user("0").unwrap().name, "root");
        assert_eq!(
            Spec::resolve_user("4000000001").unwrap().groups,
            [4_000_000_001]
        );
        for nobody in ["", "no such user", "-1", "+0", "4294967295", "0x0"] {
            let error = Spec::resolve_user(nobody).unwrap_err().to_string();
            assert!(error.contains("getent passwd"), "{nobody}: {error}");
        }
    }

    #[test]
    fn changes_of_the_environment() {
        let spec = Spec::new(["c"])
            .env("MT_A", "1")
            .env("MT_A", "2")
            .env("MT_B", "=")
            .env_remove("MT_B");
        let environment = spec.environment().unwrap();
        let ours: Vec<_> = environment
            .iter()
            .filter(|e| e.to_bytes().starts_with(b"MT_"))
            .collect();
        assert_eq!(ours, [c"MT_A=2"]);
        assert!(Spec::new(["c"]).env("A", "\0").environment().is_err());
    }
}
