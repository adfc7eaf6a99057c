//! Huge pages of hugetlbfs for a test.

use std::fs;

use crate::Missing;

const POOL: &str = "/proc/sys/vm/nr_hugepages";

/// A pool of huge pages that is at least so large as long as this lives.
#[derive(Debug)]
pub struct HugePages {
    before: Option<u64>,
}

impl HugePages {
    /// The machine's own pool, or, if `MEMTRACE_TEST_SWAPON=1` allows to change the machine, one
    /// enlarged by `pages` until this is dropped.
    ///
    /// # Errors
    /// There are too few and no more can be had.
    pub fn find(pages: u64) -> Result<Self, Missing> {
        if free().is_some_and(|free| free >= pages) {
            return Ok(Self { before: None });
        }
        if std::env::var_os("MEMTRACE_TEST_SWAPON").is_none_or(|value| value != "1") {
            return Err(Missing(
                "no huge pages; set MEMTRACE_TEST_SWAPON=1 to let the test reserve some".to_owned(),
            ));
        }
        let missing = |what: &str| Missing(format!("no huge pages: {what} {POOL}"));
        let before: u64 = fs::read_to_string(POOL)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| missing("cannot read"))?;
        // From here on the pool is put back, whatever comes.
        let pool = Self {
            before: Some(before),
        };
        fs::write(POOL, (before + pages).to_string()).map_err(|_| missing("cannot write"))?;
        if free().is_none_or(|free| free < pages) {
            return Err(missing("memory is too fragmented for"));
        }
        Ok(pool)
    }
}

fn free() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("HugePages_Free:"))?;
    line.trim().parse().ok()
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            let _ = fs::write(POOL, before.to_string());
        }
    }
}
