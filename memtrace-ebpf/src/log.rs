//! Log lines of the programs, in objects that have a log.

/// As `aya_log_ebpf::debug`.
macro_rules! debug {
    ($ctx:expr, $format:literal $(, $arg:expr)* $(,)?) => {{
        #[cfg(not(feature = "lean"))]
        aya_log_ebpf::debug!($ctx, $format $(, $arg)*);
        #[cfg(feature = "lean")]
        let _ = ($ctx, $($arg,)*);
    }};
}

pub(crate) use debug;
