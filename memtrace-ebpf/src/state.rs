//! The maps. What is in others' hands, the rings and the lock of a tree, is to be had from here too.

use aya_ebpf::{
    btf_maps::{Array, HashMap, PerCpuArray},
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns},
    macros::btf_map,
};
use memtrace_ebpf::{
    ALLOCATION, Branch, Control, Image, ImageKind, MEMBERS, PID_LIMIT, Process, Stat, Tree, Wanted,
};

#[cfg(not(feature = "plain"))]
use crate::kernel::lower_half;
#[cfg(not(feature = "lean"))]
pub(crate) use crate::ring::send_to_timeline_in_place;
use crate::{
    atomic,
    creation::{ADMITTED, KNOWN, NO_ROOM},
    lock, words,
};
pub(crate) use crate::{
    ring::{send, send_in_place, send_to_timeline},
    waiting::{Held, lock, pause, unlock},
};

/// Images by the address of their `mm_struct`. Userspace sets the size.
#[btf_map]
static IMAGES: HashMap<u64, Image, 16384, ALLOCATION> = HashMap::new();

/// How many images' addresses have each hash: that of nearly every address space that is not
/// followed is nobody's, and one load tells.
#[btf_map]
static HASHES: Array<u64, { 1 << HASH_BITS }> = Array::new();

const HASH_BITS: u32 = 14;

/// Live processes by tgid.
#[btf_map]
static PROCESSES: HashMap<u32, Process, 32768, ALLOCATION> = HashMap::new();

/// One bit per tgid: is it in [`PROCESSES`]? The one test that everything
/// untracked has to pay.
#[btf_map]
static TRACKED: Array<u64, { PID_LIMIT as usize / 64 }> = Array::new();

#[btf_map]
static TREES: Array<Tree, 1> = Array::new();

#[btf_map]
static CONTROL: Array<Control, 1> = Array::new();

/// Processes that ran before, which are asked for as roots: by their numbers in the PID namespace of who goes
/// through all tasks. Userspace sets the size.
#[btf_map]
static WANTED: HashMap<u32, Wanted, 1> = HashMap::new();

/// What is asked of that process, if it is to be a root.
#[inline(always)]
pub(crate) fn wanted(pid: u32) -> Option<*mut Wanted> {
    WANTED.get_ptr_mut(pid)
}

/// 1: a process whose memory is another's that is not followed is taken in without that.
#[btf_map]
static IMPATIENT: Array<u32, 1> = Array::new();

#[inline(always)]
pub(crate) fn is_impatient() -> bool {
    IMPATIENT.get(0).is_some_and(|impatient| *impatient != 0)
}

/// Totals of each root, where there are several. Userspace sets the size.
#[btf_map]
static BRANCHES: Array<Branch, 1> = Array::new();

#[inline(always)]
pub(crate) fn branch(index: u32) -> Option<*mut Branch> {
    BRANCHES.get_ptr_mut(index)
}

#[btf_map]
static STATS: PerCpuArray<u64, { Stat::ALL.len() }> = PerCpuArray::new();

/// A per-CPU value whose addresses reveal the per-CPU offsets.
#[btf_map]
static OFFSET_PROBE: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Where an image is put together before it goes into the map as a whole, on this CPU: too large for the
/// stack. What `births::create_image` does not set stays 0. One place for the programs on tracepoints, which are not
/// preempted (`preempt`), and one for that which takes processes in: before 7.0 those can come between, for the
/// kernel keeps such a one on its CPU, but nobody else off it (`bpf_iter_run_prog()`, `kernel/bpf/bpf_iter.c`, 6.18).
#[btf_map]
static NASCENT: PerCpuArray<Image, 2> = PerCpuArray::new();

/// This CPU's own place for an image of this [`ImageKind`] that is not in the map yet.
#[inline(always)]
pub(crate) fn nascent_image(kind: u64) -> Option<*mut Image> {
    NASCENT.get_ptr_mut(u32::from(kind == ImageKind::Attached as u64))
}

/// A process that ended.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Ended {
    /// Its number.
    pub(crate) process: u64,
    /// Index of its tree.
    pub(crate) tree: u32,
    reserved: u32,
}

/// Processes that ended, until the kernel lets go of them, by the addresses of their `signal_struct`s, which nobody
/// else has until then. Userspace sets the size.
#[btf_map]
static ENDED: HashMap<u64, Ended, 1, ALLOCATION> = HashMap::new();

