//! Log lines on standard error, for `-vv`.

use std::io::Write as _;

use log::{LevelFilter, Log, Metadata, Record};

#[derive(Debug)]
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("memtrace")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let _ = writeln!(
                std::io::stderr(),
                "memtrace: {}: {}",
                record.level().as_str().to_lowercase(),
                record.args()
            );
        }
    }

    fn flush(&self) {}
}

/// Switches logging on: warnings always, everything from two `-v` on.
pub(super) fn init(verbose: u8) {
    let level = if verbose >= 2 {
        LevelFilter::Debug
    } else {
        LevelFilter::Warn
    };
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}
