//! CPUs and pages of this machine, as the programs must know them.

use std::{fs, path::Path};

use super::KernelError;

/// The list of CPUs that can ever be online, also later by hotplug.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// The highest possible CPU number plus one: how many per-CPU shares a counter has.
///
/// # Errors
/// If the kernel's list cannot be read or understood.
pub fn possible() -> Result<u32, KernelError> {
    let text = fs::read_to_string(POSSIBLE).map_err(|source| KernelError::Read {
        path: Path::new(POSSIBLE).to_owned(),
        source,
    })?;
    highest(&text)
        .and_then(|cpu| cpu.checked_add(1))
        .ok_or(KernelError::CpuList { text })
}

/// Whether locks of the kernel sleep (`PREEMPT_RT`; /sys/kernel/realtime, kernel/ksysfs.c).
#[must_use]
pub fn is_realtime() -> bool {
    fs::read_to_string("/sys/kernel/realtime").is_ok_and(|text| text.trim_ascii() == "1")
}

/// The highest number in a list such as `0-3,8,10-11`
/// (Documentation/admin-guide/cputopology.rst). `None` if it is empty or malformed.
fn highest(list: &str) -> Option<u32> {
    list.trim_ascii()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(last)
        })
        // One malformed range makes the whole list suspect.
        .try_fold(0, |highest, last| last.map(|last| highest.max(last)))
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Bytes of a page of memory.
#[must_use]
pub fn page_size() -> u64 {
    procfs::page_size()
}

/// log2 of [`page_size`].
#[must_use]
pub fn page_shift() -> u32 {
    // A power of two on every architecture.
    page_size().trailing_zeros()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_as_the_kernel_writes_them() {
        for (list, expected) in [
            ("0\n", 0),
            ("0-1\n", 1),
            ("0-511", 511),
            ("0,2-5,7", 7),
            ("4-7,0-1\n", 7),
            ("0-4294967295", u32::MAX),
        ] {
            assert_eq!(highest(list), Some(expected), "{list:?}");
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        for list in [
            "",
            "\n",
            "-",
            "0-",
            "-1",
            "3-1",
            "0,",
            ",0",
            "a",
            "+1",
            "0-1-2",
            "1 2",
            "4294967296",
            "0,x",
        ] {
            assert_eq!(highest(list), None, "{list:?}");
        }
    }

    #[test]
    fn this_machine() {
        let online = std::thread::available_parallelism().unwrap().get();
        assert!(possible().unwrap() as usize >= online);
        assert_eq!(1 << page_shift(), page_size());
        assert!(page_size() >= 4096);
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in ".{0,40}") {
            let _ = highest(&text);
        }

        #[test]
        fn the_highest_number_of_any_list(ranges in prop::collection::vec((0_u32..5000, 0_u32..100), 1..20)) {
            let list = ranges
                .iter()
                .map(|(first, more)| if *more == 0 { first.to_string() } else { format!("{first}-{}", first + more) })
                .collect::<Vec<_>>()
                .join(",");
            prop_assert_eq!(highest(&list), ranges.iter().map(|(first, more)| first + more).max());
        }
    }
}
