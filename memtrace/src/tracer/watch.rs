//! Waiting for descriptors in the event loop; the one place where that needs `unsafe`.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor whose readability can be awaited.
pub(super) type Watched = AsyncFd<OwnedFd>;

/// Watches a duplicate of the descriptor, which shows the same readiness.
///
/// # Errors
///
/// When no descriptor is left, or this kind cannot be polled.
pub(super) fn watch(fd: impl AsFd) -> io::Result<Watched> {
    let own = fd.as_fd().try_clone_to_owned()?;
    // SAFETY: the result owns the descriptor, hands it to nobody who could close or
    // replace it, and deregisters it before it is closed.
    unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }.map_err(Into::into)
}
