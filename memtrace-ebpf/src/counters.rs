//! The exact value of the kernel's RSS counters.

use core::cmp::min;

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_probe_read_kernel};
use memtrace_ebpf::{
    ABSENT, Control, CounterLayout, Image, MAX_CPUS, Pages, Stat, SumScheme, TOUCHED_CPUS, reading,
};

use crate::{
    atomic,
    kernel::{Address, Struct, config, key, load_32, offset},
    moment,
    repeat::repeat,
    state::{self, control, count, fence, pause},
};

/// How often a sum is read again when a share moved meanwhile.
const TRIES: u32 = 8;

/// Notes that the image was updated on this CPU (scheme B).
///
/// A CPU's share of a counter is 0 until that CPU has updated it, and the event
/// comes on the CPU of the update: nearly all callers of `add_mm_counter()` hold a
/// page-table lock. The exceptions are covered by sums over all CPUs at exec and end.
#[inline(always)]
pub(crate) fn touch(image: *mut Image) {
    if config!(scheme) != SumScheme::Touched as u32 {
        return;
    }
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() } & (MAX_CPUS as u32 - 1);
    // SAFETY: indices are masked to the arrays' lengths; `image` is a map value.
    unsafe {
        let word = (&raw mut (*image).cpu_mask)
            .cast::<u64>()
            .add((cpu >> 6) as usize & (MAX_CPUS / 64 - 1));
        if *word & (1 << (cpu & 63)) == 0 {
            touch_first(key(image), cpu.into());
        }
    }
}

/// The first update of the image of `mm` on a CPU. A function of its own for the verifier, see
/// `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn touch_first(mm: u64, cpu: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    let cpu = cpu as usize & (MAX_CPUS - 1);
    // SAFETY: indices are masked to the arrays' length; `image` is a map value.
    unsafe {
        let word = (&raw mut (*image).cpu_mask).cast::<u64>().add(cpu >> 6);
        let bit = 1 << (cpu & 63);
        moment::begin(tree);
        if *word & bit == 0 {
            let at = (*image).ncpus;
            if (at as usize) < TOUCHED_CPUS {
                *(&raw mut (*image).cpus)
                    .cast::<u16>()
                    .add(at as usize & (TOUCHED_CPUS - 1)) = cpu as u16;
            }
            // A full barrier, where others read meanwhile: what finds the list longer finds what is in it.
            atomic::add(word, bit);
            (*image).ncpus = at + 1;
        }
        moment::end(tree);
    }
    0
}

/// Whether the sum of the image's counters takes in this CPU's share.
#[inline(always)]
pub(crate) fn includes_this_cpu(image: *mut Image) -> bool {
    if config!(scheme) != SumScheme::Touched as u32 {
        return true;
    }
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() } & (MAX_CPUS as u32 - 1);
    // SAFETY: the index is masked to the array's length; `image` is a map value.
    unsafe {
        let word = (&raw const (*image).cpu_mask)
            .cast::<u64>()
            .add((cpu >> 6) as usize & (MAX_CPUS / 64 - 1));
        *word & (1 << (cpu & 63)) != 0
    }
}

/// The parts of one `percpu_counter`.
#[derive(Clone, Copy)]
struct Parts {
    lock: u32,
    count: i64,
    shares: u64,
}

/// In which order the lock and the count are read: see [`reading`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    CountFirst,
    LockFirst,
}

/// Keeps what is read before it before what is read after it, where the CPU does not do so by itself.
/// (Kernels with shares of counters have the atomics; up to 6.1 there is one word to read.)
#[inline(always)]
fn in_order() {
    if config!(fences) != 0 {
        fence();
    }
}

/// The verifier allows a load from a typed pointer only at a known offset, so the
/// member is a compile-time constant here.
#[inline(always)]
fn parts_of<const MEMBER: u32, S: Struct>(mm: S, order: Order) -> Parts {
    let (base, at_lock, at_count, at_shares) = (
        offset!(mm_rss_stat) + MEMBER * offset!(counter_stride),
        offset!(counter_lock),
        offset!(counter_count),
        offset!(counter_counters),
    );
    let lock = || {
        if at_lock == ABSENT {
            0
        } else {
            mm.load(base + at_lock)
        }
    };
    let (count, lock) = match order {
        Order::CountFirst => {
            let count = mm.load(base + at_count);
            in_order();
            (count, lock())
        }
        Order::LockFirst => {
            let lock = lock();
            in_order();
            (mm.load(base + at_count), lock)
        }
    };
    Parts {
        lock,
        count,
        // Up to 6.1 there are none.
        shares: if at_shares == ABSENT {
            0
        } else {
            mm.load(base + at_shares)
        },
    }
}

