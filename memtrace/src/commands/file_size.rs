//! Reports that do not fit under the limit on the size of files.

use nix::sys::signal::{SigSet, Signal};

/// Makes a write beyond `RLIMIT_FSIZE` fail with EFBIG instead of ending this process with
/// SIGXFSZ: how the command ended must be passed on whatever becomes of the report.
/// Call it when the command has been started: it is to inherit nothing of this.
pub(super) fn survive_limit() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGXFSZ);
    // Cannot fail with a valid set; then the signal would act as before.
    let _ = set.thread_block();
}
