//! A kernel that has processes, address spaces and pages, and calls the programs where Linux does.
//!
//! Order and places are those of 6.18: `dup_mmap()` (mm/mmap.c) counts copied pages to an address
//! space that no task has yet; `do_anonymous_page()` counts a new page and `wp_page_copy()` (mm/memory.c) does
//! not count a copied one, and both count the fault afterwards (`mm_account_fault()`); `do_exit()`
//! (kernel/exit.c) calls `sched_process_exit` before `exit_mm()`, before 6.16 behind it; `exit_mm()` clears
//! the owner and then the last user tears down.

extern crate std;

use std::{
    cell::Cell,
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
    counter_stride: 8,
    mm_total_vm: 48,
    mm_hiwater_vm: 56,
    mm_hiwater_rss: 64,
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

/// Counters in one word, as up to 6.1, but without caches of threads.
pub(crate) static CONFIG: Config = Config {
    layout: CounterLayout::PerCpu as u32,
    scheme: SumScheme::AllCpus as u32,
    cpus: 1,
    real_cpus: 1,
    ends_at_exit_mmap: 1,
    ..Config::UNSET
};

std::thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
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

/// The machine, and what it is known to have held.
pub(crate) struct Machine {
    tasks: Vec<Task>,
    spaces: Vec<Space>,
    next_page: Page,
    next_pid: u32,
    /// `sched_process_exit` comes before `exit_mm()`.
    tells_first: bool,
    /// A task that is nobody's, and has no memory.
    reclaimer: Struct,
    /// Pages of the last [`Machine::grow`].
    growth: u16,
    /// The most different pages at a time.
    pub(crate) most: usize,
    /// The largest sum.
    pub(crate) most_summed: usize,
}

impl Machine {
    /// With one process that has just executed the command.
    pub(crate) fn new(tells_first: bool) -> Self {
        state::reset();
        let mut machine = Self {
            tasks: Vec::new(),
            spaces: Vec::new(),
            next_page: 1,
            next_pid: 100,
            tells_first,
            reclaimer: Struct::new(),
            growth: 0,
            most: 0,
            most_summed: 0,
        };
        let own = machine.space(Struct(0));
        let root = machine.task(Some(own));
        let mm = machine.spaces[own].mm;
        mm.set(OFFSETS.mm_owner, root.task.0);
        machine.tasks.push(root);
        machine.run(0);
        creation::root_registered(machine.tasks[0].task.typed());
        machine.exec(0);
        machine
    }

    /// How many processes there ever were.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    fn space(&mut self, owner: Struct) -> usize {
        let mm = Struct::new();
        mm.set(OFFSETS.mm_users, 1_i32);
        mm.set(OFFSETS.mm_owner, owner.0);
        self.spaces.push(Space {
            mm,
            pages: BTreeMap::new(),
            swapped: BTreeMap::new(),
            counts: false,
        });
        self.spaces.len() - 1
    }

    fn task(&mut self, space: Option<usize>) -> Task {
        let (task, signal) = (Struct::new(), Struct::new());
        let pid = self.next_pid;
        self.next_pid += 1;
        task.set(OFFSETS.task_pid, pid);
        task.set(OFFSETS.task_tgid, pid);
        task.set(OFFSETS.task_signal, signal.0);
        task.set(OFFSETS.task_group_leader, task.0);
        task.set(OFFSETS.task_start_boottime, state::now());
        if let Some(space) = space {
            task.set(OFFSETS.task_mm, self.spaces[space].mm.0);
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

    fn run(&self, who: usize) {
        CURRENT.set(self.tasks[who].task.0);
    }

    fn lives(&self, who: usize) -> bool {
        self.tasks.get(who).is_some_and(|task| task.left.is_none())
    }

    /// A counter of the address space changes, in the context of whoever runs.
    fn count(&mut self, space: usize, member: Member, by: i64) {
        if by == 0 {
            return;
        }
        let mm = self.spaces[space].mm;
        let at = OFFSETS.mm_rss_stat + member as u32 * OFFSETS.counter_stride;
        mm.add(at, by);
        self.look();
        if let Some(image) = life::image_of(mm.typed()) {
            life::update(mm.typed(), || member as u32, image);
        }
    }

    /// What is true now.
    fn look(&mut self) {
        let counting = self.spaces.iter().filter(|space| space.counts);
        let summed = counting.map(|space| space.pages.len()).sum();
        self.most = self.most.max(self.different());
        self.most_summed = self.most_summed.max(summed);
    }

    /// How many different pages there are.
    pub(crate) fn different(&self) -> usize {
        let counting = self.spaces.iter().filter(|space| space.counts);
        let pages: BTreeSet<&Page> = counting.flat_map(|space| space.pages.values()).collect();
        pages.len()
    }

    fn new_page(&mut self) -> Page {
        self.next_page += 1;
        self.next_page
    }

    /// Writes to a place: brings a page, copies a shared one, or finds its own.
    pub(crate) fn write(&mut self, who: usize, place: u16) {
        let Some(space) = self.tasks[who].space.filter(|_| self.lives(who)) else {
            return;
        };
        self.run(who);
        self.swap_in(who, space, place);
        match self.spaces[space].pages.get(&place).copied() {
            None => {
                let page = self.new_page();
                self.spaces[space].pages.insert(place, page);
                self.count(space, Member::Anon, 1);
            }
            Some(page) => {
                let others = |(index, other): (usize, &Space)| {
                    let mut all = other.pages.values().chain(other.swapped.values());
                    index != space && all.any(|&p| p == page)
                };
                if !self.spaces.iter().enumerate().any(others) {
                    return;
                }
                let copy = self.new_page();
                self.spaces[space].pages.insert(place, copy);
                self.look();
            }
        }
        self.tasks[who].task.add(OFFSETS.task_min_flt, 1);
    }

    /// The kernel takes a page away from all who have it (`try_to_unmap_one()`), in a task of its own.
    pub(crate) fn swap_out(&mut self, who: usize, place: u16) {
        let Some(page) = self.tasks[who]
            .space
            .and_then(|space| self.spaces[space].pages.get(&place).copied())
        else {
            return;
        };
        switch_to(self.reclaimer.0);
        for space in 0..self.spaces.len() {
            let pages = &self.spaces[space].pages;
            let places: Vec<u16> = (pages.iter())
                .filter(|(_, p)| **p == page)
                .map(|(place, _)| *place)
                .collect();
            for place in places {
                let Space { pages, swapped, .. } = &mut self.spaces[space];
                pages.remove(&place);
                swapped.insert(place, page);
                self.count(space, Member::Anon, -1);
                self.count(space, Member::Swap, 1);
            }
        }
    }

    /// Reads a page back that is in swap, if it is (`do_swap_page()`): the same one for all.
    fn swap_in(&mut self, who: usize, space: usize, place: u16) {
        let Some(page) = self.spaces[space].swapped.get(&place).copied() else {
            return;
        };
        self.spaces[space].pages.insert(place, page);
        self.count(space, Member::Anon, 1);
        self.spaces[space].swapped.remove(&place);
        self.count(space, Member::Swap, -1);
        self.tasks[who].task.add(OFFSETS.task_maj_flt, 1);
    }

    /// Reads what is at a place.
    pub(crate) fn read(&mut self, who: usize, place: u16) {
        if let Some(space) = self.tasks[who].space.filter(|_| self.lives(who)) {
            self.run(who);
            self.swap_in(who, space, place);
        }
    }

    /// Gives a page back.
    pub(crate) fn free(&mut self, who: usize, place: u16) {
        let Some(space) = self.tasks[who].space.filter(|_| self.lives(who)) else {
            return;
        };
        self.run(who);
        if self.spaces[space].pages.remove(&place).is_some() {
            self.count(space, Member::Anon, -1);
        }
        if self.spaces[space].swapped.remove(&place).is_some() {
            self.count(space, Member::Swap, -1);
        }
    }

    /// Holds more for a moment than anyone ever did: whatever the bounds are wrong about then, they are
    /// wrong about the peak.
    pub(crate) fn grow(&mut self, who: usize) {
        if !self.lives(who) {
            return;
        }
        self.growth += 30;
        let places = 1000..1000 + self.growth;
        for place in places.clone() {
            self.write(who, place);
        }
        for place in places {
            self.free(who, place);
        }
    }

    /// A page fault that brings and copies nothing, as those that only set a bit.
    pub(crate) fn fault(&mut self, who: usize) {
        if self.lives(who) {
            self.tasks[who].task.add(OFFSETS.task_min_flt, 1);
        }
    }

    /// A second thread, whose faults the footprint cannot add up.
    pub(crate) fn thread(&mut self, who: usize) {
        if self.lives(who) {
            self.tasks[who].signal.set(OFFSETS.signal_nr_threads, 2_i32);
        }
    }

    pub(crate) fn fork(&mut self, who: usize) {
        let Some(space) = self.tasks[who].space.filter(|_| self.lives(who)) else {
            return;
        };
        self.run(who);
        let child = self.task(None);
        let tgid: u32 = self.tasks[who].task.get(OFFSETS.task_tgid);
        let own: u32 = child.task.get(OFFSETS.task_tgid);
        // dup_task_struct() copies the creator's.
        child.task.set(OFFSETS.task_tgid, tgid);
        let copy = self.space(child.task);
        self.spaces[copy].counts = true;
        let pages: Vec<(u16, Page)> = self.spaces[space]
            .pages
            .iter()
            .map(|(p, q)| (*p, *q))
            .collect();
        for some in pages.chunks(3) {
            self.spaces[copy].pages.extend(some.iter().copied());
            self.count(copy, Member::Anon, some.len() as i64);
        }
        let swapped = self.spaces[space].swapped.clone();
        let entries = swapped.len() as i64;
        self.spaces[copy].swapped = swapped;
        self.count(copy, Member::Swap, entries);
        child.task.set(OFFSETS.task_tgid, own);
        child.task.set(OFFSETS.task_mm, self.spaces[copy].mm.0);
        let typed = child.task.typed();
        self.tasks.push(Task {
            space: Some(copy),
            ..child
        });
        creation::process_created(typed, true);
    }

    /// Executes another program, with one page of arguments.
    pub(crate) fn exec(&mut self, who: usize) {
        if !self.lives(who) {
            return;
        }
        self.run(who);
        let task = self.tasks[who].task;
        let fresh = self.space(task);
        let page = self.new_page();
        self.spaces[fresh].pages.insert(0, page);
        self.count(fresh, Member::Anon, 1);
        // exec_mmap()
        let old = self.tasks[who].space.replace(fresh);
        let mm = self.spaces[fresh].mm;
        task.set(OFFSETS.task_mm, mm.0);
        self.spaces[fresh].counts = true;
        self.look();
        if let Some(old) = old {
            self.let_go(old);
            while self.unmap(old) {}
            self.torn_down(old);
        }
        let tgid: u32 = task.get(OFFSETS.task_tgid);
        if let Some(process) = state::process(tgid) {
            // SAFETY: a map value of this thread's.
            unsafe { execution::executed(Address::new(mm.0), tgid, process) };
        }
        self.tasks[who].signal.set(OFFSETS.signal_nr_threads, 1_i32);
    }

    fn let_go(&mut self, space: usize) {
        let mm = self.spaces[space].mm;
        mm.set(OFFSETS.mm_owner, 0_u64);
        mm.set(OFFSETS.mm_users, 0_i32);
    }

    /// Frees some pages; false if there are none.
    fn unmap(&mut self, space: usize) -> bool {
        let places: Vec<u16> = self.spaces[space].pages.keys().copied().take(3).collect();
        let entries = std::mem::take(&mut self.spaces[space].swapped).len();
        self.count(space, Member::Swap, -(entries as i64));
        for place in &places {
            self.spaces[space].pages.remove(place);
        }
        self.count(space, Member::Anon, -(places.len() as i64));
        !places.is_empty()
    }

    fn torn_down(&mut self, space: usize) {
        life::torn_down(self.spaces[space].mm.typed());
        self.spaces[space].counts = false;
    }

    /// A process begins to exit, or goes on: one step of what it still has to do.
    pub(crate) fn exit(&mut self, who: usize) {
        let Some(space) = self.tasks[who].space else {
            return;
        };
        self.run(who);
        let tells_first = self.tells_first;
        let left = self.tasks[who].left.get_or_insert_with(|| {
            if tells_first {
                std::vec![Left::TornDown, Left::Unmap, Left::LetGo, Left::Tell]
            } else {
                std::vec![Left::Tell, Left::TornDown, Left::Unmap, Left::LetGo]
            }
        });
        match left.last().copied() {
            Some(Left::Tell) => self.tell_exit(who),
            Some(Left::LetGo) => {
                self.tasks[who].task.set(OFFSETS.task_mm, 0_u64);
                self.let_go(space);
            }
            Some(Left::Unmap) => {
                if self.unmap(space) {
                    return;
                }
            }
            Some(Left::TornDown) => self.torn_down(space),
            None => return,
        }
        if let Some(left) = &mut self.tasks[who].left {
            left.pop();
        }
    }

    /// `sched_process_exit` of the last thread.
    fn tell_exit(&self, who: usize) {
        self.tasks[who].signal.set(OFFSETS.signal_live, 0_i32);
        self.tasks[who].task.tell_exit();
    }

    /// The address space of a process.
    pub(crate) fn mm(&self, who: usize) -> Struct {
        let space = self.tasks[who].space.expect("it has one");
        self.spaces[space].mm
    }

    /// The process runs, and begins to build an address space for a program.
    pub(crate) fn begin_exec(&mut self, who: usize) -> Struct {
        self.run(who);
        let space = self.space(self.tasks[who].task);
        self.spaces[space].mm
    }

    pub(crate) fn pid(&self, who: usize) -> u32 {
        self.tasks[who].task.get(OFFSETS.task_tgid)
    }

    /// Both threads of a process, which gets a second one, when both have begun to exit.
    pub(crate) fn last_threads(&mut self, who: usize) -> [Struct; 2] {
        self.run(who);
        let Task { task, signal, .. } = self.tasks[who];
        let thread = self.task(None).task;
        thread.set(OFFSETS.task_tgid, self.pid(who));
        thread.set(OFFSETS.task_signal, signal.0);
        thread.set(OFFSETS.task_group_leader, task.0);
        creation::process_created(thread.typed(), true);
        signal.set(OFFSETS.signal_live, 0_i32);
        [task, thread]
    }

    /// All processes exit, one after the other.
    pub(crate) fn end(&mut self) {
        for who in 0..self.tasks.len() {
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
