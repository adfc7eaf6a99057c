//! Columns of integers that JavaScript holds exactly.
//!
//! JavaScript's numbers are exact up to 2^53 - 1. Bytes stay far below: that is 8 PiB, and an
//! x86-64 machine can have 4 PiB of memory. Only a sum over processes that share pages, or a
//! recording made up by somebody, could be more; such values are written as 2^53 - 1. Times
//! since the run's start reach it after 104 days.
//!
//! A column in which everything is 0 is written as an empty list.

use serde::{Serialize, Serializer, ser::SerializeSeq as _};

use crate::model::Amounts;

/// Most that JavaScript's numbers hold exactly.
pub(super) const EXACT: u64 = (1 << 53) - 1;

/// Integers, each at most 2^53 - 1.
#[derive(Default)]
pub(super) struct Column(Vec<u64>);

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.iter().all(|&n| n == 0) {
            return serializer.serialize_seq(Some(0))?.end();
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for &number in &self.0 {
            list.serialize_element(&number.min(EXACT))?;
        }
        list.end()
    }
}

impl FromIterator<u64> for Column {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

#[derive(Serialize)]
/// The four kinds of memory.
pub(super) struct AmountColumns {
    anon: Column,
    file: Column,
    shmem: Column,
    swap: Column,
}

impl FromIterator<Amounts> for AmountColumns {
    fn from_iter<I: IntoIterator<Item = Amounts>>(amounts: I) -> Self {
        let all: Vec<Amounts> = amounts.into_iter().collect();
        let of = |value: fn(&Amounts) -> u64| all.iter().map(value).collect();
        Self {
            anon: of(|a| a.anon),
            file: of(|a| a.file),
            shmem: of(|a| a.shmem),
            swap: of(|a| a.swap),
        }
    }
}