/// Notes that the process with this number ended. If there is no room, what it ran is known by clock ticks alone.
#[inline(always)]
pub(crate) fn note_ended(signal: u64, process: u64, tree: u32) {
    const BPF_ANY: u64 = 0;
    let ended = Ended {
        process,
        tree,
        reserved: 0,
    };
    let _ = ENDED.insert(signal, ended, BPF_ANY);
}

/// The process with this `signal_struct`, if it ended; it is forgotten.
#[inline(always)]
pub(crate) fn take_ended(signal: u64) -> Option<Ended> {
    // SAFETY: a map value; nobody else removes it.
    let ended = unsafe { *ENDED.get_ptr(signal)? };
    let _ = ENDED.remove(signal);
    Some(ended)
}

/// What `rss_stat_before` found out for `rss_stat_size` (see `programs::classic`).
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Pending {
    /// The image's key; 0: the event is not about one of ours.
    pub(crate) mm: u64,
    pub(crate) at: u64,
    pub(crate) member: u32,
    pub(crate) ending: u32,
    /// Index of its tree.
    pub(crate) tree: u32,
    pub(crate) reserved: u32,
}

#[btf_map]
static PENDING: PerCpuArray<Pending, 1> = PerCpuArray::new();

#[inline(always)]
pub(crate) fn pending() -> Option<*mut Pending> {
    PENDING.get_ptr_mut(0)
}

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}

#[inline(always)]
pub(crate) fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Counts `stat` on this CPU.
#[inline(always)]
pub(crate) fn count(stat: Stat) {
    if let Some(value) = STATS.get_ptr_mut(stat as u32) {
        // SAFETY: this CPU's own slot; a program that interrupts this one between
        // load and store could lose a count only on kernels whose tracepoints can
        // be preempted, where it is added again by the recursion-miss counters.
        unsafe { *value += 1 };
    }
}

/// Orders all that is read before it before all that is read after it: an atomic that returns something is
/// a full barrier (Documentation/bpf/standardization/instruction-set.rst; `ldaddal` on arm64).
#[inline(always)]
pub(crate) fn fence() {
    #[cfg(not(feature = "plain"))]
    if let Some(word) = OFFSET_PROBE.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        unsafe { atomic::fetch_add(word, 0) };
    }
}

/// Counts events on this CPU for builds that drop every `one_in`th on purpose.
#[inline(always)]
pub(crate) fn is_dropped(one_in: u64) -> bool {
    let Some(seen) = OFFSET_PROBE.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's own slot.
    unsafe {
        *seen += 1;
        *seen % one_in == 0
    }
}

#[inline(always)]
pub(crate) fn image(mm: u64) -> Option<*mut Image> {
    IMAGES.get_ptr_mut(mm)
}

/// The upper bits of a product (Knuth, multiplicative hashing) with the lower half of the address.
#[cfg(not(feature = "plain"))]
#[inline(always)]
fn hash(mm: u64) -> u32 {
    lower_half(mm).wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)
}

/// Where instructions have no halves of registers nothing is told by the address.
#[cfg(feature = "plain")]
#[inline(always)]
fn hash(_: u64) -> u32 {
    0
}

/// Whether there may be an image of `mm`.
#[inline(always)]
pub(crate) fn may_be_image(mm: u64) -> bool {
    HASHES.get(hash(mm)).is_none_or(|images| *images != 0)
}

/// Counts an image that comes or goes.
#[inline(always)]
fn count_hash(mm: u64, by: u64) {
    if let Some(images) = HASHES.get_ptr_mut(hash(mm)) {
        // SAFETY: a map value of eight bytes.
        unsafe { atomic::add(images, by) };
    }
}

/// Puts an image into the map, whole; true if it was this call and no other CPU's that did.
#[inline(always)]
pub(crate) fn insert_image(mm: u64, image: *const Image) -> bool {
    const BPF_NOEXIST: u64 = 1;
    const EEXIST: i32 = -17;
    // First: what is told must not lack an image that is there.
    count_hash(mm, 1);
    // By reference: a copy would not fit on the stack.
    // SAFETY: a map value.
    let image: &Image = unsafe { &*image };
    let inserted = IMAGES.insert(mm, image, BPF_NOEXIST);
    if let Err(error) = inserted {
        count_hash(mm, 1_u64.wrapping_neg());
        if error != EEXIST {
            refuse_image(mm, refusal(error, Stat::ImagesFull));
        }
    }
    inserted.is_ok()
}

/// What a map's refusal of a new entry is counted as.
#[inline(always)]
fn refusal(error: i32, full: Stat) -> Stat {
    const E2BIG: i32 = -7;
    const ENOMEM: i32 = -12;
    match error {
        E2BIG => full,
        ENOMEM => Stat::NoMemory,
        _ => Stat::MapBusy,
    }
}

