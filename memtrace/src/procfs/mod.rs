//! Reads what `/proc` says of processes, which choose some of it themselves.
//!
//! Parsers here are total: any bytes give an answer or nothing, never a panic.

mod status;

pub use status::Status;
