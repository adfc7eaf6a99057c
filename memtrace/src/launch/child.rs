//! The process between `fork` and `exec`.
//!
//! Everything here runs in a copy of the tracer in which only one thread lives
//! on, so only what signal-safety(7) lists is allowed: no allocation, no locks,
//! no std I/O. All it needs is laid out before the fork ([`Plan`]).

use std::ffi::{CString, c_char};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;
use std::sync::Arc;

use super::error::{LaunchError, exec_exit_code};
use super::exit::OWN_FAILURE;
use super::inherited::{Inherited, LAST_SIGNAL, bit};
use super::limits;
use super::spec::{Spec, c_string, candidates};

/// What the parent tells the child: one of these bytes, [`Order::Rename`]
/// followed by the name. The child answers with the same byte.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    /// Take a new name.
    Rename = b'n',
    /// Become the command.
    Go = b'g',
}

/// Length of a name for `PR_SET_NAME`, with its NUL: `TASK_COMM_LEN`.
pub(super) const NAME_LEN: usize = 16;

/// Where the way to the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Stage {
    Groups = 1,
    Gid = 2,
    Uid = 3,
    Directory = 4,
    Exec = 5,
    Null = 6,
    Output = 7,
}

/// A failure as the child reports it: stage and errno.
pub(super) type Report = [i32; 2];

/// Everything the child needs, allocated before the fork.
pub(super) struct Plan {
    /// Own what the pointers below point to.
    _strings: Vec<CString>,
    candidates: Vec<*const c_char>,
    argv: Vec<*const c_char>,
    /// `/bin/sh`, a slot for the path, and the arguments: for files that the
    /// kernel does not know how to run.
    shell_argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    directory: *const c_char,
    ids: Option<(u32, u32)>,
    groups: Vec<libc::gid_t>,
    /// Standard streams that become /dev/null, one bit each.
    null_streams: u8,
    /// What becomes standard output and error.
    outputs: [Option<Arc<OwnedFd>>; 2],
    inherited: Inherited,
    /// Limits that were raised for this program alone.
    limits: Vec<(libc::__rlimit_resource_t, libc::rlimit)>,
    /// The inherited mask and the stop signals of the terminal.
    waiting_mask: libc::sigset_t,
}

impl Plan {
    pub(super) fn new(spec: &Spec, inherited: &Inherited) -> Result<Self, LaunchError> {
        let mut strings = Vec::new();
        let mut pointers = |list: Vec<CString>| {
            // The heap blocks of the strings stay where they are when the
            // vector that owns them grows or moves.
            let pointers: Vec<_> = list.iter().map(|string| string.as_ptr()).collect();
            strings.extend(list);
            pointers
        };
        let arguments: Vec<_> = spec
            .argv
            .iter()
            .map(|argument| c_string("argument", argument))
            .collect::<Result<_, _>>()?;
        let file = arguments.first().ok_or(LaunchError::NoCommand)?;
        let environment = spec.environment()?;
        let candidates = pointers(candidates(file, &environment)?);
        let mut argv = pointers(arguments);
        let mut envp = pointers(environment);
        let mut shell_argv = vec![c"/bin/sh".as_ptr(), ptr::null()];
        shell_argv.extend(argv.iter().skip(1));
        for list in [&mut argv, &mut envp, &mut shell_argv] {
            list.push(ptr::null());
        }
        let directory = match &spec.start_dir {
            None => ptr::null(),
            Some(directory) => {
                let directory = c_string("directory", directory.as_os_str())?;
                pointers(vec![directory])
                    .first()
                    .copied()
                    .unwrap_or(ptr::null())
            }
        };
        let mut waiting_mask = inherited.mask;
        for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            // SAFETY: the set is an initialised copy, the numbers are valid.
            unsafe { libc::sigaddset(&raw mut waiting_mask, signal) };
        }
        Ok(Self {
            _strings: strings,
            candidates,
            argv,
            shell_argv,
            envp,
            directory,
            ids: spec.user.as_ref().map(|user| (user.uid, user.gid)),
            groups: spec
                .user
                .as_ref()
                .map_or_else(Vec::new, |user| user.groups.clone()),
            null_streams: spec.null_streams,
            outputs: spec.outputs.clone(),
            inherited: *inherited,
            limits: limits::raised()
                .into_iter()
                .map(|raised| {
                    let limit = libc::rlimit {
                        rlim_cur: raised.soft,
                        rlim_max: raised.hard,
                    };
                    (raised.resource as libc::__rlimit_resource_t, limit)
                })
                .collect(),
            waiting_mask,
        })
    }

    /// The child's whole life before the command: wait for orders, then exec.
    ///
    /// # Safety
    ///
    /// Only for a fresh child of fork with every signal blocked; `socket` is
    /// its end of the pair to the parent.
    pub(super) unsafe fn run(&mut self, socket: i32, parents_socket: i32) -> ! {
        // SAFETY: every call is async-signal-safe and gets valid pointers: the
        // plan outlives this function, which never returns.
        unsafe {
            // The parent's end must live in the parent alone, so that its
            // death closes it.
            libc::close(parents_socket);
            reset_signals(self.inherited.ignored);
            // From here on a signal ends this process as it would end the
            // command. Ctrl-Z waits until the command exists: the tracer may
            // be killed meanwhile, and a stopped child would outlive it.
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.waiting_mask,
                ptr::null_mut(),
            );
            await_release(socket);
            let [stage, errno] = self.become_command();
            let report: Report = [stage, errno];
            libc::send(
                socket,
                (&raw const report).cast(),
                size_of::<Report>(),
                libc::MSG_NOSIGNAL,
            );
            libc::_exit(if stage == Stage::Exec as i32 {
                exec_exit_code(errno)
            } else {
                OWN_FAILURE
            })
        }
    }

    /// Returns only on failure.
    ///
    /// # Safety
    ///
    /// As [`Plan::run`].
    unsafe fn become_command(&mut self) -> Report {
        let failed = |stage: Stage| [stage as i32, errno()];
        // SAFETY: as in `run`; strings and arrays are those of the plan.
        unsafe {
            if let Some((uid, gid)) = self.ids {
                // Groups first: without root they cannot be changed any more.
                if libc::setgroups(self.groups.len(), self.groups.as_ptr()) != 0 {
                    return failed(Stage::Groups);
                }
                if libc::setresgid(gid, gid, gid) != 0 {
                    return failed(Stage::Gid);
                }
                if libc::setresuid(uid, uid, uid) != 0 {
                    return failed(Stage::Uid);
                }
            }
            if !self.directory.is_null() && libc::chdir(self.directory) != 0 {
                return failed(Stage::Directory);
            }
            for stream in 0..3 {
                if self.inherited.closed_streams & (1 << stream) != 0 {
                    libc::close(stream);
                }
            }
            for (stream, file) in (1..).zip(&self.outputs) {
                if let Some(file) = file
                    && libc::dup2(file.as_raw_fd(), stream) < 0
                {
                    return failed(Stage::Output);
                }
            }
            if self.null_streams != 0 && !to_null(self.null_streams) {
                return failed(Stage::Null);
            }
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.inherited.mask,
                ptr::null_mut(),
            );
            for (resource, limit) in &self.limits {
                // Lowering a limit is always allowed. Last, as this stack may be above it.
                libc::setrlimit(*resource, &raw const *limit);
            }
            [Stage::Exec as i32, self.exec()]
        }
    }

    /// Tries the candidates as execvp(3) does; returns the errno to report.
    ///
    /// # Safety
    ///
    /// As [`Plan::run`].
    unsafe fn exec(&mut self) -> i32 {
        let mut denied = false;
        let mut last = libc::ENOENT;
        for &path in &self.candidates {
            // SAFETY: a C string and two arrays that end with a null pointer.
            unsafe { libc::execve(path, self.argv.as_ptr(), self.envp.as_ptr()) };
            last = errno();
            if last == libc::ENOEXEC {
                // A script without `#!` is one for the shell.
                if let Some(slot) = self.shell_argv.get_mut(1) {
                    *slot = path;
                }
                // SAFETY: as above.
                unsafe {
                    libc::execve(
                        c"/bin/sh".as_ptr(),
                        self.shell_argv.as_ptr(),
                        self.envp.as_ptr(),
                    )
                };
                last = errno();
            }
            match last {
                libc::EACCES => denied = true,
                libc::ENOENT | libc::ESTALE | libc::ENOTDIR | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return last,
            }
        }
        // "Not allowed" anywhere on the way says more than "not found" at its end.
        if denied { libc::EACCES } else { last }
    }
}

