//! A machine with processes, address spaces and pages, which calls the programs where Linux does, and knows what it
//! has.
//!
//! Order and places are those of 6.18: `do_anonymous_page()` counts a new page and `wp_page_copy()` (mm/memory.c)
//! does not count a copied one, and both count the fault afterwards (`mm_account_fault()`).

extern crate std;

mod lives;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use memtrace_ebpf::{Image, Member, rss};

use super::{
    kernel::{BRANCHES, OFFSETS, Struct, config, current, switch_to},
    state,
};
use crate::{births, creation, envelope, life};

/// A page of memory.
type Page = u64;

/// An address space.
#[derive(Clone, Debug)]
struct Space {
    mm: Struct,
    /// What is at each place.
    pages: BTreeMap<u16, Page>,
    /// What was there and is in swap.
    swapped: BTreeMap<u16, Page>,
    /// Places of shared memory that are mapped: the page at a place is the same for all.
    mapped: BTreeSet<u16>,
    /// It is in the sum: not yet while a program is being started.
    counts: bool,
    /// The root that it counts for.
    branch: usize,
}

/// What an exiting process still has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The tracepoint `sched_process_exit`.
    Tell,
    /// `exit_mm()`, up to where the owner is cleared.
    LetGo,
    /// A part of its pages.
    Unmap,
    /// The tracepoint `exit_mmap`.
    TornDown,
}

#[derive(Clone, Debug)]
struct Task {
    task: Struct,
    signal: Struct,
    space: Option<usize>,
    /// The root that it descends from.
    branch: usize,
    /// What is left to do, the last one first, of a process that exits.
    left: Option<Vec<Left>>,
}

/// The machine, and what it is known to have held. Two CPUs can be in the midst of something: whatever
/// calls programs holds none of its parts borrowed.
pub(crate) struct Machine {
    tasks: RefCell<Vec<Task>>,
    spaces: RefCell<Vec<Space>>,
    next_page: Cell<Page>,
    next_pid: Cell<u32>,
    /// `sched_process_exit` comes before `exit_mm()`.
    tells_first: bool,
    /// A task that is nobody's, and has no memory.
    reclaimer: Struct,
    /// Where the next address space is.
    freed: Cell<Option<Struct>>,
    /// A page is just moved to swap or back.
    moves_pages: Cell<bool>,
    /// Pages of the last [`Machine::grow`].
    growth: Cell<u16>,
    /// The most different pages at a time.
    most: Cell<usize>,
    /// The largest sum.
    most_summed: Cell<usize>,
    /// The largest sum of each root and its descendants.
    most_of: Cell<[usize; BRANCHES]>,
}

impl Machine {
    /// With one process that has just executed the command.
    pub(crate) fn new(tells_first: bool) -> Self {
        let machine = Self::unfollowed(tells_first);
        creation::root_registered(machine.task_of(0).typed());
        machine.exec(0);
        machine
    }

    /// With one process, which nobody follows.
    pub(crate) fn unfollowed(tells_first: bool) -> Self {
        state::reset();
        let machine = Self {
            tasks: RefCell::default(),
            spaces: RefCell::default(),
            next_page: Cell::new(1),
            next_pid: Cell::new(100),
            tells_first,
            reclaimer: with_pid(1),
            freed: Cell::new(None),
            moves_pages: Cell::new(false),
            growth: Cell::new(0),
            most: Cell::new(0),
            most_summed: Cell::new(0),
            most_of: Cell::default(),
        };
        let own = machine.space(Struct::NONE, 0);
        let root = machine.task(Some(own), 0);
        let task = root.task;
        task.set(OFFSETS.task_real_parent, 0_u64);
        machine.mm_of(own).set(OFFSETS.mm_owner, task.address());
        machine.tasks.borrow_mut().push(root);
        machine.run(0);
        machine
    }

