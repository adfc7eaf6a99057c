//! Loads and attaches the BPF object and reads its ring and maps. The only module
//! that calls aya.

mod allocation;
mod attach;
mod choice;
mod error;
mod functions;
mod lines;
mod load;
mod loader;
mod locks;
mod object;
mod options;
mod read;
mod resolution;
mod rings;
mod running;
mod segments;
mod verify;

pub use error::ProbeError;
pub use load::Probe;
pub use loader::Ahead;
pub use locks::TreeLock;
pub use options::{Fentry, FentryState, Handler, Options};
pub use read::Remains;
pub use resolution::{Resolution, ResolutionError};
pub use running::{Roots, TakenIn};