/// Counts an image for which there is no room: once, though each of its updates asks anew.
#[inline(always)]
fn refuse_image(mm: u64, why: Stat) {
    if let Some(process) = process(current_tgid()) {
        // SAFETY: a map value.
        unsafe {
            if (*process).refused_mm == mm {
                return;
            }
            (*process).refused_mm = mm;
        }
    }
    count(why);
}

/// Counts a process for which there is no room: once, though two hooks tell of it.
#[inline(always)]
fn refuse_process(tgid: u32, why: Stat) {
    if let Some(creator) = process(current_tgid()) {
        // SAFETY: a map value.
        unsafe {
            if (*creator).refused_child == tgid {
                return;
            }
            (*creator).refused_child = tgid;
        }
    }
    count(why);
}

/// Of two programs that find the end at the same time, one comes second.
const ENOENT: i32 = -2;

#[inline(always)]
pub(crate) fn remove_image(mm: u64) {
    match IMAGES.remove(mm) {
        Ok(()) => count_hash(mm, 1_u64.wrapping_neg()),
        Err(ENOENT) => {}
        Err(_) => count(Stat::MapBusy),
    }
}

#[inline(always)]
pub(crate) fn process(tgid: u32) -> Option<*mut Process> {
    PROCESSES.get_ptr_mut(tgid)
}

/// Puts a process into the map, unless it is there: one that was created at the same time under the same id.
/// What it gives is for [`creation::admit`](crate::creation::admit).
#[inline(always)]
pub(crate) fn insert_process(tgid: u32, process: &Process) -> u64 {
    const BPF_ANY: u64 = 0;
    const BPF_NOEXIST: u64 = 1;
    const EEXIST: i32 = -17;
    let mut inserted = PROCESSES.insert(tgid, process, BPF_NOEXIST);
    if inserted == Err(EEXIST) {
        if let Some(there) = PROCESSES.get_ptr(tgid)
            // SAFETY: a map value.
            && unsafe { (*there).started_at } == process.started_at
        {
            return KNOWN;
        }
        // What was left of one that had the id before.
        inserted = PROCESSES.insert(tgid, process, BPF_ANY);
    }
    match inserted {
        Ok(()) => ADMITTED,
        Err(error) => {
            refuse_process(tgid, refusal(error, Stat::ProcessesFull));
            NO_ROOM
        }
    }
}

#[inline(always)]
pub(crate) fn remove_process(tgid: u32) {
    if let Err(error) = PROCESSES.remove(tgid)
        && error != ENOENT
    {
        count(Stat::MapBusy);
    }
}

/// Removes the entry of a process under its tree's lock. A function of its own for the verifier, see
/// `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn remove_process_locked(tgid: u64) -> u64 {
    let tgid = tgid as u32;
    let index = match process(tgid) {
        // SAFETY: a map value.
        Some(process) => unsafe { (*process).tree },
        None => return 0,
    };
    let Some(tree) = tree(index) else { return 0 };
    let held = lock(tree);
    remove_process(tgid);
    unlock(tree, held);
    0
}

/// What one thread holds back of an image's counters (up to 6.1), as last seen.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Cache {
    /// The image's key.
    pub(crate) mm: u64,
    pub(crate) count: [i32; MEMBERS],
    /// 1 while the thread builds the image of a program that it is about to execute.
    pub(crate) execing: u64,
}

/// Thread caches by tid. Userspace sets the size where threads have caches.
#[btf_map]
static CACHES: HashMap<u32, Cache, 1, ALLOCATION> = HashMap::new();

/// The cache of a thread as last seen, made empty if it is not known; `None` if there
/// is no room.
#[inline(always)]
pub(crate) fn cache(tid: u32, mm: u64) -> Option<*mut Cache> {
    if let Some(cache) = CACHES.get_ptr_mut(tid) {
        // SAFETY: a map value that only its own thread changes.
        unsafe {
            if (*cache).mm != mm {
                // The thread has executed another program; it flushed its cache before.
                (*cache).mm = mm;
                words::clear(&raw mut (*cache).count);
                (*cache).execing = 0;
            }
        }
        return Some(cache);
    }
    let empty = Cache {
        mm,
        count: [0; MEMBERS],
        execing: 0,
    };
    insert_cache(tid, &empty);
    // Its own, or what was put there meanwhile for one that ran before.
    CACHES.get_ptr_mut(tid)
}

