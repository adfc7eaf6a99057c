//! Refuses outputs that are one file, before any of them is opened: opening cuts a file to
//! nothing, and two writers of one file overwrite each other.
//!
//! Only regular files can lose anything. Terminals, pipes and devices take what several
//! writers write.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;

use super::outputs::own_stream;

/// Links that are followed from a name to a file that is not there yet, as many as the kernel
/// follows (`MAXSYMLINKS`).
const LINKS: u32 = 40;

/// Two names stand for one file.
#[derive(Debug, thiserror::Error)]
#[error(
    "{first} and {second} are the same file, and would overwrite each other: give each a file of its own"
)]
pub struct SameFile {
    first: String,
    second: String,
}

/// A regular file, or one that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    /// Device and inode.
    Present(u64, u64),
    /// Device and inode of the directory, and the name in it.
    Absent(u64, u64, PathBuf),
}

/// How a file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Read before anything is written, so that others may read it too.
    Read,
    /// Written from its beginning.
    Written,
    /// Each write goes to its end, so that others may do the same.
    Appended,
    /// Opened by whoever started us, who may have meant several streams to be one file.
    Inherited {
        /// Each write goes to its end.
        appended: bool,
    },
}

impl Use {
    /// Whether two uses of one file take nothing from each other.
    const fn agrees_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::Read, Self::Read) | (Self::Inherited { .. }, Self::Inherited { .. }) => true,
            (one, other) => one.appends() && other.appends(),
        }
    }

    const fn appends(self) -> bool {
        matches!(self, Self::Appended | Self::Inherited { appended: true })
    }
}

/// The files that a run reads and writes, each named once.
#[derive(Debug, Default)]
pub struct Distinct {
    files: Vec<(String, Identity, Use)>,
}

impl Distinct {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file to write from its beginning; `label` is what the user calls it.
    ///
    /// # Errors
    ///
    /// When another one is the same file.
    pub fn output(&mut self, label: &str, path: &Path) -> Result<(), SameFile> {
        self.add(name(label, path), output_identity(path), Use::Written)
    }

    /// A file to write to the end of.
    ///
    /// # Errors
    ///
    /// When another one that is not appended to is the same file.
    pub fn appended(&mut self, label: &str, path: &Path) -> Result<(), SameFile> {
        self.add(name(label, path), output_identity(path), Use::Appended)
    }

    /// A file to read.
    ///
    /// # Errors
    ///
    /// When an output is the same file.
    pub fn input(&mut self, label: &str, path: &Path) -> Result<(), SameFile> {
        self.add(name(label, path), identity(path), Use::Read)
    }

    /// A stream of this process that it or the command writes to.
    ///
    /// # Errors
    ///
    /// When an output is the same file.
    pub fn stream(&mut self, label: &str, stream: impl AsFd) -> Result<(), SameFile> {
        // What is closed or cannot be asked is no file to protect.
        let (Ok(stat), Ok(flags)) = (fstat(&stream), fcntl(&stream, FcntlArg::F_GETFL)) else {
            return Ok(());
        };
        let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        let flags = OFlag::from_bits_truncate(flags);
        if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
            return Ok(());
        }
        self.add(
            label.to_owned(),
            regular.then_some(Identity::Present(stat.st_dev, stat.st_ino)),
            Use::Inherited {
                appended: flags.contains(OFlag::O_APPEND),
            },
        )
    }

    fn add(&mut self, label: String, identity: Option<Identity>, how: Use) -> Result<(), SameFile> {
        let Some(identity) = identity else {
            return Ok(());
        };
        let same = |(_, other, use_of): &&(String, Identity, Use)| {
            *other == identity && !how.agrees_with(*use_of)
        };
        if let Some((first, ..)) = self.files.iter().find(same) {
            return Err(SameFile {
                first: first.clone(),
                second: label,
            });
        }
        self.files.push((label, identity, how));
        Ok(())
    }
}

fn name(label: &str, path: &Path) -> String {
    format!("{label} {}", path.display())
}

/// The standard streams by their names are written on at the place that they are at, by all
/// who do so.
fn output_identity(path: &Path) -> Option<Identity> {
    own_stream(path).map_or_else(|| identity(path), |_| None)
}