#[inline(always)]
fn parts(mm: impl Struct, member: u32, order: Order) -> Parts {
    match member {
        0 => parts_of::<0, _>(mm, order),
        1 => parts_of::<1, _>(mm, order),
        2 => parts_of::<2, _>(mm, order),
        _ => parts_of::<3, _>(mm, order),
    }
}

/// The value of `member`, in pages: `count` plus every CPU's share, as
/// `percpu_counter_sum()` would return it (`lib/percpu_counter.c`, 6.2 and later).
///
/// `all` sums over all CPUs whatever the scheme. `member` is asked each time: the verifier
/// follows each of the four values of one that chooses a counter, and all that comes after
/// while the number is kept.
#[inline(always)]
pub(crate) fn sum(mm: impl Struct, member: impl Fn() -> u32, image: *mut Image, all: bool) -> i64 {
    let scheme = config!(scheme);
    let first = parts(mm, member(), Order::CountFirst);
    let (mut value, is_sum) = reading(
        (first.count, first.lock),
        || {
            in_order();
            // What is summed over all CPUs whatever the scheme is seldom summed, and so read in the
            // way that tells whether it can be.
            let shares = if first.shares == 0 {
                0
            } else if all {
                all_shares(first.shares, share)
            } else if scheme == SumScheme::AllCpus as u32 {
                all_shares(first.shares, quick_share)
            } else {
                touched_shares(first.shares, image)
            };
            in_order();
            shares
        },
        || {
            let last = parts(mm, member(), Order::LockFirst);
            (last.lock, last.count)
        },
    );
    if !is_sum {
        count(Stat::Torn);
        // SAFETY: a map value.
        value = sum_again(key(image), member().into());
    }
    if value < 0 {
        count(Stat::Negative);
        return 0;
    }
    value
}

/// Readings of one counter of an mm that is known by its address only.
struct Again {
    /// `struct percpu_counter`.
    counter: u64,
    /// The lowest of the readings that were no sums.
    lowest: i64,
    /// The one that was.
    value: i64,
}

/// The same over all CPUs, until two readings say that nothing moved meanwhile. A
/// function of its own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sum_again(mm: u64, member: u64) -> i64 {
    let mut again = Again {
        counter: mm
            + u64::from(offset!(mm_rss_stat))
            + (member & 3) * u64::from(offset!(counter_stride)),
        lowest: i64::MAX,
        value: NO_SUM,
    };
    // Once, and not at each reading, so that the verifier follows two ways once.
    if Address::new(again.counter)
        .read::<i64>(offset!(counter_count))
        .is_none()
    {
        count(Stat::ReadFailed);
        return 0;
    }
    for _ in 0..TRIES {
        if read_again(&mut again) {
            return again.value;
        }
    }
    // The holder's virtual CPU may not be running. What is read under the tree's lock must not keep that.
    if moment::are_apart() {
        repeat(PATIENCE, wait_and_read, &mut again);
        // SAFETY: a variable of this function, which the compiler cannot know to be changed.
        let value = unsafe { core::ptr::read_volatile(&raw const again.value) };
        if value != NO_SUM {
            return value;
        }
    }
    // A sum across a move can have pages twice, or lack them; the result says by how much.
    count(Stat::Unverified);
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const again.lowest) }
}

/// Never a sum.
const NO_SUM: i64 = i64::MIN;

/// How often to read again with a pause of some microseconds before, tens of milliseconds together.
const PATIENCE: u32 = 1 << 12;

/// Reads it again; not 0 if that was a sum.
extern "C" fn wait_and_read(_turn: u32, again: *mut Again) -> u64 {
    pause();
    // SAFETY: what `sum_again` hands over.
    read_again(unsafe { &mut *again }).into()
}

#[inline(always)]
fn read_again(again: &mut Again) -> bool {
    let counter = Address::new(again.counter);
    let (at_lock, at_count, at_shares) = (
        offset!(counter_lock),
        offset!(counter_count),
        offset!(counter_counters),
    );
    let before: i64 = counter.load(at_count);
    in_order();
    let (value, is_sum) = reading(
        (before, counter.load(at_lock)),
        || {
            in_order();
            let shares = if at_shares == ABSENT {
                0
            } else {
                sum_shares(counter.load(at_shares))
            };
            in_order();
            shares
        },
        || {
            let lock = counter.load(at_lock);
            in_order();
            (lock, counter.load(at_count))
        },
    );
    if is_sum {
        again.value = value;
    }
    // Whoever holds the lock moves a share, or sums up for /proc, which takes as long as this
    // sum does.
    again.lowest = min(again.lowest, value);
    is_sum
}

