//! Real files in a directory of their own; what needs root says so.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use super::{
    IfExists, OutputError, Rights, caller_from, claim_output, create_output, open_as_is,
    open_output, output_directory, split,
};

/// A directory that is removed at the end of the test.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new(mode: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
        Self(directory)
    }

    fn file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    }
}

/// Whether this process is root; fails the test where none may be skipped.
fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        let required = std::env::var_os("MEMTRACE_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(!required, "this test needs root");
        eprintln!("skipped: needs root");
    }
    root
}

fn write(path: &Path, if_exists: IfExists, text: &str) -> Result<String, OutputError> {
    let mut file = open_as_is(path, if_exists, None)?.file;
    file.write_all(text.as_bytes()).unwrap();
    Ok(fs::read_to_string(path).unwrap())
}

#[test]
fn what_happens_to_contents() {
    let directory = Directory::new(0o700);
    let path = directory.file("f", "old");
    assert_eq!(write(&path, IfExists::Append, "+new").unwrap(), "old+new");
    let error = write(&path, IfExists::Refuse, "x").unwrap_err().to_string();
    assert!(
        error.contains("already exists") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "old+new");
    assert_eq!(write(&path, IfExists::Overwrite, "n").unwrap(), "n");

    for (name, if_exists) in [
        ("a", IfExists::Append),
        ("r", IfExists::Refuse),
        ("o", IfExists::Overwrite),
    ] {
        assert_eq!(
            write(&directory.0.path().join(name), if_exists, "n").unwrap(),
            "n"
        );
    }
    let empty = directory.file("empty", "");
    assert_eq!(write(&empty, IfExists::Refuse, "n").unwrap(), "n");
    open_as_is(Path::new("/dev/null"), IfExists::Refuse, None).unwrap();
}

/// What is to be new touches nothing that has its name, nor what a link of that name points to.
#[test]
fn what_is_new_was_not_there() {
    for mode in [0o700, 0o1777] {
        let directory = Directory::new(mode);
        let path = directory.file("there", "");
        let link = directory.0.path().join("link");
        symlink("nowhere", &link).unwrap();
        for taken in [path, link] {
            let error = create_output(&taken).unwrap_err();
            assert!(matches!(error, OutputError::Exists(_)), "{error}");
        }
        let (mut file, made) = create_output(&directory.0.path().join("new")).unwrap();
        file.write_all(b"text").unwrap();
        made.remove();
        let names = fs::read_dir(directory.0.path()).unwrap();
        assert_eq!(names.count(), 2);
    }
}

/// Contents stay until somebody writes, and only what was made is taken away again.
#[test]
fn claims_change_nothing_but_what_they_made() {
    let directory = Directory::new(0o700);
    let old = directory.file("old", "old");
    assert!(claim_output(&old, false).is_err());
    let claim = claim_output(&old, true).unwrap();
    assert!(claim.replaces && claim.made.is_none());
    assert_eq!(fs::read_to_string(&old).unwrap(), "old");

    let new = directory.0.path().join("new");
    let claim = claim_output(&new, false).unwrap();
    assert!(!claim.replaces && new.exists());
    claim.made.unwrap().remove();
    assert!(!new.exists());

    let claim = claim_output(&new, false).unwrap();
    fs::rename(&old, &new).unwrap();
    claim.made.unwrap().remove();
    assert_eq!(fs::read_to_string(&new).unwrap(), "old");

    let device = claim_output(Path::new("/dev/null"), true).unwrap();
    assert!(!device.replaces && device.made.is_none());
}

