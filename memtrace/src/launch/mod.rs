//! Starts a command so that it can be measured from its first page on, and
//! stays out of its way otherwise.
//!
//! The command is forked before anything else happens ([`spawn_stopped`]) and
//! waits on a socket while the tracing is set up; [`Stopped::release`] lets it
//! go into its `exec`. It keeps the caller's process group, session, terminal,
//! working directory, environment, signal dispositions and signal mask, and
//! every file descriptor it would have had without us. [`Signals`] is the other
//! half: what the tracer does with the signals it receives meanwhile, and
//! [`exit_like`] ends the tracer the way the command ended.
//!
//! ```no_run
//! use memtrace::launch::{Signals, Spec, exit_like, spawn_stopped};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = Spec::new(["make", "-j8"]);
//! let mut signals = Signals::take_over()?;
//! let stopped = spawn_stopped(&spec, signals.inherited())?;
//! // ... set up whatever has to see the command's first instruction ...
//! let mut running = stopped.release()?;
//! let finished = running.wait()?;
//! signals.restore();
//! exit_like(finished.status);
//! # }
//! ```
//!
//! Call it before other threads exist: signal masks belong to threads, and
//! resource limits raised for the tracer must not reach the command.

mod child;
mod distinct;
mod error;
mod exit;
mod inherited;
mod limits;
mod outputs;
mod running;
pub(crate) mod rusage;
mod signals;
mod spec;
mod stopped;

pub use distinct::{Distinct, SameFile};
pub use error::LaunchError;
pub use exit::{OWN_FAILURE, exit_like};
pub use inherited::Inherited;
pub(crate) use limits::require_room;
pub use limits::{NoRoom, raise_limits};
pub use outputs::{
    Claim, IfExists, Made, OutputError, claim_output, create_output, open_output, output_directory,
};
pub use running::{Finished, Running};
pub(crate) use running::{open_pidfd, send_through};
pub use signals::{Received, Signals};
pub use spec::{Spec, UserSpec};
pub use stopped::{Stopped, spawn_stopped};
