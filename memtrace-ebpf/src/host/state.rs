//! The maps, as `crate::state` has them for BPF programs.

extern crate std;

use std::{boxed::Box, cell::RefCell, collections::BTreeMap, vec::Vec};

use memtrace_ebpf::{Control, Image, Process, Stat, Tree};

use super::kernel;

/// All maps. Values are never freed, as those of the kernel's maps stay readable.
struct Maps {
    images: BTreeMap<u64, *mut Image>,
    processes: BTreeMap<u32, *mut Process>,
    trees: Vec<*mut Tree>,
    control: *mut Control,
    nascent: *mut Image,
    stats: [u64; Stat::ALL.len()],
    now: u64,
}

std::thread_local! {
    static MAPS: RefCell<Maps> = RefCell::new(Maps::new());
}

/// A value of zeros that stays for ever.
fn leak<T: Copy>() -> *mut T {
    let words = size_of::<T>().div_ceil(8);
    let memory: &'static mut [u64] = Box::leak(std::vec![0_u64; words].into_boxed_slice());
    memory.as_mut_ptr().cast()
}

impl Maps {
    fn new() -> Self {
        Self {
            images: BTreeMap::new(),
            processes: BTreeMap::new(),
            trees: std::vec![leak()],
            control: leak(),
            nascent: leak(),
            stats: [0; Stat::ALL.len()],
            now: 1_000_000_000,
        }
    }
}

fn with<R>(use_them: impl FnOnce(&mut Maps) -> R) -> R {
    MAPS.with_borrow_mut(use_them)
}

/// Everything as at the start.
pub(crate) fn reset() {
    with(|maps| *maps = Maps::new());
}

/// Time goes by.
pub(crate) fn pass(ns: u64) {
    with(|maps| maps.now += ns);
}

/// How often that was counted.
pub(crate) fn counted(stat: Stat) -> u64 {
    with(|maps| maps.stats.get(stat as usize).copied().unwrap_or(0))
}

/// All images that live.
pub(crate) fn images() -> Vec<*mut Image> {
    with(|maps| maps.images.values().copied().collect())
}

pub(crate) fn now() -> u64 {
    with(|maps| {
        maps.now += 1;
        maps.now
    })
}

pub(crate) fn current_tgid() -> u32 {
    kernel::current_tgid()
}

pub(crate) fn count(stat: Stat) {
    with(|maps| {
        if let Some(count) = maps.stats.get_mut(stat as usize) {
            *count += 1;
        }
    });
}

pub(crate) fn image(mm: u64) -> Option<*mut Image> {
    with(|maps| maps.images.get(&mm).copied())
}

pub(crate) fn may_be_image(mm: u64) -> bool {
    image(mm).is_some()
}

pub(crate) fn nascent_image() -> Option<*mut Image> {
    Some(with(|maps| maps.nascent))
}

pub(crate) fn insert_image(mm: u64, image: *const Image) -> bool {
    let place = leak::<Image>();
    // SAFETY: both are images.
    unsafe { place.copy_from(image, 1) };
    with(|maps| match maps.images.entry(mm) {
        std::collections::btree_map::Entry::Vacant(vacant) => {
            vacant.insert(place);
            true
        }
        std::collections::btree_map::Entry::Occupied(_) => false,
    })
}

pub(crate) fn remove_image(mm: u64) {
    with(|maps| maps.images.remove(&mm));
}

pub(crate) fn process(tgid: u32) -> Option<*mut Process> {
    with(|maps| maps.processes.get(&tgid).copied())
}

pub(crate) fn insert_process(tgid: u32, process: &Process) -> bool {
    let place = leak::<Process>();
    // SAFETY: as large as a process.
    unsafe { place.write(*process) };
    with(|maps| maps.processes.insert(tgid, place));
    true
}

pub(crate) fn remove_process(tgid: u32) {
    with(|maps| maps.processes.remove(&tgid));
}

pub(crate) fn is_tracked(tgid: u32) -> bool {
    process(tgid).is_some()
}

/// What is in the map is followed.
pub(crate) const fn set_tracked(_tgid: u32, _tracked: bool) {}

/// No program is skipped.
pub(crate) const fn take_exit_seen(_tid: u32) -> bool {
    false
}

pub(crate) fn tree(index: u32) -> Option<*mut Tree> {
    with(|maps| maps.trees.get(index as usize).copied())
}

pub(crate) fn control() -> Option<*mut Control> {
    Some(with(|maps| maps.control))
}

/// Nobody reads records.
pub(crate) const fn send<T>(_record: &T) {}

/// As [`send`].
pub(crate) const fn send_to_timeline<T>(_record: &T) {}

pub(crate) fn next_image_id() -> u64 {
    let control = with(|maps| maps.control);
    // SAFETY: a value of this thread's.
    unsafe {
        (*control).last_image += 1;
        (*control).last_image
    }
}

pub(crate) fn next_process_id() -> u64 {
    let control = with(|maps| maps.control);
    // SAFETY: a value of this thread's.
    unsafe {
        (*control).last_process += 1;
        (*control).last_process
    }
}

/// Whether the lock is held, as for BPF programs.
#[must_use]
pub(crate) struct Held(());

/// One thread needs no lock, but must give back what it took.
pub(crate) fn lock(tree: *mut Tree) -> Held {
    // SAFETY: a value of this thread's.
    unsafe {
        assert_eq!((*tree).lock, 0, "the lock is taken twice");
        (*tree).lock = 1;
    }
    Held(())
}

pub(crate) fn unlock(tree: *mut Tree, Held(()): Held) {
    // SAFETY: a value of this thread's.
    unsafe { (*tree).lock = 0 };
}
