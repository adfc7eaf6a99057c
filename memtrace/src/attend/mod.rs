//! What goes on beside the tracing while a command runs: a limit that ends it, and a live
//! view. Both look at the tree's totals now and then; the totals themselves are kept by
//! whatever follows the tree, so that nothing is missed between two looks.

mod limit;
mod live;
mod probe;

use std::time::Instant;

pub use limit::PeakLimit;
pub use live::{Live, Moment, RootSizes};
pub(crate) use probe::{Space, View};

use self::{limit::Ending, live::Viewer};

/// Totals of the tree at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Sum of RSS, bytes.
    pub(crate) rss: u64,
    /// Its peak so far, bytes.
    pub(crate) peak_rss: u64,
    /// Processes alive.
    pub(crate) processes: u64,
}

/// A living process of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    /// Its id in this process's PID namespace.
    pub(crate) pid: i32,
    /// What the source knows it by.
    pub(crate) key: u32,
    /// With the id its identity: ids are used again.
    pub(crate) started: u64,
}

/// Whatever follows the tree.
pub(crate) trait Subject {
    /// The totals; `None` if they cannot be read.
    fn totals(&self) -> Option<Totals>;

    /// Every process that is alive.
    fn members(&self) -> Vec<Member>;

    /// Whether the process that now has this id is that member. Asked after a descriptor of
    /// the process was opened: a `true` then holds for the descriptor too, because an id that
    /// changed hands before had another owner by now.
    fn owns(&self, member: &Member) -> bool;

    /// The tree is about to be ended: it must be followed until nothing of it is left.
    fn hold(&self) {}
}

/// Does what was asked for beside the tracing.
#[derive(Debug, Default)]
pub(crate) struct Attendant {
    ending: Option<Ending>,
    viewer: Option<Viewer>,
}

impl Attendant {
    /// What the options ask for; nothing by default.
    pub(crate) fn new(limit: Option<PeakLimit>, live: Option<&Live>) -> Self {
        Self {
            ending: limit.map(Ending::new),
            viewer: live.map(Viewer::new),
        }
    }

    /// The command, which has this id, runs from now on.
    pub(crate) fn begin(&mut self, root: i32) {
        let now = Instant::now();
        if let Some(ending) = &mut self.ending {
            ending.begin(now);
        }
        if let Some(viewer) = &mut self.viewer {
            viewer.begin(root, now);
        }
    }

    /// When to look next; `None`: there is nothing to do.
    pub(crate) fn next(&self) -> Option<Instant> {
        let ending = self.ending.as_ref().map(Ending::next);
        let viewer = self.viewer.as_ref().map(Viewer::next);
        ending.into_iter().chain(viewer).min()
    }

    /// Looks, if it is time.
    pub(crate) fn look(&mut self, subject: &dyn Subject, command_ended: bool) {
        let now = Instant::now();
        if let Some(viewer) = &mut self.viewer {
            viewer.look(subject, now);
        }
        if let Some(ending) = &mut self.ending {
            ending.look(subject, now, command_ended);
        }
    }

    /// Looks for a crossing that was not noticed yet, as nobody will later.
    pub(crate) fn look_once_more(&mut self, subject: &dyn Subject) {
        if let Some(ending) = &mut self.ending {
            ending.look_now(subject);
        }
    }

    /// Whether the tree is being ended.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.as_ref().is_some_and(Ending::has_begun)
    }

    /// Whether nothing is left to do when the command has ended.
    pub(crate) fn is_over(&mut self, subject: &dyn Subject) -> bool {
        self.ending
            .as_mut()
            .is_none_or(|ending| ending.is_over(subject))
    }

    /// How a limit ended the tree, if one did.
    pub(crate) fn finish(self) -> Option<crate::model::EndedByLimit> {
        self.ending.and_then(Ending::finish)
    }
}