/// `None` for what is no regular file, and for what cannot be looked at: opening it says why.
fn identity(path: &Path) -> Option<Identity> {
    let mut path = path.to_owned();
    for _ in 0..=LINKS {
        match fs::metadata(&path) {
            Ok(found) => return present(&found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // A link to a file that is not there yet: opening makes that file.
        match fs::read_link(&path) {
            Ok(target) => path = directory.join(target),
            Err(_) => {
                let parent = fs::metadata(&directory).ok()?;
                let name = path.file_name()?;
                return Some(Identity::Absent(parent.dev(), parent.ino(), name.into()));
            }
        }
    }
    None
}

fn present(found: &Metadata) -> Option<Identity> {
    found
        .is_file()
        .then(|| Identity::Present(found.dev(), found.ino()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    fn both(first: &Path, second: &Path) -> Result<(), SameFile> {
        let mut files = Distinct::new();
        files.output("--json", first)?;
        files.output("--stdout", second)
    }

    /// One file by every kind of name, whether it is there or not.
    #[test]
    fn one_file_by_two_names_is_refused() {
        let dir = Directory::new();
        fs::write(dir.path("there"), "").unwrap();
        fs::hard_link(dir.path("there"), dir.path("hard")).unwrap();
        fs::create_dir(dir.path("sub")).unwrap();
        for (target, link) in [
            ("there", "soft"),
            ("absent", "dangling"),
            ("dangling", "twice"),
            ("../absent", "sub/up"),
            ("sub", "other"),
        ] {
            symlink(target, dir.path(link)).unwrap();
        }
        for (first, second) in [
            ("there", "there"),
            ("there", "hard"),
            ("there", "soft"),
            ("there", "sub/../there"),
            ("absent", "absent"),
            ("absent", "./absent"),
            ("absent", "dangling"),
            ("absent", "twice"),
            ("dangling", "sub/up"),
            ("sub/new", "other/new"),
        ] {
            let error = both(&dir.path(first), &dir.path(second))
                .expect_err(&format!("{first} and {second}"))
                .to_string();
            assert!(
                error.contains("--json") && error.contains("--stdout"),
                "{error}"
            );
        }
        symlink("loop", dir.path("loop")).unwrap();
        for (first, second) in [
            ("there", "absent"),
            ("absent", "absent2"),
            ("absent", "sub/absent"),
            // Opening says what is wrong with these.
            ("loop", "loop"),
            ("nowhere/x", "nowhere/x"),
            ("sub", "sub"),
        ] {
            both(&dir.path(first), &dir.path(second)).expect(first);
        }
    }

    /// What takes what several writers write is left alone.
    #[test]
    fn devices_and_pipes_are_no_files_to_lose() {
        let (_reader, writer) = io::pipe().unwrap();
        for path in ["/dev/null", "/dev/full"] {
            both(Path::new(path), Path::new(path)).unwrap();
        }
        let mut files = Distinct::new();
        files.stream("standard output", &writer).unwrap();
        files.stream("standard error", &writer).unwrap();
    }

    /// A stream that goes to the file of an option loses its contents, unless both append.
    #[test]
    fn inherited_streams_count() {
        let dir = Directory::new();
        let path = dir.path("log");
        let plain = fs::File::create(&path).unwrap();
        let appending = fs::File::options().append(true).open(&path).unwrap();
        let with = |stream: &fs::File| {
            let mut files = Distinct::new();
            files.stream("standard output", stream).unwrap();
            // `>log 2>&1` is one file on purpose.
            files.stream("standard error", stream).unwrap();
            files
        };
        for stream in [&plain, &appending] {
            with(stream).output("--json", &path).unwrap_err();
            with(stream).input("--budgets", &path).unwrap_err();
            with(stream).output("--json", &dir.path("else")).unwrap();
        }
        with(&plain).appended("-o", &path).unwrap_err();
        with(&appending).appended("-o", &path).unwrap();
    }

    /// Two may read a file; none may write what another reads.
    #[test]
    fn an_input_is_not_overwritten() {
        let dir = Directory::new();
        fs::write(dir.path("a"), "x").unwrap();
        let mut files = Distinct::new();
        files.input("the recording", &dir.path("a")).unwrap();
        files.input("the recording", &dir.path("a")).unwrap();
        let error = files.output("--html", &dir.path("a")).unwrap_err();
        assert!(error.to_string().contains("the recording"), "{error}");
    }
}
