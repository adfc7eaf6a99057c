//! `/proc/PID/smaps_rollup` (`proc_pid_smaps(5)`, since Linux 4.14).

use super::Status;

/// What of an address space it has for itself, and what its share of the rest is.
///
/// ```
/// use memtrace::procfs::Rollup;
/// let text = b"1000-2000 ---p 00000000 00:00 0 [rollup]\n\
///     Pss:  6 kB\nPrivate_Clean:  1 kB\nPrivate_Dirty:  2 kB\n";
/// assert_eq!(Rollup::parse(text), Some(Rollup { pss: 6 * 1024, uss: 3 * 1024 }));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    /// Proportional set size, bytes: each page counts as its part among those who map it.
    pub pss: u64,
    /// Unique set size, bytes: the pages that nobody else maps.
    pub uss: u64,
}

impl Rollup {
    /// Takes the text; `None` if one of the lines is missing or is no amount.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        // Its lines have the form of those of `status`.
        let fields = Status::parse(text);
        Some(Self {
            pss: fields.bytes("Pss")?,
            uss: fields
                .bytes("Private_Clean")?
                .checked_add(fields.bytes("Private_Dirty")?)?,
        })
    }

    /// Sum of both; `None` if that is more than can be counted.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            pss: self.pss.checked_add(other.pss)?,
            uss: self.uss.checked_add(other.uss)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::Rollup;

    /// As Linux 6.18 writes it.
    const TEXT: &str = "\
55d0c0a00000-7ffd1a7f9000 ---p 00000000 00:00 0                          [rollup]
Rss:                1992 kB
Pss:                 313 kB
Pss_Dirty:           108 kB
Pss_Anon:            108 kB
Pss_File:            205 kB
Pss_Shmem:             0 kB
Shared_Clean:       1884 kB
Shared_Dirty:          0 kB
Private_Clean:        12 kB
Private_Dirty:        96 kB
Referenced:         1992 kB
Anonymous:           108 kB
Swap:                  0 kB
SwapPss:               0 kB
Locked:                0 kB
";

    #[test]
    fn the_kernels_text() {
        let expected = Rollup {
            pss: 313 * 1024,
            uss: 108 * 1024,
        };
        assert_eq!(Rollup::parse(TEXT.as_bytes()), Some(expected));
    }

    /// Half a text is none, and neither is one with other amounts than the kernel's.
    #[test]
    fn malformed_texts_are_refused() {
        for (from, to) in [
            ("Pss: ", "pss: "),
            ("Private_Clean:", "Private_Cleaner:"),
            ("Private_Dirty:        96 kB", "Private_Dirty:        96 MB"),
            ("Private_Dirty:        96 kB", "Private_Dirty:        -6 kB"),
            ("Private_Dirty:        96 kB", "Private_Dirty:        "),
            ("                 313 kB", " 99999999999999999999 kB"),
            (
                "        12 kB\nPrivate_Dirty:        96",
                " 18014398509481983 kB\nPrivate_Dirty: 18014398509481983",
            ),
        ] {
            let text = TEXT.replace(from, to);
            assert_ne!(text, TEXT, "{from}");
            assert_eq!(Rollup::parse(text.as_bytes()), None, "{to}");
        }
        let end = TEXT.find("Private_Dirty").unwrap_or(0);
        assert_eq!(Rollup::parse(&TEXT.as_bytes()[..end]), None);
        assert_eq!(Rollup::parse(b""), None);
    }

    #[test]
    fn sums_do_not_overflow() {
        let most = Rollup {
            pss: u64::MAX,
            uss: 0,
        };
        let one = Rollup { pss: 1, uss: 1 };
        assert_eq!(most.checked_add(one), None);
        assert_eq!(one.checked_add(one), Some(Rollup { pss: 2, uss: 2 }));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(text in vec(any::<u8>(), 0..200), at in 0..900_usize) {
            let _ = Rollup::parse(&text);
            let mut damaged = TEXT.as_bytes().to_vec();
            for (to, from) in damaged.iter_mut().skip(at).zip(text) {
                *to = from;
            }
            let _ = Rollup::parse(&damaged);
        }
    }
}
