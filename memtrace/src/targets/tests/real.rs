//! The `/proc` of this machine.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Places, TargetsError, find, name};

/// A program of this name that sleeps; ended and removed at the end of the test.
struct Sleeper {
    child: Child,
    file: PathBuf,
}

impl Sleeper {
    fn new(name: &str) -> Self {
        let file = std::env::temp_dir().join(name);
        fs::copy("/bin/sleep", &file).unwrap();
        // Another test that forks may have the copy open for writing for a moment.
        let deadline = Instant::now() + Duration::from_secs(20);
        let child = loop {
            let command = Command::new(&file).arg("60").stdin(Stdio::null()).spawn();
            match command {
                Ok(child) => break child,
                Err(error) => assert!(
                    error.raw_os_error() == Some(libc::ETXTBSY) && Instant::now() < deadline,
                    "{error}"
                ),
            }
        };
        Self { child, file }
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

/// A short and a long name; when it has ended, it is not found any more.
#[test]
fn a_process_of_this_machine() {
    let id = std::process::id();
    for called in [format!("mt{id}"), format!("memtrace-sleeper-{id}")] {
        let sleeper = Sleeper::new(&called);
        let found = find(&name(&called), &Places::of_this_system().unwrap()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].pid, sleeper.pid());
        let stat = crate::ptrace::stat(sleeper.pid()).unwrap();
        assert_eq!(found[0].started, stat.started);
        drop(sleeper);
        let error = find(&name(&called), &Places::of_this_system().unwrap()).unwrap_err();
        assert!(matches!(error, TargetsError::NoName { .. }), "{error}");
    }
}
