//! How `mm_struct.rss_stat` is laid out.

use memtrace_ebpf::{CounterLayout, MEMBERS, Offsets};

use crate::kernel::{
    Btf, KernelError,
    btf::{Field, Shape, TypeId},
};

/// Where the counters are.
#[derive(Debug)]
pub(super) enum Counters {
    Known(Places),
    Unknown {
        /// What was found instead.
        found: String,
    },
}

/// The counters' offsets, named as in [`Offsets`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    rss_stat: u32,
    lock: u32,
    count: u32,
    counters: u32,
    stride: u32,
}

impl Places {
    pub(super) fn store(self, offsets: &mut Offsets) {
        offsets.mm_rss_stat = self.rss_stat;
        offsets.counter_lock = self.lock;
        offsets.counter_count = self.count;
        offsets.counter_counters = self.counters;
        offsets.counter_stride = self.stride;
    }
}

/// Decides by the type of `mm_struct.rss_stat` alone.
pub(super) fn find(btf: &Btf) -> Result<(CounterLayout, Counters), KernelError> {
    let Some(field) = btf.field("mm_struct.rss_stat")? else {
        return Ok(unknown("there is no mm_struct.rss_stat".to_owned()));
    };
    match btf.shape(field.of)? {
        Shape::Array { element, length } if length as usize == MEMBERS => {
            match btf.shape(element)? {
                Shape::Struct {
                    name: "percpu_counter",
                    size,
                } => per_cpu(btf, field, element, size),
                _ => Ok(unknown(format!(
                    "mm_struct.rss_stat is an array of {}",
                    super::describe(btf, element)?
                ))),
            }
        }
        Shape::Struct {
            name: "mm_rss_stat",
            ..
        } => atomic(btf, field),
        Shape::Array { length, .. } => {
            Ok(unknown(format!("mm_struct.rss_stat has {length} elements")))
        }
        _ => Ok(unknown(format!(
            "mm_struct.rss_stat is {}",
            super::describe(btf, field.of)?
        ))),
    }
}

fn unknown(found: String) -> (CounterLayout, Counters) {
    (CounterLayout::Classic, Counters::Unknown { found })
}

/// `struct percpu_counter { ...; s64 count; ...; s32 __percpu *counters; }`. A kernel for
/// a single CPU has `count` alone.
fn per_cpu(
    btf: &Btf,
    rss_stat: Field,
    element: TypeId,
    stride: u32,
) -> Result<(CounterLayout, Counters), KernelError> {
    let (Some(count), Some(counters)) = (
        btf.field_of(element, "count")?,
        btf.field_of(element, "counters")?,
    ) else {
        return Ok(unknown(
            "struct percpu_counter without count or counters".to_owned(),
        ));
    };
    let Shape::Pointer(share) = btf.shape(counters.of)? else {
        return Ok(unknown("percpu_counter.counters is no pointer".to_owned()));
    };
    if !is_integer(btf, count.of, 8)? || !is_integer(btf, share, 4)? {
        return Ok(unknown(
            "struct percpu_counter with integers of unknown sizes".to_owned(),
        ));
    }
    // A debugging kernel's lock is larger, but begins with the lock word too.
    let lock = match btf.field_of(element, "lock")? {
        Some(lock) => lock.offset,
        None => memtrace_ebpf::ABSENT,
    };
    let places = Places {
        rss_stat: rss_stat.offset,
        lock,
        count: count.offset,
        counters: counters.offset,
        stride,
    };
    Ok((CounterLayout::PerCpu, Counters::Known(places)))
}

/// `struct mm_rss_stat { atomic_long_t count[4]; }`, where `atomic_long_t` is a struct of one integer.
fn atomic(btf: &Btf, rss_stat: Field) -> Result<(CounterLayout, Counters), KernelError> {
    let odd = || {
        Ok(unknown(
            "struct mm_rss_stat without four atomic counters".to_owned(),
        ))
    };
    let Some(array) = btf.field_of(rss_stat.of, "count")? else {
        return odd();
    };
    let Shape::Array { element, length } = btf.shape(array.of)? else {
        return odd();
    };
    let Shape::Struct { size: stride, .. } = btf.shape(element)? else {
        return odd();
    };
    let Some(counter) = btf.field_of(element, "counter")? else {
        return odd();
    };
    if length as usize != MEMBERS || !is_integer(btf, counter.of, 8)? {
        return odd();
    }
    let Some(first) = rss_stat.offset.checked_add(array.offset) else {
        return odd();
    };
    let absent = memtrace_ebpf::ABSENT;
    let places = Places {
        rss_stat: first,
        lock: absent,
        count: counter.offset,
        counters: absent,
        stride,
    };
    Ok((CounterLayout::Atomic, Counters::Known(places)))
}

fn is_integer(btf: &Btf, id: TypeId, bytes: u32) -> Result<bool, KernelError> {
    Ok(matches!(btf.shape(id)?, Shape::Int { size, .. } if size == bytes))
}
