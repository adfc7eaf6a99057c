//! Room for the descriptors of tracing, whatever limit the command is to run under.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// More than the maps, programs and links of one run.
const ENOUGH: rlim_t = 256;

/// The limit on open files of this process is at least [`ENOUGH`], if it may be, until
/// this is dropped.
#[derive(Debug)]
pub(super) struct RoomForFiles {
    before: Option<(rlim_t, rlim_t)>,
}

impl RoomForFiles {
    /// Raises the limit if it is low. Call it when the command is already forked: the
    /// command keeps the limit it was started with.
    ///
    /// A limit that cannot be raised is no failure here; running out of descriptors is one.
    pub(super) fn make() -> Self {
        let before = getrlimit(Resource::RLIMIT_NOFILE)
            .ok()
            .filter(|(soft, _)| *soft < ENOUGH)
            // The hard limit is root's to raise.
            .filter(|(_, hard)| {
                [ENOUGH.max(*hard), *hard]
                    .into_iter()
                    .any(|hard| setrlimit(Resource::RLIMIT_NOFILE, ENOUGH.min(hard), hard).is_ok())
            });
        Self { before }
    }
}

impl Drop for RoomForFiles {
    fn drop(&mut self) {
        if let Some((soft, hard)) = self.before {
            // Lowering a limit is always allowed.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
        }
    }
}
