//! Has the kernel walk address spaces.

use std::{
    fs::File,
    io::Read as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::{attend::Space, kernel::clock, procfs::Rollup, ptrace};

/// What a walk came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walked {
    /// Sum over all address spaces; `None` if one of them could not be read.
    pub(super) sum: Option<Rollup>,
    /// What it took of processor time: on a busy machine, waiting costs nobody anything.
    pub(super) cost: Duration,
}

pub(super) fn walk(spaces: &[Space], cancel: &AtomicBool) -> Walked {
    let sum = spaces.iter().try_fold(Rollup::default(), |sum, space| {
        if cancel.load(Ordering::Relaxed) {
            return None;
        }
        sum.checked_add(one(space)?)
    });
    Walked {
        sum,
        // The thread has done nothing else.
        cost: clock::thread_cpu(),
    }
}

fn one(space: &Space) -> Option<Rollup> {
    let mut file = File::open(format!("/proc/{}/smaps_rollup", space.pid)).ok()?;
    // Whose id it is now, the file was opened for: an id changes hands only once.
    if ptrace::stat(space.pid).ok()?.started != space.started {
        return None;
    }
    // The kernel makes the text, less than a page, at the first read.
    let mut text = [0_u8; 4096];
    let length = file.read(&mut text).ok()?;
    Rollup::parse(text.get(..length)?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn own() -> Space {
        let pid = i32::try_from(std::process::id()).unwrap();
        let started = ptrace::stat(pid).unwrap().started;
        Space { pid, started }
    }

    #[test]
    fn an_address_space_is_read_and_a_strangers_is_not() {
        let own = own();
        let Some(sum) = walk(&[own], &AtomicBool::new(false)).sum else {
            assert!(!std::path::Path::new("/proc/self/smaps_rollup").exists());
            return;
        };
        assert!(sum.uss > 0 && sum.uss <= sum.pss, "{sum:?}");
        let stranger = Space {
            started: own.started + 1,
            ..own
        };
        assert_eq!(walk(&[own, stranger], &AtomicBool::new(false)).sum, None);
        assert_eq!(walk(&[own], &AtomicBool::new(true)).sum, None);
    }
}
