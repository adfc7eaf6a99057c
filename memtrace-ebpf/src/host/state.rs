//! The maps, as `crate::state` has them for BPF programs.

extern crate std;

use std::{any::Any, boxed::Box, cell::RefCell, collections::BTreeMap, vec::Vec};

use memtrace_ebpf::{
    Branch, Control, Image, ImageKind, ImageWindow, Process, Stat, Tree, TreeWindow, Wanted,
};

use super::{kernel, windows};
use crate::creation;

/// Where another CPU can come between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// While the lock is waited for.
    Lock,
    /// Before an image is looked up with its tree.
    LookUp,
    /// Before an image goes into the map, on this very CPU: its own program is preempted.
    Preempted,
    /// Before an image goes into the map.
    Insert,
    /// Before a moment begins: what is to be booked is known.
    Moment,
    /// While time is let pass.
    Pause,
}

/// What another CPU does.
type Act = Box<dyn FnOnce()>;

/// All maps. Values that are removed stay readable, and are the next ones' at once, as in the kernel's
/// maps.
struct Maps {
    /// All memory that was given out, of maps and of the kernel.
    memory: Vec<Box<[u64]>>,
    images: BTreeMap<u64, *mut Image>,
    free_images: Vec<*mut Image>,
    processes: BTreeMap<u32, *mut Process>,
    free_processes: Vec<*mut Process>,
    /// Where images are put together, by the CPU and whether they are taken in.
    nascent: BTreeMap<(u32, bool), *mut Image>,
    /// The CPU that runs.
    cpu: u32,
    /// After so many more times at the point.
    act: Option<(u32, Point, Act)>,
    trees: Vec<*mut Tree>,
    ended: Vec<Image>,
    tree_windows: Vec<TreeWindow>,
    image_windows: Vec<ImageWindow>,
    control: *mut Control,
    wanted: BTreeMap<u32, *mut Wanted>,
    branches: Vec<*mut Branch>,
    stats: [u64; Stat::ALL.len()],
    now: u64,
}

std::thread_local! {
    static MAPS: RefCell<Maps> = RefCell::new(Maps::new());
}

impl Maps {
    fn new() -> Self {
        let mut maps = Self {
            memory: Vec::new(),
            images: BTreeMap::new(),
            free_images: Vec::new(),
            processes: BTreeMap::new(),
            free_processes: Vec::new(),
            nascent: BTreeMap::new(),
            cpu: 0,
            act: None,
            trees: Vec::new(),
            ended: Vec::new(),
            tree_windows: Vec::new(),
            image_windows: Vec::new(),
            control: std::ptr::null_mut(),
            wanted: BTreeMap::new(),
            branches: Vec::new(),
            stats: [0; Stat::ALL.len()],
            now: 1_000_000_000,
        };
        maps.control = maps.place();
        let tree = maps.place();
        maps.trees.push(tree);
        maps
    }

    /// Room for a value, of zeros.
    fn place<T: Copy>(&mut self) -> *mut T {
        let mut room = std::vec![0_u64; size_of::<T>().div_ceil(8)].into_boxed_slice();
        let place = room.as_mut_ptr().cast();
        self.memory.push(room);
        place
    }
}

fn with<R>(use_them: impl FnOnce(&mut Maps) -> R) -> R {
    MAPS.with_borrow_mut(use_them)
}

/// Room for a value of the kernel's, of zeros, until the machine is another.
pub(crate) fn place<T: Copy>() -> *mut T {
    with(Maps::place)
}

