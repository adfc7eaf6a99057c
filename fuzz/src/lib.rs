//! What the fuzz targets do with their input. memtrace's own tests do the same with the inputs in
//! `seeds/` (`memtrace/src/seeds.rs`).

// The targets find these at the root of the crate, as they are in the command's.
#[path = "../../memtrace/src/cli.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "not all of the command line matters here"
)]
mod cli;
mod commands;
use memtrace::report;

pub mod targets;
