//! Words that create, replace, join and end processes and threads.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    Script, join, memory, refused,
    sys::{
        self, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE, SIGCHLD, check, die, number, page,
        sys,
    },
};

const CLONE_VM: usize = 0x100;
const CLONE_FS: usize = 0x200;
const CLONE_FILES: usize = 0x400;
const CLONE_SIGHAND: usize = 0x800;
const CLONE_VFORK: usize = 0x4000;
const CLONE_THREAD: usize = 0x1_0000;
const CLONE_UNTRACED: usize = 0x80_0000;
const CLONE_SYSVSEM: usize = 0x4_0000;
const RLIMIT_CORE: usize = 4;
const PR_SET_DUMPABLE: usize = 4;
const PR_SET_NAME: usize = 15;
const PR_SET_CHILD_SUBREAPER: usize = 36;
/// Arguments that `exec{` can pass.
const EXEC_ARGS: usize = 96;

/// The process that created the newest process or thread.
static CREATOR: AtomicUsize = AtomicUsize::new(0);
/// How many threads of this process have come to a `meet`.
static MET: AtomicUsize = AtomicUsize::new(0);

/// What a new thread runs; lies at the bottom of its stack.
struct Start {
    script: Script,
    from: usize,
    to: usize,
    thread: bool,
}

extern "C" fn started(start: usize) -> ! {
    // SAFETY: `Script::launch` put it there; the stack is not reused before this ends.
    let start = unsafe { &mut *(start as *mut Start) };
    start.script.run(start.from, start.to);
    if start.thread {
        sys::exit_thread()
    } else {
        sys::exit_group(0)
    }
}

fn new_stack() -> usize {
    let address = memory::map(
        sys::STACK_PAGES,
        PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS,
        usize::MAX,
    );
    memory::touch(address, sys::STACK_PAGES);
    address
}

impl Script {
    /// Runs the block opened at `at` in a new thread or process that shares memory,
    /// and returns the index of the next word.
    fn launch(&mut self, at: usize, flags: usize, stack: usize) -> usize {
        let to = self.close(at);
        CREATOR.store(sys::getpid(), Ordering::SeqCst);
        let start = stack as *mut Start;
        // SAFETY: the stack is mapped, page-aligned and far larger than `Start`.
        let result = unsafe {
            start.write(Start {
                script: *self,
                from: at + 1,
                to,
                thread: flags & CLONE_THREAD != 0,
            });
            sys::clone_call(flags, stack + sys::STACK_PAGES * page(), started, stack)
        };
        if result < 0 {
            die(b"clone", self.word(at), -result as usize);
        }
        to + 1
    }

