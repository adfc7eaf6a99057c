//! The exact value of the kernel's RSS counters.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_probe_read_kernel};
use memtrace_ebpf::{
    ABSENT, Control, CounterLayout, Image, MAX_CPUS, Pages, Stat, SumScheme, TOUCHED_CPUS,
};

use crate::{
    kernel::{Typed, config, offset, probe},
    state::{control, count},
};

/// How often a sum is read again when a share moved meanwhile.
const TRIES: u32 = 4;

/// Notes that the image was updated on this CPU (scheme B).
///
/// A CPU's share of a counter is 0 until that CPU has updated it, and the event
/// comes on the CPU of the update: nearly all callers of `add_mm_counter()` hold a
/// page-table lock. The exceptions are covered by sums over all CPUs at exec and end.
#[inline(always)]
pub(crate) fn touch(image: *mut Image) {
    // SAFETY: a field of the read-only data.
    if unsafe { config!(scheme) } != SumScheme::Touched as u32 {
        return;
    }
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() } & (MAX_CPUS as u32 - 1);
    // SAFETY: indices are masked to the arrays' lengths; `image` is a map value.
    unsafe {
        let word = (&raw mut (*image).cpu_mask)
            .cast::<u64>()
            .add((cpu >> 6) as usize & (MAX_CPUS / 64 - 1));
        if *word & (1 << (cpu & 63)) != 0 {
            return;
        }
        *word |= 1 << (cpu & 63);
        let at = (*image).ncpus;
        if (at as usize) < TOUCHED_CPUS {
            *(&raw mut (*image).cpus)
                .cast::<u16>()
                .add(at as usize & (TOUCHED_CPUS - 1)) = cpu as u16;
        }
        (*image).ncpus = at + 1;
    }
}

/// The parts of one `percpu_counter`.
#[derive(Clone, Copy)]
struct Parts {
    lock: u32,
    count: i64,
    shares: u64,
}

/// The verifier allows a load from a typed pointer only at a known offset, so the
/// member is a compile-time constant here.
#[inline(always)]
fn parts_of<const MEMBER: u32>(mm: Typed) -> Parts {
    // SAFETY: fields of the read-only data.
    unsafe {
        let base = offset!(mm_rss_stat) + MEMBER * offset!(counter_stride);
        let at_lock = offset!(counter_lock);
        let lock = if at_lock == ABSENT {
            0
        } else {
            mm.load(base + at_lock)
        };
        Parts {
            lock,
            count: mm.load(base + offset!(counter_count)),
            // Up to 6.1 there are none.
            shares: if offset!(counter_counters) == ABSENT {
                0
            } else {
                mm.load(base + offset!(counter_counters))
            },
        }
    }
}

#[inline(always)]
fn parts(mm: Typed, member: u32) -> Parts {
    match member {
        0 => parts_of::<0>(mm),
        1 => parts_of::<1>(mm),
        2 => parts_of::<2>(mm),
        _ => parts_of::<3>(mm),
    }
}

/// The value of `member`, in pages: `count` plus every CPU's share, as
/// `percpu_counter_sum()` would return it (`lib/percpu_counter.c`, 6.2 and later).
///
/// `all` sums over all CPUs whatever the scheme.
#[inline(always)]
pub(crate) fn sum(mm: Typed, member: u32, image: *mut Image, all: bool) -> i64 {
    // SAFETY: fields of the read-only data.
    let (scheme, cpus) = unsafe { (config!(scheme), config!(cpus)) };
    let before = parts(mm, member);
    let mut value = before.count;
    if before.shares != 0 {
        value += if all || scheme == SumScheme::AllCpus as u32 {
            all_shares(before.shares, cpus)
        } else {
            touched_shares(before.shares, image, cpus)
        };
    }
    // A share that moves into `count` does so under the counter's lock, first added,
    // then subtracted. Neither was under way if the lock was free and `count` is the
    // same as before.
    if before.lock != 0 || before.count != parts(mm, member).count {
        count(Stat::Torn);
        // SAFETY: a map value.
        value = sum_again(unsafe { (*image).mm }, member.into());
    }
    if value < 0 {
        count(Stat::Negative);
        return 0;
    }
    value
}

