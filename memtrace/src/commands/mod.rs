//! One file per subcommand: wires the library's parts together.

pub(crate) mod attach;
mod budgets;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod export;
pub(super) mod failure;
mod file_size;
mod kept;
mod live;
mod log;
pub(crate) mod man_pages;
pub(crate) mod maps;
mod outputs;
mod recorded;
pub(crate) mod report;
mod results;
pub(crate) mod run;
mod screen;
mod self_stats;
pub(crate) mod self_test;
pub(crate) mod time;
pub(crate) mod time_options;
pub(crate) mod top;
mod visible;
mod width;
