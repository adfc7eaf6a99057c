//! Reads what `/proc` says of processes, which choose some of it themselves.
//!
//! Parsers here are total: any bytes give an answer or nothing, never a panic.

mod rollup;
pub mod smaps;
mod status;

pub use rollup::Rollup;
pub use status::Status;