    /// Runs the word if it is one of this file's; returns the index of the next one.
    pub fn process_word(&mut self, word: &[u8], at: usize) -> Option<usize> {
        let next = match word {
            // fork{ ... }: a child with a copy of the memory
            b"fork{" => {
                let to = self.close(at);
                CREATOR.store(sys::getpid(), Ordering::SeqCst);
                if check(b"fork", sys!(CLONE, SIGCHLD)) == 0 {
                    self.run(at + 1, to);
                    sys::exit_group(0);
                }
                to + 1
            }
            // fork-pid{ PID ... }: the same with a process id of choice, which must be free
            b"fork-pid{" => {
                let to = self.close(at);
                CREATOR.store(sys::getpid(), Ordering::SeqCst);
                let pid = self.n(at + 1) as i32;
                if check(b"clone3", clone_as(pid)) == 0 {
                    self.run(at + 2, to);
                    sys::exit_group(0);
                }
                to + 1
            }
            // untraced{ ... }: the same, and no tracer of this process follows it
            b"untraced{" => {
                let to = self.close(at);
                CREATOR.store(sys::getpid(), Ordering::SeqCst);
                if check(b"clone", sys!(CLONE, CLONE_UNTRACED | SIGCHLD)) == 0 {
                    self.run(at + 1, to);
                    sys::exit_group(0);
                }
                to + 1
            }
            // vfork{ ... }: a child that shares the memory while this process waits for its exec or end
            b"vfork{" => {
                if self.vfork_stack == 0 {
                    self.vfork_stack = new_stack();
                }
                self.launch(at, CLONE_VM | CLONE_VFORK | SIGCHLD, self.vfork_stack)
            }
            // clonevm{ ... }: a child process that shares the memory
            b"clonevm{" => self.launch(at, CLONE_VM | SIGCHLD, new_stack()),
            // thread{ ... }
            b"thread{" => {
                let flags = CLONE_VM
                    | CLONE_FS
                    | CLONE_FILES
                    | CLONE_SIGHAND
                    | CLONE_THREAD
                    | CLONE_SYSVSEM;
                self.launch(at, flags, new_stack())
            }
            // exec{ PROGRAM ARGUMENT... }
            b"exec{" => {
                let to = self.close(at);
                let mut argv = [core::ptr::null(); EXEC_ARGS + 1];
                if to - at - 1 > EXEC_ARGS {
                    die(b"too many arguments", word, 0);
                }
                for (slot, i) in argv.iter_mut().zip(at + 1..to) {
                    *slot = self.path(i);
                }
                let r = sys!(EXECVE, argv[0], argv.as_ptr(), self.args.envp);
                die(b"exec", self.word(at + 1), r.err().unwrap_or(0))
            }
            // exec-big PROGRAM N: with N further arguments, each the word `tag` gave before it
            b"exec-big" => {
                let mut argv = [core::ptr::null(); EXEC_ARGS + 1];
                let long = self.path(at - 1);
                argv[0] = self.path(at + 1);
                for slot in argv
                    .iter_mut()
                    .skip(1)
                    .take(self.n(at + 2).min(EXEC_ARGS - 1))
                {
                    *slot = long;
                }
                let r = sys!(EXECVE, argv[0], argv.as_ptr(), self.args.envp);
                die(b"exec-big", self.word(at + 1), r.err().unwrap_or(0))
            }
            // wait: for any child, which must have ended with status 0
            b"wait" => {
                let mut status = 0u32;
                check(b"wait", sys!(WAIT4, -1isize, &raw mut status, 0, 0));
                if status != 0 {
                    die(b"child failed", b"", (status >> 8) as usize & 0xff);
                }
                at + 1
            }
            // reap: waits for any child, however it ended
            b"reap" => {
                check(b"wait", sys!(WAIT4, -1isize, 0, 0, 0));
                at + 1
            }
            // await-child: until a child has ended, which stays a zombie
            b"await-child" => {
                const P_ALL: usize = 0;
                const WEXITED: usize = 4;
                const WNOWAIT: usize = 0x0100_0000;
                let result = sys!(WAITID, P_ALL, 0, 0, WEXITED | WNOWAIT, 0);
                check(b"wait", result);
                at + 1
            }
            // exit N
            b"exit" => sys::exit_group(self.n(at + 1)),
            // exit-thread: ends this thread only
            b"exit-thread" => sys::exit_thread(),
            // meet N: spins until N threads of this process have come here, once per process
            b"meet" => {
                MET.fetch_add(1, Ordering::SeqCst);
                let mut spins = 0;
                while MET.load(Ordering::SeqCst) < self.n(at + 1) {
                    spins += 1;
                    if spins % 4096 == 0 {
                        // The other one may be waiting for this CPU.
                        let _ = sys!(SCHED_YIELD);
                    }
                }
                at + 2
            }
            // kill N: sends itself the signal
            b"kill" => {
                let limit = [0usize; 2];
                let _ = sys!(PRLIMIT64, 0, RLIMIT_CORE, limit.as_ptr(), 0);
                let _ = sys!(PRCTL, PR_SET_DUMPABLE, 0);
                check(b"kill", sys!(KILL, sys::getpid(), self.n(at + 1)));
                at + 2
            }
            // segv: writes to address 16, without a core dump
            b"segv" => {
                let _ = sys!(PRCTL, PR_SET_DUMPABLE, 0);
                // SAFETY: deliberately invalid; volatile, so it is done.
                unsafe { (16 as *mut u8).write_volatile(1) };
                at + 1
            }
            b"setsid" => {
                check(b"setsid", sys!(SETSID));
                at + 1
            }
            // subreaper: orphans among the descendants become children of this process
            b"subreaper" => {
                check(b"prctl", sys!(PRCTL, PR_SET_CHILD_SUBREAPER, 1));
                at + 1
            }
            // name WORD: sets the thread's name
            b"name" => {
                check(b"prctl", sys!(PRCTL, PR_SET_NAME, self.path(at + 1)));
                at + 2
            }
            // await-orphan: until the process that created this one has ended
            b"await-orphan" => {
                while sys!(GETPPID) == Ok(CREATOR.load(Ordering::SeqCst)) {
                    nap();
                }
                at + 1
            }
            // await-leader: until this process's first thread has ended
            b"await-leader" => {
                while leader_state() != b'Z' {
                    nap();
                }
                at + 1
            }
            // cgroup DIRECTORY: moves this process there
            b"cgroup" => {
                let mut buffer = [0u8; 256];
                let fd = sys::open(
                    join(self.path(at + 1), b"/cgroup.procs", &mut buffer),
                    sys::O_WRONLY,
                );
                check(b"write cgroup.procs", sys!(WRITE, fd, c"0".as_ptr(), 1));
                sys::close(fd);
                at + 2
            }
            // fail-fork KIND: a fork that the kernel refuses, by `nproc` (before the memory
            // is copied), `pidfd`, `set-tid` or `pids`, this one by its cgroup (after)
            b"fail-fork" => {
                refused::fork(self.word(at + 1));
                at + 2
            }
            // refuse CALL ERRNO: the system call with this number fails so from here on
            b"refuse" => {
                refused::call(self.n(at + 1), self.n(at + 2));
                at + 3
            }
            // fail-exec PROGRAM ERRNO: an exec that the kernel refuses with this number
            b"fail-exec" => {
                let argv = [self.path(at + 1), core::ptr::null()];
                refused::exec(&argv, self.args.envp, self.n(at + 2));
                at + 3
            }
            // fail-exec-big PROGRAM N ERRNO: with N arguments, each the word `tag` gave before it
            b"fail-exec-big" => {
                let mut argv = [self.path(at - 1); EXEC_ARGS + 1];
                argv[0] = self.path(at + 1);
                argv[self.n(at + 2).min(EXEC_ARGS - 1) + 1] = core::ptr::null();
                refused::exec(&argv, self.args.envp, self.n(at + 3));
                at + 4
            }
            // vm-write PID ADDRESS N: fills N pages of another process with process_vm_writev
            b"vm-write" => {
                let (pid, address) = (number(self.word(at + 1)), self.n(at + 2));
                for i in 0..self.n(at + 3) {
                    let local = [memory::pattern(), page().min(4096)];
                    let remote = [address + i * page(), page().min(4096)];
                    check(
                        b"process_vm_writev",
                        sys!(
                            PROCESS_VM_WRITEV,
                            pid,
                            local.as_ptr(),
                            1,
                            remote.as_ptr(),
                            1,
                            0
                        ),
                    );
                }
                at + 4
            }
            _ => return None,
        };
        Some(next)
    }
}

/// `clone3` with a process id of choice (`set_tid`; since Linux 5.5, needs privileges).
pub fn clone_as(pid: i32) -> Result<usize, usize> {
    // struct clone_args (clone3(2)): flags, pidfd, child_tid, parent_tid,
    // exit_signal, stack, stack_size, tls, set_tid, set_tid_size.
    let args = [0, 0, 0, 0, SIGCHLD, 0, 0, 0, &raw const pid as usize, 1];
    sys!(CLONE3, args.as_ptr(), size_of_val(&args))
}

fn nap() {
    let time = [0usize, 200_000];
    let _ = sys!(NANOSLEEP, time.as_ptr(), 0);
}

/// The state letter of this process's first thread (proc_pid_stat(5), field 3).
fn leader_state() -> u8 {
    let fd = sys::open(c"/proc/self/stat".as_ptr().cast(), sys::O_RDONLY);
    let mut text = [0u8; 256];
    let length = check(b"read", sys!(READ, fd, text.as_mut_ptr(), text.len()));
    sys::close(fd);
    let after_name = text[..length].iter().rposition(|&c| c == b')').unwrap_or(0);
    text.get(after_name + 2).copied().unwrap_or(0)
}