#[test]
fn links_are_followed_only_in_private_directories() {
    let private = Directory::new(0o700);
    let shared = Directory::new(0o1777);
    let target = private.file("target", "old");
    let missing = private.0.path().join("missing");
    for (name, to) in [("link", &target), ("dangling", &missing)] {
        symlink(to, private.0.path().join(name)).unwrap();
        symlink(to, shared.0.path().join(name)).unwrap();
        let error = write(&shared.0.path().join(name), IfExists::Overwrite, "x").unwrap_err();
        assert!(matches!(error, OutputError::SharedLink(_)), "{error:?}");
    }
    assert!(!missing.exists());
    assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    assert_eq!(
        write(&private.0.path().join("link"), IfExists::Overwrite, "new").unwrap(),
        "new"
    );
    assert_eq!(
        write(&private.0.path().join("dangling"), IfExists::Refuse, "new").unwrap(),
        "new"
    );

    let own = shared.file("own", "old");
    assert_eq!(write(&own, IfExists::Overwrite, "new").unwrap(), "new");
    fs::hard_link(&target, shared.0.path().join("second-name")).unwrap();
    let error = write(&shared.0.path().join("second-name"), IfExists::Append, "x").unwrap_err();
    assert!(matches!(error, OutputError::SharedFile(_)), "{error:?}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "new");
}

#[test]
fn refusals_name_path_and_remedy() {
    let directory = Directory::new(0o700);
    let absent = directory.0.path().join("no/f");
    let error = open_output(&absent, IfExists::Overwrite).unwrap_err();
    let shown = absent.display();
    assert_eq!(
        error.gnu_message(),
        format!("{shown}: No such file or directory")
    );
    assert!(error.to_string().contains("(does its directory exist?)"));
    let error = open_output(Path::new(""), IfExists::Overwrite).unwrap_err();
    assert_eq!(error.gnu_message(), ": No such file or directory");
    for path in ["/", "..", "x/", "."] {
        let error = open_output(Path::new(path), IfExists::Overwrite).unwrap_err();
        assert_eq!(error.gnu_message(), format!("{path}: Is a directory"));
    }
}

#[test]
fn paths_are_split_for_the_lookup() {
    let parts = |path| {
        let (directory, name) = split(Path::new(path)).unwrap();
        (directory.to_str().unwrap(), name.to_str().unwrap())
    };
    assert_eq!(parts("f"), (".", "f"));
    assert_eq!(parts("a/../f"), ("a/..", "f"));
    assert_eq!(parts("/f"), ("/", "f"));
}

#[test]
fn who_called_sudo() {
    let caller = |uid: &str, gid: &str| caller_from(Some(uid.into()), Some(gid.into()));
    let someone = caller("4000000001", "4000000002").unwrap();
    assert_eq!(someone.uid.as_raw(), 4_000_000_001);
    assert_eq!(someone.groups, [someone.gid]);
    for (uid, gid) in [
        ("0", "0"),
        ("", "1"),
        ("1", "x"),
        ("-1", "1"),
        ("4294967295", "1"),
    ] {
        assert!(caller(uid, gid).is_none(), "{uid} {gid}");
    }
    assert!(caller_from(Some("1".into()), None).is_none());
}

#[test]
fn under_sudo_the_rights_and_the_owner_are_the_callers() {
    if !is_root() {
        return;
    }
    let directory = Directory::new(0o755);
    let (uid, gid) = (4_000_000_001, 4_000_000_002);
    let caller = caller_from(Some(uid.to_string().into()), Some(gid.to_string().into())).unwrap();
    let open = |path: &Path| {
        let rights = Rights::take(&caller).unwrap();
        let result = open_as_is(path, IfExists::Overwrite, Some(uid));
        drop(rights);
        result
    };
    // Root's directory: not for the caller.
    let error = open(&directory.0.path().join("f")).unwrap_err().to_string();
    assert!(
        error.contains("Permission denied for user 4000000001"),
        "{error}"
    );
    assert!(error.contains("sudo env -u SUDO_UID"), "{error}");
    // Theirs: the file is theirs too.
    chown(directory.0.path(), Some(uid), Some(gid)).unwrap();
    open(&directory.0.path().join("f")).unwrap();
    let metadata = fs::metadata(directory.0.path().join("f")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (uid, gid));
    // Root's file that only root may write.
    let roots = directory.file("roots", "old");
    assert!(open(&roots).is_err());
    // Root's rights are back.
    assert_eq!(fs::metadata(directory.file("again", "")).unwrap().uid(), 0);
    // A shared directory, and a file of someone else that all may write.
    let shared = Directory::new(0o1777);
    let other = shared.file("other", "old");
    chown(&other, Some(uid + 5), None).unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o666)).unwrap();
    let error = open(&other).unwrap_err();
    assert!(matches!(error, OutputError::SharedFile(_)), "{error:?}");
    assert_eq!(fs::read_to_string(&other).unwrap(), "old");
}

/// A directory for outputs is made, found, or refused if it may be another user's trap.
#[test]
fn directories_are_made_but_traps_are_not_used() {
    let private = Directory::new(0o700);
    let made = private.0.path().join("tables");
    for path in [&made, &private.0.path().join("tables/"), &made] {
        output_directory(path).unwrap();
        assert!(made.is_dir());
    }
    symlink(&made, private.0.path().join("link")).unwrap();
    output_directory(&private.0.path().join("link")).unwrap();
    let file = private.file("file", "old");
    let error = output_directory(&file).unwrap_err();
    assert!(
        error.to_string().contains("file: Not a directory"),
        "{error}"
    );
    let error = output_directory(&private.0.path().join("no/such")).unwrap_err();
    assert!(
        error.to_string().contains("does its directory exist?"),
        "{error}"
    );

    let shared = Directory::new(0o1777);
    output_directory(&shared.0.path().join("tables")).unwrap();
    output_directory(&shared.0.path().join("tables")).unwrap();
    symlink(&made, shared.0.path().join("link")).unwrap();
    let error = output_directory(&shared.0.path().join("link")).unwrap_err();
    assert!(matches!(error, OutputError::SharedLink(_)), "{error}");
    if is_root() {
        chown(shared.0.path(), Some(1), None).unwrap();
        chown(shared.0.path().join("tables"), Some(2), None).unwrap();
        let error = output_directory(&shared.0.path().join("tables")).unwrap_err();
        assert!(matches!(error, OutputError::SharedFile(_)), "{error}");
    }
}
