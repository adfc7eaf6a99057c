//! A kernel that has processes, address spaces and pages, and calls the programs where Linux does.
//!
//! Order and places are those of 6.18: `dup_mmap()` (mm/mmap.c) counts copied pages to an address
//! space that no task has yet; `do_anonymous_page()` counts a new page and `wp_page_copy()` (mm/memory.c) does
//! not count a copied one, and both count the fault afterwards (`mm_account_fault()`); `do_exit()`
//! (kernel/exit.c) calls `sched_process_exit` before `exit_mm()`, before 6.16 behind it; `exit_mm()` clears
//! the owner and then the last user tears down.

extern crate std;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use memtrace_ebpf::{ABSENT, Config, CounterLayout, Image, Member, Offsets, SumScheme, rss};

use super::state;
use crate::{
    creation, departure, execution,
    kernel::{Address, Typed},
    life,
};

/// Where this kernel has the fields that it has.
pub(crate) static OFFSETS: Offsets = Offsets {
    mm_users: 0,
    mm_owner: 8,
    mm_rss_stat: 16,
    counter_count: 0,
    counter_lock: 8,
    counter_stride: 16,
    mm_total_vm: 80,
    mm_hiwater_vm: 88,
    mm_hiwater_rss: 96,
    mm_hugetlb_usage: 104,
    task_pid: 0,
    task_tgid: 4,
    task_mm: 8,
    task_signal: 16,
    task_group_leader: 24,
    task_min_flt: 32,
    task_maj_flt: 40,
    task_start_boottime: 48,
    task_comm: 56,
    signal_nr_threads: 0,
    signal_live: 4,
    signal_min_flt: 8,
    signal_maj_flt: 16,
    ..Offsets::UNKNOWN
};

/// Counters without shares.
const CONFIG: Config = Config {
    layout: CounterLayout::PerCpu as u32,
    scheme: SumScheme::AllCpus as u32,
    cpus: 1,
    real_cpus: 1,
    ends_at_exit_mmap: 1,
    ..Config::UNSET
};

static SPINNING: Config = Config {
    spin_lock: 1,
    ..CONFIG
};

static LOCKED: Config = CONFIG;

std::thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
    static USED: Cell<&'static Config> = const { Cell::new(&SPINNING) };
}

/// What the programs were told.
pub(crate) fn config() -> &'static Config {
    USED.get()
}

/// The kernel takes spin locks in programs, or does not.
pub(crate) fn use_spin_lock(takes: bool) {
    USED.set(if takes { &SPINNING } else { &LOCKED });
}

/// The address of the task that runs.
pub(crate) fn current() -> u64 {
    CURRENT.get()
}

/// Another task runs.
pub(crate) fn switch_to(task: u64) {
    CURRENT.set(task);
}

pub(crate) fn current_tgid() -> u32 {
    Struct(current()).get(OFFSETS.task_tgid)
}

/// A struct of this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Struct(u64);

impl Struct {
    /// One of zeros, whose address is not used again as long as the machine is the same.
    fn new() -> Self {
        Self(state::place::<[u64; 16]>() as u64)
    }

    fn get<T: Copy>(self, offset: u32) -> T {
        assert_ne!(offset, ABSENT, "this kernel has no such field");
        // SAFETY: the field of a struct that stays.
        unsafe { ((self.0 + u64::from(offset)) as *const T).read() }
    }

    fn set<T: Copy>(self, offset: u32, value: T) {
        assert_ne!(offset, ABSENT, "this kernel has no such field");
        // SAFETY: the field of a struct that stays.
        unsafe { ((self.0 + u64::from(offset)) as *mut T).write(value) }
    }

    fn add(self, offset: u32, by: i64) {
        self.set(offset, self.get::<i64>(offset) + by);
    }

    /// A counter of this `mm_struct` changes.
    pub(crate) fn count(self, member: Member, by: i64) {
        let at = OFFSETS.mm_rss_stat + member as u32 * OFFSETS.counter_stride;
        self.add(at, by);
    }

    /// This `mm_struct` has so many huge pages.
    pub(crate) fn set_huge(self, pages: i64) {
        self.set(OFFSETS.mm_hugetlb_usage, pages);
    }

    /// A CPU begins to move its share of a counter of this `mm_struct`, or is done.
    pub(crate) fn lock(self, member: Member, held: bool) {
        let at = OFFSETS.mm_rss_stat + member as u32 * OFFSETS.counter_stride;
        self.set(at + OFFSETS.counter_lock, u32::from(held));
    }