/// Everything as at the start, and all memory given back.
pub(crate) fn reset() {
    with(|maps| *maps = Maps::new());
    windows::reset();
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

pub(crate) fn nascent_image(kind: u64) -> Option<*mut Image> {
    Some(with(|maps| {
        let whose = (maps.cpu, kind == ImageKind::Attached as u64);
        let known = maps.nascent.get(&whose).copied();
        let place = known.unwrap_or_else(|| maps.place());
        maps.nascent.insert(whose, place);
        place
    }))
}

pub(crate) fn insert_image(mm: u64, image: *const Image) -> bool {
    others(Point::Preempted);
    others(Point::Insert);
    with(|maps| {
        if maps.images.contains_key(&mm) {
            return false;
        }
        let free = maps.free_images.pop();
        let place = free.unwrap_or_else(|| maps.place());
        // SAFETY: both are images.
        unsafe { place.copy_from(image, 1) };
        maps.images.insert(mm, place);
        true
    })
}

pub(crate) fn remove_image(mm: u64) {
    with(|maps| {
        let removed = maps.images.remove(&mm);
        maps.free_images.extend(removed);
    });
}

pub(crate) fn process(tgid: u32) -> Option<*mut Process> {
    with(|maps| maps.processes.get(&tgid).copied())
}

pub(crate) fn insert_process(tgid: u32, process: &Process) -> u64 {
    // SAFETY: a map value of this thread's.
    let started = |there: *mut Process| unsafe { (*there).started_at };
    if self::process(tgid).is_some_and(|there| started(there) == process.started_at) {
        return creation::KNOWN;
    }
    with(|maps| {
        let free = maps.free_processes.pop();
        let place = free.unwrap_or_else(|| maps.place());
        // SAFETY: as large as a process.
        unsafe { place.write(*process) };
        maps.processes.insert(tgid, place);
    });
    creation::ADMITTED
}

pub(crate) fn remove_process_locked(tgid: u64) -> u64 {
    with(|maps| {
        let removed = u32::try_from(tgid)
            .ok()
            .and_then(|tgid| maps.processes.remove(&tgid));
        maps.free_processes.extend(removed);
    });
    0
}

/// Another CPU does something when this one next comes to `point`.
pub(crate) fn meanwhile(point: Point, act: impl FnOnce() + 'static) {
    meanwhile_later(0, point, act);
}

/// The same, when it has come to the point `skipped` times before.
pub(crate) fn meanwhile_later(skipped: u32, point: Point, act: impl FnOnce() + 'static) {
    with(|maps| maps.act = Some((skipped, point, Box::new(act))));
}

/// Whether somebody has the lock.
pub(crate) fn is_locked() -> bool {
    // SAFETY: a map value of this thread's.
    tree(0).is_some_and(|tree| unsafe { (*tree).lock != 0 })
}

/// Nor does it any more, if it has not.
pub(crate) fn nothing_meanwhile() {
    with(|maps| maps.act = None);
}

/// Lets another CPU do what it is to do at this point, or this one, if its program is preempted there.
pub(crate) fn others(point: Point) {
    let due = with(|maps| match maps.act.take() {
        Some((0, at, act)) if at == point => Some(act),
        Some((skipped, at, act)) if at == point => {
            maps.act = Some((skipped - 1, at, act));
            None
        }
        later => {
            maps.act = later;
            None
        }
    });
    if let Some(act) = due {
        let (here, cpu) = (kernel::current(), with(|maps| maps.cpu));
        if point != Point::Preempted {
            with(|maps| maps.cpu += 1);
        }
        act();
        with(|maps| maps.cpu = cpu);
        kernel::switch_to(here);
    }
}

/// Whether nothing is left for another CPU to do.
pub(crate) fn all_done() -> bool {
    with(|maps| maps.act.is_none())
}

pub(crate) fn is_tracked(tgid: u32) -> bool {
    process(tgid).is_some()
}

/// What is in the map is followed.
pub(crate) const fn set_tracked(_tgid: u32, _tracked: bool) {}

/// One thread reads in order.
pub(crate) const fn fence() {}

/// No program is skipped.
pub(crate) const fn set_exit_seen(_tid: u32) {}

/// Nobody asks for what it ran.
pub(crate) const fn note_ended(_signal: u64, _process: u64, _tree: u32) {}

/// Threads have no caches.
pub(crate) const fn remove_cache(_tid: u32) {}

/// As [`set_exit_seen`].
pub(crate) const fn take_exit_seen(_tid: u32) -> bool {
    false
}

pub(crate) fn tree(index: u32) -> Option<*mut Tree> {
    with(|maps| maps.trees.get(index as usize).copied())
}

pub(crate) fn image_and_tree(mm: u64) -> Option<(*mut Image, *mut Tree)> {
    others(Point::LookUp);
    let image = image(mm)?;
    // SAFETY: a map value of this thread's.
    let tree = tree(unsafe { (*image).tree })?;
    Some((image, tree))
}

pub(crate) fn control() -> Option<*mut Control> {
    Some(with(|maps| maps.control))
}

/// The process with this id is to be a root, and the next branch if `branch` is not one yet.
pub(crate) fn want(pid: u32, branch: u32) {
    with(|maps| {
        let wanted: *mut Wanted = maps.place();
        // SAFETY: as large as one.
        unsafe { (*wanted).branch = branch };
        maps.wanted.insert(pid, wanted);
        if maps.branches.len() <= branch as usize {
            let place = maps.place();
            maps.branches.push(place);
        }
    });
}

pub(crate) fn wanted(pid: u32) -> Option<*mut Wanted> {
    with(|maps| maps.wanted.get(&pid).copied())
}

/// Whoever waits is waited for.
pub(crate) const fn is_impatient() -> bool {
    false
}

pub(crate) fn branch(index: u32) -> Option<*mut Branch> {
    with(|maps| maps.branches.get(index as usize).copied())
}

/// Of records only those of images that end are looked at.
pub(crate) fn send<T: Copy + 'static>(record: &T) {
    let record: &dyn Any = record;
    if let Some(image) = record.downcast_ref::<Image>() {
        with(|maps| maps.ended.push(*image));
    }
}

/// The images that ended.
pub(crate) fn ended() -> Vec<Image> {
    with(|maps| maps.ended.clone())
}

/// Of records of the timeline, windows are kept.
pub(crate) fn send_to_timeline<T: Copy + 'static>(record: &T) {
    let record: &dyn Any = record;
    if let Some(window) = record.downcast_ref::<TreeWindow>() {
        with(|maps| maps.tree_windows.push(*window));
    }
    if let Some(window) = record.downcast_ref::<ImageWindow>() {
        with(|maps| maps.image_windows.push(*window));
    }
}

/// The windows that were sent.
pub(crate) fn windows() -> (Vec<TreeWindow>, Vec<ImageWindow>) {
    with(|maps| (maps.tree_windows.clone(), maps.image_windows.clone()))
}

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

impl Held {
    pub(crate) const NOT: Self = Self(());
}

/// One thread needs no lock, but must give back what it took.
pub(crate) fn lock(tree: *mut Tree) -> Held {
    others(Point::Lock);
    // SAFETY: a value of this thread's.
    unsafe {
        assert_eq!((*tree).lock, 0, "the lock is taken twice");
        assert_eq!((*tree).moment, 0, "the lock is taken in a moment");
        (*tree).lock = 1;
    }
    Held(())
}

pub(crate) fn pause() {
    others(Point::Pause);
}

pub(crate) fn unlock(tree: *mut Tree, Held(()): Held) {
    // SAFETY: a value of this thread's.
    unsafe { (*tree).lock = 0 };
}