/// Makes standard streams, one bit each, those of /dev/null.
///
/// # Safety
///
/// Only in the child.
unsafe fn to_null(streams: u8) -> bool {
    // SAFETY: a C string, and plain numbers; both calls are async-signal-safe.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null < 0 {
            return false;
        }
        for stream in 0..3 {
            if streams & (1 << stream) != 0 && libc::dup2(null, stream) < 0 {
                return false;
            }
        }
        if null > 2 || streams & (1 << null) == 0 {
            libc::close(null);
        }
        true
    }
}

/// Gives every signal the disposition that the command will have.
///
/// # Safety
///
/// Only in the child: dispositions belong to the whole process.
unsafe fn reset_signals(ignored: u64) {
    for signal in 1..=LAST_SIGNAL {
        let handler = if ignored & bit(signal) != 0 {
            libc::SIG_IGN
        } else {
            libc::SIG_DFL
        };
        // SAFETY: no handler function is installed. SIGKILL, SIGSTOP and the C
        // library's own signals refuse, rightly.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Obeys the parent until it says [`Order::Go`]. Ends the process when the
/// parent is gone: nobody would ever release or reap it.
///
/// # Safety
///
/// Only in the child.
unsafe fn await_release(socket: i32) {
    loop {
        let mut order = 0_u8;
        // SAFETY: the buffer is one byte.
        unsafe { receive(socket, &raw mut order, 1) };
        if order == Order::Rename as u8 {
            let mut name = [0_u8; NAME_LEN];
            // SAFETY: the buffer has that length; the name ends with a NUL,
            // which the parent ensured and prctl ensures again.
            unsafe {
                receive(socket, name.as_mut_ptr(), NAME_LEN);
                libc::prctl(libc::PR_SET_NAME, name.as_ptr());
            }
        }
        // SAFETY: one live byte.
        unsafe { libc::send(socket, (&raw const order).cast(), 1, libc::MSG_NOSIGNAL) };
        if order == Order::Go as u8 {
            return;
        }
    }
}

/// Reads exactly `length` bytes, or ends the process.
///
/// # Safety
///
/// `buffer` has room for `length` bytes. Only in the child.
unsafe fn receive(socket: i32, buffer: *mut u8, length: usize) {
    let mut done = 0;
    while done < length {
        // SAFETY: the rest of the buffer, as the caller promises.
        let got = unsafe { libc::read(socket, buffer.add(done).cast(), length - done) };
        match usize::try_from(got) {
            Ok(got) if got > 0 => done += got,
            Err(_) if errno() == libc::EINTR => {}
            // SAFETY: ends the process at once; nothing of ours needs to run.
            _ => unsafe { libc::_exit(OWN_FAILURE) },
        }
    }
}

/// The calling thread's errno.
fn errno() -> i32 {
    nix::errno::Errno::last_raw()
}
