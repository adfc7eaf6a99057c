//! What runs already, taken in: the programs at work, and everyone who was asked for among those that they follow.

use std::time::Instant;

use super::{
    TraceError, Tracer,
    priority::{Priority, Undisturbed},
    room::Room,
    roots::{Followed, Living, Wanted},
    run::ROOM,
    session::Watching,
    setup::{self, Loaded, Purpose},
};
use crate::{
    kernel::{self, Obstacle, Proc},
    launch::{Signals, require_room},
    phases::Phases,
    ptrace,
    targets::Target,
};

/// What it is followed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// There is somebody who takes the timeline.
    pub(super) recorded: bool,
    /// There is a result in the end: it has the totals of each of several, and the CPU times of processes.
    pub(super) result: bool,
}

/// Everyone who was asked for is followed from here on.
pub(super) struct TakenOver<'s> {
    pub(super) loaded: Loaded,
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) watching: Watching<'s>,
    pub(super) living: Living,
    /// The first one's id in the initial PID namespace.
    pub(super) first_tgid: u32,
    /// What the only one runs, or what was asked for; see
    /// [`Summary::command`](crate::model::Summary::command).
    pub(super) command: Vec<Vec<u8>>,
    /// When it began, and the same as `CLOCK_BOOTTIME`.
    pub(super) began: Instant,
    pub(super) began_at: u64,
    /// To be kept for as long as they are followed.
    pub(super) kept: Kept,
}

/// Limits and a priority that are as before when this is dropped.
#[derive(Debug)]
pub(super) struct Kept {
    _room: Room,
    _priority: Priority,
}

/// Loads the programs, and has them take in what was asked for.
pub(super) fn take_over<'s>(
    tracer: &Tracer,
    targets: &[Target],
    wanted_for: Use,
    signals: &'s Signals,
    phases: &mut Phases,
) -> Result<TakenOver<'s>, TraceError> {
    if Proc::mounted() != Proc::Own {
        return Err(TraceError::Proc(Obstacle::ProcOfOthers));
    }
    let mut wanted = Wanted::find(targets)?;
    let kept = Kept {
        _room: Room::make(),
        _priority: Priority::raise(),
    };
    require_room(ROOM)?;
    let Use { recorded, result } = wanted_for;
    let purpose = Purpose {
        recorded,
        attached: wanted.room(),
        result,
        branches: if result { wanted.branches() } else { 0 },
    };
    let mut loaded = setup::prepare(tracer, purpose, phases)?;
    let (runtime, watching) = Watching::begin(&loaded.probe, signals)?;
    wanted.look_again()?;
    let roots = wanted.roots();
    let asked = wanted.words();
    loaded.limits = wanted.limits();
    let (began, began_at) = (Instant::now(), kernel::clock::boottime()?);
    let taken_in = {
        let _undisturbed = Undisturbed::begin();
        loaded.probe.take_in(&roots)
    };
    let followed = wanted.followed(&taken_in.map_err(TraceError::refused)?)?;
    loaded.limits.extend(followed.limit());
    let Followed {
        first,
        first_tgid,
        others,
        ..
    } = followed;
    phases.done("what runs is taken in");
    let command = if roots.len() == 1 && others.is_empty() {
        ptrace::program(first.pid).args
    } else {
        asked
    };
    Ok(TakenOver {
        loaded,
        runtime,
        watching,
        living: Living::new(first, others),
        first_tgid,
        command,
        began,
        began_at,
        kept,
    })
}
