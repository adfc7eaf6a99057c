//! The changes that threads hold back.
//!
//! Up to 6.1 a fault counts in the thread's own `task_struct.rss_stat` first
//! (`SPLIT_RSS_COUNTING`, mm/memory.c), silently; `sync_mm_rss()` moves that to
//! `mm->rss_stat`, with an event per member, when 64 faults have gathered, before the
//! thread subtracts anything, and at exit and exec. So an image's value is
//! `mm->rss_stat.count` plus what its threads hold back. What a thread holds back is
//! seen at the end of each of its faults (`programs::caches`).
//!
//! The event of a flush comes after the addition to `mm->rss_stat` and before the cache is
//! cleared: the same pages show in both. It is told from a direct change, which leaves the
//! cache alone, by its size.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use memtrace_ebpf::{Image, ImageKind, ImageState, MEMBERS, Stat};

use crate::{
    accounting::{self, slot},
    kernel::{Address, Struct as _, Typed, key, offset, probe},
    life,
    state::{self, Cache},
    words,
};

/// Direct changes of a process's own counters while its caches hold something are those of
/// exec and of whole huge pages, which are larger than any cache of 64 faults but one of
/// file pages.
const HUGE: i64 = 512;

#[inline(always)]
fn tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// What the current thread holds back of `member` now.
#[inline(always)]
fn held_back(member: u32) -> i64 {
    let at = offset!(task_rss_count) + (member & 3) * 4;
    i64::from(probe::<i32>(Typed::current().address(), at).unwrap_or(0))
}

/// `mm->rss_stat.count` of `member` now.
#[inline(always)]
fn counter(mm: u64, member: u32) -> i64 {
    let at = offset!(mm_rss_stat) + offset!(counter_count) + (member & 3) * offset!(counter_stride);
    match probe::<i64>(mm, at) {
        Some(value) => value,
        None => {
            state::count(Stat::ReadFailed);
            0
        }
    }
}

/// The image's value of `member` at an event of it. Call under the tree's lock.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn at_event(mm: Typed, member: u32, image: *mut Image, ending: bool) -> i64 {
    // SAFETY: as the caller vouches.
    unsafe {
        let now = counter((*image).mm, member);
        let counted = slot(&raw mut (*image).counted, member);
        let held = slot(&raw mut (*image).held_back, member);
        if ending {
            // A thread flushes before it lets go of an address space.
            *counted = now;
            *held = 0;
            return at_least_zero(now);
        }
        let own = Typed::current().follow(offset!(task_mm)).address() == mm.address();
        let cached = if own { held_back(member) } else { 0 };
        if !own
            && (*image).state == ImageState::Execing as u32
            && let Some(cache) = state::known_cache(tid())
        {
            (*cache).execing = 1;
        }
        if cached != 0
            && let Some(cache) = state::cache(tid(), (*image).mm)
        {
            let seen = slot(&raw mut (*cache).count, member);
            let change = now - *counted;
            let alone = mm.load::<i32>(offset!(mm_users)) == 1;
            // An image that was found late was not looked at before: what changed is not
            // known, and the lower reading cannot make a peak.
            let unknown = *counted == 0 && (*image).kind == ImageKind::Found as u32;
            if unknown {
                *counted = now;
                return at_least_zero(now);
            }
            // acct_arg_size() (fs/exec.c) charges the arguments of a new program directly.
            let direct = alone || (*cache).execing != 0 || is_huge(change, cached);
            if change == cached || !direct {
                let arrived = if cached > 0 {
                    change >= cached
                } else {
                    change <= cached
                };
                if arrived {
                    *counted += cached;
                } else {
                    // Another thread's direct change came between the addition and
                    // this event, and was booked with these pages twice.
                    state::count(Stat::CacheOverlap);
                    *counted = now;
                }
                *held -= i64::from(*seen);
                *seen = 0;
                return at_least_zero(*counted + *held);
            }
            *held += cached - i64::from(*seen);
            *seen = cached as i32;
        }
        *counted = now;
        at_least_zero(now + *held)
    }
}