    pub(crate) const fn address(self) -> u64 {
        self.0
    }

    pub(crate) const fn typed(self) -> Typed {
        Typed::new(self.0 as *const u8)
    }

    /// The tracepoint `sched_process_exit` of this task.
    pub(crate) fn tell_exit(self) {
        switch_to(self.0);
        let tgid: u32 = self.get(OFFSETS.task_tgid);
        if let Some(process) = state::process(tgid) {
            // SAFETY: its entry.
            unsafe { departure::exited(self.typed(), tgid, process) };
        }
    }
}

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
    /// Pages of the last [`Machine::grow`].
    growth: Cell<u16>,
    /// The most different pages at a time.
    most: Cell<usize>,
    /// The largest sum.
    most_summed: Cell<usize>,
}

impl Machine {
    /// With one process that has just executed the command.
    pub(crate) fn new(tells_first: bool) -> Self {
        state::reset();
        let machine = Self {
            tasks: RefCell::default(),
            spaces: RefCell::default(),
            next_page: Cell::new(1),
            next_pid: Cell::new(100),
            tells_first,
            reclaimer: Struct::new(),
            growth: Cell::new(0),
            most: Cell::new(0),
            most_summed: Cell::new(0),
        };
        let own = machine.space(Struct(0));
        let root = machine.task(Some(own));
        let task = root.task;
        machine.mm_of(own).set(OFFSETS.mm_owner, task.0);
        machine.tasks.borrow_mut().push(root);
        machine.run(0);
        creation::root_registered(task.typed());
        machine.exec(0);
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

    fn space(&self, owner: Struct) -> usize {
        let mm = Struct::new();
        mm.set(OFFSETS.mm_users, 1_i32);
        mm.set(OFFSETS.mm_owner, owner.0);
        let mut spaces = self.spaces.borrow_mut();
        spaces.push(Space {
            mm,
            pages: BTreeMap::new(),
            swapped: BTreeMap::new(),
            mapped: BTreeSet::new(),
            counts: false,
        });
        spaces.len() - 1
    }

    fn mm_of(&self, space: usize) -> Struct {
        self.spaces.borrow()[space].mm
    }

    /// Changes what an address space has, which no program sees.
    fn in_space<R>(&self, space: usize, change: impl FnOnce(&mut Space) -> R) -> R {
        change(&mut self.spaces.borrow_mut()[space])
    }

    fn task(&self, space: Option<usize>) -> Task {
        let (task, signal) = (Struct::new(), Struct::new());
        let pid = self.next_pid.get();
        self.next_pid.set(pid + 1);
        task.set(OFFSETS.task_pid, pid);
        task.set(OFFSETS.task_tgid, pid);
        task.set(OFFSETS.task_signal, signal.0);
        task.set(OFFSETS.task_group_leader, task.0);
        task.set(OFFSETS.task_start_boottime, state::now());
        if let Some(space) = space {
            task.set(OFFSETS.task_mm, self.mm_of(space).0);
        }
        signal.set(OFFSETS.signal_nr_threads, 1_i32);
        signal.set(OFFSETS.signal_live, 1_i32);
        Task {
            task,
            signal,
            space,
            left: None,
        }
    }

    fn task_of(&self, who: usize) -> Struct {
        self.tasks.borrow()[who].task
    }

    fn signal_of(&self, who: usize) -> Struct {
        self.tasks.borrow()[who].signal
    }

    fn space_of(&self, who: usize) -> Option<usize> {
        self.tasks.borrow()[who].space
    }

    fn run(&self, who: usize) {
        switch_to(self.task_of(who).0);
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
        if let Some(image) = life::image_of(mm.typed()) {
            life::update(mm.typed(), || member as u32, image);
        }
    }

    /// What is true now.
    fn look(&self) {
        let spaces = self.spaces.borrow();
        let counting = spaces.iter().filter(|space| space.counts);
        let summed = counting
            .map(|space| space.pages.len() + space.mapped.len())
            .sum();
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
        switch_to(self.reclaimer.0);
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
        self.count(space, Member::Anon, 1);
        self.count(space, Member::Swap, -1);
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

    /// Creates a process that shares the address space (`CLONE_VM`).
    pub(crate) fn lend(&self, who: usize) {
        let Some(space) = self.living_space(who) else {
            return;
        };
        self.run(who);
        let child = self.task(Some(space));
        let mm = self.mm_of(space);
        mm.set(OFFSETS.mm_users, mm.get::<i32>(OFFSETS.mm_users) + 1);
        let typed = child.task.typed();
        self.tasks.borrow_mut().push(child);
        creation::process_created(typed, true);
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

    /// A second thread, whose faults the footprint cannot add up.
    pub(crate) fn thread(&self, who: usize) {
        if self.lives(who) {
            self.signal_of(who).set(OFFSETS.signal_nr_threads, 2_i32);
        }
    }

    pub(crate) fn fork(&self, who: usize) {
        if let Some(child) = self.begin_fork(who) {
            self.run(who);
            self.end_fork(child);
        }
    }

    /// A fork up to where the address space is copied.
    pub(crate) fn begin_fork(&self, who: usize) -> Option<Forked> {
        let space = self.living_space(who)?;
        self.run(who);
        let child = self.task(None);
        let tgid: u32 = self.task_of(who).get(OFFSETS.task_tgid);
        let own: u32 = child.task.get(OFFSETS.task_tgid);
        // dup_task_struct() copies the creator's.
        child.task.set(OFFSETS.task_tgid, tgid);
        let copy = self.space(child.task);
        self.in_space(copy, |copy| copy.counts = true);
        let places: Vec<u16> = self.in_space(space, |space| {
            let all = space.pages.keys().chain(space.swapped.keys());
            all.copied()
                .collect::<BTreeSet<u16>>()
                .into_iter()
                .collect()
        });
        // What another CPU takes away meanwhile is not copied, and may be what was.
        for some in places.chunks(3) {
            let of = |all: &BTreeMap<u16, Page>| -> Vec<(u16, Page)> {
                let found = some.iter().filter_map(|p| Some((*p, *all.get(p)?)));
                found.collect()
            };
            let (pages, swapped) =
                self.in_space(space, |space| (of(&space.pages), of(&space.swapped)));
            let (copied, entries) = (pages.len() as i64, swapped.len() as i64);
            self.in_space(copy, |copy| {
                copy.pages.extend(pages);
                copy.swapped.extend(swapped);
            });
            self.count(copy, Member::Anon, copied);
            self.count(copy, Member::Swap, entries);
        }
        Some(Forked {
            child,
            copy,
            tgid: own,
        })
    }

    /// The rest of it.
    pub(crate) fn end_fork(&self, forked: Forked) {
        let Forked { child, copy, tgid } = forked;
        child.task.set(OFFSETS.task_tgid, tgid);
        child.task.set(OFFSETS.task_mm, self.mm_of(copy).0);
        let typed = child.task.typed();
        self.tasks.borrow_mut().push(Task {
            space: Some(copy),
            ..child
        });
        creation::process_created(typed, true);
    }

    /// Executes another program, with one page of arguments.
    pub(crate) fn exec(&self, who: usize) {
        if !self.lives(who) {
            return;
        }
        self.run(who);
        let task = self.task_of(who);
        let fresh = self.space(task);
        let page = self.new_page();
        self.in_space(fresh, |fresh| fresh.pages.insert(0, page));
        self.count(fresh, Member::Anon, 1);
        // exec_mmap()
        let old = self.tasks.borrow_mut()[who].space.replace(fresh);
        let mm = self.mm_of(fresh);
        task.set(OFFSETS.task_mm, mm.0);
        self.in_space(fresh, |fresh| fresh.counts = true);
        self.look();
        if let Some(old) = old
            && self.let_go(old, task)
        {
            while self.unmap(old) {}
            self.torn_down(old);
        }
        let tgid: u32 = task.get(OFFSETS.task_tgid);
        if let Some(process) = state::process(tgid) {
            // SAFETY: a map value of this thread's.
            unsafe { execution::executed(Address::new(mm.0), tgid, process) };
        }
        self.signal_of(who).set(OFFSETS.signal_nr_threads, 1_i32);
    }

    /// A task does not use the address space any more; true if no other one does. The owner is another user
    /// then, if it was this one (`mm_update_next_owner()`).
    fn let_go(&self, space: usize, task: Struct) -> bool {
        let mm = self.mm_of(space);
        let users = mm.get::<i32>(OFFSETS.mm_users) - 1;
        mm.set(OFFSETS.mm_users, users);
        if mm.get::<u64>(OFFSETS.mm_owner) == task.0 {
            let tasks = self.tasks.borrow();
            let uses = |other: &&Task| {
                other.task != task && other.task.get::<u64>(OFFSETS.task_mm) == mm.0
            };
            let next = tasks.iter().find(uses).map_or(0, |other| other.task.0);
            mm.set(OFFSETS.mm_owner, next);
        }
        users == 0
    }

    /// Frees some pages; false if there are none.
    fn unmap(&self, space: usize) -> bool {
        let entries = self.in_space(space, |space| std::mem::take(&mut space.swapped).len());
        self.count(space, Member::Swap, -(entries as i64));
        let freed = self.in_space(space, |space| {
            let places: Vec<u16> = space.pages.keys().copied().take(3).collect();
            for place in &places {
                space.pages.remove(place);
            }
            places.len()
        });
        self.count(space, Member::Anon, -(freed as i64));
        let unmapped = self.in_space(space, |space| std::mem::take(&mut space.mapped).len());
        self.count(space, Member::Shmem, -(unmapped as i64));
        freed + unmapped > 0
    }

    fn torn_down(&self, space: usize) {
        life::torn_down(self.mm_of(space).typed());
        self.in_space(space, |space| space.counts = false);
    }

    /// A process begins to exit, or goes on: one step of what it still has to do.
    pub(crate) fn exit(&self, who: usize) {
        let Some(space) = self.space_of(who) else {
            return;
        };
        self.run(who);
        let tells_first = self.tells_first;
        let next = {
            let mut tasks = self.tasks.borrow_mut();
            let left = tasks[who].left.get_or_insert_with(|| {
                if tells_first {
                    std::vec![Left::TornDown, Left::Unmap, Left::LetGo, Left::Tell]
                } else {
                    std::vec![Left::Tell, Left::TornDown, Left::Unmap, Left::LetGo]
                }
            });
            left.pop()
        };
        match next {
            Some(Left::Tell) => self.tell_exit(who),
            Some(Left::LetGo) => {
                let task = self.task_of(who);
                task.set(OFFSETS.task_mm, 0_u64);
                if !self.let_go(space, task)
                    && let Some(left) = &mut self.tasks.borrow_mut()[who].left
                {
                    left.retain(|step| *step == Left::Tell);
                }
            }
            Some(Left::Unmap) => {
                if self.unmap(space)
                    && let Some(left) = &mut self.tasks.borrow_mut()[who].left
                {
                    left.push(Left::Unmap);
                }
            }
            Some(Left::TornDown) => self.torn_down(space),
            None => {}
        }
    }

    /// `sched_process_exit` of the last thread.
    fn tell_exit(&self, who: usize) {
        self.signal_of(who).set(OFFSETS.signal_live, 0_i32);
        self.task_of(who).tell_exit();
    }

    /// The address space of a process.
    pub(crate) fn mm(&self, who: usize) -> Struct {
        self.mm_of(self.space_of(who).expect("it has one"))
    }

    /// The process runs, and begins to build an address space for a program.
    pub(crate) fn begin_exec(&self, who: usize) -> Struct {
        self.run(who);
        let space = self.space(self.task_of(who));
        self.mm_of(space)
    }

    /// Whether updates of the process's image need no lock.
    pub(crate) fn is_alone(&self, who: usize) -> bool {
        let spins = config().spin_lock != 0;
        let image = self
            .living_space(who)
            .and_then(|space| state::image(self.mm_of(space).0));
        // SAFETY: a map value of this thread's.
        spins && image.is_some_and(|image| unsafe { life::is_alone(image, false) })
    }

    pub(crate) fn pid(&self, who: usize) -> u32 {
        self.task_of(who).get(OFFSETS.task_tgid)
    }

    /// Both threads of a process, which gets a second one, when both have begun to exit.
    pub(crate) fn last_threads(&self, who: usize) -> [Struct; 2] {
        self.run(who);
        let (task, signal) = (self.task_of(who), self.signal_of(who));
        let thread = self.task(None).task;
        thread.set(OFFSETS.task_tgid, self.pid(who));
        thread.set(OFFSETS.task_signal, signal.0);
        thread.set(OFFSETS.task_group_leader, task.0);
        creation::process_created(thread.typed(), true);
        signal.set(OFFSETS.signal_live, 0_i32);
        [task, thread]
    }

    /// All processes exit, one after the other.
    pub(crate) fn end(&self) {
        for who in 0..self.len() {
            for _ in 0..200 {
                self.exit(who);
            }
        }
    }

    /// What the images in the map hold together.
    pub(crate) fn booked() -> i64 {
        // SAFETY: map values of this thread's.
        let held = |image: *mut Image| unsafe { rss(&(*image).cur) };
        state::images().into_iter().map(held).sum()
    }
}

/// A fork whose address space is copied.
pub(crate) struct Forked {
    child: Task,
    copy: usize,
    tgid: u32,
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
