//! Loads and attaches the BPF object and reads its ring and maps. The only module
//! that calls aya.

mod attach;
mod error;
mod load;
mod object;
mod read;

pub use error::ProbeError;
pub use load::{Fentry, FentryState, Options, Probe};
pub use read::Remains;
