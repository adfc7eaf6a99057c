//! The lines of the live view, with the columns of tmem, named as in `/proc/PID/status`, and the tree's
//! behind them.

use std::fmt::Write as _;

use crate::{Moment, RootSizes};

/// Lines after which the header comes again.
pub const LINES_PER_HEADER: usize = 20;

/// The command's own process.
const OWN: [&str; 12] = [
    "VmPeak", "VmSize", "VmLck", "VmPin", "VmHWM", "VmRSS", "VmData", "VmStk", "VmExe", "VmLib",
    "VmPTE", "VmSwap",
];

/// The names of the columns, with a newline. Amounts are in KiB.
#[must_use]
pub fn header() -> String {
    let mut text = format!("{:>10}", "Time[s]");
    for name in OWN.into_iter().chain(["TreeRSS", "TreePeak"]) {
        // Writing to a string cannot fail.
        let _ = write!(text, " {name:>10}");
    }
    text.push_str("  Procs  [KiB]\n");
    text
}

/// One moment, with a newline. Where the command's own process has no memory any more, there
/// are dashes.
#[must_use]
pub fn line(moment: &Moment) -> String {
    let Moment {
        at_ns,
        root,
        rss,
        peak_rss,
        processes,
    } = moment;
    let (seconds, millis) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000 / 1_000_000);
    let mut text = format!("{:>10}", format!("{seconds}.{millis:03}"));
    let mut cell = |value: String| {
        let _ = write!(text, " {value:>10}");
    };
    match root {
        Some(root) => own(root).map(|bytes| cell((bytes / 1024).to_string())),
        None => OWN.map(|_| cell("-".to_owned())),
    };
    cell((rss / 1024).to_string());
    cell((peak_rss / 1024).to_string());
    let _ = writeln!(text, " {processes:>6}");
    text
}

/// In the order of [`OWN`].
const fn own(root: &RootSizes) -> [u64; OWN.len()] {
    let RootSizes {
        vm_peak,
        vm_size,
        vm_lck,
        vm_pin,
        vm_hwm,
        vm_rss,
        vm_data,
        vm_stk,
        vm_exe,
        vm_lib,
        vm_pte,
        vm_swap,
    } = *root;
    [
        vm_peak, vm_size, vm_lck, vm_pin, vm_hwm, vm_rss, vm_data, vm_stk, vm_exe, vm_lib, vm_pte,
        vm_swap,
    ]
}

#[cfg(test)]
mod tests {
    use super::{header, line};
    use crate::{Moment, RootSizes};

    /// Columns stand below their names.
    #[test]
    fn columns_are_aligned() {
        let kib = |kib: u64| kib * 1024;
        let moment = Moment {
            at_ns: 12_345_678_901,
            root: Some(RootSizes {
                vm_peak: kib(1),
                vm_size: kib(2),
                vm_lck: kib(3),
                vm_pin: kib(4),
                vm_hwm: 1 << 40,
                vm_rss: 1023,
                vm_data: kib(5),
                vm_stk: kib(6),
                vm_exe: kib(7),
                vm_lib: kib(8),
                vm_pte: kib(9),
                vm_swap: kib(10),
            }),
            rss: 5 << 20,
            peak_rss: 6 << 20,
            processes: 17,
        };
        assert_eq!(
            header() + &line(&moment) + &line(&Moment { root: None, ..moment }),
            "   Time[s]     VmPeak     VmSize      VmLck      VmPin      VmHWM      VmRSS     VmData      VmStk      VmExe      VmLib      VmPTE     VmSwap    TreeRSS   TreePeak  Procs  [KiB]
    12.345          1          2          3          4 1073741824          0          5          6          7          8          9         10       5120       6144     17
    12.345          -          -          -          -          -          -          -          -          -          -          -          -       5120       6144     17
"
        );
    }
}
