//! Processes, pipes and signals for the tests, over the C library.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, IntoRawFd as _, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

/// A directory that is removed at the end of the test.
pub(crate) struct Directory(pub(crate) tempfile::TempDir);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, name: &str, contents: &str, mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        // Written by another process: while a test on another thread forks, a
        // file that this one has open for writing is busy (ETXTBSY).
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", "printf %s \"$1\" >\"$2\"", "sh", contents])
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success());
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

/// A named pipe, so that no descriptor has to be left open for the children.
pub(crate) struct Fifo {
    pub(crate) path: PathBuf,
    file: File,
}

impl Fifo {
    pub(crate) fn new(directory: &Directory) -> Self {
        let path = directory.0.path().join("fifo");
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the name is a C string.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        // With both ends open here, neither opening nor reading sees an end.
        let file = File::options().read(true).write(true).open(&path).unwrap();
        Self { path, file }
    }

    /// The next line, without its end.
    pub(crate) fn read_line(&self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            (&self.file).read_exact(&mut byte).unwrap();
            match byte {
                [b'\n'] => return String::from_utf8(line).unwrap(),
                [other] => line.push(other),
            }
        }
    }

    pub(crate) fn write_line(&self, line: &str) {
        (&self.file)
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }
}

/// Runs a function in a forked process, which has this thread only; its value
/// is the exit status, 101 a panic.
pub(crate) fn fork_child(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child uses the allocator, which glibc keeps usable across a
    // fork, and ends without running anything of the parent's.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            // Whatever started the tests may have left some ignored.
            for signal in (1..32).filter(|signal| *signal != libc::SIGPIPE) {
                libc::signal(signal, libc::SIG_DFL);
            }
            let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                write_to(2, &format!("in the forked process: {text}\n"));
                101
            });
            libc::_exit(code);
        }
        pid
    }
}

/// [`fork_child`], and its wait status.
pub(crate) fn in_child(body: impl FnOnce() -> i32) -> i32 {
    wait_status(fork_child(body))
}

pub(crate) fn wait_status(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the pointer is to a live integer.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) };
    assert_eq!(waited, pid);
    status
}

/// Past the test harness, which captures what `println!` prints.
pub(crate) fn print_uncaptured(line: &str) {
    write_to(1, &format!("{line}\n"));
}

fn write_to(stream: RawFd, text: &str) {
    // SAFETY: a standard stream, which is open and is not closed here.
    let mut stream = unsafe { File::from_raw_fd(stream) };
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.into_raw_fd();
}

pub(crate) fn kill(pid: i32, signal: i32) {
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

pub(crate) fn exists(pid: i32) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, 0) == 0 }
}

pub(crate) fn ignore(signal: i32) {
    // SAFETY: no handler function is installed.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

pub(crate) fn handle(signal: i32) {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(signal, nothing as extern "C" fn(i32) as libc::sighandler_t) };
}

pub(crate) fn block(signals: &[i32]) {
    // SAFETY: the set is initialised by sigemptyset before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Starts a session whose leader this process is.
pub(crate) fn new_session() {
    // SAFETY: no memory is involved.
    assert!(unsafe { libc::setsid() } > 0);
}

/// Starts a process group whose leader this process is.
pub(crate) fn new_group() {
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
}

/// The controlling terminal of a new session, whose foreground this process and its children
/// are. What its keys send here has no effect on this process.
pub(crate) struct Terminal {
    keyboard: File,
    _screen: File,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        handle(libc::SIGINT);
        handle(libc::SIGQUIT);
        // Which comes when it is closed.
        ignore(libc::SIGHUP);
        new_session();
        let keyboard = File::options()
            .read(true)
            .write(true)
            .open("/dev/ptmx")
            .unwrap();
        let mut number: libc::c_int = 0;
        let mut unlock: libc::c_int = 0;
        // SAFETY: an open terminal, and live integers of the type that each call has.
        unsafe {
            let fd = keyboard.as_raw_fd();
            assert_eq!(libc::ioctl(fd, libc::TIOCSPTLCK, &raw mut unlock), 0);
            assert_eq!(libc::ioctl(fd, libc::TIOCGPTN, &raw mut number), 0);
        }
        // The first that a session leader opens is the session's.
        let screen = File::options()
            .read(true)
            .write(true)
            .open(format!("/dev/pts/{number}"))
            .unwrap();
        Self {
            keyboard,
            _screen: screen,
        }
    }

    pub(crate) fn press(&self, key: u8) {
        (&self.keyboard).write_all(&[key]).unwrap();
    }
}

pub(crate) fn close_from(first: u32) {
    // SAFETY: only in a forked process, which uses none of them.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

pub(crate) fn redirect_stdout(file: &File) {
    // SAFETY: both descriptors are open.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), 1) }, 1);
}

pub(crate) fn become_user(uid: u32) {
    // SAFETY: no memory is involved but an empty list.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(uid, uid, uid), 0);
        assert_eq!(libc::setresuid(uid, uid, uid), 0);
    }
}

pub(crate) fn poll_readable(fd: &impl AsFd) {
    let mut poll = libc::pollfd {
        fd: fd.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live pollfd.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, -1) }, 1);
}

pub(crate) fn poll_either(one: &impl AsFd, other: &impl AsFd) {
    let wanted = |fd: RawFd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polls = [one.as_fd(), other.as_fd()].map(|fd| wanted(fd.as_raw_fd()));
    // SAFETY: two live pollfds.
    unsafe { libc::poll(polls.as_mut_ptr(), 2, -1) };
}

pub(crate) fn is_pending(signal: i32) -> bool {
    // SAFETY: sigpending fills the set before it is read.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigpending(&raw mut set);
        libc::sigismember(&raw const set, signal) == 1
    }
}

pub(crate) fn sleep_forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// The state letter of `/proc/PID/stat`; `None` when there is no such process.
pub(crate) fn state_of(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Waits until something is so. Only a test that fails waits long.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come in a minute");
}

/// Whether this process is root; fails the test where none may be skipped.
pub(crate) fn is_root() -> bool {
    // SAFETY: no memory is involved.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        let required = std::env::var_os("MEMTRACE_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(!required, "this test needs root");
        eprintln!("skipped: needs root");
    }
    root
}