    /// How many processes there ever were.
    pub(crate) fn len(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// The most different pages that there were at a time, and the largest sum.
    pub(crate) fn most(&self) -> (i64, i64) {
        (self.most.get() as i64, self.most_summed.get() as i64)
    }

    /// The largest sum of each root and its descendants.
    pub(crate) fn most_of(&self) -> [i64; BRANCHES] {
        self.most_of.get().map(|pages| pages as i64)
    }

    fn space(&self, owner: Struct, branch: usize) -> usize {
        let mm = self.freed.take().unwrap_or_else(Struct::new);
        mm.clear();
        mm.set(OFFSETS.mm_users, 1_i32);
        mm.set(OFFSETS.mm_owner, owner.address());
        let mut spaces = self.spaces.borrow_mut();
        spaces.push(Space {
            mm,
            pages: BTreeMap::new(),
            swapped: BTreeMap::new(),
            mapped: BTreeSet::new(),
            counts: false,
            branch,
        });
        spaces.len() - 1
    }

    /// The next address space is where this one was, which has been torn down.
    pub(crate) fn use_again(&self, mm: Struct) {
        self.freed.set(Some(mm));
    }

    fn mm_of(&self, space: usize) -> Struct {
        self.spaces.borrow()[space].mm
    }

    /// Changes what an address space has, which no program sees.
    fn in_space<R>(&self, space: usize, change: impl FnOnce(&mut Space) -> R) -> R {
        change(&mut self.spaces.borrow_mut()[space])
    }

    fn task(&self, space: Option<usize>, branch: usize) -> Task {
        let pid = self.next_pid.get();
        self.next_pid.set(pid + 1);
        let (task, signal) = (with_pid(pid), Struct::new());
        let creator = current();
        task.set(OFFSETS.task_real_parent, creator);
        task.set(OFFSETS.task_pid, pid);
        task.set(OFFSETS.task_tgid, pid);
        task.set(OFFSETS.task_signal, signal.address());
        task.set(OFFSETS.task_group_leader, task.address());
        task.set(OFFSETS.task_start_boottime, state::now());
        if let Some(space) = space {
            task.set(OFFSETS.task_mm, self.mm_of(space).address());
        }
        signal.set(OFFSETS.signal_nr_threads, 1_i32);
        signal.set(OFFSETS.signal_live, 1_i32);
        Task {
            task,
            signal,
            space,
            branch,
            left: None,
        }
    }

    fn task_of(&self, who: usize) -> Struct {
        self.tasks.borrow()[who].task
    }

    fn signal_of(&self, who: usize) -> Struct {
        self.tasks.borrow()[who].signal
    }

    fn branch_of(&self, who: usize) -> usize {
        self.tasks.borrow()[who].branch
    }

    fn space_of(&self, who: usize) -> Option<usize> {
        self.tasks.borrow()[who].space
    }

    fn run(&self, who: usize) {
        switch_to(self.task_of(who).address());
    }

    fn lives(&self, who: usize) -> bool {
        let tasks = self.tasks.borrow();
        tasks.get(who).is_some_and(|task| task.left.is_none())
    }

    /// The address space of a process that runs.
    fn living_space(&self, who: usize) -> Option<usize> {
        self.space_of(who).filter(|_| self.lives(who))
    }

    /// A counter of the address space changes, in the context of whoever runs.
    fn count(&self, space: usize, member: Member, by: i64) {
        if by == 0 {
            return;
        }
        let mm = self.mm_of(space);
        mm.count(member, by);
        self.look();
        if let Some(image) = births::image_of(mm.typed()) {
            life::update(mm.typed(), || member as u32, image);
        }
    }

    /// What is true now.
    fn look(&self) {
        let spaces = self.spaces.borrow();
        let counting = spaces.iter().filter(|space| space.counts);
        let (mut summed, mut of, mut most_of) = (0, [0; BRANCHES], self.most_of.get());
        for space in counting {
            let pages = space.pages.len() + space.mapped.len();
            summed += pages;
            of[space.branch] += pages;
        }
        for (most, now) in most_of.iter_mut().zip(of) {
            *most = now.max(*most);
        }
        self.most_of.set(most_of);
        self.most.set(self.most.get().max(different(&spaces)));
        self.most_summed.set(self.most_summed.get().max(summed));
    }

    /// How many different pages there are.
    pub(crate) fn different(&self) -> usize {
        different(&self.spaces.borrow())
    }

    fn new_page(&self) -> Page {
        self.next_page.set(self.next_page.get() + 1);
        self.next_page.get()
    }

    /// Whether another address space has the page too.
    fn is_shared(&self, space: usize, page: Page) -> bool {
        let others = |(index, other): (usize, &Space)| {
            let mut all = other.pages.values().chain(other.swapped.values());
            index != space && all.any(|&p| p == page)
        };
        self.spaces.borrow().iter().enumerate().any(others)
    }

    /// Writes to a place: brings a page, copies a shared one, or finds its own.
    pub(crate) fn write(&self, who: usize, place: u16) {
        let Some(space) = self.living_space(who) else {
            return;
        };
        self.run(who);
        self.swap_in(who, space, place);
        let present = self.in_space(space, |space| space.pages.get(&place).copied());
        match present {
            None => {
                let page = self.new_page();
                self.in_space(space, |space| space.pages.insert(place, page));
                self.count(space, Member::Anon, 1);
            }
            Some(page) => {
                if !self.is_shared(space, page) {
                    return;
                }
                let copy = self.new_page();
                self.in_space(space, |space| space.pages.insert(place, copy));
                self.look();
            }
        }
        self.task_of(who).add(OFFSETS.task_min_flt, 1);
    }

    /// The kernel takes a page away from all who have it (`try_to_unmap_one()`), in a task of its own.
    pub(crate) fn swap_out(&self, who: usize, place: u16) {
        let page_of = |space: usize| self.in_space(space, |space| space.pages.get(&place).copied());
        let Some(page) = self.space_of(who).and_then(page_of) else {
            return;
        };
        switch_to(self.reclaimer.address());
        self.moves_pages.set(true);
        let all = self.spaces.borrow().len();
        for space in 0..all {
            let places: Vec<u16> = self.in_space(space, |space| {
                let pages = space.pages.iter().filter(|(_, p)| **p == page);
                pages.map(|(place, _)| *place).collect()
            });
            for place in places {
                self.in_space(space, |space| {
                    space.pages.remove(&place);
                    space.swapped.insert(place, page);
                });
                self.count(space, Member::Anon, -1);
                self.count(space, Member::Swap, 1);
            }
        }
        self.moves_pages.set(false);
    }

    /// Whether a page is just being moved to swap or back.
    pub(crate) fn moves_pages(&self) -> bool {
        self.moves_pages.get()
    }

    /// Reads a page back that is in swap, if it is (`do_swap_page()`): the same one for all.
    fn swap_in(&self, who: usize, space: usize, place: u16) {
        let found = self.in_space(space, |space| {
            let page = space.swapped.remove(&place)?;
            space.pages.insert(place, page);
            Some(page)
        });
        if found.is_none() {
            return;
        }
        self.moves_pages.set(true);
        self.count(space, Member::Anon, 1);
        self.count(space, Member::Swap, -1);
        self.moves_pages.set(false);
        self.task_of(who).add(OFFSETS.task_maj_flt, 1);
    }

    /// Reads what is at a place.
    pub(crate) fn read(&self, who: usize, place: u16) {
        if let Some(space) = self.living_space(who) {
            self.run(who);
            self.swap_in(who, space, place);
        }
    }

    /// Maps a page of shared memory; fork does not copy it (`vma_needs_copy()`).
    pub(crate) fn map(&self, who: usize, place: u16) {
        let Some(space) = self.living_space(who) else {
            return;
        };
        self.run(who);
        if self.in_space(space, |space| space.mapped.insert(place)) {
            self.count(space, Member::Shmem, 1);
            self.task_of(who).add(OFFSETS.task_min_flt, 1);
        }
    }

    /// Unmaps it.
    pub(crate) fn unmap_shared(&self, who: usize, place: u16) {
        let Some(space) = self.living_space(who) else {
            return;
        };
        self.run(who);
        if self.in_space(space, |space| space.mapped.remove(&place)) {
            self.count(space, Member::Shmem, -1);
        }
    }

    /// Gives a page back that is there, and no program has been told.
    pub(crate) fn remove(&self, who: usize, place: u16) {
        let space = self.space_of(who).expect("it has one");
        let removed = self.in_space(space, |space| space.pages.remove(&place));
        assert!(removed.is_some());
        self.mm_of(space).count(Member::Anon, -1);
    }

    /// Gives a page back.
    pub(crate) fn free(&self, who: usize, place: u16) {
        let Some(space) = self.living_space(who) else {
            return;
        };
        self.run(who);
        if self
            .in_space(space, |space| space.pages.remove(&place))
            .is_some()
        {
            self.count(space, Member::Anon, -1);
        }
        if self
            .in_space(space, |space| space.swapped.remove(&place))
            .is_some()
        {
            self.count(space, Member::Swap, -1);
        }
    }

    /// Holds more for a moment than anyone ever did: whatever the bounds are wrong about then, they are
    /// wrong about the peak.
    pub(crate) fn grow(&self, who: usize) {
        if !self.lives(who) {
            return;
        }
        self.growth.set(self.growth.get() + 30);
        let places = 1000..1000 + self.growth.get();
        for place in places.clone() {
            self.write(who, place);
        }
        for place in places {
            self.free(who, place);
        }
    }

    /// A page fault that brings and copies nothing, as those that only set a bit.
    pub(crate) fn fault(&self, who: usize) {
        if self.lives(who) {
            self.task_of(who).add(OFFSETS.task_min_flt, 1);
        }
    }

    /// The address space of a process.
    pub(crate) fn mm(&self, who: usize) -> Struct {
        self.mm_of(self.space_of(who).expect("it has one"))
    }

    /// Whether updates of the process's image need no lock, as long as a step takes.
    pub(crate) fn is_alone(&self, who: usize) -> bool {
        const STEP_NS: u64 = 50;
        let spins = config().spin_lock != 0;
        let found = self
            .living_space(who)
            .and_then(|space| state::image_and_tree(self.mm_of(space).address()));
        let until = state::now() + STEP_NS;
        // SAFETY: map values of this thread's.
        let is_alone = |(image, tree)| unsafe {
            life::is_alone(image, false) && envelope::is_within(image, tree, until)
        };
        spins && found.is_some_and(is_alone)
    }

    pub(crate) fn pid(&self, who: usize) -> u32 {
        self.task_of(who).get(OFFSETS.task_tgid)
    }

    /// What the images in the map hold together.
    pub(crate) fn booked() -> i64 {
        // SAFETY: map values of this thread's.
        let held = |image: *mut Image| unsafe { rss(&(*image).cur) };
        state::images().into_iter().map(held).sum()
    }
}

/// A task whose number is that in the namespace of all.
fn with_pid(number: u32) -> Struct {
    let (task, pid) = (Struct::new(), Struct::new());
    pid.set(OFFSETS.pid_numbers + OFFSETS.upid_nr, number);
    task.set(OFFSETS.task_thread_pid, pid.address());
    task
}

fn different(spaces: &[Space]) -> usize {
    let counting = spaces.iter().filter(|space| space.counts);
    let (mut own, mut shared) = (BTreeSet::<Page>::new(), BTreeSet::<u16>::new());
    for space in counting {
        own.extend(space.pages.values());
        shared.extend(&space.mapped);
    }
    own.len() + shared.len()
}
