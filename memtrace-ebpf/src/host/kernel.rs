//! A kernel that has processes, address spaces and pages, and calls the programs where Linux does.
//!
//! Order and places are those of 6.18: `dup_mmap()` (mm/mmap.c) counts copied pages to an address
//! space that no task has yet; `do_anonymous_page()` counts a new page and `wp_page_copy()` (mm/memory.c) does
//! not count a copied one, and both count the fault afterwards (`mm_account_fault()`); `do_exit()`
//! (kernel/exit.c) calls `sched_process_exit` before `exit_mm()`, before 6.16 behind it; `exit_mm()` clears
//! the owner and then the last user tears down.

extern crate std;

use std::{
    boxed::Box,
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use memtrace_ebpf::{ABSENT, Config, CounterLayout, Image, Member, Offsets, SumScheme, rss};

use super::state;
use crate::{
    creation, execution, family,
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

pub(crate) fn current_tgid() -> u32 {
    Struct(current()).get(OFFSETS.task_tgid)
}

/// A struct of this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Struct(u64);

impl Struct {
    /// One of zeros, which is never freed: its address is used once.
    fn new() -> Self {
        Self(Box::leak(Box::new([0_u64; 16])).as_mut_ptr() as u64)
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

    fn typed(self) -> Typed {
        Typed::new(self.0 as *const u8)
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
    fn count(&mut self, space: usize, by: i64) {
        let mm = self.spaces[space].mm;
        mm.add(
            OFFSETS.mm_rss_stat + Member::Anon as u32 * OFFSETS.counter_stride,
            by,
        );
        self.look();
        if let Some(image) = life::image_of(mm.typed()) {
            life::update(mm.typed(), || Member::Anon as u32, image);
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
        match self.spaces[space].pages.get(&place).copied() {
            None => {
                let page = self.new_page();
                self.spaces[space].pages.insert(place, page);
                self.count(space, 1);
            }
            Some(page) => {
                let others = |(index, other): (usize, &Space)| {
                    index != space && other.pages.values().any(|&p| p == page)
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

    /// Gives a page back.
    pub(crate) fn free(&mut self, who: usize, place: u16) {
        let Some(space) = self.tasks[who].space.filter(|_| self.lives(who)) else {
            return;
        };
        self.run(who);
        if self.spaces[space].pages.remove(&place).is_some() {
            self.count(space, -1);
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
            self.count(copy, some.len() as i64);
        }
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
        self.count(fresh, 1);
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
        if places.is_empty() {
            return false;
        }
        for place in &places {
            self.spaces[space].pages.remove(place);
        }
        self.count(space, -(places.len() as i64));
        true
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

    /// `sched_process_exit` of the last thread, as far as memory is concerned.
    fn tell_exit(&self, who: usize) {
        let tgid: u32 = self.tasks[who].task.get(OFFSETS.task_tgid);
        let Some(process) = state::process(tgid) else {
            return;
        };
        // SAFETY: map values of this thread's.
        unsafe {
            let Some(tree) = state::tree((*process).tree) else {
                return;
            };
            let held = state::lock(tree);
            family::family_user_leaves((*process).mm, state::now());
            state::unlock(tree, held);
        }
        state::remove_process(tgid);
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