/// Whether threads hold back changes of the counters, see `caches`.
#[inline(always)]
pub(crate) fn threads_have_caches() -> bool {
    !cfg!(feature = "lean") && offset!(task_rss_count) != ABSENT
}

/// Whether updates may have left out a CPU that was never seen, so that the sums over
/// all CPUs say more.
#[inline(always)]
pub(crate) fn may_lack_cpus() -> bool {
    config!(layout) == CounterLayout::PerCpu as u32 && config!(scheme) == SumScheme::Touched as u32
}

/// All four values, over all CPUs.
#[inline(always)]
pub(crate) fn sums(mm: impl Struct, image: *mut Image) -> Pages {
    [
        sum(mm, || 0, image, true),
        sum(mm, || 1, image, true),
        sum(mm, || 2, image, true),
        sum(mm, || 3, image, true),
    ]
}

/// The share of one CPU by a plain load where the kernel allows that. An address that cannot be
/// read yields 0 and is not counted. A counter has its shares as long as its mm lives, so there is
/// none; were the addresses wrong, comparisons with /proc and what images leave over would tell.
#[inline(always)]
fn quick_share(shares: u64, control: *const Control, cpu: usize, failed: &mut i64) -> i64 {
    let to = config!(share_type);
    if to == 0 {
        return share(shares, control, cpu, failed);
    }
    if cfg!(feature = "broken-share") && cpu == 1 {
        return 0;
    }
    let (address, counted) = place(shares, control, cpu);
    i64::from(load_32(address, to)) & counted
}

/// Where the share of one CPU is, and a mask of what counts of it: nothing if the CPU does not
/// exist.
#[inline(always)]
fn place(shares: u64, control: *const Control, cpu: usize) -> (u64, i64) {
    // SAFETY: `cpu` is below MAX_CPUS; `control` is a map value.
    let (offset, cpus, real) = unsafe {
        let offset = *(&raw const (*control).cpu_offset).cast::<u64>().add(cpu);
        (offset, config!(cpus), config!(real_cpus))
    };
    if cpus != real && cpu >= real as usize {
        return (offset, 0);
    }
    (shares.wrapping_add(offset), -1)
}

/// The share of one CPU; `failed` becomes other than 0 if it could not be read. No branch, so
/// that the verifier does not follow two ways from each CPU.
#[inline(always)]
fn share(shares: u64, control: *const Control, cpu: usize, failed: &mut i64) -> i64 {
    if cfg!(feature = "broken-share") && cpu == 1 {
        return 0;
    }
    let (address, counted) = place(shares, control, cpu);
    let mut share = 0_i32;
    // SAFETY: the helper checks the source; the destination is on the stack.
    *failed |= unsafe { bpf_probe_read_kernel((&raw mut share).cast(), 4, address as *const _) };
    i64::from(share) & counted
}

/// The sum over all CPUs.
#[inline(always)]
fn all_shares(shares: u64, share: impl Fn(u64, *const Control, usize, &mut i64) -> i64) -> i64 {
    let Some(control) = control() else { return 0 };
    let cpus = config!(cpus) as usize;
    let (mut sum, mut failed) = (0, 0);
    for cpu in 0..MAX_CPUS {
        if cpu >= cpus {
            break;
        }
        sum += share(shares, control, cpu, &mut failed);
    }
    if failed != 0 {
        count(Stat::ReadFailed);
    }
    sum
}

/// The same as a function of its own for the verifier, see `main`: for an
/// address that it does not take for a pointer.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sum_shares(shares: u64) -> i64 {
    if shares == 0 {
        count(Stat::ReadFailed);
        return 0;
    }
    all_shares(shares, share)
}

#[inline(always)]
fn touched_shares(shares: u64, image: *mut Image) -> i64 {
    let Some(control) = control() else { return 0 };
    // SAFETY: `image` is a map value; indices are below the array's length.
    unsafe {
        let touched = (*image).ncpus as usize;
        in_order();
        if touched > TOUCHED_CPUS {
            return all_shares(shares, quick_share);
        }
        let (mut sum, mut failed) = (0, 0);
        for at in 0..TOUCHED_CPUS {
            if at >= touched {
                break;
            }
            let cpu = *(&raw const (*image).cpus).cast::<u16>().add(at);
            sum += quick_share(shares, control, cpu as usize & (MAX_CPUS - 1), &mut failed);
        }
        if failed != 0 {
            count(Stat::ReadFailed);
        }
        sum
    }
}