/// Puts the cache of a thread into the map; true if it was this call that did.
#[inline(always)]
pub(crate) fn insert_cache(tid: u32, cache: &Cache) -> bool {
    const BPF_NOEXIST: u64 = 1;
    const EEXIST: i32 = -17;
    let inserted = CACHES.insert(tid, cache, BPF_NOEXIST);
    if let Err(error) = inserted
        && error != EEXIST
    {
        count(Stat::CachesFull);
    }
    inserted.is_ok()
}

/// The cache of a thread, if it was seen.
#[inline(always)]
pub(crate) fn known_cache(tid: u32) -> Option<*mut Cache> {
    CACHES.get_ptr_mut(tid)
}

/// Forgets a thread that has ended.
#[inline(always)]
pub(crate) fn remove_cache(tid: u32) {
    // Most kernels have no caches, and most threads none that was seen.
    let _ = CACHES.remove(tid);
}

/// Is this process followed?
#[inline(always)]
pub(crate) fn is_tracked(tgid: u32) -> bool {
    match TRACKED.get(tgid >> 6) {
        Some(word) => word & (1 << (tgid & 63)) != 0,
        None => false,
    }
}

#[inline(always)]
pub(crate) fn set_tracked(tgid: u32, tracked: bool) {
    match TRACKED.get_ptr_mut(tgid >> 6) {
        // SAFETY: a map value; the process itself is the only one that changes its bit.
        Some(word) => unsafe {
            change_bit(word, tgid, tracked);
        },
        None => count(Stat::ProcessesFull),
    }
}

/// Sets or clears the bit of `id` in its word; true if it was not so before.
///
/// # Safety
///
/// `word` must point at a map value, and nobody else may change the same bit.
#[inline(always)]
unsafe fn change_bit(word: *mut u64, id: u32, set: bool) -> bool {
    let bit = 1_u64 << (id & 63);
    // SAFETY: as the caller vouches.
    let was = unsafe { core::ptr::read_volatile(word) } & bit != 0;
    if was == set {
        return false;
    }
    // Added or subtracted rather than or-ed, because only xadd has an old-kernel encoding.
    let change = if set { bit } else { bit.wrapping_neg() };
    // SAFETY: as the caller vouches.
    unsafe { atomic::add(word, change) };
    true
}

/// One bit per thread id: a program on `sched_process_exit` has seen it end, and the last
/// one has not looked yet. Userspace sets the size where there are several; elsewhere
/// there is room for almost none.
#[btf_map]
static EXITING: Array<u64, 1> = Array::new();

/// A program has seen this thread end.
#[inline(always)]
pub(crate) fn set_exit_seen(tid: u32) {
    if let Some(word) = EXITING.get_ptr_mut(tid >> 6) {
        // SAFETY: a map value; only the thread itself changes its bit, or, before it first
        // runs, its creator.
        unsafe { change_bit(word, tid, true) };
    }
}

/// Has one?
#[inline(always)]
pub(crate) fn is_exit_seen(tid: u32) -> bool {
    EXITING
        .get(tid >> 6)
        .is_some_and(|word| word & (1 << (tid & 63)) != 0)
}

/// The same, and clears the mark.
#[inline(always)]
pub(crate) fn take_exit_seen(tid: u32) -> bool {
    match EXITING.get_ptr_mut(tid >> 6) {
        // SAFETY: as in `set_exit_seen`.
        Some(word) => unsafe { change_bit(word, tid, false) },
        None => false,
    }
}

#[inline(always)]
pub(crate) fn tree(index: u32) -> Option<*mut Tree> {
    TREES.get_ptr_mut(index)
}

/// The image of `mm` and its tree.
#[inline(always)]
pub(crate) fn image_and_tree(mm: u64) -> Option<(*mut Image, *mut Tree)> {
    let image = image(mm)?;
    // SAFETY: a map value.
    let tree = tree(unsafe { (*image).tree })?;
    Some((image, tree))
}

#[inline(always)]
pub(crate) fn control() -> Option<*mut Control> {
    CONTROL.get_ptr_mut(0)
}

#[inline(always)]
pub(crate) fn offset_probe() -> &'static PerCpuArray<u64, 1> {
    &OFFSET_PROBE
}

/// A number no other image of this run has.
#[inline(always)]
pub(crate) fn next_image_id() -> u64 {
    match control() {
        // SAFETY: a field of a map value.
        Some(control) => unsafe { lock::next(&raw mut (*control).last_image) },
        None => 0,
    }
}

/// A number no other process of this run has.
#[inline(always)]
pub(crate) fn next_process_id() -> u64 {
    match control() {
        // SAFETY: a field of a map value.
        Some(control) => unsafe { lock::next(&raw mut (*control).last_process) },
        None => 0,
    }
}
