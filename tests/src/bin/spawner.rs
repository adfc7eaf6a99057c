//! A dynamically linked program that holds memory and runs another with `posix_spawn`.
//!
//!     spawner MIB STATUS_FILE PROGRAM ARGUMENT...
//!
//! It touches MIB MiB, runs PROGRAM, waits for it, writes its own status to the file
//! and ends with PROGRAM's exit status. glibc's `posix_spawn` is a clone with `CLONE_VM` and
//! `CLONE_VFORK` (sysdeps/unix/sysv/linux/spawni.c).

use std::{env, ffi::CString, fs, io, os::unix::ffi::OsStringExt as _, process::ExitCode, ptr};

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("spawner: {error}");
            ExitCode::from(99)
        }
    }
}

fn run() -> io::Result<u8> {
    let mut args = env::args_os().skip(1);
    let missing = || io::Error::other("usage: spawner MIB STATUS_FILE PROGRAM ARGUMENT...");
    let mib: usize = args
        .next()
        .and_then(|mib| mib.to_str()?.parse().ok())
        .ok_or_else(missing)?;
    let status_file = args.next().ok_or_else(missing)?;
    let words = args
        .map(|word| CString::new(word.into_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let program = words.first().ok_or_else(missing)?;
    let held = vec![1u8; mib << 20];

    let mut argv: Vec<*mut libc::c_char> =
        words.iter().map(|word| word.as_ptr().cast_mut()).collect();
    argv.push(ptr::null_mut());
    let variables = env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec())
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut environment: Vec<*mut libc::c_char> = variables
        .iter()
        .map(|variable| variable.as_ptr().cast_mut())
        .collect();
    environment.push(ptr::null_mut());
    let mut pid = 0;
    // SAFETY: all strings are NUL-terminated and both arrays end with NULL; they outlive the call.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            ptr::null(),
            ptr::null(),
            argv.as_ptr(),
            environment.as_ptr(),
        )
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        return Err(io::Error::last_os_error());
    }
    fs::copy("/proc/self/status", &status_file)?;
    std::hint::black_box(&held);
    Ok(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(99))
}
