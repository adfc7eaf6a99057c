//! Numbers of `struct rusage` (getrusage(2)) in the units that all else is in.

/// A time of an rusage in nanoseconds. The kernel never gives a negative one.
pub(crate) fn nanoseconds(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(micros.saturating_mul(1_000))
}

/// `ru_maxrss` in bytes; the kernel gives KiB.
pub(crate) fn maxrss_bytes(rusage: &libc::rusage) -> Option<u64> {
    let kib = u64::try_from(rusage.ru_maxrss).ok()?;
    Some(kib.saturating_mul(1024))
}
