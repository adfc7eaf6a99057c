#[path = "../../memtrace/src/commands/time_options.rs"]
#[allow(dead_code, reason = "not all of the command line matters here")]
pub mod time_options;