#[inline(always)]
fn is_huge(change: i64, cached: i64) -> bool {
    let huge = change >= HUGE || change <= -HUGE;
    let small = cached < HUGE && cached > -HUGE;
    huge && small
}

/// A file page that was copied on write counts -1 in the cache of a thread other than the
/// one that still holds back its +1.
#[inline(always)]
fn at_least_zero(value: i64) -> i64 {
    if value < 0 {
        state::count(Stat::Negative);
        return 0;
    }
    value
}

/// Books what the current thread has held back since it was looked at last.
#[inline(always)]
pub(crate) fn look() {
    let mm = Typed::current().follow(offset!(task_mm)).address();
    let Some(image) = state::image(mm) else {
        return;
    };
    // SAFETY: map values, under the lock of the image's tree.
    unsafe {
        if (*image).state == 0 {
            return;
        }
        // A plain number, unlike the task's own pointer.
        let mm = (*image).mm;
        let Some(cache) = state::cache(tid(), mm) else {
            return;
        };
        let (mut changes, mut any) = ([0_i64; MEMBERS], false);
        for member in 0..MEMBERS as u32 {
            let seen = slot(&raw mut (*cache).count, member);
            let change = held_back(member) - i64::from(*seen);
            *slot(&raw mut changes, member) = change;
            any |= change != 0;
        }
        if !any {
            return;
        }
        (*cache).execing = 0;
        let Some(tree) = state::tree((*image).tree) else {
            return;
        };
        let held = state::lock(tree);
        // What a page leaves before what it joins, so that it never counts twice.
        for increases in [false, true] {
            for member in 0..MEMBERS as u32 {
                let change = *slot(&raw mut changes, member);
                if change != 0 && (change > 0) == increases {
                    let seen = slot(&raw mut (*cache).count, member);
                    *seen += change as i32;
                    book_held_back(mm, member.into(), change);
                }
            }
        }
        state::unlock(tree, held);
    }
}

/// Takes in what a thread holds back that ran before tracing began, as `task` says, if it was not looked at
/// yet. A function of its own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn attach_cache(task: u64) -> u64 {
    let task = Address::new(task);
    let tid: u32 = task.load(offset!(task_pid));
    let mm = task.follow(offset!(task_mm)).address();
    if state::known_cache(tid).is_some() {
        return 0;
    }
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    let mut cache = Cache {
        mm,
        count: [0; MEMBERS],
        execing: 0,
    };
    for member in 0..MEMBERS as u32 {
        let held = task.load(offset!(task_rss_count).wrapping_add(member * 4));
        // SAFETY: this function's own.
        unsafe { *slot(&raw mut cache.count, member) = held };
    }
    // First: whoever puts it there books what it has, and the thread itself what changes from then on.
    if !state::insert_cache(tid, &cache) {
        return 0;
    }
    // SAFETY: map values, under the tree's lock.
    unsafe {
        let held = state::lock(tree);
        if key(image) == mm && (*image).state == ImageState::Active as u32 {
            for member in 0..MEMBERS as u32 {
                *slot(&raw mut (*image).held_back, member) +=
                    i64::from(*slot(&raw mut cache.count, member));
            }
            let mut values = [0; MEMBERS];
            words::copy(&raw mut values, &raw const (*image).counted);
            accounting::add_held_back(image, &mut values);
            accounting::settle(image, tree, &values, 0, state::now());
        }
        state::unlock(tree, held);
    }
    0
}

/// Books a change of what a thread of the current process holds back. Call under the
/// tree's lock. A function of its own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn book_held_back(mm: u64, member: u64, change: i64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let member = member as u32 & 3;
        let held = slot(&raw mut (*image).held_back, member);
        *held += change;
        let value = at_least_zero(*slot(&raw mut (*image).counted, member) + *held);
        let current = Typed::current().follow(offset!(task_mm));
        life::book_value(current, image, tree, member, value, change > 0);
    }
    0
}
