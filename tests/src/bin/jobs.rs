//! A program that controls a child as shells and debuggers do.
//!
//!     jobs stop     stops a child, sees it stop, continues it, sees it end with status 4
//!     jobs trace    traces a child with ptrace(2) from its first instruction to its end
//!     jobs euid     prints its effective user id
//!
//! Ends with status 0 if all was as it must be; otherwise says why on standard error.

use std::{env, io, process::ExitCode};

fn main() -> ExitCode {
    let result = match env::args().nth(1).as_deref() {
        Some("stop") => stop(),
        Some("trace") => trace(),
        Some("euid") => {
            println!("{}", nix::unistd::geteuid());
            Ok(())
        }
        _ => Err(io::Error::other("usage: jobs stop|trace|euid")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobs: {error}");
            ExitCode::from(99)
        }
    }
}

/// Makes a child that does `what`, which must not allocate, and ends with status 4.
fn child(what: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: this program has one thread.
    match unsafe { libc::fork() } {
        0 => {
            what();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(4) }
        }
        pid if pid > 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

fn wait(pid: i32, options: i32) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: the pointer is to a live integer.
    if unsafe { libc::waitpid(pid, &raw mut status, options) } == pid {
        Ok(status)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn expect(what: &str, so: bool, status: i32) -> io::Result<()> {
    if so {
        Ok(())
    } else {
        Err(io::Error::other(format!("{what}: status {status:#x}")))
    }
}

fn stop() -> io::Result<()> {
    // The child goes on to its end only when this program lets go of the pipe.
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors.
    if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [reading, writing] = ends;
    // SAFETY: raise and close take numbers; the buffer is a live byte.
    let pid = child(|| unsafe {
        libc::close(writing);
        libc::raise(libc::SIGSTOP);
        let mut byte = 0_u8;
        libc::read(reading, (&raw mut byte).cast(), 1);
    })?;
    let status = wait(pid, libc::WUNTRACED)?;
    expect(
        "not stopped",
        libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP,
        status,
    )?;
    // It stays so.
    std::thread::sleep(std::time::Duration::from_millis(50));
    // SAFETY: no pointers but a live integer.
    let news = unsafe { libc::waitpid(pid, &mut 0, libc::WNOHANG) };
    expect("did not stay stopped", news == 0, news)?;
    // SAFETY: the child is ours and not reaped.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    let status = wait(pid, libc::WCONTINUED)?;
    expect("not continued", libc::WIFCONTINUED(status), status)?;
    // SAFETY: the descriptor is ours.
    unsafe { libc::close(writing) };
    let status = wait(pid, 0)?;
    expect(
        "another end",
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 4,
        status,
    )
}

fn trace() -> io::Result<()> {
    // SAFETY: the request takes no further arguments; raise takes a number.
    let pid = child(|| unsafe {
        if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
            libc::_exit(77);
        }
        libc::raise(libc::SIGUSR1);
    })?;
    let status = wait(pid, 0)?;
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 77 {
        return Err(io::Error::other("ptrace is refused"));
    }
    expect(
        "no signal stop",
        libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGUSR1,
        status,
    )?;
    // SAFETY: the child is stopped; it is continued without the signal.
    unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, 0) };
    let status = wait(pid, 0)?;
    expect(
        "another end",
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 4,
        status,
    )
}
