//! Looks as lines.

use super::{MIB, build, process};
use crate::screen::{Look, batch};

/// Totals, the largest, how many are left out, and those that ended.
#[test]
fn a_look() {
    let look = Look {
        lost: 1,
        ..build(12)
    };
    let shown = batch::lines(&look, 2);
    assert_eq!(
        shown,
        "\
memtrace at 12.0 s: 1.0 GiB (1,089,470,464 B), peak 1.2 GiB (1,258,291,200 B) at 11.5 s, limit 1.5 GiB
3 processes alive, 13 ended, 148,140 updates; not exact: 1 lost
    PID      RES      SHR     SWAP     VIRT     PEAK    AGE COMMAND
   4002  262.0Mi   65.5Mi       0B  786.0Mi  262.0Mi  10.0s cc1plus -O2 part2.cc
   4003   71.0Mi   17.8Mi       0B  213.0Mi   71.0Mi  10.0s cc1plus -O2 part3.cc
        1 process holds less
   4112    ended        -        -        -    6.0Mi   50ms /bin/sh -c 'true'

"
    );
}

/// One line each, whatever they are called.
#[test]
fn names_are_harmless() {
    let look = Look {
        processes: vec![process(1, "a\u{1b}[2J\nb", "", MIB)],
        ..Look::default()
    };
    let shown = batch::lines(&look, usize::MAX);
    assert!(shown.contains(r"a\u{1b}[2J\nb"), "{shown}");
    assert_eq!(shown.lines().count(), 5);
    assert!(shown.contains("; exact\n"), "{shown}");
}
