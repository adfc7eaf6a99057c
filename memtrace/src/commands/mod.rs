//! One file per subcommand: wires the library's parts together.

pub(crate) mod check;
mod failure;
mod file_size;
mod log;
pub(crate) mod run;
pub(crate) mod self_test;
pub(crate) mod time;
mod time_options;
