//! Records for userspace.

use aya_ebpf::{btf_maps::RingBuf, helpers::generated::bpf_ringbuf_query, macros::btf_map};
use memtrace_ebpf::{Stat, event::Freed};

use crate::{kernel::config, state::count};

/// Records for userspace. Userspace sets the size.
#[btf_map]
static EVENTS: RingBuf<u64, 8388608> = RingBuf::new();

/// Records of the timeline, apart from the others: however many there are, they cannot
/// take the room of those that tell of lives. Userspace sets the size.
#[btf_map]
static TIMELINE: RingBuf<u64, 4096> = RingBuf::new();

/// Records of CPU times, apart from the others for the same reason; nothing else depends on them. Userspace sets the
/// size.
#[btf_map]
static FREED: RingBuf<u64, 4096> = RingBuf::new();

/// How to tell userspace of a record: not at all until a quarter of the ring is full.
/// Waking it for each would cost more than the record, and the one that is woken preempts
/// the process whose program wakes it, just where that can make the kernel skip the next
/// program (see `preempt`).
#[inline(always)]
fn wake_flags() -> u64 {
    const BPF_RB_NO_WAKEUP: u64 = 1;
    const BPF_RB_FORCE_WAKEUP: u64 = 2;
    const BPF_RB_AVAIL_DATA: u64 = 0;
    const BPF_RB_RING_SIZE: u64 = 1;
    let ring = core::ptr::from_ref(&EVENTS).cast_mut();
    // SAFETY: the map outlives the calls.
    let (waiting, size) = unsafe {
        (
            bpf_ringbuf_query(ring.cast(), BPF_RB_AVAIL_DATA),
            bpf_ringbuf_query(ring.cast(), BPF_RB_RING_SIZE),
        )
    };
    if waiting > size / 4 {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }
}

/// Sends `record`, counting it if the ring is full.
#[inline(always)]
pub(crate) fn send<T>(record: &T) {
    if EVENTS.output_untyped::<T>(record, wake_flags()).is_err() {
        count(Stat::RingFull);
    }
}

/// Sends what a process ran in all. Userspace looks at this ring when it looks at the other; whose record finds it
/// full is known by clock ticks alone, as that of a zombie is.
#[inline(always)]
pub(crate) fn send_freed(record: &Freed) {
    const BPF_RB_NO_WAKEUP: u64 = 1;
    let _ = FREED.output_untyped::<Freed>(record, BPF_RB_NO_WAKEUP);
}

/// Sends a record of the timeline, counting it if the ring is full. Userspace looks at
/// this ring now and then, and is only woken when much waits there.
#[inline(always)]
pub(crate) fn send_to_timeline<T>(record: &T) {
    const BPF_RB_NO_WAKEUP: u64 = 1;
    const BPF_RB_FORCE_WAKEUP: u64 = 2;
    const BPF_RB_AVAIL_DATA: u64 = 0;
    let ring = core::ptr::from_ref(&TIMELINE).cast_mut().cast();
    // SAFETY: the map outlives the call.
    let much =
        unsafe { bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > u64::from(config!(timeline_wake)) };
    let flags = if much {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    if TIMELINE.output_untyped::<T>(record, flags).is_err() {
        count(Stat::TimelineFull);
    }
}

/// Builds a record in place, for those too large for the stack.
#[inline(always)]
pub(crate) fn send_in_place<T: 'static>(fill: impl FnOnce(*mut T)) {
    match EVENTS.reserve_untyped::<T>(0) {
        Some(mut entry) => {
            fill(entry.as_mut_ptr());
            entry.submit(wake_flags());
        }
        None => count(Stat::RingFull),
    }
}

/// The same for the timeline's ring, which is looked at now and then.
#[inline(always)]
pub(crate) fn send_to_timeline_in_place<T: 'static>(fill: impl FnOnce(*mut T)) {
    const BPF_RB_NO_WAKEUP: u64 = 1;
    match TIMELINE.reserve_untyped::<T>(0) {
        Some(mut entry) => {
            fill(entry.as_mut_ptr());
            // A window or a change of a counter is sent with it, and wakes where that is due.
            entry.submit(BPF_RB_NO_WAKEUP);
        }
        None => count(Stat::TimelineFull),
    }
}