/// The same over all CPUs, until two readings say that nothing moved meanwhile. A
/// function of its own for the verifier, like `state::wait_for_lock`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sum_again(mm: u64, member: u64) -> i64 {
    // SAFETY: fields of the read-only data.
    let (base, at_lock, at_count, at_shares, cpus) = unsafe {
        (
            mm + u64::from(offset!(mm_rss_stat))
                + (member & 3) * u64::from(offset!(counter_stride)),
            offset!(counter_lock),
            offset!(counter_count),
            offset!(counter_counters),
            config!(cpus),
        )
    };
    let mut lowest = i64::MAX;
    let mut last = i64::MIN;
    for _ in 0..TRIES {
        let lock = probe::<u32>(base, at_lock).unwrap_or(0);
        let Some(before) = probe::<i64>(base, at_count) else {
            count(Stat::ReadFailed);
            return 0;
        };
        let mut value = before;
        if let Some(shares) = probe::<u64>(base, at_shares) {
            value += all_shares(shares, cpus);
        }
        let stable = probe::<i64>(base, at_count) == Some(before);
        // Whoever reads /proc/PID/status holds the lock too, and moves nothing: two
        // equal sums in a row tell that.
        if stable && (lock == 0 || value == last) {
            return value;
        }
        last = value;
        // `count` is read first, so a sum across a move lacks pages rather than
        // having them twice. What it lacks, the update that moved them brings: its
        // own event comes right after. The lowest reading can thus not make a peak.
        if value < lowest {
            lowest = value;
        }
    }
    count(Stat::Unverified);
    lowest
}

/// Whether threads hold back changes of the counters, see `caches`.
#[inline(always)]
pub(crate) fn threads_have_caches() -> bool {
    // SAFETY: a field of the read-only data.
    unsafe { offset!(task_rss_count) != ABSENT }
}

/// Whether updates may have left out a CPU that was never seen, so that the sums over
/// all CPUs say more.
#[inline(always)]
pub(crate) fn may_lack_cpus() -> bool {
    // SAFETY: fields of the read-only data.
    unsafe {
        config!(layout) == CounterLayout::PerCpu as u32
            && config!(scheme) == SumScheme::Touched as u32
    }
}

/// All four values, over all CPUs.
#[inline(always)]
pub(crate) fn sums(mm: Typed, image: *mut Image) -> Pages {
    [
        sum(mm, 0, image, true),
        sum(mm, 1, image, true),
        sum(mm, 2, image, true),
        sum(mm, 3, image, true),
    ]
}

/// The share of one CPU.
#[inline(always)]
fn share(shares: u64, control: *const Control, cpu: usize) -> i64 {
    // SAFETY: `cpu` is below MAX_CPUS; `control` is a map value.
    let offset = unsafe { *(&raw const (*control).cpu_offset).cast::<u64>().add(cpu) };
    if cfg!(feature = "broken-share") && cpu == 1 {
        return 0;
    }
    let mut share = 0_i32;
    // SAFETY: the helper checks the source; the destination is on the stack.
    let failed = unsafe {
        bpf_probe_read_kernel(
            (&raw mut share).cast(),
            4,
            shares.wrapping_add(offset) as *const _,
        )
    };
    if failed != 0 {
        count(Stat::ReadFailed);
    }
    i64::from(share)
}

#[inline(always)]
fn all_shares(shares: u64, cpus: u32) -> i64 {
    let Some(control) = control() else { return 0 };
    let mut sum = 0;
    for cpu in 0..MAX_CPUS {
        if cpu >= cpus as usize {
            break;
        }
        sum += share(shares, control, cpu);
    }
    sum
}

#[inline(always)]
fn touched_shares(shares: u64, image: *mut Image, cpus: u32) -> i64 {
    let Some(control) = control() else { return 0 };
    // SAFETY: `image` is a map value; indices are below the array's length.
    unsafe {
        let touched = (*image).ncpus as usize;
        if touched > TOUCHED_CPUS {
            return all_shares(shares, cpus);
        }
        let mut sum = 0;
        for at in 0..TOUCHED_CPUS {
            if at >= touched {
                break;
            }
            let cpu = *(&raw const (*image).cpus).cast::<u16>().add(at);
            sum += share(shares, control, cpu as usize & (MAX_CPUS - 1));
        }
        sum
    }
}
